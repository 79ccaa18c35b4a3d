package auth

import "slices"

// Role is a person's standing in one organisation.
type Role string

// The roles, least to most powerful.
const (
	RoleMember   Role = "member"
	RoleReviewer Role = "reviewer"
	RoleAdmin    Role = "admin"
	RoleOwner    Role = "owner"
)

// Permission is one thing a role may do. Handlers and tool policy ask for
// permissions, never for roles.
type Permission string

// The permissions.
const (
	PermRead            Permission = "read"             // read own and shared threads, runs, assistants, memory
	PermRun             Permission = "run"              // change own and shared threads, start runs
	PermReview          Permission = "review"           // decide on reviewed tool calls
	PermReadAnyThread   Permission = "thread.read_any"  // read any thread of the organisation, audited
	PermManageAssistant Permission = "assistant.manage" // assistants, tools, memory
	PermManageMembers   Permission = "members.manage"   // members, roles, invitations
	PermManageKeys      Permission = "keys.manage_any"  // other people's API keys
	PermReadAudit       Permission = "audit.read"       // the audit log
	PermManageOrg       Permission = "org.manage"       // name, domains, deletion
)

// granted is the one table that says what a role may do.
var granted = map[Role][]Permission{
	RoleMember:   {PermRead, PermRun},
	RoleReviewer: {PermRead, PermRun, PermReview},
	RoleAdmin: {PermRead, PermRun, PermReview, PermReadAnyThread, PermManageAssistant, PermManageMembers,
		PermManageKeys, PermReadAudit},
	RoleOwner: {PermRead, PermRun, PermReview, PermReadAnyThread, PermManageAssistant, PermManageMembers,
		PermManageKeys, PermReadAudit, PermManageOrg},
}

// Roles lists every role, least to most powerful.
func Roles() []Role { return []Role{RoleMember, RoleReviewer, RoleAdmin, RoleOwner} }

// Valid reports whether r is one of the four roles; an unknown role may do
// nothing.
func (r Role) Valid() bool { return slices.Contains(Roles(), r) }

// Above reports whether r may do more than other; a role that is none is below
// all.
func (r Role) Above(other Role) bool { return slices.Index(Roles(), r) > slices.Index(Roles(), other) }

// UpTo lists the roles that someone with role r may give, the least first.
func (r Role) UpTo() []Role {
	return slices.DeleteFunc(Roles(), func(other Role) bool { return other.Above(r) })
}

// Permissions lists what r may do; an unknown role gets none.
func (r Role) Permissions() []Permission { return slices.Clone(granted[r]) }

func (r Role) grants(p Permission) bool { return slices.Contains(granted[r], p) }

// KeyScope narrows an API key to a class of operations.
type KeyScope string

// The scopes of API keys. Each includes reading: whoever decides on a call or
// administers an assistant has to see it.
const (
	ScopeRead   KeyScope = "read"   // threads, state, history, runs, assistants, store items, streams
	ScopeRun    KeyScope = "run"    // change all that and start runs: the default of a new key
	ScopeReview KeyScope = "review" // decisions on reviewed tool calls
	ScopeAdmin  KeyScope = "admin"  // assistants, members, keys, audit
)

// formerRun is the name that ScopeRun had before there was ScopeRead.
const formerRun KeyScope = "chat"

// KeyScopes lists every scope a key may carry.
func KeyScopes() []KeyScope { return []KeyScope{ScopeRead, ScopeRun, ScopeReview, ScopeAdmin} }

// Valid reports whether k is a known scope.
func (k KeyScope) Valid() bool { return slices.Contains(KeyScopes(), k) }

// Current gives the scope's name of today: what was called chat is run.
func (k KeyScope) Current() KeyScope {
	if k == formerRun {
		return ScopeRun
	}
	return k
}

// KeyScopes lists the scopes that give a key of someone with role r at least
// one permission that is theirs.
func (r Role) KeyScopes() []KeyScope {
	return slices.DeleteFunc(KeyScopes(), func(k KeyScope) bool { return !slices.ContainsFunc(granted[r], k.owns) })
}

func (k KeyScope) covers(p Permission) bool { return k.owns(p) || p == PermRead && k.Valid() }

// owns reports whether p is what the scope is for.
func (k KeyScope) owns(p Permission) bool {
	switch p {
	case PermRead:
		return k == ScopeRead
	case PermRun:
		return k == ScopeRun
	case PermReview:
		return k == ScopeReview
	default:
		return k == ScopeAdmin
	}
}
