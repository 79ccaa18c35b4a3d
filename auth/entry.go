package auth

import "time"

// Entry is a finished sign-in that asks to become a session.
type Entry struct {
	Profile Profile
	// Invitation is the digest of the link's secret the sign-in began with,
	// nil without one.
	Invitation *Digest
	// Session is the session to be made; its User and Org are filled in.
	Session Session
	// RequestID is that of the request that signs in.
	RequestID string
	// Token is the digest of the new cookie.
	Token Digest
	// Replaces is the digest of the cookie the browser sent, if any. That
	// session ends: a cookie never survives a sign-in, so that nobody can
	// plant one before it (session fixation).
	Replaces *Digest
}

// Policy decides where a person goes; see [Place].
type Policy func(Facts) (Placement, error)

// SignedIn is a session with what its request needs to know.
type SignedIn struct {
	Session Session
	User    User
	Org     Org
	Role    Role
}

// Scope is what the request may do.
func (s SignedIn) Scope() Scope {
	scope := s.Session.Scope(s.Role)
	scope.Locale = s.User.Locale
	return scope
}

// Person is somebody to be put into an organisation by an operator's command
// or the demo data.
type Person struct {
	Identity Identity
	Provider string
	Email    string
	Name     string
	OrgSlug  string
	OrgName  string
	Role     Role
}

// NewSession describes a session that begins at now.
func NewSession(id SessionID, userAgent, ip string, now time.Time) Session {
	return Session{ID: id, UserAgent: clip(userAgent, 300), IP: clip(ip, 64),
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(SessionLifetime)}
}

// clip copies, because header text may belong to a buffer that the server uses
// again, and drops what PostgreSQL would not store as text.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return CleanText(s)
}
