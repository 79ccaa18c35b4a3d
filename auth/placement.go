package auth

import (
	"strings"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// SignupPolicy says what happens to a person whom no invitation and no
// membership places.
type SignupPolicy string

// The policies, as HEDDLE_SIGNUP spells them.
const (
	SignupInvite SignupPolicy = "invite" // refuse; proved domains still place
	SignupDomain SignupPolicy = "domain" // refuse unless a proved domain places
	SignupOpen   SignupPolicy = "open"   // a new organisation of their own
)

// Valid reports whether p is one of the three policies.
func (p SignupPolicy) Valid() bool {
	return p == SignupInvite || p == SignupDomain || p == SignupOpen
}

// Facts are what may decide a person's organisation: all of them are read from
// the database or proved by the identity provider, none is taken from what the
// browser claims.
type Facts struct {
	Profile Profile
	// Memberships are the person's, the one of the latest session first.
	Memberships []Membership
	// Invited is set when the sign-in began at the link of an invitation;
	// Invitation is what the link's secret found, nil when nothing.
	Invited    bool
	Invitation *Invitation
	// DomainOrg is the organisation that proved the domain of the verified
	// e-mail address, nil when none did.
	DomainOrg *Org
}

// PlacementKind says what has to be done to put a person in their organisation.
type PlacementKind string

// The kinds of placement.
const (
	PlaceMember PlacementKind = "member" // a member already: nothing to do
	PlaceInvite PlacementKind = "invite" // accept the invitation, add the membership
	PlaceDomain PlacementKind = "domain" // add the membership
	PlaceCreate PlacementKind = "create" // make the personal organisation and its owner
)

// Placement is the decision of [Place].
type Placement struct {
	Kind PlacementKind
	// Org is unset for [PlaceCreate].
	Org  OrgID
	Role Role
	// Invitation is set for [PlaceInvite].
	Invitation InvitationID
	// OrgName and OrgSlug are set for [PlaceCreate].
	OrgName string
	OrgSlug string
}

// Place decides which organisation a person who just signed in works in:
//
//  1. the one whose invitation link they opened, if the invitation is open and
//     its address is their verified address (joined in addition to others);
//  2. one they belong to already;
//  3. the one that proved the domain of their verified address, as a member;
//  4. by policy, a new one of their own, or a refusal.
//
// A refusal is a forbidden fault that says what to do. A link that cannot be
// accepted refuses rather than falling through: the person would land in an
// organisation they did not expect. In step 4 too an address must be verified.
func Place(policy SignupPolicy, f Facts, now time.Time) (Placement, error) {
	if f.Invited {
		return placeInvited(f, now)
	}
	if len(f.Memberships) > 0 {
		m := f.Memberships[0]
		return Placement{Kind: PlaceMember, Org: m.Org.ID, Role: m.Role}, nil
	}
	email := f.Profile.VerifiedEmail()
	if email == "" {
		return Placement{}, fault.Forbidden("Your account has no verified e-mail address. Verify one at the service you sign in with, then try again.").
			WithCode("email_unverified")
	}
	if f.DomainOrg != nil && !PublicMailDomain(f.Profile.VerifiedDomain()) {
		return Placement{Kind: PlaceDomain, Org: f.DomainOrg.ID, Role: RoleMember}, nil
	}
	switch policy {
	case SignupOpen:
		return Placement{Kind: PlaceCreate, Role: RoleOwner,
			OrgName: personalName(f.Profile), OrgSlug: personalSlug(email)}, nil
	case SignupDomain:
		return Placement{}, fault.Forbidden("No organisation here uses the e-mail domain " + f.Profile.VerifiedDomain() +
			". Ask for an invitation.").WithCode("signup_refused")
	default:
		return Placement{}, fault.Forbidden("You need an invitation to sign in for the first time. Ask an administrator of your organisation.").
			WithCode("signup_refused")
	}
}

func placeInvited(f Facts, now time.Time) (Placement, error) {
	inv := f.Invitation
	if inv == nil {
		return Placement{}, fault.Forbidden("This invitation does not exist. Ask for a new one.").WithCode("invitation_unknown")
	}
	for _, m := range f.Memberships {
		if m.Org.ID == inv.Org.ID {
			return Placement{Kind: PlaceMember, Org: m.Org.ID, Role: m.Role}, nil
		}
	}
	if !inv.Open(now) || !inv.Role.Valid() {
		return Placement{}, fault.Forbidden("This invitation was used, withdrawn or is older than a week. Ask for a new one.").
			WithCode("invitation_closed")
	}
	if !SameEmail(f.Profile.VerifiedEmail(), inv.Email) {
		return Placement{}, fault.Forbidden("This invitation was sent to another e-mail address. Sign in with that address.").
			WithCode("invitation_mismatch")
	}
	return Placement{Kind: PlaceInvite, Org: inv.Org.ID, Role: inv.Role, Invitation: inv.ID}, nil
}

func personalName(p Profile) string {
	name := p.Name
	if name == "" {
		name, _, _ = strings.Cut(p.VerifiedEmail(), "@")
	}
	if r := []rune(name); len(r) > 60 {
		name = strings.TrimSpace(string(r[:60]))
	}
	return name + "'s organisation"
}

// personalSlug is unique by its random tail; the rest is for the reader.
func personalSlug(email string) string {
	local, _, _ := strings.Cut(asciiLower(email), "@")
	base := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r == '.', r == '-', r == '_', r == '+':
			return '-'
		}
		return -1
	}, local)
	if len(base) > 24 {
		base = base[:24]
	}
	base = strings.Trim(base, "-")
	if base == "" {
		base = "org"
	}
	return base + "-" + randomBase32(8)
}
