package auth

import "strings"

// Identity is how an identity provider knows a person: the pair of issuer and
// subject, and nothing else. Two identities with the same e-mail address are
// two people until one of them, signed in, links the other.
type Identity struct {
	// Issuer is the issuer URL of OpenID Connect Core 1.0 section 2, or
	// "https://github.com" for GitHub, which has none.
	Issuer string
	// Subject is unique within the issuer and never given to somebody else.
	Subject string
}

// Valid reports whether both halves are present.
func (i Identity) Valid() bool { return i.Issuer != "" && i.Subject != "" }

// Profile is what a finished sign-in proved about a person.
type Profile struct {
	Identity Identity
	// Provider is the name in our catalogue, such as "github".
	Provider string
	// Email is in the form of [NormalizeEmail], or empty.
	Email string
	// EmailVerified is the provider's word that the person controls Email.
	// Without it Email is a text that the person typed.
	EmailVerified bool
	// Name is for display; at most 120 characters.
	Name string
}

// VerifiedEmail is the address that may be used as a fact, or "".
func (p Profile) VerifiedEmail() string {
	if !p.EmailVerified {
		return ""
	}
	return p.Email
}

// VerifiedDomain is the domain of the verified address, or "".
func (p Profile) VerifiedDomain() string {
	_, domain, _ := strings.Cut(p.VerifiedEmail(), "@")
	return domain
}

// MaxNameLength bounds a person's display name, in characters.
const MaxNameLength = 120

// CleanName makes a display name of what a provider sent: spaces folded,
// control characters dropped, cut at [MaxNameLength].
func CleanName(s string) string {
	s = CleanText(s)
	if r := []rune(s); len(r) > MaxNameLength {
		s = string(r[:MaxNameLength])
	}
	return strings.TrimSpace(s)
}

// CleanText folds spaces and drops control characters and broken UTF-8.
func CleanText(s string) string {
	return strings.Join(strings.Fields(strings.Map(printable, strings.ToValidUTF8(s, ""))), " ")
}

// printable also drops the marks that reorder text, with which a name could
// pose as another one in a list of people.
func printable(r rune) rune {
	switch {
	case r == '\t' || r == '\n' || r == '\r':
		return ' '
	case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0x200b && r <= 0x200f,
		r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x2069, r == 0xfeff:
		return -1
	}
	return r
}
