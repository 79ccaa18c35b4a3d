package oauth

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// fakeIDP speaks the OpenID Connect wire protocol, and lies where a test asks
// it to.
type fakeIDP struct {
	server *httptest.Server
	key    *rsa.PrivateKey
	clock  clock.Clock

	mu sync.Mutex
	// pending maps a code to what its authorisation request asked for.
	pending map[string]url.Values
	// tokenForms are the token requests as they arrived.
	tokenForms []url.Values
	discovered int

	// down makes the next n discovery requests fail.
	down int
	// claims changes the claims before they are signed.
	claims func(map[string]any)
	// forge replaces the signed token altogether.
	forge func(claims map[string]any) string
	// answer replaces the token endpoint's answer.
	answer func(http.ResponseWriter)
	// config changes the discovery document.
	config func(map[string]any)
	// userInfo is what the userinfo endpoint says.
	userInfo map[string]any
}

// signingKey is shared by the tests of this package: making one takes long
// under the race detector.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newFakeIDP(t *testing.T, clk clock.Clock) *fakeIDP {
	t.Helper()
	f := &fakeIDP{key: signingKey(), clock: clk, pending: make(map[string]url.Values)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", f.serveConfig)
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: f.key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", f.serveToken)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access-1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(f.userInfo)
	})
	f.server = httptest.NewServer(mux)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fakeIDP) serveConfig(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.discovered++
	if f.down > 0 {
		f.down--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	at := f.server.URL
	doc := map[string]any{
		"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token",
		"jwks_uri": at + "/jwks", "userinfo_endpoint": at + "/userinfo",
		// A provider that offers too much must not widen what we accept.
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
	}
	if f.config != nil {
		f.config(doc)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc)
}

// authorize plays the browser and the person: it follows the redirect of
// Begin and gives the callback's query.
func (f *fakeIDP) authorize(t *testing.T, redirect string) url.Values {
	t.Helper()
	u, err := url.Parse(redirect)
	require.NoError(t, err)
	require.Equal(t, f.server.URL+"/authorize", u.Scheme+"://"+u.Host+u.Path)
	q := u.Query()
	require.Equal(t, "code", q.Get("response_type"))
	require.Equal(t, "client-1", q.Get("client_id"))
	require.Equal(t, "S256", q.Get("code_challenge_method"))
	require.Len(t, q.Get("code_challenge"), 43)
	require.Len(t, q.Get("state"), 43)
	require.Len(t, q.Get("nonce"), 43)
	require.Contains(t, q.Get("scope"), "openid")
	f.mu.Lock()
	defer f.mu.Unlock()
	code := auth.NewToken().Reveal()
	f.pending[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}}
}

func (f *fakeIDP) serveToken(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	f.tokenForms = append(f.tokenForms, r.PostForm)
	w.Header().Set("Content-Type", "application/json")
	asked, ok := f.pending[r.PostForm.Get("code")]
	id, secret, basic := r.BasicAuth()
	switch {
	case !basic || id != "client-1" || secret != "secret-1":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
		return
	case !ok, asked.Get("redirect_uri") != r.PostForm.Get("redirect_uri"),
		asked.Get("code_challenge") != challenge(r.PostForm.Get("code_verifier")):
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	delete(f.pending, r.PostForm.Get("code"))
	if f.answer != nil {
		f.answer(w)
		return
	}
	now := f.clock.Now()
	claims := map[string]any{
		"iss": f.server.URL, "aud": "client-1", "sub": "person-1", "nonce": asked.Get("nonce"),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"email": "Ada@ACME.test", "email_verified": true, "name": "Ada",
	}
	if f.claims != nil {
		f.claims(claims)
	}
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	signed := ""
	if f.forge != nil {
		signed = f.forge(claims)
	} else {
		signed = signWith(jose.RS256, f.key, "k1", claims)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "access-1", "token_type": "Bearer", "expires_in": 60, "id_token": signed,
	})
}

func signWith(alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid))
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	s, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return s
}

func publicPEM(key *rsa.PrivateKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// attempts is an Attempts in memory with the contract of the database's.
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
	if !ok {
		return auth.Attempt{}, fault.NotFound("Sign-in attempt")
	}
	delete(s.rows, state)
	return a, nil
}

// bundle is a flow with one OpenID provider, "idp", and a second name for the
// same one, "twin".
type bundle struct {
	flow  *Flow
	idp   *fakeIDP
	clock *clock.Fake
	store *attempts
}

func setup(t *testing.T) bundle {
	t.Helper()
	clk := clock.NewFake(time.Now())
	idp := newFakeIDP(t, clk)
	store := &attempts{rows: make(map[auth.Digest]auth.Attempt)}
	provider := Provider{Name: "idp", Label: "IdP", Kind: KindOIDC, ClientID: "client-1", ClientSecret: "secret-1", Issuer: idp.server.URL}
	twin := provider
	twin.Name = "twin"
	flow, err := New(Options{BaseURL: "http://localhost:8080", Attempts: store, Clock: clk, Providers: []Provider{provider, twin}})
	require.NoError(t, err)
	return bundle{flow, idp, clk, store}
}

// begin starts a sign-in and lets the provider answer it.
func (b bundle) begin(t *testing.T) (callback url.Values, cookie string) {
	t.Helper()
	redirect, cookie, err := b.flow.Begin(context.Background(), "idp", Start{ReturnTo: "/threads"})
	require.NoError(t, err)
	return b.idp.authorize(t, redirect), cookie
}
