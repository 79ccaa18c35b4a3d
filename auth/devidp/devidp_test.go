package devidp_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/devidp"
	"github.com/heddle/heddle/auth/oauth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// bundle is a server that mounts the provider and signs in with it, as the
// product does: over HTTP at its own address.
type bundle struct {
	url      string
	clock    *clock.Fake
	browser  *http.Client
	finished chan oauth.Finished
}

type attempts struct {
	mu   sync.Mutex
	rows map[auth.Digest]auth.Attempt
}

func (s *attempts) Put(_ context.Context, a auth.Attempt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[a.State] = a
	return nil
}

func (s *attempts) Take(_ context.Context, state auth.Digest) (auth.Attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.rows[state]
	delete(s.rows, state)
	if !ok {
		return a, fault.NotFound("Sign-in attempt")
	}
	return a, nil
}

func setup(t *testing.T) bundle {
	t.Helper()
	b := bundle{clock: clock.NewFake(time.Now()), finished: make(chan oauth.Finished, 1)}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.url = server.URL
	idp, err := devidp.New(devidp.Options{BaseURL: b.url, ClientID: "heddle", ClientSecret: "s+/= %", Clock: b.clock})
	require.NoError(t, err)
	flow, err := oauth.New(oauth.Options{BaseURL: b.url, Clock: b.clock,
		Attempts: &attempts{rows: make(map[auth.Digest]auth.Attempt)},
		Providers: []oauth.Provider{{Name: devidp.ProviderName, Kind: oauth.KindOIDC, ClientID: "heddle",
			ClientSecret: "s+/= %", Issuer: devidp.Issuer(b.url)}}})
	require.NoError(t, err)
	mux.Handle(devidp.MountPath+"/", idp)
	mux.HandleFunc("GET /auth/dev", func(w http.ResponseWriter, r *http.Request) {
		to, cookie, err := flow.Begin(r.Context(), "dev", oauth.Start{LoginHint: r.URL.Query().Get("login_hint")})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.SetCookie(w, flow.Cookie(cookie))
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
	mux.HandleFunc("GET /auth/dev/callback", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie(flow.Cookie("").Name)
		if err != nil {
			http.Error(w, "no cookie", http.StatusForbidden)
			return
		}
		got, err := flow.Finish(r.Context(), "dev", r.URL.Query(), c.Value)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		b.finished <- got
		_, _ = io.WriteString(w, "welcome")
	})
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	b.browser = &http.Client{Jar: jar, Timeout: 20 * time.Second}
	return b
}

func (b bundle) get(t *testing.T, at string) (int, string) {
	t.Helper()
	resp, err := b.browser.Get(at)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestALoginHintSignsInWithoutAForm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status, body := b.get(t, b.url+"/auth/dev?login_hint=ada@acme.test")
	require.Equal(t, "welcome", body, "%d", status)
	got := <-b.finished
	require.Equal(t, auth.Profile{
		Identity: auth.Identity{Issuer: b.url + "/dev/idp", Subject: "demo-acme-ada"}, Provider: "dev",
		Email: "ada@acme.test", EmailVerified: true, Name: "Ada",
	}, got.Profile)
}

func TestThePageListsEveryPersonAsALinkThatSignsIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resp, err := b.browser.Get(b.url + "/auth/dev?login_hint=%3Cscript%3E")
	require.NoError(t, err)
	doc, err := goquery.NewDocumentFromReader(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())

	csp := resp.Header.Get("Content-Security-Policy")
	require.Contains(t, csp, "default-src 'none'")
	nonce, _ := doc.Find("style").Attr("nonce")
	require.Len(t, nonce, 43)
	require.Contains(t, csp, "'nonce-"+nonce+"'")
	require.Zero(t, doc.Find("script, [style], [onclick]").Length())
	require.Equal(t, "There is no demo person <script>.", doc.Find("[role=status]").Text())
	require.Equal(t, 1, doc.Find("h1").Length())
	require.Equal(t, []string{"Acme", "Globex"}, doc.Find("section h2").Map(func(_ int, s *goquery.Selection) string { return s.Text() }))
	links := doc.Find("section li a")
	require.Equal(t, len(devidp.People()), links.Length())
	for i, p := range devidp.People() {
		require.Contains(t, links.Eq(i).Text(), p.Name)
		require.Contains(t, links.Eq(i).Text(), p.Email())
		require.Contains(t, links.Eq(i).Text(), string(p.Role))
	}
	href, _ := links.Eq(5).Attr("href")
	_, body := b.get(t, b.url+href)
	require.Equal(t, "welcome", body)
	require.Equal(t, "gus@globex.test", (<-b.finished).Profile.Email)
}

// authorise asks for a code as a client would and gives the answer.
func (b bundle) authorise(t *testing.T, change func(url.Values)) (int, url.Values) {
	t.Helper()
	q := url.Values{"client_id": {"heddle"}, "redirect_uri": {b.url + "/auth/dev/callback"}, "response_type": {"code"},
		"scope": {"openid"}, "state": {"st"}, "nonce": {"no"}, "login_hint": {"mia@acme.test"}, "code_challenge_method": {"S256"},
		// of RFC 7636 appendix B
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}}
	if change != nil {
		change(q)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(b.url + "/dev/idp/authorize?" + q.Encode())
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	loc := resp.Header.Get("Location")
	if loc == "" {
		return resp.StatusCode, nil
	}
	require.True(t, strings.HasPrefix(loc, b.url+"/auth/dev/callback?"), loc)
	u, err := url.Parse(loc)
	require.NoError(t, err)
	require.Equal(t, "st", u.Query().Get("state"))
	return resp.StatusCode, u.Query()
}

func TestAuthorizeTrustsOneClientAndItsOneAddress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, value := range map[string]string{"client_id": "evil", "redirect_uri": "https://evil.test/"} {
		status, answer := b.authorise(t, func(q url.Values) { q.Set(name, value) })
		require.Equal(t, http.StatusBadRequest, status)
		require.Nil(t, answer, "nothing goes to an address we do not know")
	}
	for name, value := range map[string]string{"response_type": "token", "code_challenge_method": "plain", "code_challenge": "short"} {
		_, answer := b.authorise(t, func(q url.Values) { q.Set(name, value) })
		require.NotEmpty(t, answer.Get("error"), name)
		require.Empty(t, answer.Get("code"), name)
	}
}

func TestACodeWorksOnceForItsVerifierWithinAMinute(t *testing.T) {
	t.Parallel()
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // of RFC 7636 appendix B
	b := setup(t)
	redeem := func(code string, change func(url.Values)) (int, map[string]any) {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {b.url + "/auth/dev/callback"},
			"code_verifier": {verifier}, "client_id": {"heddle"}, "client_secret": {"s+/= %"}}
		if change != nil {
			change(form)
		}
		resp, err := http.PostForm(b.url+"/dev/idp/token", form)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		var body map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
		return resp.StatusCode, body
	}
	code := func() string {
		_, answer := b.authorise(t, nil)
		require.NotEmpty(t, answer.Get("code"))
		return answer.Get("code")
	}
	c := code()
	status, body := redeem(c, nil)
	require.Equal(t, http.StatusOK, status)
	require.NotEmpty(t, body["id_token"])
	status, body = redeem(c, nil)
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, "invalid_grant", body["error"])

	for name, change := range map[string]func(url.Values){
		"wrong verifier": func(f url.Values) { f.Set("code_verifier", strings.Repeat("a", 43)) },
		"no verifier":    func(f url.Values) { f.Del("code_verifier") },
		"wrong address":  func(f url.Values) { f.Set("redirect_uri", b.url+"/") },
		"wrong secret":   func(f url.Values) { f.Set("client_secret", "x") },
		"no secret":      func(f url.Values) { f.Del("client_secret") },
		"wrong client":   func(f url.Values) { f.Set("client_id", "x") },
		"wrong grant":    func(f url.Values) { f.Set("grant_type", "refresh_token") },
		"expired":        func(url.Values) { b.clock.Advance(time.Minute) },
	} {
		status, body := redeem(code(), change)
		require.GreaterOrEqual(t, status, 400, name)
		require.NotEmpty(t, body["error"], name)
		require.Empty(t, body["id_token"], name)
	}

	_, body = redeem(code(), nil)
	req, err := http.NewRequest(http.MethodGet, b.url+"/dev/idp/userinfo", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+body["access_token"].(string))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	var info map[string]any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&info))
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "mia@acme.test", info["email"])
	b.clock.Advance(5 * time.Minute)
	resp, err = http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

func TestTheDemoPeopleAreThoseOfTheDesign(t *testing.T) {
	t.Parallel()
	var got []string
	for _, p := range devidp.People() {
		got = append(got, p.Email()+" "+string(p.Role))
	}
	require.Equal(t, []string{
		"olga@acme.test owner", "ada@acme.test admin", "ray@acme.test reviewer", "mia@acme.test member", "max@acme.test member",
		"gus@globex.test admin", "gia@globex.test member",
	}, got)
}
