// Package oauth signs people in with other services: it sends the browser to
// an identity provider and turns the answer into an [auth.Profile].
//
// goth is the catalogue of providers: it knows their endpoints, scopes and how
// to write an authorisation URL, and exchanges codes where it can do so with
// PKCE. The protocol around it is ours, because goth leaves out what makes a
// sign-in safe.
//
// Invariants:
//   - A callback counts only with a state that [Flow.Begin] made, in the
//     browser that got the cookie of that same attempt, for the same provider,
//     within [AttemptLifetime], once.
//   - Every exchange carries a PKCE S256 verifier, and only code and verifier:
//     no parameter of the callback reaches the token request otherwise.
//   - An id_token is believed only after its signature, algorithm, issuer,
//     audience, authorised party, expiry and nonce were checked.
//   - Tokens of providers live for the length of one call and are never stored
//     or logged.
//   - The person is (issuer, subject); an e-mail address is a fact only when
//     the provider says it is verified.
//
// handlers, auth/signin and app may import it. It knows no web framework.
package oauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
)

// Kind says which protocol a provider speaks.
type Kind string

// The kinds of provider.
const (
	KindOIDC   Kind = "oidc"   // OpenID Connect by discovery
	KindGoogle Kind = "google" // OpenID Connect with Google's issuer
	KindGitHub Kind = "github" // OAuth 2.0 and GitHub's API
)

// Provider is one way to sign in, as configured by the operator.
type Provider struct {
	// Name stands in the path /auth/NAME: lower-case letters, digits and
	// hyphens. The callback is BASE_URL/auth/NAME/callback.
	Name string
	// Label is what the button says, such as "Google".
	Label        string
	Kind         Kind
	ClientID     string
	ClientSecret string
	// Issuer is the issuer URL, for KindOIDC.
	Issuer string
	// GitHub overrides the endpoints, for GitHub Enterprise; the zero value
	// means github.com.
	GitHub GitHubEndpoints
}

// providerName is what may stand in a path.
var providerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (p Provider) check() error {
	switch {
	case !providerName.MatchString(p.Name) || p.Name == "login" || p.Name == "logout":
		return fmt.Errorf("provider name %q: must be lower-case letters, digits and hyphens, and not login or logout", p.Name)
	case p.ClientID == "":
		return fmt.Errorf("provider %s: client id is missing", p.Name)
	case p.Kind == KindOIDC:
		u, err := url.Parse(p.Issuer)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("provider %s: issuer must be an absolute URL without query", p.Name)
		}
	case p.Kind != KindGoogle && p.Kind != KindGitHub:
		return fmt.Errorf("provider %s: kind %q is unknown", p.Name, p.Kind)
	}
	return nil
}

// backend is what differs between kinds of provider.
type backend interface {
	// authURL writes where the browser goes.
	authURL(ctx context.Context, a authRequest) (string, error)
	// profile exchanges the code and asks who it stands for.
	profile(ctx context.Context, g grant) (auth.Profile, error)
}

// authRequest is what Begin puts into the authorisation URL.
type authRequest struct{ state, nonce, challenge, loginHint string }

// grant is what a good callback and its attempt hand on. issuer is the
// callback's iss parameter (RFC 9207), which only providers that send it read.
type grant struct{ code, verifier, nonce, issuer string }

// Get makes grant the goth.Params of the exchange. It knows two names only:
// with goth's own habit of passing the callback's whole query, a foreign
// redirect_uri would reach the token request.
func (g grant) Get(name string) string {
	switch name {
	case "code":
		return g.code
	case "code_verifier":
		return g.verifier
	}
	return ""
}

func newBackend(p Provider, callback string, client *http.Client, clk clock.Clock) backend {
	switch p.Kind {
	case KindGitHub:
		return newGitHub(p, callback, client)
	case KindGoogle:
		p.Issuer = "https://accounts.google.com"
	}
	return newOpenID(p, callback, client, clk)
}
