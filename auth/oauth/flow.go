package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// AttemptLifetime is how long a person may take at the provider (control 1).
const AttemptLifetime = 10 * time.Minute

// The codes of refused callbacks.
const (
	// CodeAttempt means that state and cookie do not name an attempt that may
	// be finished. Which of the reasons it was is nobody's business.
	CodeAttempt = "sign_in_expired"
	// CodeDenied means that the person, or the provider, said no.
	CodeDenied = "sign_in_denied"
)

// Attempts keeps what was begun until its callback.
type Attempts interface {
	Put(ctx context.Context, a auth.Attempt) error
	// Take removes the attempt with that state and returns it, in one
	// statement, so that of two callbacks one gets it. A fault of kind not
	// found says that there is none.
	Take(ctx context.Context, state auth.Digest) (auth.Attempt, error)
}

// Start is what the person brings to the beginning of a sign-in.
type Start struct {
	// ReturnTo is where the browser goes afterwards; see [LocalPath].
	ReturnTo string
	// LoginHint is passed to OpenID providers, which fill in their form with it.
	LoginHint string
	// Invitation is the secret of an invitation link, "" without one.
	Invitation auth.Token
}

// Finished is what a good callback yields.
type Finished struct {
	Profile    auth.Profile
	ReturnTo   string
	Invitation *auth.Digest
}

// Options make a [Flow].
type Options struct {
	// BaseURL is the public address of this server, without a trailing slash.
	BaseURL   string
	Providers []Provider
	Attempts  Attempts
	Clock     clock.Clock
	// Transport carries the calls to providers; nil means the default one.
	Transport http.RoundTripper
}

// Flow signs people in with the configured providers. Safe for concurrent use.
type Flow struct {
	list     []Provider
	backends map[string]backend
	attempts Attempts
	clock    clock.Clock
	secure   bool
}

// New checks the options and makes a flow. It makes no network call: a
// provider that is down delays nobody's start.
func New(o Options) (*Flow, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("base URL %q: must be an absolute http or https URL", o.BaseURL)
	}
	if o.Attempts == nil || o.Clock == nil {
		return nil, errors.New("sign-in needs a store of attempts and a clock")
	}
	f := &Flow{
		backends: make(map[string]backend),
		attempts: o.Attempts,
		clock:    o.Clock,
		secure:   base.Scheme == "https",
	}
	client := newClient(o.Transport)
	for _, p := range o.Providers {
		if err := p.check(); err != nil {
			return nil, err
		}
		if f.backends[p.Name] != nil {
			return nil, fmt.Errorf("provider %s is configured twice", p.Name)
		}
		callback := strings.TrimSuffix(o.BaseURL, "/") + "/auth/" + p.Name + "/callback"
		f.backends[p.Name] = newBackend(p, callback, client, o.Clock)
		p.ClientSecret = ""
		f.list = append(f.list, p)
	}
	return f, nil
}

// Providers lists the providers in their configured order, without secrets.
func (f *Flow) Providers() []Provider { return append([]Provider(nil), f.list...) }

// Cookie is the pre-login cookie that carries value; an empty value clears it,
// with the same attributes. The __Host- prefix, which keeps other hosts of the
// domain from planting it, needs https.
func (f *Flow) Cookie(value string) *http.Cookie {
	c := &http.Cookie{Name: "heddle_login", Value: value, Path: "/", HttpOnly: true,
		Secure: f.secure, SameSite: http.SameSiteLaxMode, MaxAge: int(AttemptLifetime.Seconds())}
	if f.secure {
		c.Name = "__Host-heddle_login"
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// Begin starts a sign-in and gives where to send the browser and the value of
// the cookie to set. Faults: not found for an unknown provider, unavailable
// when the provider cannot be reached.
func (f *Flow) Begin(ctx context.Context, provider string, s Start) (redirectURL, cookieValue string, err error) {
	b := f.backends[provider]
	if b == nil {
		return "", "", fault.NotFound("Sign-in provider")
	}
	ctx, cancel := context.WithTimeout(ctx, stepDeadline)
	defer cancel()
	state, nonce, verifier, cookie := auth.NewToken(), auth.NewToken(), auth.NewToken(), auth.NewToken()
	redirectURL, err = b.authURL(ctx, authRequest{
		state: state.Reveal(), nonce: nonce.Reveal(),
		challenge: challenge(verifier.Reveal()), loginHint: cut(s.LoginHint, 320),
	})
	if err != nil {
		return "", "", away(provider, err)
	}
	a := auth.Attempt{
		State: state.Digest(), Cookie: cookie.Digest(), Provider: provider,
		Verifier: verifier.Reveal(), Nonce: nonce.Reveal(),
		ReturnTo: LocalPath(s.ReturnTo), ExpiresAt: f.clock.Now().Add(AttemptLifetime),
	}
	if s.Invitation != "" {
		d := s.Invitation.Digest()
		a.Invitation = &d
	}
	if err := f.attempts.Put(ctx, a); err != nil {
		return "", "", fmt.Errorf("storing the sign-in attempt: %w", err)
	}
	return redirectURL, cookie.Reveal(), nil
}

// Finish ends a sign-in with the callback's query and the browser's cookie.
// Whatever the outcome, the attempt is used up. Faults: forbidden with
// [CodeAttempt] or [CodeDenied], unavailable when the provider fails us.
func (f *Flow) Finish(ctx context.Context, provider string, query url.Values, cookieValue string) (Finished, error) {
	b := f.backends[provider]
	if b == nil {
		return Finished{}, fault.NotFound("Sign-in provider")
	}
	ctx, cancel := context.WithTimeout(ctx, stepDeadline)
	defer cancel()
	a, err := f.take(ctx, provider, query, cookieValue)
	if err != nil {
		return Finished{}, err
	}
	if query.Has("error") {
		return Finished{}, fault.Forbidden("Sign-in was cancelled or refused at the service. You can try again.").
			WithCode(CodeDenied).WithCause(fmt.Errorf("provider %s answered %q", provider, cut(query.Get("error"), 64)))
	}
	code, ok := single(query, "code")
	if !ok {
		return Finished{}, badAttempt(errors.New("no code"))
	}
	p, err := b.profile(ctx, grant{code: code, verifier: a.Verifier, nonce: a.Nonce, issuer: query.Get("iss")})
	if err != nil {
		var untrusted *distrust
		if errors.As(err, &untrusted) {
			return Finished{}, refused("Sign-in failed: the answer of the service could not be verified. Start again.", err)
		}
		return Finished{}, away(provider, err)
	}
	p.Provider = provider
	p.Name = auth.CleanName(p.Name)
	if p.Email, ok = auth.NormalizeEmail(p.Email); !ok {
		p.Email, p.EmailVerified = "", false
	}
	if !p.Identity.Valid() {
		return Finished{}, refused("Sign-in failed: the service did not say who you are.", errors.New("no subject"))
	}
	return Finished{Profile: p, ReturnTo: a.ReturnTo, Invitation: a.Invitation}, nil
}

// take uses up the attempt that state names and checks that it belongs to this
// browser and provider.
func (f *Flow) take(ctx context.Context, provider string, query url.Values, cookieValue string) (auth.Attempt, error) {
	state, ok := single(query, "state")
	if !ok {
		return auth.Attempt{}, badAttempt(errors.New("no state"))
	}
	a, err := f.attempts.Take(ctx, auth.Token(state).Digest())
	switch {
	case fault.Is(err, fault.KindNotFound):
		return auth.Attempt{}, badAttempt(errors.New("unknown or used state"))
	case err != nil:
		return auth.Attempt{}, fmt.Errorf("taking the sign-in attempt: %w", err)
	case cookieValue == "" || !auth.Token(cookieValue).Digest().Equal(a.Cookie):
		return auth.Attempt{}, badAttempt(errors.New("begun in another browser"))
	case a.Provider != provider:
		return auth.Attempt{}, badAttempt(errors.New("begun at another provider"))
	case !f.clock.Now().Before(a.ExpiresAt):
		return auth.Attempt{}, badAttempt(errors.New("expired"))
	}
	return a, nil
}

// single gives a parameter that is there exactly once and not empty.
func single(query url.Values, name string) (string, bool) {
	v := query[name]
	if len(v) != 1 || v[0] == "" {
		return "", false
	}
	return v[0], true
}

// challenge is the PKCE S256 challenge (RFC 7636 section 4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// withParams adds parameters to a URL that a provider wrote.
func withParams(raw string, params map[string]string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("reading the authorisation URL: %w", err)
	}
	q := u.Query()
	for name, value := range params {
		if value != "" {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// distrust marks an answer that failed a check, as opposed to a provider that
// could not be reached.
type distrust struct{ cause error }

func (d *distrust) Error() string { return d.cause.Error() }
func (d *distrust) Unwrap() error { return d.cause }

func badAttempt(cause error) error {
	return fault.Forbidden("This sign-in was not started in this browser, was used already or took longer than ten minutes. Start again.").
		WithCode(CodeAttempt).WithCause(cause)
}

func refused(public string, cause error) error {
	return fault.Forbidden(public).WithCode(CodeDenied).WithCause(cause)
}

func away(provider string, cause error) error {
	return fault.Unavailable("The sign-in service did not answer as it should. Try again in a minute.",
		fmt.Errorf("signing in with %s: %w", provider, cause))
}
