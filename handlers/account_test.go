package handlers_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/devidp"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/realtime/socket"
	"github.com/heddle/heddle/store"
)

func TestTheAccountPageShowsThePersonAndTheirBrowsers(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	s.SignIn("ada@acme.test")
	s.SignIn("mia@acme.test")
	p := s.Page(ada, "/account")
	require.Equal(t, http.StatusOK, p.Status)
	require.Contains(t, p.Text(".facts"), "ada@acme.test")
	require.Contains(t, p.Text(".facts"), "Acme, admin")
	rows := p.Find(".rows .row")
	require.Equal(t, 2, rows.Length(), "her two browsers and nobody else's")
	require.Equal(t, 1, strings.Count(rows.Text(), "this one"))
	require.Contains(t, rows.Text(), "Go program")
	require.Contains(t, rows.Text(), "127.0.0.1")
}

func TestTheThemeStaysWithThePersonAndOnTheSignInPage(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	scheme := func(c *http.Client, path string) string {
		return s.Page(c, path).Find("html").AttrOr("data-theme", "")
	}
	require.Empty(t, scheme(ada, "/"))
	a := s.Post(ada, "/account/theme", url.Values{"theme": {"dark"}})
	require.Equal(t, "/account", a.Path, "without a referring page")
	require.Equal(t, "dark", scheme(ada, "/"))
	require.Equal(t, "dark", scheme(s.SignIn("ada@acme.test"), "/"), "in her other browser too")
	require.Empty(t, scheme(s.SignIn("mia@acme.test"), "/"))
	require.Equal(t, answer{200, `{"theme":"dark"}`},
		visit(t, s, ada, "POST", "/account/theme", "Accept", "application/json", "X-CSRF-Token", s.CSRF(ada)))
	require.Equal(t, http.StatusUnprocessableEntity, s.Post(ada, "/account/theme", url.Values{"theme": {"pink"}}).Status)
	require.Equal(t, "dark", scheme(ada, "/"))
	s.Post(ada, "/auth/logout", nil)
	require.Equal(t, "dark", scheme(ada, "/auth/login"), "the browser remembers")
}

func TestTheThemeLeadsBackToThePageItWasChosenOn(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	for from, to := range map[string]string{s.URL() + "/account/keys?a=1": "/account/keys?a=1", "https://evil.test/x": "/account",
		s.URL() + "//evil.test": "/", "": "/account"} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/account/theme", strings.NewReader("theme=dark"))
		require.NoError(t, err)
		req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Csrf-Token": {s.CSRF(ada)}, "Referer": {from}}
		resp, err := ada.Transport.RoundTrip(withCookies(req, ada))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 303, resp.StatusCode)
		require.Equal(t, to, resp.Header.Get("Location"), "from %q", from)
	}
}

func withCookies(req *http.Request, c *http.Client) *http.Request {
	for _, cookie := range c.Jar.Cookies(req.URL) {
		req.AddCookie(cookie)
	}
	return req
}

// revokeForm gives the address of the form that ends the browser which is, or
// is not, the page's own.
func revokeForm(s *testweb.Server, c *http.Client, current bool) string {
	rows := s.Page(c, "/account").Find(".rows .row")
	for i := range rows.Length() {
		row := rows.Eq(i)
		if strings.Contains(row.Text(), "this one") == current {
			return row.Find("form").AttrOr("action", "")
		}
	}
	return ""
}

func TestEndingASessionClosesItsSocketsOnOtherNodesToo(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	far := testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL})
	mine, lost := s.SignIn("ada@acme.test"), s.SignIn("ada@acme.test")
	near, away, own := s.Dial(lost), far.Dial(lost), s.Dial(mine)
	a := s.Post(mine, revokeForm(s, mine, false), nil)
	require.Equal(t, "/account", a.Path)
	for _, k := range []*testweb.Socket{near, away} {
		code, reason := k.Closed()
		require.Equal(t, socket.CloseRevoked, code)
		require.Equal(t, "the session was ended", reason, "told, rather than found out later")
	}
	require.Equal(t, "/auth/login", s.Get(lost, "/account", "Accept", "text/html").Path)
	own.Join("user", map[string]any{})
	a = s.Post(mine, revokeForm(s, mine, true), nil)
	require.Equal(t, "/auth/login", a.Path, "ending one's own session signs out")
	code, _ := own.Closed()
	require.Equal(t, socket.CloseRevoked, code)
}

func TestSigningOutAndSwitchingCloseTheSessionsSockets(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	for _, p := range devidp.People() {
		if p.Login == "ada" {
			_, err := s.App.Database().EnsurePerson(t.Context(), auth.Person{
				Identity: auth.Identity{Issuer: devidp.Issuer(s.URL()), Subject: p.Subject()}, Provider: devidp.ProviderName,
				Email: p.Email(), Name: p.Name, OrgSlug: "globex", OrgName: "Globex", Role: auth.RoleMember})
			require.NoError(t, err)
		}
	}
	ada := s.SignIn("ada@acme.test")
	here := s.Dial(ada)
	form := s.Page(ada, "/account").Find(`.facts form[action="/account/org"]`)
	require.Equal(t, 1, form.Length(), "the organisation one isn't in")
	target := form.Find("[name=org_id]").AttrOr("value", "")
	a := s.Post(ada, "/account/org", url.Values{"org_id": {target}, "return_to": {"/account"}})
	require.Equal(t, "/account", a.Path)
	require.Contains(t, s.PageOf(a).Text(".facts"), "Globex, member")
	_, reason := here.Closed()
	require.Equal(t, "the organisation was switched", reason)
	there := s.Dial(ada)
	s.Post(ada, "/auth/logout", nil)
	_, reason = there.Closed()
	require.Equal(t, "signed out", reason)
}

func TestEndingAllOtherSessionsLeavesThisBrowserAlone(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mine, lost, older, other := s.SignIn("ada@acme.test"), s.SignIn("ada@acme.test"), s.SignIn("ada@acme.test"), s.SignIn("mia@acme.test")
	near, own, hers := s.Dial(lost), s.Dial(mine), s.Dial(other)
	require.Equal(t, 1, s.Page(mine, "/account").Find(`form[action="/account/sessions/end-others"]`).Length())
	a := s.Post(mine, "/account/sessions/end-others", nil)
	require.Equal(t, "/account", a.Path)
	require.Equal(t, 1, s.PageOf(a).Find(".rows .row").Length())
	require.Zero(t, s.PageOf(a).Find(`form[action="/account/sessions/end-others"]`).Length(), "nothing is left to end")
	code, reason := near.Closed()
	require.Equal(t, socket.CloseRevoked, code)
	require.Equal(t, "the session was ended", reason)
	for _, c := range []*http.Client{lost, older} {
		require.Equal(t, "/auth/login", s.Get(c, "/account", "Accept", "text/html").Path)
	}
	own.Join("user", map[string]any{})
	hers.Join("user", map[string]any{})
}

func TestANameIsChangedOrComesBackAsItWasTyped(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia, max := s.SignIn("mia@acme.test"), s.SignIn("max@acme.test")
	a := s.Post(mia, "/account/profile", url.Values{"name": {" Mia <b>Ångström</b> "}})
	require.Equal(t, "/account", a.Path)
	require.Equal(t, "Mia <b>Ångström</b>", s.PageOf(a).Find("#profile-name").AttrOr("value", ""))
	require.Equal(t, "Mia <b>Ångström</b>", s.PageOf(a).Text(".menu-who strong"))
	require.Contains(t, s.PageOf(a).Text(".facts"), "LanguageEnglish")
	long := strings.Repeat("é", 121)
	for _, bad := range []string{long, "  ", "a\u0007b", "\u202eaim"} {
		p := s.PageOf(s.Post(mia, "/account/profile", url.Values{"name": {bad}}))
		require.Equal(t, http.StatusUnprocessableEntity, p.Status, "%q", bad)
		require.Equal(t, "true", p.Find("#profile-name").AttrOr("aria-invalid", ""))
		require.Equal(t, bad, p.Find("#profile-name").AttrOr("value", ""))
	}
	require.Equal(t, "Mia <b>Ångström</b>", s.Page(mia, "/account").Find("#profile-name").AttrOr("value", ""))
	require.NotContains(t, s.Get(max, "/account").Body, "Ångström")
}

func TestShortcutsOfASingleKeyCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	off := func(c *http.Client) (string, bool) { return s.Page(c, "/").Find("html").Attr("data-letter-keys") }
	_, given := off(mia)
	require.False(t, given)
	require.Equal(t, "/account", s.Post(mia, "/account/keyboard", url.Values{"letter_keys": {"off"}}).Path)
	value, _ := off(s.SignIn("mia@acme.test"))
	require.Equal(t, "off", value, "in her other browser too")
	_, given = off(s.SignIn("max@acme.test"))
	require.False(t, given)
	require.Equal(t, http.StatusUnprocessableEntity, s.Post(mia, "/account/keyboard", url.Values{"letter_keys": {"maybe"}}).Status)
	s.Post(mia, "/account/keyboard", url.Values{"letter_keys": {"on"}})
	_, given = off(mia)
	require.False(t, given)
}

func TestAKeyIsShownOnceWorksAndEndsWithItsSockets(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	a := s.Post(mia, "/account/keys", url.Values{"name": {" payroll <b>sync</b> "}, "scopes": {"run"}, "expires": {"30"}})
	require.Equal(t, http.StatusCreated, a.Status)
	require.Equal(t, []string{"no-store"}, a.Header.Values("Cache-Control"))
	p := s.PageOf(a)
	secret := p.Text(".secret code")
	require.Contains(t, p.Text("#created"), "payroll <b>sync</b>")
	require.NotContains(t, a.Body, "<b>")
	require.Equal(t, http.StatusOK, s.API(secret, "POST", "/api/threads", map[string]any{}).Status)

	later := s.Get(mia, "/account/keys")
	require.NotContains(t, later.Body, secret)
	rows := s.PageOf(later).Find(".rows .row")
	require.Equal(t, 1, rows.Length())
	require.Contains(t, rows.Text(), secret[:len("hdl_")+12], "its start, to know it by")
	require.Contains(t, rows.Text(), time.Now().UTC().Add(30*24*time.Hour).Format("2 Jan 2006"))
	require.NotContains(t, s.Get(s.SignIn("ada@acme.test"), "/account/keys").Body, "payroll", "whoever manages keys has a page of their own keys all the same")

	k := s.DialKey(secret)
	s.Post(mia, rows.Find("form").AttrOr("action", ""), nil)
	code, reason := k.Closed()
	require.Equal(t, socket.CloseRevoked, code)
	require.Equal(t, "the API key was revoked", reason)
	require.Equal(t, http.StatusUnauthorized, s.API(secret, "POST", "/api/threads", map[string]any{}).Status)
	require.Contains(t, s.Get(mia, "/account/keys").Body, "No keys yet")
}

func TestTheSecretOfAKeyIsNotKeptForRepeatedRequests(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	post := func() answer {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/account/keys", strings.NewReader("name=k&scopes=run&expires=1"))
		require.NoError(t, err)
		req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Csrf-Token": {s.CSRF(mia)}, "Idempotency-Key": {"1"}}
		resp, err := mia.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return answer{resp.StatusCode, string(body)}
	}
	first, again := post(), post()
	require.Equal(t, http.StatusCreated, first.status)
	require.Equal(t, http.StatusConflict, again.status)
	require.Contains(t, again.body, "was carried out")
	require.NotContains(t, again.body, "hdl_")
	require.Equal(t, 1, s.Page(mia, "/account/keys").Find(".rows .row").Length())
}

func TestARefusedKeyFormComesBackAsItWasTyped(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	require.Equal(t, 2, s.Page(mia, "/account/keys").Find("[name=scopes]").Length(), "a member is offered read and run")
	require.Equal(t, 4, s.Page(s.SignIn("ada@acme.test"), "/account/keys").Find("[name=scopes]").Length())
	long := strings.Repeat("é", 81)
	a := s.Post(mia, "/account/keys", url.Values{"name": {long}, "scopes": {"run", "admin"}, "expires": {"400"}})
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	p := s.PageOf(a)
	require.Equal(t, long, p.Find("[name=name]").AttrOr("value", ""))
	require.Equal(t, "true", p.Find("[name=name]").AttrOr("aria-invalid", ""))
	require.Equal(t, 1, p.Find("[name=scopes][value=run][checked]").Length())
	require.Equal(t, 3, p.Find(".field-error").Length(), "each wrong field says so")
	for form, field := range map[string]string{"name=&scopes=run&expires=30": "name", "name=x&expires=30": "scopes",
		"name=x&scopes=root&expires=30": "scopes", "name=x&scopes=review&expires=30": "scopes",
		"name=x&scopes=run&expires=0": "expires", "name=x&scopes=run&expires=-1": "expires",
		"name=x&scopes=run": "expires", "name=x&scopes=run&expires=1e2": "expires", "name=%ff&scopes=run&expires=1": "name"} {
		values, err := url.ParseQuery(form)
		require.NoError(t, err)
		p := s.PageOf(s.Post(mia, "/account/keys", values))
		require.Equal(t, http.StatusUnprocessableEntity, p.Status, form)
		require.Equal(t, 1, p.Find(".field-error").Length(), form)
		bad := p.Find(".field-bad [name]")
		require.Equal(t, field, bad.First().AttrOr("name", ""), form)
	}
	require.Contains(t, s.Get(mia, "/account/keys").Body, "No keys yet")
}

func TestADocumentIsReadAsText(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	require.NoError(t, s.App.Database().PutDocument(t.Context(), s.Scope("acme", "ada@acme.test"), store.Document{
		Slug: "rules", Title: "Rules <1>", Body: "## Part\n\n*Once* <script>alert(1)</script>\n\n![x](https://evil.test/p.png)"}))
	mia := s.SignIn("mia@acme.test")
	p := s.Page(mia, "/knowledge/rules")
	require.Equal(t, http.StatusOK, p.Status)
	require.Equal(t, "Rules <1>", p.Text("h1"))
	require.Equal(t, "Once", p.Text(".prose em"))
	require.Zero(t, p.Find(".prose script, .prose img").Length())
	for _, slug := range []string{"absent", "Rules", "..%2f..", "%00", strings.Repeat("a", 500)} {
		require.Equal(t, http.StatusNotFound, s.Page(mia, "/knowledge/"+slug).Status, slug)
	}
}

func TestLimitsHoldOnEveryWayToStartARun(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_RATE_LIMITS=on"}})
	mia, max := s.SignIn("mia@acme.test"), s.SignIn("max@acme.test")
	key := s.Key("acme", "mia@acme.test")
	thread := s.NewThread(mia, "hello")
	s.WaitIdle(mia, thread)
	body := map[string]any{"assistant_id": "echo", "input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "x"}}}}
	var last testweb.Answer
	for range 40 {
		if last = s.API(key, "POST", "/api/threads/"+absent().thread+"/runs", body); last.Status != http.StatusNotFound {
			break
		}
	}
	require.Equal(t, http.StatusTooManyRequests, last.Status, last.Body)
	require.Regexp(t, `^[12]$`, last.Header.Get("Retry-After"))

	// One token comes back in a second, so a try may pass; not two in a row.
	k := s.Dial(mia)
	ref := k.Join("thread:"+thread, map[string]any{"after": 0})
	push := func() testweb.Reply { return k.Push(ref, "thread:"+thread, "send", map[string]any{"text": "y"}) }
	require.Contains(t, push().Reason()+push().Reason()+push().Reason(), "too often")
	for try := 0; ; try++ {
		require.Less(t, try, 5)
		a := s.Post(mia, "/threads", url.Values{"message": {"kept words"}})
		if a.Status == http.StatusTooManyRequests {
			require.Equal(t, "kept words", strings.TrimSpace(s.PageOf(a).Text("textarea")))
			require.NotEmpty(t, a.Header.Get("Retry-After"))
			break
		}
	}
	require.Equal(t, http.StatusOK, s.Post(max, "/threads", url.Values{"message": {"hi"}}).Status, "each person has a limit of their own")
}

func TestSignInsAndNewKeysAreLimited(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_RATE_LIMITS=on"}})
	ada := s.SignIn("ada@acme.test")
	stranger := s.Stranger()
	stranger.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	until429 := func(what string, try func() testweb.Answer) {
		for range 60 {
			if a := try(); a.Status == http.StatusTooManyRequests {
				require.NotEmpty(t, a.Header.Get("Retry-After"), what)
				return
			}
		}
		t.Errorf("%s: 60 in a row passed", what)
	}
	until429("begin", func() testweb.Answer {
		return s.Get(stranger, "/auth/dev", "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", time.Now().UnixNano()%250))
	})
	until429("callback", func() testweb.Answer { return s.Get(stranger, "/auth/dev/callback?state=x&code=y") })
	until429("new key", func() testweb.Answer {
		return s.Post(ada, "/account/keys", url.Values{"name": {"k"}, "scopes": {"run"}, "expires": {"1"}})
	})
}
