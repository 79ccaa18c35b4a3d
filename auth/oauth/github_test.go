package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// fakeGitHub answers the three endpoints of a sign-in as GitHub documents them,
// with the refusal of a bad code as a 200 that carries an error.
type fakeGitHub struct {
	challenge string
	user      any
	emails    any
	forms     []url.Values
}

func (g *fakeGitHub) serve(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login/oauth/access_token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		g.forms = append(g.forms, r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		f := r.PostForm
		if f.Get("client_id") != "client-1" || f.Get("client_secret") != "secret-1" || f.Get("code") != "code-1" ||
			challenge(f.Get("code_verifier")) != g.challenge {
			_, _ = w.Write([]byte(`{"error":"bad_verification_code","error_description":"The code passed is incorrect or expired."}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"access-1","token_type":"bearer","scope":"read:user,user:email"}`))
	})
	serve := func(body *any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer access-1" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_ = json.NewEncoder(w).Encode(*body)
		}
	}
	mux.HandleFunc("GET /user", serve(&g.user))
	mux.HandleFunc("GET /user/emails", serve(&g.emails))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

type ghEmail struct {
	Email    string `json:"email"`
	Primary  bool   `json:"primary"`
	Verified bool   `json:"verified"`
}

func TestGitHubSignsInWithPKCEAndThePrimaryVerifiedAddress(t *testing.T) {
	t.Parallel()
	ada := map[string]any{"id": 583231, "login": "ada", "name": "Ada", "email": "public@evil.test"}
	for name, c := range map[string]struct {
		user   any
		emails any
		want   auth.Profile
		kind   fault.Kind
	}{
		"primary and verified": {ada, []ghEmail{{"x@other.test", false, true}, {"Ada@Acme.test", true, true}},
			auth.Profile{Email: "Ada@acme.test", EmailVerified: true, Name: "Ada"}, ""},
		"primary is not verified":       {ada, []ghEmail{{"ada@acme.test", true, false}, {"x@other.test", false, true}}, auth.Profile{Name: "Ada"}, ""},
		"the public address is no fact": {ada, []ghEmail{}, auth.Profile{Name: "Ada"}, ""},
		"login stands in for a name":    {map[string]any{"id": 583231, "login": "ada"}, []ghEmail{}, auth.Profile{Name: "ada"}, ""},
		"no id":                         {map[string]any{"login": "ada"}, []ghEmail{}, auth.Profile{}, fault.KindForbidden},
		"broken answer":                 {"nothing", []ghEmail{}, auth.Profile{}, fault.KindUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &fakeGitHub{user: c.user, emails: c.emails}
			at := g.serve(t).URL
			flow, err := New(Options{BaseURL: "http://localhost:8080", Clock: clock.System{},
				Attempts: &attempts{rows: make(map[auth.Digest]auth.Attempt)},
				Providers: []Provider{{Name: "github", Kind: KindGitHub, ClientID: "client-1", ClientSecret: "secret-1",
					GitHub: GitHubEndpoints{Authorize: at + "/login/oauth/authorize", Token: at + "/login/oauth/access_token",
						User: at + "/user", Emails: at + "/user/emails"}}}})
			require.NoError(t, err)
			redirect, cookie, err := flow.Begin(context.Background(), "github", Start{})
			require.NoError(t, err)
			u, err := url.Parse(redirect)
			require.NoError(t, err)
			require.Equal(t, "S256", u.Query().Get("code_challenge_method"))
			require.Equal(t, "http://localhost:8080/auth/github/callback", u.Query().Get("redirect_uri"))
			require.Equal(t, "read:user user:email", u.Query().Get("scope"))
			g.challenge = u.Query().Get("code_challenge")

			got, err := flow.Finish(context.Background(), "github",
				url.Values{"state": u.Query()["state"], "code": {"code-1"}, "redirect_uri": {"https://evil.test"}}, cookie)
			require.Len(t, g.forms, 1)
			require.Equal(t, "http://localhost:8080/auth/github/callback", g.forms[0].Get("redirect_uri"))
			if c.kind != "" {
				require.Equal(t, c.kind, fault.KindOf(err))
				return
			}
			require.NoError(t, err)
			c.want.Provider = "github"
			c.want.Identity = auth.Identity{Issuer: "https://github.com", Subject: "583231"}
			require.Equal(t, c.want, got.Profile)
		})
	}
}

func TestGitHubRefusesAWrongVerifier(t *testing.T) {
	t.Parallel()
	g := &fakeGitHub{challenge: "another"}
	at := g.serve(t).URL
	gh := newGitHub(Provider{ClientID: "client-1", ClientSecret: "secret-1", GitHub: GitHubEndpoints{Token: at + "/login/oauth/access_token"}},
		"http://localhost/cb", newClient(nil))
	_, err := gh.profile(context.Background(), grant{code: "code-1", verifier: "v"})
	require.ErrorContains(t, err, "bad_verification_code")
	require.NotContains(t, err.Error(), "code-1")
}
