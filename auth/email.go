package auth

import (
	"net/netip"
	"strings"
)

// NormalizeEmail checks an address and lower-cases its domain; the part before
// the @ stays as it is, since only its own mail server knows which spellings
// are one mailbox. Quoted local parts, address literals and domains outside
// ASCII (write them in their xn-- form) are refused: ok is false.
//
// The limits are those of RFC 5321 section 4.5.3.1.
func NormalizeEmail(s string) (email string, ok bool) {
	s = strings.TrimSpace(s)
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > 254 {
		return "", false
	}
	local := s[:at]
	if local[0] == '.' || local[at-1] == '.' || strings.Contains(local, "..") {
		return "", false
	}
	for _, r := range local {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`"(),:;<>@[\]`, r) || r >= 0x80 {
			return "", false
		}
	}
	domain, ok := normalizeDomain(s[at+1:])
	if !ok {
		return "", false
	}
	return local + "@" + domain, true
}

// SameEmail reports whether two normalised addresses name one mailbox for the
// purpose of an invitation. Letter case is ignored in ASCII alone: Unicode
// folding would make the Kelvin sign a k.
func SameEmail(a, b string) bool { return a != "" && asciiLower(a) == asciiLower(b) }

// normalizeDomain lower-cases a host name of at least two labels
// (RFC 1123 section 2.1 syntax); anything else, IP addresses included, is refused.
func normalizeDomain(s string) (string, bool) {
	s = asciiLower(s)
	if len(s) > 253 || !strings.Contains(s, ".") {
		return "", false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return "", false
			}
		}
	}
	return s, true
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
