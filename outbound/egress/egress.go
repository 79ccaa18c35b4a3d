// Package egress is the one way by which tools reach other servers over HTTP:
// a client that cannot be talked into reaching the network it stands in.
//
// Invariants:
//   - what counts is the IP address of the connection, checked after the name
//     was resolved and used as checked; how a URL spells its host does not
//     matter, and neither does an answer that changes (DNS rebinding);
//   - only public addresses on ports 80 and 443, unless a rule of the operator
//     allows the very address and port;
//   - each redirect is judged as a new request, never from https to http, never
//     with credentials or a body to another host;
//   - no proxy of the environment, no cookies; time and size are bounded.
//
// The composition root imports it; tools see the small interface they declare.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// The bounds when [Options] leave them out.
const (
	// DefaultTimeout of a whole exchange, redirects and body included.
	DefaultTimeout = 20 * time.Second
	// DefaultMaxBody of a response, unpacked, in bytes.
	DefaultMaxBody = 2 << 20
	// MaxRedirects that are followed.
	MaxRedirects = 5

	maxHeader = 64 << 10
)

// Options tune a [Client].
type Options struct {
	// Allow makes exceptions, by address and port; nil makes none.
	Allow func(target netip.AddrPort) bool
	// Lookup finds the addresses of a name; nil means the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Roots are trusted instead of the system's.
	Roots   *x509.CertPool
	Timeout time.Duration
	MaxBody int64
	// NoRedirects gives answers that redirect as they are.
	NoRedirects bool
}

// Client sends requests. Safe for concurrent use; it keeps no connection open
// after an exchange.
type Client struct {
	allow   func(netip.AddrPort) bool
	lookup  func(context.Context, string) ([]netip.Addr, error)
	timeout time.Duration
	maxBody int64
	http    *http.Client
}

// New makes a client.
func New(o Options) *Client {
	c := &Client{allow: o.Allow, lookup: o.Lookup, timeout: o.Timeout, maxBody: o.MaxBody}
	if c.lookup == nil {
		c.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.maxBody <= 0 {
		c.maxBody = DefaultMaxBody
	}
	c.http = &http.Client{
		CheckRedirect: checkRedirect,
		Timeout:       c.timeout,
		Transport: &http.Transport{
			Proxy:                  nil, // the environment's proxy would connect for us, unchecked
			DialContext:            c.Dial,
			TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives:      true,
		},
	}
	if o.NoRedirects {
		c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return c
}

// Do sends a request and follows its redirects. A refusal is a forbidden fault,
// a host that is away or slow an unavailable one, also while the body is read;
// reading beyond the bound is a too-large fault. The caller closes the body.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if err := CheckURL(req.URL); err != nil {
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", "Heddle")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, explained(req.URL.Host, err)
	}
	resp.Body = &bounded{body: resp.Body, host: req.URL.Host, left: c.maxBody}
	return resp, nil
}

// explained gives a failure of the network words that may be shown.
func explained(host string, err error) error {
	var told *fault.Error
	var timeout net.Error
	switch {
	case errors.As(err, &told):
		return fmt.Errorf("requesting %s: %w", host, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fault.Unavailable("The host "+host+" did not answer in time.", err)
	default:
		return fault.Unavailable("The request to "+host+" failed on the way.", err)
	}
}

// checkRedirect judges the next request before it is sent; the dialer judges
// its host like any other.
func checkRedirect(next *http.Request, before []*http.Request) error {
	if len(before) > MaxRedirects {
		return refused(fmt.Sprintf("The server redirected more than %d times.", MaxRedirects))
	}
	if err := CheckURL(next.URL); err != nil {
		return err
	}
	next.Header.Del("Referer") // it would tell the next host the whole address of this one
	if before[len(before)-1].URL.Scheme == "https" && next.URL.Scheme == "http" {
		return refused("The server redirected from https to http.")
	}
	if !elsewhere(next, before) {
		return nil
	}
	if next.Method != http.MethodGet && next.Method != http.MethodHead {
		return refused("The server redirected a request that changes something to another host.")
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key"} {
		next.Header.Del(name)
	}
	return nil
}

// elsewhere reports whether any hop so far, or the next one, leaves the first
// host. Once a chain has left it, it does not get its credentials back.
func elsewhere(next *http.Request, before []*http.Request) bool {
	first := before[0].URL.Host
	for _, hop := range append(before[1:len(before):len(before)], next) {
		if hop.URL.Host != first {
			return true
		}
	}
	return false
}

// bounded is a body that fails instead of going on beyond its bound.
type bounded struct {
	body io.ReadCloser
	host string
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fault.New(fault.KindTooLarge, "The answer is larger than this server reads.")
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, fault.New(fault.KindTooLarge, "The answer is larger than this server reads.")
	}
	if err != nil && err != io.EOF {
		err = explained(b.host, err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *bounded) Close() error { return b.body.Close() }
