package egress_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/outbound/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback is what development allows.
func loopback(t netip.AddrPort) bool { return t.Addr().IsLoopback() }

// names is a resolver that knows a few names, and every address as itself.
func names(known map[string][]string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, host string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range known[host] {
			out = append(out, netip.MustParseAddr(a))
		}
		if len(out) == 0 {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return out, nil
	}
}

// server is a real one on loopback that counts what reaches it.
type server struct {
	*httptest.Server
	hits atomic.Int64
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) port() string { return s.URL[strings.LastIndexByte(s.URL, ':')+1:] }

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func request(t *testing.T, method, address, body string, header ...string) *http.Request {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, r)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// fetch gives the body, or the error of asking or reading.
func fetch(c *egress.Client, req *http.Request) (string, error) {
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func requireRefused(t *testing.T, err error, about string) {
	t.Helper()
	require.ErrorIs(t, err, egress.ErrRefused, about)
	require.True(t, fault.Is(err, fault.KindForbidden), about)
}

// everyForm are ways to write hosts that must not be reached.
var everyForm = []string{
	"127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "0", "0.0.0.0",
	"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]",
	"[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
	"[2001:0:4136:e378:8000:63bf:f5ff:fffe]", "[fe80::1]", "[fec0::1]", "[fd00:ec2::254]", "[fc00::1]", "[ff02::1]",
	"[2001:db8::1]", "[3fff::1]", "[2001:2::1]", "[100::1]",
	"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200",
	"168.63.129.16", "192.0.0.192", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "224.0.0.1",
	"239.255.255.255", "240.0.0.1", "255.255.255.255", "①②⑦.⓪.⓪.①", "127。0。0。1",
	"inside.test", "mixed.test", "mapped.test", "localhost.test",
}

var everyName = map[string][]string{
	"inside.test": {"10.1.2.3"}, "mixed.test": {"93.184.215.14", "127.0.0.1"}, "mapped.test": {"::ffff:10.0.0.1"},
	"localhost.test": {"127.0.0.1", "::1"},
	// What a lenient resolver makes of unusual numbers.
	"127.1": {"127.0.0.1"}, "2130706433": {"127.0.0.1"}, "0x7f000001": {"127.0.0.1"}, "0177.0.0.1": {"127.0.0.1"}, "0": {"0.0.0.0"},
}

func TestNoSpellingOfAPrivateHostIsReached(t *testing.T) {
	t.Parallel()
	s := serve(t, hello)
	c := egress.New(egress.Options{Lookup: names(everyName)})
	for _, host := range everyForm {
		for _, address := range []string{"http://" + host + ":" + s.port() + "/", "http://" + host + "/", "https://" + host + "/"} {
			u, err := url.Parse(address)
			require.NoError(t, err, address)
			_, err = fetch(c, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
			requireRefused(t, err, address)
		}
	}
	require.Zero(t, s.hits.Load())
}

func TestARuleOpensItsAddressesAndNoOthers(t *testing.T) {
	t.Parallel()
	s := serve(t, hello)
	c := egress.New(egress.Options{Allow: loopback, Lookup: names(everyName)})
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "①②⑦.⓪.⓪.①", "localhost.test"} {
		u, err := url.Parse("http://" + host + ":" + s.port() + "/")
		require.NoError(t, err)
		body, err := fetch(c, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
		require.NoError(t, err, host)
		require.Equal(t, "hello", body)
	}
	for _, host := range everyForm {
		u, err := url.Parse("http://" + host + ":" + s.port() + "/")
		require.NoError(t, err)
		if a, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "localhost.test" || host == "①②⑦.⓪.⓪.①" || host == "127。0。0。1" || err == nil && a.Unmap().IsLoopback() {
			continue
		}
		_, err = fetch(c, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
		requireRefused(t, err, host)
	}
}

func TestOnlyTheUsualPortsUnlessARuleNamesAnother(t *testing.T) {
	t.Parallel()
	public := names(map[string][]string{"open.test": {"93.184.215.14"}})
	for port, refused := range map[string]bool{"22": true, "25": true, "6379": true, "8080": true, "0": true} {
		_, err := egress.New(egress.Options{Lookup: public}).Dial(t.Context(), "tcp", "open.test:"+port)
		require.Equal(t, refused, errors.Is(err, egress.ErrRefused), port)
	}
	s := serve(t, hello)
	other := serve(t, hello)
	c := egress.New(egress.Options{Allow: func(t netip.AddrPort) bool { return t.String() == "127.0.0.1:"+s.port() }})
	body, err := fetch(c, request(t, "GET", s.URL, ""))
	require.NoError(t, err)
	require.Equal(t, "hello", body)
	_, err = fetch(c, request(t, "GET", other.URL, ""))
	requireRefused(t, err, "another port")
}

// TestARebindingNameIsNotReached has a resolver that says a public address
// first and loopback from then on. The connection goes where the check looked.
func TestARebindingNameIsNotReached(t *testing.T) {
	t.Parallel()
	s := serve(t, hello)
	var asked atomic.Int64
	lookup := func(context.Context, string) ([]netip.Addr, error) {
		if asked.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	// 127.0.0.2 stands for a public address; nothing listens there.
	allow := func(t netip.AddrPort) bool { return t.Addr() == netip.MustParseAddr("127.0.0.2") }
	c := egress.New(egress.Options{Allow: allow, Lookup: lookup})
	_, err := fetch(c, request(t, "GET", "http://rebind.test:"+s.port(), ""))
	require.True(t, fault.Is(err, fault.KindUnavailable), "%v", err)
	require.EqualValues(t, 1, asked.Load(), "the name is resolved once")
	_, err = fetch(c, request(t, "GET", "http://rebind.test:"+s.port(), ""))
	requireRefused(t, err, "the second answer")
	require.Zero(t, s.hits.Load())
}

func TestARedirectIsJudgedLikeARequest(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	c := egress.New(egress.Options{Allow: loopback, Lookup: names(everyName)})
	for _, to := range []string{
		"http://169.254.169.254/latest/meta-data/", "http://[::ffff:a9fe:a9fe]/", "http://inside.test/", "http://2130706433/",
		"file:///etc/passwd", "gopher://127.0.0.1/", "http://user:pass@127.0.0.1/",
	} {
		_, err := fetch(c, request(t, "GET", s.URL+"/?to="+url.QueryEscape(to), ""))
		requireRefused(t, err, to)
	}
}

func TestRedirectsEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := len(r.URL.Path)
		if n > 40 || r.URL.Query().Has("stop") && n > egress.MaxRedirects {
			hello(w, r)
			return
		}
		http.Redirect(w, r, r.URL.Path+"x?"+r.URL.RawQuery, http.StatusFound)
	})
	c := egress.New(egress.Options{Allow: loopback})
	_, err := fetch(c, request(t, "GET", s.URL+"/", ""))
	requireRefused(t, err, "an endless chain")
	body, err := fetch(c, request(t, "GET", s.URL+"/?stop=1", ""))
	require.NoError(t, err, "as many as are allowed")
	require.Equal(t, "hello", body)
}

func TestCredentialsAndBodiesDoNotFollowToAnotherHost(t *testing.T) {
	t.Parallel()
	var seen http.Header
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		hello(w, r)
	})
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/here" {
			seen = r.Header.Clone()
			return
		}
		status := http.StatusFound
		if r.URL.Query().Has("keep") {
			status = http.StatusTemporaryRedirect
		}
		http.Redirect(w, r, r.URL.Query().Get("to"), status)
	})
	c := egress.New(egress.Options{Allow: loopback})
	secrets := []string{"Authorization", "Bearer x", "Cookie", "a=b", "X-Api-Key", "k", "X-Plain", "stays"}
	_, err := fetch(c, request(t, "GET", first.URL+"/?to="+url.QueryEscape(target.URL), "", secrets...))
	require.NoError(t, err)
	require.Equal(t, "stays", seen.Get("X-Plain"))
	for _, name := range []string{"Authorization", "Cookie", "X-Api-Key", "Referer"} {
		require.Empty(t, seen.Get(name), name)
	}
	_, err = fetch(c, request(t, "GET", first.URL+"/?to=/here", "", secrets...))
	require.NoError(t, err)
	require.Equal(t, "Bearer x", seen.Get("Authorization"), "the same host may see them again")

	hits := target.hits.Load()
	_, err = fetch(c, request(t, "POST", first.URL+"/?keep=1&to="+url.QueryEscape(target.URL), "private"))
	requireRefused(t, err, "a body to another host")
	require.Equal(t, hits, target.hits.Load())
}

func TestNoWayLeadsFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()
	plain := serve(t, hello)
	safe := httptest.NewUnstartedServer(http.RedirectHandler(plain.URL, http.StatusFound))
	safe.Config.ErrorLog = log.New(io.Discard, "", 0)
	safe.StartTLS()
	t.Cleanup(safe.Close)
	roots := x509.NewCertPool()
	roots.AddCert(safe.Certificate())
	_, err := fetch(egress.New(egress.Options{Allow: loopback, Roots: roots}), request(t, "GET", safe.URL, ""))
	requireRefused(t, err, "a downgrade")
	_, err = fetch(egress.New(egress.Options{Allow: loopback}), request(t, "GET", safe.URL, ""))
	require.True(t, fault.Is(err, fault.KindUnavailable), "a certificate nobody vouches for")
	require.Zero(t, plain.hits.Load())
}

// TestTheEnvironmentsProxyIsNotUsed is not parallel: it changes the environment.
func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	proxy, s := serve(t, hello), serve(t, hello)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	c := egress.New(egress.Options{Allow: loopback, Lookup: names(map[string][]string{"site.test": {"127.0.0.1"}})})
	_, err := fetch(c, request(t, "GET", "http://site.test:"+s.port(), ""))
	require.NoError(t, err)
	require.Zero(t, proxy.hits.Load())
	require.EqualValues(t, 1, s.hits.Load())
}

func TestASlowAnswerEndsInTime(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
		}
		<-release
	})
	t.Cleanup(func() { close(release) })
	c := egress.New(egress.Options{Allow: loopback, Timeout: 150 * time.Millisecond})
	for _, path := range []string{"/headers", "/body"} {
		began := time.Now()
		_, err := fetch(c, request(t, "GET", s.URL+path, ""))
		require.True(t, fault.Is(err, fault.KindUnavailable), "%s: %v", path, err)
		require.Contains(t, fault.Public(err), "in time")
		require.Less(t, time.Since(began), 10*time.Second)
	}
}

func TestALookUpEndsWithTheClient(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	c := egress.New(egress.Options{Timeout: 100 * time.Millisecond, Lookup: func(ctx context.Context, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}})
	_, err := fetch(c, request(t, "GET", "http://slow.test/", ""))
	require.True(t, fault.Is(err, fault.KindUnavailable), "%v", err)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the look-up goes on for nobody")
	}
}

func TestAHugeAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/header" {
			w.Header().Set("X-Long", strings.Repeat("x", 200<<10))
			return
		}
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
		_, _ = io.WriteString(w, strings.Repeat("x", n))
	})
	c := egress.New(egress.Options{Allow: loopback, MaxBody: 1000})
	body, err := fetch(c, request(t, "GET", s.URL+"/1000", ""))
	require.NoError(t, err, "as much as is allowed")
	require.Len(t, body, 1000)
	for _, path := range []string{"/1001", "/5000000"} {
		body, err = fetch(c, request(t, "GET", s.URL+path, ""))
		require.True(t, fault.Is(err, fault.KindTooLarge), "%s: %v", path, err)
		require.Len(t, body, 1000, "and no more is read")
	}
	_, err = fetch(c, request(t, "GET", s.URL+"/header", ""))
	require.True(t, fault.Is(err, fault.KindUnavailable), "%v", err)
}

func TestAnEndedContextEndsTheRequest(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := fetch(egress.New(egress.Options{Allow: loopback}), request(t, "GET", s.URL, "").WithContext(ctx))
	require.ErrorIs(t, err, context.Canceled)
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"", "/", "//host/", "ftp://example.com/", "javascript:alert(1)", "http:example.com", "http://", "http://:80/",
		"http://user@example.com/", "http://example.com@127.0.0.1/", "http://[fe80::1%25eth0]/", "http://a_b%20c/",
		"http://1.2.3/", "http://0x/", "http://1/", "http://example.com/" + strings.Repeat("x", 2000),
	} {
		u, err := url.Parse(address)
		if err == nil {
			requireRefused(t, egress.CheckURL(u), address)
		}
	}
	for _, address := range []string{"https://example.com", "http://example.com:8080/a?b#c", "https://93.184.215.14/", "https://[2606:4700::1111]/", "https://münchen.example/"} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		require.NoError(t, egress.CheckURL(u), address)
	}
	requireRefused(t, egress.CheckURL(nil), "none")
}

func TestPublicAddressesAreOpen(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"1.1.1.1", "93.184.215.14", "100.63.255.255", "100.128.0.0", "172.32.0.1", "169.253.0.1", "11.0.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1"} {
		require.True(t, egress.Public(netip.MustParseAddr(a)), a)
	}
	require.False(t, egress.Public(netip.Addr{}))
	require.False(t, egress.Public(netip.MustParseAddr("2606:4700::1%eth0")))
}
