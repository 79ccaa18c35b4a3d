package auth

import (
	"crypto/rand"
	"encoding/base32"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/heddle/heddle/internal/fault"
)

// An API key reads hdl_PREFIX_SECRET. The prefix finds the row and may be
// shown; the secret is stored as its SHA-256. Both are lower-case base32, so a
// double click selects the key whole, and their lengths are fixed.
const (
	keyMark      = "hdl_"
	keyPrefixLen = 12 // 60 bits
	keySecretLen = 52 // 256 bits
)

// The lifetimes of API keys.
const (
	KeyDefaultLifetime = 90 * 24 * time.Hour
	KeyMaxLifetime     = 366 * 24 * time.Hour
)

// keyAlphabet is RFC 4648 base32 in lower case.
const keyAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

// APIKey lets a program act as the person who made it, within its scopes.
type APIKey struct {
	ID     KeyID
	Org    OrgID
	User   UserID
	Name   string
	Prefix string
	Secret Digest
	Scopes []KeyScope
	// ExpiresAt is the zero time for a key that never expires; only rows
	// written by hand have that.
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time
	RevokedAt  time.Time
}

// KeyListLimit is how many keys a list of everyone's holds at most.
const KeyListLimit = 200

// OwnedKey is an API key and whose it is.
type OwnedKey struct {
	APIKey
	OwnerName, OwnerEmail string
}

// MintAPIKey makes a key for the person of scope and returns it together with
// its clear text, which nobody can show again. No scopes means run alone, no
// lifetime means [KeyDefaultLifetime]. A fault names the field that is wrong:
// name (1 to 80 characters), scopes, expires.
func MintAPIKey(scope Scope, id KeyID, name string, scopes []KeyScope, lifetime time.Duration, now time.Time) (APIKey, Token, error) {
	if err := scope.Check(); err != nil {
		return APIKey{}, "", err
	}
	bad := make(map[string]string)
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n < 1 || n > 80 || !utf8.ValidString(name) {
		bad["name"] = "must have 1 to 80 characters"
	}
	if len(scopes) == 0 {
		scopes = []KeyScope{ScopeRun}
	}
	scopes = current(scopes)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	for _, s := range scopes {
		if !s.Valid() {
			bad["scopes"] = "must be of read, run, review, admin"
		}
	}
	if lifetime == 0 {
		lifetime = KeyDefaultLifetime
	}
	if lifetime < 0 || lifetime > KeyMaxLifetime {
		bad["expires"] = "must be within 366 days"
	}
	if len(bad) > 0 {
		return APIKey{}, "", fault.InvalidFields(bad)
	}
	prefix, secret := randomBase32(keyPrefixLen), Token(randomBase32(keySecretLen))
	key := APIKey{
		ID: id, Org: scope.Org, User: scope.User, Name: name,
		Prefix: prefix, Secret: secret.Digest(), Scopes: scopes,
		CreatedAt: now, ExpiresAt: now.Add(lifetime),
	}
	return key, Token(keyMark + prefix + "_" + secret.Reveal()), nil
}

// ParseAPIKey splits a key into the prefix to look up and the secret to check.
// ok is false for any other text; one key has exactly one spelling.
func ParseAPIKey(s string) (prefix string, secret Token, ok bool) {
	rest, marked := strings.CutPrefix(s, keyMark)
	if !marked || len(rest) != keyPrefixLen+1+keySecretLen || rest[keyPrefixLen] != '_' {
		return "", "", false
	}
	prefix, raw := rest[:keyPrefixLen], rest[keyPrefixLen+1:]
	if strings.Trim(prefix, keyAlphabet) != "" || strings.Trim(raw, keyAlphabet) != "" {
		return "", "", false
	}
	// Cloned because the header's bytes may belong to a buffer that the server
	// uses again.
	return strings.Clone(prefix), Token(strings.Clone(raw)), true
}

// Accepts reports whether secret opens the key at now. The comparison takes
// constant time and comes first, so that a wrong secret learns nothing about
// the key's state.
func (k APIKey) Accepts(secret Token, now time.Time) bool {
	match := secret.Digest().Equal(k.Secret)
	expired := !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
	return match && !expired && k.RevokedAt.IsZero()
}

// Start is the part of the key's text that may be shown, to recognise it by.
func (k APIKey) Start() string { return keyMark + k.Prefix }

// Scope is what the key may do, given the role its person has now.
func (k APIKey) Scope(role Role) Scope {
	return Scope{User: k.User, Org: k.Org, Role: role, Key: k.ID, KeyScopes: current(k.Scopes)}
}

// current copies scopes under their names of today: a node of the release
// before may still write the old ones.
func current(scopes []KeyScope) []KeyScope {
	out := make([]KeyScope, len(scopes))
	for i, s := range scopes {
		out[i] = s.Current()
	}
	return out
}

// randomBase32 gives n characters of 5 random bits each.
func randomBase32(n int) string {
	b := make([]byte, (n*5+7)/8)
	_, _ = rand.Read(b) // documented never to fail
	enc := base32.NewEncoding(keyAlphabet).WithPadding(base32.NoPadding)
	return enc.EncodeToString(b)[:n]
}
