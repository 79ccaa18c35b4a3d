package channel

import (
	"context"
	"sync/atomic"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime/socket"
)

// Recogniser tells who a cookie or an API key stands for.
type Recogniser interface {
	Cookie(ctx context.Context, value string) (auth.SignedIn, error)
	Key(ctx context.Context, text string) (auth.Scope, error)
}

// Identity is who a socket acts for. Every command asks again, so that a role
// that changed or a session that ended takes effect at once. The organisation
// is the one the socket connected with, for its whole life.
type Identity struct {
	scope atomic.Pointer[auth.Scope]
	again func(ctx context.Context) (auth.Scope, error)
}

// Authenticator recognises sockets: by API key when the client brings a token,
// else by the session cookie called name.
func Authenticator(who Recogniser, cookie string) func(context.Context, socket.Handshake) (socket.Identity, error) {
	return func(ctx context.Context, h socket.Handshake) (socket.Identity, error) {
		value := h.Cookie(cookie)
		again := func(ctx context.Context) (auth.Scope, error) {
			in, err := who.Cookie(ctx, value)
			if err != nil {
				return auth.Scope{}, err
			}
			scope := in.Scope()
			scope.IP = h.RemoteIP
			return scope, nil
		}
		if h.Token != "" {
			again = func(ctx context.Context) (auth.Scope, error) {
				scope, err := who.Key(ctx, h.Token)
				scope.IP = h.RemoteIP
				return scope, err
			}
		} else if value == "" {
			return nil, fault.Unauthenticated("Sign in first.")
		}
		scope, err := again(ctx)
		if err != nil {
			return nil, err
		}
		id := &Identity{again: again}
		id.scope.Store(&scope)
		return id, nil
	}
}

// Scope is who the socket acts for, as last checked.
func (i *Identity) Scope() auth.Scope { return *i.scope.Load() }

// Key implements socket.Identity: the person.
func (i *Identity) Key() string { return string(i.Scope().User) }

// Session implements socket.Identity: the browser session or API key.
func (i *Identity) Session() string {
	s := i.Scope()
	if s.Key != "" {
		return string(s.Key)
	}
	return string(s.Session)
}

// Recheck implements socket.Identity.
func (i *Identity) Recheck(ctx context.Context) error {
	scope, err := i.again(ctx)
	if err != nil {
		return err
	}
	if scope.Org != i.Scope().Org {
		return fault.Unauthenticated("The organisation was switched; connect again.")
	}
	i.scope.Store(&scope)
	return nil
}

// scopeOf gives the scope of a socket; any other identity has none, and the
// zero scope is refused everywhere.
func scopeOf(id socket.Identity) auth.Scope {
	if i, ok := id.(*Identity); ok {
		return i.Scope()
	}
	return auth.Scope{}
}
