// Package mailtest gives tests a mail server that speaks SMTP over a real
// socket: EHLO, STARTTLS or TLS from the start, AUTH PLAIN and LOGIN, and
// refusals, silence or a cut at any step. Only tests import it.
package mailtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a server does at a step instead of what it should.
const (
	Cut    = "cut"    // closes the connection without a word
	Silent = "silent" // says nothing until the client leaves
)

// Options say what kind of server it is. The zero value is one without TLS and
// sign-in.
type Options struct {
	// StartTLS offers it and refuses mail without; Implicit speaks TLS at once.
	StartTLS, Implicit bool
	// User and Password are asked for if set; Mechanisms are those offered,
	// "PLAIN LOGIN" if empty.
	User, Password, Mechanisms string
	// At says what to do at a step instead: a reply such as "550 no", [Cut] or
	// [Silent]. Steps are CONNECT, the commands, and CONTENT, which is the whole
	// content after DATA; BODY is its first line, when the server has not yet
	// seen the end.
	At map[string]string
}

// Message is one that the server accepted.
type Message struct {
	From, To, Data string
	// User signed in; TLS says that the connection was encrypted.
	User string
	TLS  bool
}

// Server is a running server.
type Server struct {
	o        Options
	listener net.Listener
	cert     tls.Certificate
	roots    *x509.CertPool

	mu       sync.Mutex
	messages []Message
	commands []string
	conns    map[net.Conn]bool
	closed   bool
	reached  map[string]chan struct{}
	wg       sync.WaitGroup
}

// Start runs a server on loopback until the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("mailtest: %v", err)
	}
	s := &Server{o: o, listener: listener, conns: map[net.Conn]bool{}, reached: map[string]chan struct{}{}}
	for step := range o.At {
		s.reached[step] = make(chan struct{})
	}
	if s.cert, s.roots, err = certificate(); err != nil {
		tb.Fatalf("mailtest: %v", err)
	}
	s.wg.Go(s.accept)
	tb.Cleanup(s.stop)
	return s
}

// URL is the server's address, with user and password if it wants them.
func (s *Server) URL() string {
	u := url.URL{Scheme: "smtp", Host: s.listener.Addr().String()}
	if s.o.Implicit {
		u.Scheme = "smtps"
	}
	if s.o.User != "" {
		u.User = url.UserPassword(s.o.User, s.o.Password)
	}
	return u.String()
}

// Roots vouch for the server's certificate.
func (s *Server) Roots() *x509.CertPool { return s.roots }

// Messages are those accepted so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.messages...)
}

// Commands are the verbs heard so far.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

// Reached is closed when a step that Options.At names is reached.
func (s *Server) Reached(step string) <-chan struct{} { return s.reached[step] }

func (s *Server) stop() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	_ = s.listener.Close()
	s.wg.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			_ = conn.Close()
		}
		s.conns[conn] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			(&session{s: s, raw: conn, conn: conn}).run()
			_ = conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

// errCut ends a session.
var errCut = errors.New("cut")

type session struct {
	s         *Server
	raw, conn net.Conn
	text      *textproto.Conn
	now       Message
	user      string
	secure    bool
}

func (c *session) run() {
	if c.s.o.Implicit {
		c.encrypt()
	}
	c.text = textproto.NewConn(c.conn)
	if c.step("CONNECT", "220 mailtest ready") != nil {
		return
	}
	for {
		line, err := c.text.ReadLine()
		if err != nil || c.command(line) != nil {
			return
		}
	}
}

func (c *session) encrypt() {
	c.conn = tls.Server(c.raw, &tls.Config{Certificates: []tls.Certificate{c.s.cert}, MinVersion: tls.VersionTLS12})
	c.text, c.secure = textproto.NewConn(c.conn), true
}

// step answers with usual, or does what the options want here instead.
func (c *session) step(name, usual string) error {
	instead, changed := c.s.o.At[name]
	if !changed {
		return c.text.PrintfLine("%s", usual)
	}
	c.s.mu.Lock()
	select {
	case <-c.s.reached[name]:
	default:
		close(c.s.reached[name])
	}
	c.s.mu.Unlock()
	switch instead {
	case Cut:
		return errCut
	case Silent:
		_, _ = io.Copy(io.Discard, c.conn)
		return errCut
	default:
		return c.text.PrintfLine("%s", instead)
	}
}

func (c *session) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	c.s.mu.Lock()
	c.s.commands = append(c.s.commands, verb)
	c.s.mu.Unlock()
	switch verb {
	case "EHLO":
		return c.hello()
	case "STARTTLS":
		if err := c.step(verb, "220 go ahead"); err != nil {
			return err
		}
		c.encrypt()
		return nil
	case "AUTH":
		return c.auth(rest)
	case "MAIL":
		if c.s.o.StartTLS && !c.secure {
			return c.text.PrintfLine("530 Must issue a STARTTLS command first")
		}
		if c.s.o.User != "" && c.user == "" {
			return c.text.PrintfLine("530 Authentication required")
		}
		c.now = Message{From: path(rest), User: c.user, TLS: c.secure}
		return c.step(verb, "250 sender ok")
	case "RCPT":
		c.now.To = path(rest)
		return c.step(verb, "250 recipient ok")
	case "DATA":
		return c.data()
	case "QUIT":
		_ = c.step(verb, "221 bye")
		return errCut
	default:
		return c.text.PrintfLine("500 %s is no command of this server", verb)
	}
}

func (c *session) hello() error {
	lines := []string{"mailtest", "8BITMIME"}
	if c.s.o.StartTLS && !c.secure {
		lines = append(lines, "STARTTLS")
	}
	if c.s.o.User != "" {
		mechanisms := c.s.o.Mechanisms
		if mechanisms == "" {
			mechanisms = "PLAIN LOGIN"
		}
		lines = append(lines, "AUTH "+mechanisms)
	}
	for i, l := range lines {
		mark := "-"
		if i == len(lines)-1 {
			mark = " "
		}
		if err := c.text.PrintfLine("250%s%s", mark, l); err != nil {
			return err
		}
	}
	return nil
}

func (c *session) auth(rest string) error {
	mechanism, first, _ := strings.Cut(rest, " ")
	var user, password string
	switch mechanism {
	case "PLAIN":
		raw, err := base64.StdEncoding.DecodeString(first)
		parts := strings.Split(string(raw), "\x00")
		if err != nil || len(parts) != 3 {
			return c.text.PrintfLine("501 malformed")
		}
		user, password = parts[1], parts[2]
	case "LOGIN":
		if err := c.ask("Username:", &user); err != nil {
			return err
		}
		if err := c.ask("Password:", &password); err != nil {
			return err
		}
	default:
		return c.text.PrintfLine("504 unknown mechanism")
	}
	if user != c.s.o.User || password != c.s.o.Password {
		return c.text.PrintfLine("535 credentials invalid")
	}
	c.user = user
	return c.step("AUTH", "235 welcome")
}

func (c *session) ask(prompt string, into *string) error {
	if err := c.text.PrintfLine("334 %s", base64.StdEncoding.EncodeToString([]byte(prompt))); err != nil {
		return err
	}
	line, err := c.text.ReadLine()
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(line)
	*into = string(raw)
	return err
}

func (c *session) data() error {
	if _, changed := c.s.o.At["DATA"]; changed {
		return c.step("DATA", "")
	}
	if err := c.text.PrintfLine("354 end with ."); err != nil {
		return err
	}
	if _, changed := c.s.o.At["BODY"]; changed {
		if _, err := c.text.R.ReadString('\n'); err != nil {
			return err
		}
		return c.step("BODY", "")
	}
	content, err := io.ReadAll(c.text.DotReader())
	if err != nil {
		return err
	}
	c.now.Data = string(content)
	if _, changed := c.s.o.At["CONTENT"]; !changed {
		c.s.mu.Lock()
		c.s.messages = append(c.s.messages, c.now)
		c.s.mu.Unlock()
	}
	return c.step("CONTENT", "250 accepted")
}

// path takes the address out of FROM:<a@b> and TO:<a@b>.
func path(rest string) string {
	_, rest, _ = strings.Cut(rest, "<")
	address, _, _ := strings.Cut(rest, ">")
	return address
}

// certificate makes one for loopback, which vouches for itself.
func certificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mailtest"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots, nil
}
