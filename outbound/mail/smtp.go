package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/heddle/heddle/internal/fault"
)

// DefaultTimeout of one message, from the connection to the server's answer.
const DefaultTimeout = 25 * time.Second

// SMTP hands messages to a mail server, each over a connection of its own.
type SMTP struct {
	envelope
	host, user, password string
	port                 int
	implicit             bool // TLS from the first byte
	tls                  *tls.Config
	timeout              time.Duration
}

// NewSMTP reads o; nothing connects yet.
func NewSMTP(o Options) (*SMTP, error) {
	u, err := url.Parse(o.SMTPURL)
	if err != nil || u.Hostname() == "" || (u.Scheme != "smtp" && u.Scheme != "smtps") {
		// The URL holds a password and the parser's error the URL.
		return nil, errors.New("reading the address of the mail server: it is not smtp://user:password@host:587 or smtps://user:password@host:465")
	}
	s := &SMTP{host: u.Hostname(), port: 587, implicit: u.Scheme == "smtps", timeout: o.Timeout}
	if s.implicit {
		s.port = 465
	}
	if p := u.Port(); p != "" {
		if s.port, err = strconv.Atoi(p); err != nil || s.port < 1 || s.port > 65535 {
			return nil, errors.New("reading the address of the mail server: the port must be 1 to 65535")
		}
	}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
	}
	if s.timeout <= 0 {
		s.timeout = DefaultTimeout
	}
	if s.envelope, err = newEnvelope(o.From, o.Clock); err != nil {
		return nil, err
	}
	s.tls = &tls.Config{ServerName: s.host, RootCAs: o.Roots, MinVersion: tls.VersionTLS12}
	return s, nil
}

// Send implements [Sender].
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := s.compose(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	l := &line{ctx: ctx, tls: s.tls, implicit: s.implicit}
	// Whatever happens, the connection is closed as it is: a QUIT after a broken
	// DATA would end the content and have half a message accepted.
	defer l.close()
	client, err := s.client(l)
	if err != nil {
		return fmt.Errorf("setting up the mail client: %w", err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return unreachable(because(ctx, err))
	}
	if err := client.SendWithSMTPClient(conn, msg); err != nil && !msg.IsDelivered() {
		return outcome(because(ctx, err))
	}
	_ = conn.Quit() // the server has the message; how it says goodbye changes nothing
	return nil
}

func (s *SMTP) client(l *line) (*gomail.Client, error) {
	policy := gomail.TLSMandatory
	if s.local() {
		policy = gomail.TLSOpportunistic
	}
	options := []gomail.Option{
		// The context ends a send; the library's own limit only must not come first.
		gomail.WithPort(s.port), gomail.WithTimeout(2 * s.timeout), gomail.WithHELO(s.domain()), gomail.WithTLSConfig(s.tls),
		gomail.WithTLSPolicy(policy), gomail.WithDialContextFunc(l.dial), gomail.WithoutNoop(), gomail.WithoutRset(),
	}
	if s.implicit {
		options = append(options, gomail.WithSSL())
	}
	if s.user != "" {
		options = append(options, gomail.WithSMTPAuthCustom(&login{user: s.user, password: s.password, host: s.host}))
	}
	return gomail.NewClient(s.host, options...)
}

// local reports whether the server is on this machine, where mail catchers for
// development do without encryption.
func (s *SMTP) local() bool {
	addr, err := netip.ParseAddr(s.host)
	return s.host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// line is the connection of one Send; the end of ctx closes it.
type line struct {
	ctx      context.Context //nolint:containedctx // it lives as long as the call that made it
	tls      *tls.Config
	implicit bool
	conn     net.Conn
	stop     func() bool
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.conn = conn
	l.stop = context.AfterFunc(l.ctx, func() { _ = conn.Close() })
	if !l.implicit {
		return conn, nil
	}
	secure := tls.Client(conn, l.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}

func (l *line) close() {
	if l.conn != nil {
		l.stop()
		_ = l.conn.Close() // it may be closed already
	}
}

// login signs in by what the server offers, PLAIN before LOGIN, and only where
// nobody listens.
type login struct {
	user, password, host string
	chosen               smtp.Auth
}

// Start implements smtp.Auth.
func (a *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	switch {
	case slices.Contains(server.Auth, "PLAIN"):
		a.chosen = smtp.PlainAuth("", a.user, a.password, a.host, false)
	case slices.Contains(server.Auth, "LOGIN"):
		a.chosen = smtp.LoginAuth(a.user, a.password, a.host, false)
	default:
		return "", nil, errors.New("the mail server offers neither AUTH PLAIN nor AUTH LOGIN")
	}
	return a.chosen.Start(server)
}

// Next implements smtp.Auth.
func (a *login) Next(fromServer []byte, more bool) ([]byte, error) {
	return a.chosen.Next(fromServer, more)
}

// because adds why the connection ended when it was us who ended it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// outcome says what a failed exchange means for the message.
func outcome(err error) error {
	var failed *gomail.SendError
	if !errors.As(err, &failed) {
		return unreachable(err)
	}
	code := failed.ErrorCode()
	switch {
	case code >= 500:
		return fault.Conflict(fmt.Sprintf("The mail server refused the message (%d). It was not sent.", code)).WithCause(err)
	case code >= 400:
		return fault.Unavailable(fmt.Sprintf("The mail server does not take the message at the moment (%d). It was not sent.", code), err)
	case failed.Reason == gomail.ErrWriteContent || failed.Reason == gomail.ErrSMTPDataClose:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	default:
		return unreachable(err)
	}
}

func unreachable(err error) error {
	return fault.Unavailable("The mail server could not be used. The message was not sent.", err)
}
