// Package devidp is an OpenID Connect provider for development: it signs the
// demo people in without passwords, over the same protocol, and so through the
// same code, as a real provider does.
//
// Invariants: it speaks the code flow with PKCE S256 alone, to one client and
// one redirect URI; codes work once, for a minute; its signing key is made at
// start and never leaves the process. It must never be mounted outside
// development, where anyone who reaches it is anyone they like; app decides
// that. app and the demo data may import it.
package devidp

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
)

const (
	// ProviderName is the provider's place in sign-in paths: /auth/dev.
	ProviderName = "dev"
	// MountPath is where the handler is served.
	MountPath = "/dev/idp"

	codeLifetime  = time.Minute
	tokenLifetime = 5 * time.Minute
)

// Issuer gives the issuer URL of the provider that the server at baseURL
// mounts.
func Issuer(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + MountPath }

// Options make a provider.
type Options struct {
	// BaseURL is the public address of the server that mounts the handler.
	BaseURL      string
	ClientID     string
	ClientSecret string
	Clock        clock.Clock
}

// Provider is the handler. Safe for concurrent use.
type Provider struct {
	issuer   string
	callback string
	clientID string
	secret   auth.Digest
	clock    clock.Clock
	key      func() (*rsa.PrivateKey, error)
	codes    *shelf[code]
	tokens   *shelf[Person]
	mux      *http.ServeMux
}

// code is what an authorisation code stands for.
type code struct {
	person    Person
	challenge string
	nonce     string
	at        time.Time
}

// New makes a provider. The signing key is made when it is first needed.
func New(o Options) (*Provider, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("base URL %q: must be an absolute URL", o.BaseURL)
	}
	if o.ClientID == "" || o.ClientSecret == "" || o.Clock == nil {
		return nil, errors.New("the development identity provider needs a client id, a client secret and a clock")
	}
	p := &Provider{
		issuer:   Issuer(o.BaseURL),
		callback: strings.TrimSuffix(o.BaseURL, "/") + "/auth/" + ProviderName + "/callback",
		clientID: o.ClientID,
		secret:   auth.Token(o.ClientSecret).Digest(),
		clock:    o.Clock,
		key:      sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }),
		codes:    newShelf[code](o.Clock, codeLifetime),
		tokens:   newShelf[Person](o.Clock, tokenLifetime),
		mux:      http.NewServeMux(),
	}
	root := strings.TrimSuffix(base.Path, "/") + MountPath
	p.mux.HandleFunc("GET "+root+"/.well-known/openid-configuration", p.discovery)
	p.mux.HandleFunc("GET "+root+"/jwks", p.jwks)
	p.mux.HandleFunc("GET "+root+"/authorize", p.authorize)
	p.mux.HandleFunc("POST "+root+"/token", p.token)
	p.mux.HandleFunc("GET "+root+"/userinfo", p.userinfo)
	return p, nil
}

// ServeHTTP answers below [MountPath]; the path must arrive whole.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                         p.issuer,
		"authorization_endpoint":                         p.issuer + "/authorize",
		"token_endpoint":                                 p.issuer + "/token",
		"userinfo_endpoint":                              p.issuer + "/userinfo",
		"jwks_uri":                                       p.issuer + "/jwks",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{string(jose.RS256)},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{"openid", "email", "profile"},
		"claims_supported":                               []string{"sub", "email", "email_verified", "name", "preferred_username"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	key, err := p.key()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "server_error", "no signing key")
		return
	}
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: key.Public(), KeyID: keyID, Algorithm: string(jose.RS256), Use: "sig"},
	}})
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	person, ok := p.tokens.peek(token)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, "invalid_token", "unknown or expired access token")
		return
	}
	writeJSON(w, http.StatusOK, personClaims(person))
}

func personClaims(p Person) map[string]any {
	return map[string]any{
		"sub": p.Subject(), "email": p.Email(), "email_verified": true,
		"name": p.Name, "preferred_username": p.Login,
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The reader may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// refuse answers an error in the form of RFC 6749 section 5.2.
func refuse(w http.ResponseWriter, status int, code, why string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": why})
}
