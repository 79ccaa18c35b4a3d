// Package auth holds the rules of identity: who a request acts for, which
// roles exist, what each may do. It performs no I/O; store keeps the rows and
// auth/oauth talks to identity providers.
//
// Its central type is [Scope], the first argument after the context of every
// store and service call. Agents, store, handlers and app may import it; it
// imports the standard library and internal leaves only.
package auth

import (
	"slices"

	"github.com/heddle/heddle/internal/fault"
)

// UserID identifies a person. It is a UUID in canonical form.
type UserID string

// OrgID identifies an organisation, the tenant. It is a UUID in canonical form.
type OrgID string

// SessionID identifies a signed-in browser session. It is not the cookie's
// secret: that is stored hashed and never kept in memory after the look-up.
type SessionID string

// KeyID identifies an API key. It is not the key's secret.
type KeyID string

// Scope is the trusted context of one request or run: who, for which
// organisation, with which rights. Only the session and API-key look-ups and
// the worker (which derives it from the run's row) build one; a name of its
// fields in a request body, a tool argument or model output is never an input.
type Scope struct {
	User UserID
	Org  OrgID
	Role Role
	// Session is set when a browser session authenticated the request.
	Session SessionID
	// Key is set when an API key authenticated the request; KeyScopes then
	// narrows what the role would allow.
	Key       KeyID
	KeyScopes []KeyScope
	// Command is set when an operator's command acts for the person; it says by
	// which door for the audit log and carries no authority.
	Command bool
	// RequestID ties log lines together; it carries no authority.
	RequestID string
	// IP is where the request came from, for the audit log; no authority.
	IP string
	// Locale is a BCP 47 tag for texts shown to the person, "en" by default.
	Locale string
}

// Check reports an incomplete scope as unauthenticated: a store that is handed
// the zero Scope must refuse, never fall back to a default identity.
func (s Scope) Check() error {
	if s.User == "" || s.Org == "" || !s.Role.Valid() {
		return fault.Unauthenticated("Sign in first.")
	}
	return nil
}

// Can reports whether the scope holds permission p: the role must grant it
// and, for an API key, one of the key's scopes must cover it.
func (s Scope) Can(p Permission) bool {
	if !s.Role.grants(p) {
		return false
	}
	if s.Key == "" {
		return true
	}
	return slices.ContainsFunc(s.KeyScopes, func(k KeyScope) bool { return k.covers(p) })
}

// Via is the door the scope came in by; a scope of neither a session, a key nor
// a command belongs to a run.
func (s Scope) Via() AuditVia {
	switch {
	case s.Command:
		return ViaCommand
	case s.Key != "":
		return ViaAPI
	case s.Session != "":
		return ViaPage
	default:
		return ViaSystem
	}
}

// Require returns a forbidden fault that names the missing permission, or nil.
func (s Scope) Require(p Permission) error {
	if err := s.Check(); err != nil {
		return err
	}
	if s.Can(p) {
		return nil
	}
	if s.Role.grants(p) {
		return fault.Forbidden("This API key's scopes do not cover " + string(p) + ".")
	}
	return fault.Forbidden("Your role " + string(s.Role) + " does not include " + string(p) + ".")
}
