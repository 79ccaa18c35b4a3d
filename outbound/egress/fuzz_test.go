package egress_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"testing"

	"golang.org/x/net/idna"

	"github.com/heddle/heddle/outbound/egress"
)

// FuzzNoURLReachesLoopback asks for whatever can be parsed, with a resolver
// that makes loopback of every name: a listener there must never be reached,
// and what passes CheckURL must stay acceptable when it is written and read
// again.
func FuzzNoURLReachesLoopback(f *testing.F) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			panic("somebody reached loopback")
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range everyForm {
		f.Add("http://" + host + ":" + port + "/")
	}
	for _, seed := range []string{
		"https://example.com/", "http://user:pw@127.0.0.1:" + port, "http://127.0.0.1:" + port + "#@example.com/",
		"http://example.com:80@127.0.0.1:" + port + "/", `http://127.0.0.1\@example.com/`, "//127.0.0.1:" + port, "http:127.0.0.1",
		"HTTP://LOCALHOST:" + port, "http://[::ffff:127.0.0.1%25lo]:" + port, "http://127.0.0.1:" + port + ":80/", "http://%31%32%37.0.0.1/",
	} {
		f.Add(seed)
	}
	c := egress.New(egress.Options{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	f.Fuzz(func(t *testing.T, address string) {
		u, err := url.Parse(address)
		if err != nil || egress.CheckURL(u) != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || egress.CheckURL(again) != nil || again.Hostname() != u.Hostname() {
			t.Fatalf("%q passes, and as %q it does not or names another host", address, u)
		}
		ascii, err := idna.Lookup.ToASCII(u.Hostname())
		if err != nil {
			ascii = u.Hostname()
		}
		if host, err := netip.ParseAddr(ascii); err == nil && egress.Public(host) {
			return // nothing is to leave this machine
		}
		if n, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || n > 65535) {
			return
		}
		resp, err := c.Do((&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(t.Context()))
		if err == nil {
			_ = resp.Body.Close()
			t.Fatalf("%q was answered with %d", address, resp.StatusCode)
		}
	})
}
