package auth

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEveryScopeReadsAndNoneGivesMoreThanItsName(t *testing.T) {
	t.Parallel()
	all := []Permission{PermRead, PermRun, PermReview, PermReadAnyThread, PermManageAssistant, PermManageMembers, PermManageKeys, PermReadAudit, PermManageOrg}
	own := map[KeyScope][]Permission{ScopeRead: {PermRead}, ScopeRun: {PermRead, PermRun}, ScopeReview: {PermRead, PermReview},
		ScopeAdmin: {PermRead, PermReadAnyThread, PermManageAssistant, PermManageMembers, PermManageKeys, PermReadAudit, PermManageOrg},
		"root":     nil, "": nil}
	for k, want := range own {
		scope := Scope{User: "u", Org: orgA, Role: RoleOwner, Key: "k", KeyScopes: []KeyScope{k}}
		for _, p := range all {
			require.Equal(t, slices.Contains(want, p), scope.Can(p), "%s of a key for %q", p, k)
		}
	}
	member := Scope{User: "u", Org: orgA, Role: RoleMember, Key: "k", KeyScopes: KeyScopes()}
	require.False(t, member.Can(PermReview), "no scope gives more than the role")
}

func TestARoleIsOfferedTheScopesItCanUse(t *testing.T) {
	t.Parallel()
	require.Equal(t, []KeyScope{ScopeRead, ScopeRun}, RoleMember.KeyScopes())
	require.Equal(t, []KeyScope{ScopeRead, ScopeRun, ScopeReview}, RoleReviewer.KeyScopes())
	require.Equal(t, KeyScopes(), RoleAdmin.KeyScopes())
	require.Empty(t, Role("guest").KeyScopes())
}

func TestAKeyForChatIsOneForRuns(t *testing.T) {
	t.Parallel()
	key, _, err := MintAPIKey(Scope{User: "u", Org: orgA, Role: RoleMember}, "k", "old", []KeyScope{"chat", ScopeRun, ScopeRead}, 0, time.Now())
	require.NoError(t, err)
	require.Equal(t, []KeyScope{ScopeRead, ScopeRun}, key.Scopes)
	require.True(t, APIKey{Scopes: []KeyScope{"chat"}}.Scope(RoleMember).Can(PermRun), "as a node of the release before wrote it")
}
