package auth

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/heddle/heddle/internal/fault"
)

// MaxNameRunes bounds what a person is called, in characters.
const MaxNameRunes = 120

// ValidateName checks what a person wants to be called.
func ValidateName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fault.Invalid("name", "must be valid UTF-8")
	case strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > MaxNameRunes:
		return fault.Invalid("name", fmt.Sprintf("must have 1 to %d characters", MaxNameRunes))
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) }):
		return fault.Invalid("name", "must not contain control characters")
	}
	return nil
}

// User is a person. What proves that a request is theirs is a [Session] or an
// [APIKey]; what proves that a sign-in is theirs is an [Identity].
type User struct {
	ID UserID
	// Email is the verified address of the first sign-in: for display and for
	// mail, never a key to look a person up by at sign-in.
	Email string
	Name  string
	// Theme is "system", "light" or "dark".
	Theme string
	// Locale is a BCP 47 tag.
	Locale string
	// LetterKeys says whether shortcuts of a single key work.
	LetterKeys bool
	CreatedAt  time.Time
	// DisabledAt is the zero time for a person who may sign in.
	DisabledAt time.Time
}

// Disabled reports whether the person is locked out of every organisation.
func (u User) Disabled() bool { return !u.DisabledAt.IsZero() }

// Called is the person's name; without one, the first part of the address.
func (u User) Called() string {
	if u.Name != "" {
		return u.Name
	}
	name, _, _ := strings.Cut(u.Email, "@")
	return name
}

// Org is an organisation, the tenant.
type Org struct {
	ID   OrgID
	Slug string
	Name string
	// Personal marks the organisation that open sign-up made for one person.
	Personal  bool
	CreatedAt time.Time
}

// Membership is a person's place in one organisation.
type Membership struct {
	Org       Org
	User      UserID
	Role      Role
	CreatedAt time.Time
}

// InvitationID identifies an invitation. It is not the secret of its link.
type InvitationID string

// InvitationLifetime is how long the link of a new invitation works.
const InvitationLifetime = 7 * 24 * time.Hour

// Invitation offers a place in an organisation to whoever proves to own an
// address and holds the link. Being named in one is not enough: nobody is
// moved into an organisation, where others may read their threads, without
// having opened its link.
type Invitation struct {
	ID    InvitationID
	Org   Org
	Email string
	Role  Role
	// InvitedBy is who made it, "" once they are gone; Inviter is their name,
	// as far as they still are a member. Lists fill it.
	InvitedBy UserID
	Inviter   string
	CreatedAt time.Time
	// ExpiresAt, AcceptedAt and RevokedAt follow the link; the last two are
	// zero while it is open.
	ExpiresAt  time.Time
	AcceptedAt time.Time
	RevokedAt  time.Time
}

// Open reports whether the invitation can still be accepted at now.
func (i Invitation) Open(now time.Time) bool {
	return i.AcceptedAt.IsZero() && i.RevokedAt.IsZero() && now.Before(i.ExpiresAt)
}
