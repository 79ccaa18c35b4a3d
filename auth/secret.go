package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
)

// Token is a bearer secret in clear: a session cookie, the secret half of an
// API key, the secret of an invitation link. It prints as stars, so that it
// cannot slip into a log; [Token.Reveal] is the one way out.
type Token string

// tokenBytes is the strength of every secret of ours: 256 bits (ASVS 5,
// chapter 7, asks for 128).
const tokenBytes = 32

// NewToken makes a fresh random secret: 43 characters of unpadded base64url.
func NewToken() Token {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return Token(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Reveal gives the secret itself, to be handed to its owner once.
func (t Token) Reveal() string { return string(t) }

// Digest is what is stored of the secret.
func (t Token) Digest() Digest { return sha256.Sum256([]byte(t)) }

const stars = "********"

// String hides the secret.
func (Token) String() string { return stars }

// GoString hides the secret.
func (Token) GoString() string { return stars }

// LogValue hides the secret.
func (Token) LogValue() slog.Value { return slog.StringValue(stars) }

// MarshalText hides the secret.
func (Token) MarshalText() ([]byte, error) { return []byte(stars), nil }

// Digest is the SHA-256 of a [Token]. A plain hash is enough because the
// tokens are random: there is no dictionary to try.
type Digest [sha256.Size]byte

// Equal compares in constant time.
func (d Digest) Equal(other Digest) bool {
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1
}
