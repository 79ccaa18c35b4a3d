package testweb

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Site is a server that listens somewhere, in this process or another.
type Site struct {
	tb     testing.TB
	base   string
	client *http.Client
}

// At makes a site of the server at base, such as http://127.0.0.1:8080.
func At(tb testing.TB, base string) *Site {
	s := &Site{tb: tb, base: strings.TrimSuffix(base, "/")}
	s.client = s.browser(nil)
	return s
}

// URL gives the server's address without a slash at the end.
func (s *Site) URL() string { return s.base }

// browser makes a client whose connections end with the test.
func (s *Site) browser(jar http.CookieJar) *http.Client {
	transport := &http.Transport{}
	s.tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport, Timeout: limit}
}

// Stranger gives a browser that nobody signed in with.
func (s *Site) Stranger() *http.Client {
	s.tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.tb.Fatalf("testweb: %v", err)
	}
	return s.browser(jar)
}

// SignIn gives a browser in which a demo person has signed in through the
// development identity provider.
func (s *Site) SignIn(email string) *http.Client {
	s.tb.Helper()
	c := s.Stranger()
	resp, err := c.Get(s.base + "/auth/dev?login_hint=" + url.QueryEscape(email))
	if err != nil {
		s.tb.Fatalf("testweb: signing in as %s: %v", email, err)
	}
	body := read(s.tb, resp)
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/" {
		s.tb.Fatalf("testweb: signing in as %s ended at %s with %d: %s", email, resp.Request.URL, resp.StatusCode, body)
	}
	return c
}

var csrfField = regexp.MustCompile(`name="_csrf"[^>]*value="([^"]+)"`)

// CSRF reads the token of the browser's forms.
func (s *Site) CSRF(c *http.Client) string {
	s.tb.Helper()
	resp, err := c.Get(s.base + "/")
	if err != nil {
		s.tb.Fatalf("testweb: reading the start page: %v", err)
	}
	found := csrfField.FindStringSubmatch(read(s.tb, resp))
	if found == nil {
		s.tb.Fatalf("testweb: the start page (%d) has no form with a token", resp.StatusCode)
	}
	return found[1]
}

// Answer is what a request got.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	// Path is where redirects led.
	Path string
}

// JSON reads the body into v.
func (a Answer) JSON(tb testing.TB, v any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		tb.Fatalf("testweb: reading %d %q: %v", a.Status, a.Body, err)
	}
}

// Get asks for a page or, with an API key in header pairs, for data.
func (s *Site) Get(c *http.Client, path string, header ...string) Answer {
	s.tb.Helper()
	return s.do(c, http.MethodGet, path, nil, header)
}

// Post sends a form as a browser without script does: with the token, and
// following the redirect.
func (s *Site) Post(c *http.Client, path string, form url.Values) Answer {
	s.tb.Helper()
	if form == nil {
		form = url.Values{}
	}
	if !form.Has("_csrf") {
		form.Set("_csrf", s.CSRF(c))
	}
	return s.do(c, http.MethodPost, path, []byte(form.Encode()), []string{"Content-Type", "application/x-www-form-urlencoded"})
}

// API calls the Agent Server API with a key. body is marshalled unless it is
// bytes already; nil sends none.
func (s *Site) API(key, method, path string, body any) Answer {
	s.tb.Helper()
	raw, ok := body.([]byte)
	if !ok && body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			s.tb.Fatalf("testweb: %v", err)
		}
	}
	return s.do(s.client, method, path, raw, []string{"Content-Type", "application/json", "X-Api-Key", key})
}

// Do sends a request with header pairs as they are; nil stands for a client
// without cookies.
func (s *Site) Do(c *http.Client, method, path string, body []byte, header ...string) Answer {
	s.tb.Helper()
	return s.do(c, method, path, body, header)
}

func (s *Site) do(c *http.Client, method, path string, body []byte, header []string) Answer {
	s.tb.Helper()
	if c == nil {
		c = s.client
	}
	req, err := http.NewRequestWithContext(s.tb.Context(), method, s.base+path, bytes.NewReader(body))
	if err != nil {
		s.tb.Fatalf("testweb: %v", err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		s.tb.Fatalf("testweb: %s %s: %v", method, path, err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: read(s.tb, resp), Path: resp.Request.URL.Path}
}

// NewThread posts a first message and gives the id of the thread it made.
func (s *Site) NewThread(c *http.Client, message string) string {
	s.tb.Helper()
	a := s.Post(c, "/threads", url.Values{"message": {message}})
	thread, ok := strings.CutPrefix(a.Path, "/threads/")
	if a.Status != http.StatusOK || !ok {
		s.tb.Fatalf("testweb: a first message ended at %s with %d", a.Path, a.Status)
	}
	return thread
}

// WaitIdle waits until no run works or waits on a thread.
func (s *Site) WaitIdle(c *http.Client, thread string) {
	s.tb.Helper()
	s.Eventually("thread "+thread+" is idle", func() bool {
		return !s.Page(c, "/threads/"+thread).Busy()
	})
}

func read(tb testing.TB, resp *http.Response) string {
	tb.Helper()
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = resp.Body.Close()
	}
	if err != nil {
		tb.Fatalf("testweb: reading an answer: %v", err)
	}
	return string(body)
}
