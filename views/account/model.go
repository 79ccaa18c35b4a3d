// Package account shows what belongs to a person: signing in, the profile with
// its sessions, API keys. Models hold text that is ready to show. Handlers may
// import it.
package account

import (
	"slices"

	"github.com/heddle/heddle/views/ui"
)

// SignIn is the page before there is a person.
type SignIn struct {
	Providers []Provider
	// People are the demo's, in development only.
	People []Person
	// Next is where to go afterwards, a path of ours.
	Next string
}

// Provider is one way to sign in.
type Provider struct {
	Label, Href, Icon string
}

// Person is someone of the demo data, with an address that signs them in.
type Person struct {
	Name, Email, Role, Org, Href string
}

// Profile is the account page.
type Profile struct {
	Name, Email string
	// NameError says why a name was refused.
	NameError string
	// Language is the name of the language, in itself.
	Language    string
	Memberships []Membership
	Sessions    []Session
	Theme       string
	// LetterKeysOff says that shortcuts of a single key do not work.
	LetterKeysOff bool
	CSRF          string
}

// others reports whether there is a session but the present one.
func (p Profile) others() bool {
	return slices.ContainsFunc(p.Sessions, func(s Session) bool { return !s.Current })
}

// Membership is one organisation of the person.
type Membership struct {
	OrgID, Org, Role string
	Current          bool
}

// Session is one browser that is signed in.
type Session struct {
	ID      string
	Device  string // such as "Firefox on Linux"
	Where   string // the network address, as text
	Started ui.Time
	Seen    ui.Time
	Current bool
	// Phone chooses the sign.
	Phone bool
}

// Keys is the page of API keys.
type Keys struct {
	Keys []Key
	// Created is the secret of a key just made: shown on this page, never again.
	Created *Created
	// Scopes are the ones this person may give.
	Scopes []Scope
	// Expiries are the choices for how long a key is valid.
	Expiries []ui.Option
	// Name and Errors bring back a form that was refused; Errors by field.
	Name   string
	Errors map[string]string
	CSRF   string
}

// Key is one API key without its secret.
type Key struct {
	ID, Name string
	// Prefix is the start of the secret, to recognise it by.
	Prefix  string
	Scopes  []string
	Created ui.Time
	Used    ui.Time // empty Text: never
	Expires ui.Time // empty Text: never
	Expired bool
	Revoked bool
}

// Created is a key just made.
type Created struct {
	Name, Secret string
}

// Scope is one class of operations a key may be given.
type Scope struct {
	Value, Label, Hint string
	Checked            bool
}
