package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

const stars = "********"

// Secret is a value that prints as stars: with every verb of fmt, in slog, in
// JSON and text. Only [Secret.Reveal] gives it away. The zero value is unset.
//
// The text sits behind a pointer because fmt cannot call methods on an
// unexported field of someone else's struct: there it prints an address.
type Secret struct{ text *string }

// NewSecret wraps text; the empty string is an unset secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the secret itself, empty when unset. Every call is a place
// where it could leak; pass the result on and do not keep it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Set reports whether there is a secret.
func (s Secret) Set() bool { return s.text != nil }

// String returns stars, or nothing when unset: that much may be known.
func (s Secret) String() string {
	if !s.Set() {
		return ""
	}
	return stars
}

// Format implements [fmt.Formatter] for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements [encoding.TextMarshaler].
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements [json.Marshaler].
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalText implements [encoding.TextUnmarshaler]. It never fails.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
