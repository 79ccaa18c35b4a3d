package admin

import "github.com/heddle/heddle/views/ui"

// Keys is the page of all API keys of an organisation.
type Keys struct {
	Org string
	// Person is the filter.
	Person string
	Keys   []Key
	// Found says how many there are, and that there may be more.
	Found string
	CSRF  string
}

// Key is one API key without its secret.
type Key struct {
	ID, Name, Owner, Email string
	// Prefix is the start of the secret, to recognise it by.
	Prefix  string
	Scopes  []string
	Created ui.Time
	Used    ui.Time // empty Text: never
	Expires ui.Time // empty Text: never
	Expired bool
}
