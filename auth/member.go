package auth

import (
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// Member is a person as the administration of their organisation sees them.
type Member struct {
	User  UserID
	Email string
	// Name is never empty: whoever has none goes by the first part of the
	// address.
	Name     string
	Role     Role
	JoinedAt time.Time
	// LastSeenAt is the zero time for someone who never had a session in the
	// organisation.
	LastSeenAt time.Time
	// Keys is how many API keys of theirs are not revoked.
	Keys int
}

// MemberSort is what a list of members is ordered by.
type MemberSort string

// The orders of members.
const (
	SortByName   MemberSort = "name"
	SortByRole   MemberSort = "role"
	SortByJoined MemberSort = "joined"
)

// MemberSorts lists the orders; the first is the usual one.
func MemberSorts() []MemberSort { return []MemberSort{SortByName, SortByRole, SortByJoined} }

// MemberPage is how many members one page of a list holds.
const MemberPage = 100

// MemberQuery chooses members. The zero query is the first page of all, by name.
type MemberQuery struct {
	// Text is looked for in names and addresses, whatever its case.
	Text string
	// Role keeps one role; "" keeps all.
	Role       Role
	Sort       MemberSort
	Descending bool
	// Skip leaves out so many of the found, for pages of [MemberPage].
	Skip int
}

// Credentials are the sessions and API keys with which one person reaches one
// organisation. Whoever ends them or changes what they may do closes their
// sockets.
type Credentials struct {
	Sessions []SessionID
	Keys     []KeyID
}

// CodeLastOwner is the code of the fault that keeps an organisation's last
// owner in their place.
const CodeLastOwner = "last_owner"

// MemberChange is a change of somebody's place in an organisation, with the
// facts as they are while the organisation's members are locked.
type MemberChange struct {
	// Actor is the role of whoever asks, "" when they are no member any more.
	Actor Role
	// Self says that they ask about themselves.
	Self bool
	// From is the member's role now; To the new one, which is valid, or "" to leave
	// or be removed.
	From, To Role
	// OtherOwners counts the owners beside the member who can sign in.
	OtherOwners int
}

// Check says no with the rule that is broken: nobody gives a role above their
// own or touches somebody above them, and the last owner stays. Leaving needs no
// permission, everything else members.manage.
func (c MemberChange) Check() error {
	if !c.Self || c.To != "" {
		if c.Actor == "" {
			return fault.Forbidden("You do not belong to this organisation any more.")
		}
		if !c.Actor.grants(PermManageMembers) {
			return fault.Forbidden("Your role " + string(c.Actor) + " does not include " + string(PermManageMembers) + ".")
		}
		if c.From.Above(c.Actor) {
			return fault.Forbidden("Only an " + string(c.From) + " can change an " + string(c.From) + ".").WithCode("role_above_own")
		}
		if c.To.Above(c.Actor) {
			return fault.Forbidden("Nobody can give a role above their own.").WithCode("role_above_own")
		}
	}
	if c.From == RoleOwner && c.To != RoleOwner && c.OtherOwners == 0 {
		return fault.Conflict("An organisation needs an owner. Make somebody else an owner first.").WithCode(CodeLastOwner)
	}
	return nil
}
