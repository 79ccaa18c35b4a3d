// Package signin turns proofs into scopes: a finished sign-in into a session,
// a cookie or an API key into an [auth.Scope]. It is the one place that does,
// so every header form and every page passes the same checks.
//
// Invariants: a cookie value is always one that this package made; a sign-in
// always gets a new one and ends the one the browser sent; whatever is wrong
// with a cookie or key, the answer is the same.
//
// handlers and app may import it.
package signin

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/oauth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// Ledger is where people, sessions and keys are kept; store.DB is one. What it
// does not find is a fault of kind not found.
type Ledger interface {
	SignIn(ctx context.Context, e auth.Entry, decide auth.Policy) (auth.SignedIn, error)
	FindSession(ctx context.Context, token auth.Digest, now time.Time) (auth.SignedIn, error)
	TouchSession(ctx context.Context, session auth.SessionID, now time.Time) error
	RevokeSession(ctx context.Context, scope auth.Scope, session auth.SessionID, now time.Time) error
	SwitchOrg(ctx context.Context, scope auth.Scope, target auth.OrgID, token auth.Digest, now time.Time) error
	FindAPIKey(ctx context.Context, prefix string) (auth.APIKey, auth.Role, error)
	TouchAPIKey(ctx context.Context, key auth.APIKey, now time.Time) error
}

// Options make a [Service].
type Options struct {
	Ledger Ledger
	Signup auth.SignupPolicy
	Clock  clock.Clock
	Log    *slog.Logger
}

// Service signs people in and recognises them. Safe for concurrent use.
type Service struct{ o Options }

// New makes a service. An unknown sign-up policy is an error.
func New(o Options) (*Service, error) {
	if !o.Signup.Valid() {
		return nil, fmt.Errorf("sign-up policy %q: must be invite, domain or open", o.Signup)
	}
	return &Service{o}, nil
}

// Browser is what is known of the browser that signs in.
type Browser struct {
	// Cookie is the session cookie it sent, "" without one.
	Cookie    string
	UserAgent string
	IP        string
	// RequestID is that of the request, for the log.
	RequestID string
}

// Enter makes a session of a finished sign-in and gives the new cookie value.
// Faults are those of [auth.Place].
func (s *Service) Enter(ctx context.Context, f oauth.Finished, b Browser) (auth.SignedIn, auth.Token, error) {
	now, token := s.o.Clock.Now(), auth.NewToken()
	e := auth.Entry{
		Profile: f.Profile, Invitation: f.Invitation, Token: token.Digest(), RequestID: b.RequestID,
		Session: auth.NewSession(auth.SessionID(id.New()), b.UserAgent, b.IP, now),
	}
	if b.Cookie != "" {
		d := auth.Token(b.Cookie).Digest()
		e.Replaces = &d
	}
	in, err := s.o.Ledger.SignIn(ctx, e, func(facts auth.Facts) (auth.Placement, error) {
		return auth.Place(s.o.Signup, facts, now)
	})
	if err != nil {
		return auth.SignedIn{}, "", err
	}
	return in, token, nil
}

// Cookie recognises the session of a cookie. Everything else is one and the
// same unauthenticated fault; only a database that is away differs.
func (s *Service) Cookie(ctx context.Context, value string) (auth.SignedIn, error) {
	now := s.o.Clock.Now()
	in, err := s.o.Ledger.FindSession(ctx, auth.Token(value).Digest(), now)
	if fault.Is(err, fault.KindNotFound) || (err == nil && !in.Session.Live(now)) {
		return auth.SignedIn{}, fault.Unauthenticated("Sign in first.")
	}
	if err != nil {
		return auth.SignedIn{}, err
	}
	if in.Session.Stale(now) {
		if err := s.o.Ledger.TouchSession(ctx, in.Session.ID, now); err != nil {
			// The request itself is fine.
			s.o.Log.WarnContext(ctx, "a session could not be touched", "user_id", string(in.Session.User), "err", err)
		}
	}
	return in, nil
}

// Key recognises an API key. Everything else is one and the same
// unauthenticated fault.
func (s *Service) Key(ctx context.Context, text string) (auth.Scope, error) {
	refused := fault.Unauthenticated("This API key is not valid.")
	prefix, secret, ok := auth.ParseAPIKey(text)
	if !ok {
		return auth.Scope{}, refused
	}
	now := s.o.Clock.Now()
	key, role, err := s.o.Ledger.FindAPIKey(ctx, prefix)
	if fault.Is(err, fault.KindNotFound) {
		// Compare with nothing, so that an unknown prefix takes the same steps.
		_ = auth.APIKey{}.Accepts(secret, now)
		return auth.Scope{}, refused
	}
	if err != nil {
		return auth.Scope{}, err
	}
	if !key.Accepts(secret, now) {
		return auth.Scope{}, refused
	}
	if now.Sub(key.LastUsedAt) >= auth.SessionTouch {
		if err := s.o.Ledger.TouchAPIKey(ctx, key, now); err != nil {
			s.o.Log.WarnContext(ctx, "an API key could not be touched", "org_id", string(key.Org), "err", err)
		}
	}
	return key.Scope(role), nil
}

// Leave ends the scope's session. Leaving twice is fine.
func (s *Service) Leave(ctx context.Context, scope auth.Scope) error {
	err := s.o.Ledger.RevokeSession(ctx, scope, scope.Session, s.o.Clock.Now())
	if fault.Is(err, fault.KindNotFound) {
		return nil
	}
	return err
}

// Switch moves the scope's session to another organisation of its person and
// gives the new cookie value.
func (s *Service) Switch(ctx context.Context, scope auth.Scope, target auth.OrgID) (auth.Token, error) {
	if scope.Session == "" {
		return "", fault.Forbidden("Only a browser can switch organisations; a key belongs to one.")
	}
	if !id.Valid(string(target)) {
		return "", fault.NotFound("Organisation")
	}
	token := auth.NewToken()
	if err := s.o.Ledger.SwitchOrg(ctx, scope, target, token.Digest(), s.o.Clock.Now()); err != nil {
		return "", err
	}
	return token, nil
}
