// Package id makes and parses the identifiers of Heddle: UUID version 7
// (RFC 9562), so that rows sort by creation time. Any package may import it.
package id

import (
	"strings"

	"github.com/google/uuid"
)

// New returns a fresh UUIDv7 in its canonical lower-case form.
func New() string {
	return uuid.Must(uuid.NewV7()).String()
}

// Canonical parses any UUID version and returns the canonical lower-case form;
// ok is false for anything else. Only the 36-character hyphenated form counts:
// a second spelling of one id would be a second key.
func Canonical(s string) (canonical string, ok bool) {
	if len(s) != 36 {
		return "", false
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return "", false
	}
	return strings.ToLower(u.String()), true
}

// Valid reports whether s is a UUID in the 36-character form.
func Valid(s string) bool {
	_, ok := Canonical(s)
	return ok
}

// Source makes identifiers. Production uses [New]; a test that must be
// byte-stable passes its own.
type Source func() string

// Named returns the UUIDv5 of a name within a namespace, so that every node and
// every organisation derives the same identifier.
func Named(namespace uuid.UUID, name string) string {
	return uuid.NewSHA1(namespace, []byte(name)).String()
}

// GraphNamespace is the namespace in which LangGraph servers derive the id of a
// graph's default assistant from the graph's name.
var GraphNamespace = uuid.MustParse("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
