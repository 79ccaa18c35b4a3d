package handlers_test

import (
	"context"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/devidp"
	"github.com/heddle/heddle/auth/oauth"
	"github.com/heddle/heddle/auth/signin"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

const (
	orgHome = auth.OrgID("01900000-0000-7000-8000-00000000000a")
	orgAway = auth.OrgID("01900000-0000-7000-8000-00000000000b")
)

// ledger keeps sessions in memory with the contract of the database: everyone
// is a member of orgHome and orgAway.
type ledger struct {
	mu       sync.Mutex
	sessions map[auth.Digest]auth.SignedIn
	attempts map[auth.Digest]auth.Attempt
	key      auth.APIKey
}

func (l *ledger) SignIn(_ context.Context, e auth.Entry, decide auth.Policy) (auth.SignedIn, error) {
	p, err := decide(auth.Facts{Profile: e.Profile, Memberships: []auth.Membership{{Org: auth.Org{ID: orgHome}, Role: auth.RoleAdmin}}})
	if err != nil {
		return auth.SignedIn{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Replaces != nil {
		delete(l.sessions, *e.Replaces)
	}
	in := auth.SignedIn{Session: e.Session, User: auth.User{ID: auth.UserID(e.Profile.Email), Email: e.Profile.Email},
		Org: auth.Org{ID: p.Org}, Role: p.Role}
	in.Session.User, in.Session.Org = in.User.ID, p.Org
	l.sessions[e.Token] = in
	return in, nil
}

func (l *ledger) FindSession(_ context.Context, token auth.Digest, _ time.Time) (auth.SignedIn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in, ok := l.sessions[token]
	if !ok {
		return in, fault.NotFound("Session")
	}
	return in, nil
}

func (l *ledger) TouchSession(context.Context, auth.SessionID, time.Time) error { return nil }

func (l *ledger) RevokeSession(_ context.Context, _ auth.Scope, session auth.SessionID, _ time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for token, in := range l.sessions {
		if in.Session.ID == session {
			delete(l.sessions, token)
			return nil
		}
	}
	return fault.NotFound("Session")
}

func (l *ledger) SwitchOrg(_ context.Context, scope auth.Scope, target auth.OrgID, fresh auth.Digest, _ time.Time) error {
	if target != orgHome && target != orgAway {
		return fault.NotFound("Organisation")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for token, in := range l.sessions {
		if in.Session.ID == scope.Session {
			delete(l.sessions, token)
			in.Org.ID, in.Session.Org = target, target
			l.sessions[fresh] = in
		}
	}
	return nil
}

func (l *ledger) FindAPIKey(_ context.Context, prefix string) (auth.APIKey, auth.Role, error) {
	if prefix != l.key.Prefix {
		return auth.APIKey{}, "", fault.NotFound("API key")
	}
	return l.key, auth.RoleMember, nil
}

func (l *ledger) TouchAPIKey(context.Context, auth.APIKey, time.Time) error { return nil }

func (l *ledger) Put(_ context.Context, a auth.Attempt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts[a.State] = a
	return nil
}

func (l *ledger) Take(_ context.Context, state auth.Digest) (auth.Attempt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.attempts[state]
	delete(l.attempts, state)
	if !ok {
		return a, fault.NotFound("Sign-in attempt")
	}
	return a, nil
}

// bundle is a listening server with the routes of this package.
type bundle struct {
	url    string
	key    auth.Token
	client *http.Client
}

func setup(t *testing.T) bundle {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	base := "http://" + ln.Addr().String()
	clk := clock.System{}
	log := slog.New(slog.DiscardHandler)
	l := &ledger{sessions: make(map[auth.Digest]auth.SignedIn), attempts: make(map[auth.Digest]auth.Attempt)}
	var clear auth.Token
	l.key, clear, err = auth.MintAPIKey(auth.Scope{User: "u", Org: orgHome, Role: auth.RoleMember}, auth.KeyID(id.New()), "k", nil, 0, clk.Now())
	require.NoError(t, err)

	idp, err := devidp.New(devidp.Options{BaseURL: base, ClientID: "heddle", ClientSecret: "s", Clock: clk})
	require.NoError(t, err)
	flow, err := oauth.New(oauth.Options{BaseURL: base, Attempts: l, Clock: clk, Providers: []oauth.Provider{
		{Name: "dev", Label: "Demo", Kind: oauth.KindOIDC, ClientID: "heddle", ClientSecret: "s", Issuer: devidp.Issuer(base)}}})
	require.NoError(t, err)
	door, err := signin.New(signin.Options{Ledger: l, Signup: auth.SignupInvite, Clock: clk, Log: log})
	require.NoError(t, err)
	who := middleware.NewIdentity(door, auth.NewCSRF([]byte("key")), base)
	h := handlers.NewAuth(flow, door, handlers.NewSockets(nobodyConnected{}, log), middleware.NewSessionCookie(base), loginPage, log)

	app := fiber.New(fiber.Config{DisableStartupMessage: true, ErrorHandler: func(c *fiber.Ctx, err error) error {
		return c.Status(middleware.Status(fault.KindOf(err))).SendString(fault.Code(err) + ": " + fault.Public(err))
	}})
	app.Use(middleware.RequestID, middleware.Headers(base), middleware.Recover(log))
	app.All(devidp.MountPath+"/*", adaptor.HTTPHandler(idp))
	app.Get("/auth/login", who.Maybe, h.Login)
	app.Get("/auth/:provider/callback", h.Callback)
	app.Post("/auth/logout", who.Page, h.Logout)
	app.Get("/auth/:provider", h.Begin)
	app.Post("/account/org", who.Page, h.SwitchOrg)
	whoami := func(c *fiber.Ctx) error {
		s := middleware.Scope(c)
		return c.SendString(strings.Join([]string{string(s.User), string(s.Org), string(s.Role), who.CSRFToken(c)}, " "))
	}
	app.Get("/", who.Page, whoami)
	app.Get("/deep", who.Page, whoami)
	app.Post("/post", who.Page, whoami)
	app.All("/api/x", who.API(), whoami)
	app.Get("/panic", func(*fiber.Ctx) error { panic("canary-panic") })
	stopped := make(chan error, 1)
	go func() { stopped <- app.Listener(ln) }()
	t.Cleanup(func() {
		require.NoError(t, app.ShutdownWithTimeout(5*time.Second))
		require.NoError(t, <-stopped)
	})
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return bundle{url: base, key: clear, client: &http.Client{Jar: jar, Timeout: 20 * time.Second}}
}

// nobodyConnected is a socket server without sockets.
type nobodyConnected struct{}

func (nobodyConnected) Disconnect(context.Context, string, string) error { return nil }

func loginPage(p handlers.LoginPage) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "<p>sign in</p>"+html.EscapeString(p.Problem))
		for _, l := range p.Links {
			_, _ = io.WriteString(w, `<a href="`+html.EscapeString(l.URL)+`">`+l.Label+"</a>")
		}
		return err
	})
}

func (b bundle) do(t *testing.T, method, path string, form url.Values, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, string(body)
}

// signIn signs ada in and gives what whoami says: user, org, role, CSRF token.
func (b bundle) signIn(t *testing.T) []string {
	t.Helper()
	_, body := b.do(t, "GET", "/auth/dev?login_hint=ada@acme.test", nil)
	return strings.Split(body, " ")
}

func (b bundle) unfollowed() bundle {
	c := *b.client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.client = &c
	return b
}

func TestADeepLinkSurvivesSigningIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resp, body := b.do(t, "GET", "/deep?a=1&b=2", nil, "Accept", "text/html")
	require.Equal(t, "/auth/login", resp.Request.URL.Path)
	require.Contains(t, body, "/auth/dev?return_to=%2Fdeep%3Fa%3D1%26b%3D2")
	resp, body = b.do(t, "GET", "/auth/dev?return_to=%2Fdeep%3Fa%3D1%26b%3D2&login_hint=ada@acme.test", nil)
	require.Equal(t, "/deep?a=1&b=2", resp.Request.URL.RequestURI())
	require.True(t, strings.HasPrefix(body, "ada@acme.test "+string(orgHome)+" admin "), body)
	resp, _ = b.do(t, "GET", "/auth/login?return_to=//evil.test", nil)
	require.Equal(t, b.url+"/", resp.Request.URL.String(), "whoever is signed in goes on, and stays here")
}

func TestStrangersGetAFaultUnlessTheyOnlyRead(t *testing.T) {
	t.Parallel()
	b := setup(t).unfollowed()
	for _, c := range [][]string{{"POST", "/post", "text/html"}, {"GET", "/", "application/json"}, {"POST", "/auth/logout", "text/html"}, {"GET", "/api/x", "text/html"}} {
		resp, _ := b.do(t, c[0], c[1], nil, "Accept", c[2])
		require.Equal(t, 401, resp.StatusCode, c)
	}
	resp, _ := b.do(t, "GET", "/", nil, "Accept", "text/html", "HX-Request", "true")
	require.Equal(t, 401, resp.StatusCode, "a fragment is not replaced by a sign-in page")
}

func TestTheCookiesAreSetAndClearedAlike(t *testing.T) {
	t.Parallel()
	b := setup(t)
	csrf := b.signIn(t)[3]
	cookies := func(r *http.Response) string { return strings.Join(r.Header.Values("Set-Cookie"), "\n") }
	resp, _ := b.unfollowed().do(t, "GET", "/auth/dev", nil)
	require.Regexp(t, `^heddle_login=[\w-]{43}; max-age=600; path=/; HttpOnly; SameSite=Lax$`, cookies(resp))
	old := b.client.Jar.Cookies(resp.Request.URL)
	resp, _ = b.unfollowed().do(t, "POST", "/auth/logout", url.Values{"_csrf": {csrf}})
	require.Equal(t, 303, resp.StatusCode)
	require.Regexp(t, `^heddle=; expires=Thu, 01 Jan 1970 00:00:01 GMT; path=/; HttpOnly; SameSite=Lax$`, cookies(resp))
	for _, c := range old {
		if c.Name == "heddle" {
			b.client.Jar = nil
			resp, _ = b.do(t, "GET", "/", nil, "Cookie", "heddle="+c.Value)
			require.Equal(t, 401, resp.StatusCode, "the old cookie is dead on the server")
			return
		}
	}
	t.Fatal("there was no session cookie")
}

func TestABadCallbackExplainsItselfAndSignsNobodyIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, q := range []string{"", "?state=&code=x", "?state=x&code=x", "?%zz", "?state=a&state=b"} {
		resp, body := b.do(t, "GET", "/auth/dev/callback"+q, nil)
		require.Equal(t, 403, resp.StatusCode)
		require.Contains(t, body, "Start again.")
		for _, c := range resp.Cookies() {
			require.NotEqual(t, "heddle", c.Name)
		}
	}
	resp, _ := b.unfollowed().do(t, "GET", "/auth/dev?login_hint=ada@acme.test", nil)
	resp, _ = b.unfollowed().do(t, "GET", strings.TrimPrefix(resp.Header.Get("Location"), b.url), nil)
	callback := strings.TrimPrefix(resp.Header.Get("Location"), b.url)
	resp, _ = b.unfollowed().do(t, "GET", callback, nil, "Cookie", "heddle=planted")
	require.Equal(t, 303, resp.StatusCode)
	require.NotEqual(t, "planted", b.client.Jar.Cookies(resp.Request.URL)[0].Value)
	resp, body := b.do(t, "GET", callback, nil)
	require.Equal(t, 403, resp.StatusCode, "a replay")
	require.Contains(t, body, "Start again.")
	resp, _ = b.do(t, "GET", "/auth/nobody", nil)
	require.Equal(t, 404, resp.StatusCode)
}

func TestUnsafeRequestsNeedTokenAndOrigin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.signIn(t)[3]
	good := url.Values{"_csrf": {token}}
	for name, c := range map[string]struct {
		form    url.Values
		headers []string
		want    int
	}{
		"form field":         {good, nil, 200},
		"header":             {url.Values{}, []string{"X-CSRF-Token", token}, 200},
		"own origin":         {good, []string{"Origin", b.url, "Sec-Fetch-Site", "same-origin"}, 200},
		"no token":           {url.Values{}, nil, 403},
		"wrong token":        {url.Values{"_csrf": {token[1:] + "A"}}, nil, 403},
		"foreign origin":     {good, []string{"Origin", "https://evil.test"}, 403},
		"origin's prefix":    {good, []string{"Origin", b.url + ".evil.test"}, 403},
		"null origin":        {good, []string{"Origin", "null"}, 403},
		"cross-site":         {good, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"sibling":            {good, []string{"Sec-Fetch-Site", "same-site"}, 403},
		"token in the query": {url.Values{}, []string{"X", "y"}, 403},
	} {
		path := "/post"
		if name == "token in the query" {
			path += "?x=" + token
		}
		resp, body := b.do(t, "POST", path, c.form, c.headers...)
		require.Equal(t, c.want, resp.StatusCode, "%s: %s", name, body)
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		resp, _ := b.do(t, method, "/api/x", url.Values{})
		require.Equal(t, 403, resp.StatusCode, "a session at the API needs it as well: %s", method)
	}
}

func TestAStaleTabOfAnotherOrganisationIsToldSo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stale := b.signIn(t)[3]
	resp, _ := b.do(t, "POST", "/account/org", url.Values{"_csrf": {stale}, "org_id": {"01900000-0000-7000-8000-0000000000ff"}})
	require.Equal(t, 404, resp.StatusCode)
	resp, body := b.do(t, "POST", "/account/org", url.Values{"_csrf": {stale}, "org_id": {string(orgAway)}, "return_to": {`/\evil.test`}})
	require.Equal(t, b.url+"/", resp.Request.URL.String())
	now := strings.Split(body, " ")
	require.Equal(t, string(orgAway), now[1])
	resp, body = b.do(t, "POST", "/post", url.Values{"_csrf": {stale}})
	require.Equal(t, 409, resp.StatusCode)
	require.True(t, strings.HasPrefix(body, auth.CodeOrgSwitched+": You switched"), body)
	resp, _ = b.do(t, "POST", "/post", url.Values{"_csrf": {now[3]}})
	require.Equal(t, 200, resp.StatusCode)
}

func TestAPIKeysWorkInEveryHeaderFormAndAloneDecide(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.key.Reveal()
	for _, h := range [][]string{{"X-Api-Key", key}, {"Authorization", "Bearer " + key}, {"Authorization", "bearer " + key},
		{"X-Api-Key", key, "Authorization", "Bearer " + key}} {
		resp, body := b.do(t, "POST", "/api/x", nil, h...)
		require.Equal(t, 200, resp.StatusCode, h)
		require.Equal(t, "u "+string(orgHome)+" member ", body)
	}
	b.signIn(t)
	for _, h := range [][]string{{"X-Api-Key", "hdl_x"}, {"Authorization", "Bearer x"}, {"X-Api-Key", key, "Authorization", "Bearer x"}} {
		resp, body := b.do(t, "GET", "/api/x", nil, h...)
		require.Equal(t, 401, resp.StatusCode, "a bad key is not saved by a good cookie: %v", h)
		require.NotContains(t, body, key)
	}
	b.client.Jar = nil
	resp, _ := b.do(t, "GET", "/", nil, "X-Api-Key", key, "Accept", "application/json")
	require.Equal(t, 401, resp.StatusCode, "pages take no keys")
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, status := range map[string]int{"/auth/login": 200, "/nowhere": 500, "/panic": 500, "/auth/nobody": 404} {
		resp, body := b.do(t, "GET", path, nil, "X-Request-Id", "chosen")
		require.Equal(t, status, resp.StatusCode, path)
		require.NotContains(t, body, "canary-panic")
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			require.Equal(t, []string{want}, resp.Header.Values(name), path)
		}
		csp := resp.Header.Get("Content-Security-Policy")
		require.Regexp(t, `script-src 'self' 'nonce-[\w-]{43}';`, csp)
		require.NotContains(t, csp, "unsafe")
		require.Contains(t, csp, "connect-src 'self' ws"+strings.TrimPrefix(b.url, "http"))
		require.True(t, id.Valid(resp.Header.Get("X-Request-Id")), "a chosen request id does not count")
		require.Empty(t, resp.Header.Get("Strict-Transport-Security"), "http")
	}
	resp, _ := b.do(t, "GET", "/auth/dev", nil)
	require.Len(t, resp.Header.Values("Content-Security-Policy"), 1)
	require.Contains(t, resp.Header.Get("Content-Security-Policy"), "form-action 'none'", "a handler's own policy stays")
	require.Equal(t, []string{"no-referrer"}, resp.Header.Values("Referrer-Policy"))
}
