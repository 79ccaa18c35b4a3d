package auth

import "time"

// The lifetimes of a session (OWASP ASVS 5, chapter 7, level 2).
const (
	// SessionIdle ends a session that nobody used for so long.
	SessionIdle = 12 * time.Hour
	// SessionLifetime ends a session however busy it is.
	SessionLifetime = 7 * 24 * time.Hour
	// SessionTouch is how far behind LastSeenAt may be: a busy page writes it
	// at most this often.
	SessionTouch = time.Minute
)

// Session is a signed-in browser. The cookie holds its [Token]; here is only
// what may be shown in a list of sessions.
type Session struct {
	ID   SessionID
	User UserID
	// Org is the organisation the browser works in now.
	Org        OrgID
	UserAgent  string
	IP         string
	CreatedAt  time.Time
	LastSeenAt time.Time
	ExpiresAt  time.Time
	RevokedAt  time.Time
}

// Live reports whether the session still signs its browser in at now.
func (s Session) Live(now time.Time) bool {
	return s.RevokedAt.IsZero() && now.Before(s.ExpiresAt) && now.Before(s.LastSeenAt.Add(SessionIdle))
}

// Stale reports whether LastSeenAt should be written again at now.
func (s Session) Stale(now time.Time) bool { return now.Sub(s.LastSeenAt) >= SessionTouch }

// Scope is what the session may do, given the person's role in its
// organisation as read in the same look-up.
func (s Session) Scope(role Role) Scope {
	return Scope{User: s.User, Org: s.Org, Role: role, Session: s.ID}
}
