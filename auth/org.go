package auth

import (
	"unicode/utf8"

	"github.com/heddle/heddle/internal/fault"
)

// OrgSettings are an organisation's own rules. A nil field is one that nobody
// decided: in a change it stays as it is.
type OrgSettings struct {
	// FourEyes forbids people to approve what they asked for themselves.
	FourEyes *bool `json:"four_eyes,omitempty"`
}

// RequiresFourEyes is the rule that counts: on unless an owner switched it off.
func (s OrgSettings) RequiresFourEyes() bool { return s.FourEyes == nil || *s.FourEyes }

// MaxOrgNameLength bounds an organisation's name, in characters.
const MaxOrgNameLength = 80

// CheckOrgName gives the name as it is stored, or the rule it breaks.
func CheckOrgName(name string) (string, error) {
	name = CleanText(name)
	if n := utf8.RuneCountInString(name); n < 1 || n > MaxOrgNameLength {
		return "", fault.Invalid("name", "must have 1 to 80 characters")
	}
	return name, nil
}
