package auth

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

func TestNobodyTouchesWhatIsAboveThemAndTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	const gone = Role("")
	for name, c := range map[string]struct {
		change MemberChange
		want   fault.Kind
		code   string
	}{
		"an admin makes a reviewer":            {MemberChange{Actor: RoleAdmin, From: RoleMember, To: RoleReviewer}, "", ""},
		"an admin makes an admin":              {MemberChange{Actor: RoleAdmin, From: RoleMember, To: RoleAdmin}, "", ""},
		"an admin makes an owner":              {MemberChange{Actor: RoleAdmin, From: RoleMember, To: RoleOwner, OtherOwners: 1}, fault.KindForbidden, "role_above_own"},
		"an admin makes themselves an owner":   {MemberChange{Actor: RoleAdmin, Self: true, From: RoleAdmin, To: RoleOwner, OtherOwners: 1}, fault.KindForbidden, "role_above_own"},
		"an admin lowers an owner":             {MemberChange{Actor: RoleAdmin, From: RoleOwner, To: RoleMember, OtherOwners: 1}, fault.KindForbidden, "role_above_own"},
		"an admin removes an owner":            {MemberChange{Actor: RoleAdmin, From: RoleOwner, To: gone, OtherOwners: 1}, fault.KindForbidden, "role_above_own"},
		"an admin removes an admin":            {MemberChange{Actor: RoleAdmin, From: RoleAdmin, To: gone}, "", ""},
		"a reviewer removes a member":          {MemberChange{Actor: RoleReviewer, From: RoleMember, To: gone}, fault.KindForbidden, "forbidden"},
		"a member raises themselves":           {MemberChange{Actor: RoleMember, Self: true, From: RoleMember, To: RoleAdmin}, fault.KindForbidden, "forbidden"},
		"someone who is gone":                  {MemberChange{From: RoleMember, To: gone}, fault.KindForbidden, "forbidden"},
		"an owner removes an owner":            {MemberChange{Actor: RoleOwner, From: RoleOwner, To: gone, OtherOwners: 1}, "", ""},
		"an owner steps down beside another":   {MemberChange{Actor: RoleOwner, Self: true, From: RoleOwner, To: RoleMember, OtherOwners: 1}, "", ""},
		"the last owner steps down":            {MemberChange{Actor: RoleOwner, Self: true, From: RoleOwner, To: RoleAdmin}, fault.KindConflict, CodeLastOwner},
		"the last owner leaves":                {MemberChange{Actor: RoleOwner, Self: true, From: RoleOwner, To: gone}, fault.KindConflict, CodeLastOwner},
		"the last owner stays what they are":   {MemberChange{Actor: RoleOwner, Self: true, From: RoleOwner, To: RoleOwner}, "", ""},
		"a member leaves, which needs nothing": {MemberChange{Actor: RoleMember, Self: true, From: RoleMember, To: gone}, "", ""},
	} {
		err := c.change.Check()
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.Equal(t, c.want, fault.KindOf(err), "%s: %v", name, err)
		require.Equal(t, c.code, fault.Code(err), name)
	}
}

func TestRolesAreInOrder(t *testing.T) {
	t.Parallel()
	require.True(t, RoleOwner.Above(RoleAdmin))
	require.False(t, RoleAdmin.Above(RoleAdmin))
	require.True(t, RoleMember.Above("root"), "what is no role is below all")
	require.Equal(t, []Role{RoleMember, RoleReviewer, RoleAdmin}, RoleAdmin.UpTo())
	require.Empty(t, Role("root").UpTo())
}

func TestFourEyesAreRequiredUnlessSwitchedOff(t *testing.T) {
	t.Parallel()
	on, off := true, false
	require.True(t, OrgSettings{}.RequiresFourEyes())
	require.True(t, OrgSettings{FourEyes: &on}.RequiresFourEyes())
	require.False(t, OrgSettings{FourEyes: &off}.RequiresFourEyes())
}

func TestAnOrganisationsNameIsCleanedAndBounded(t *testing.T) {
	t.Parallel()
	name, err := CheckOrgName("  Acme\tand \u202eSons ")
	require.NoError(t, err)
	require.Equal(t, "Acme and Sons", name)
	for _, bad := range []string{"", " \n", "\x00\x01", strings.Repeat("x", 81)} {
		_, err := CheckOrgName(bad)
		require.Contains(t, fault.FieldsOf(err), "name", "%q", bad)
	}
}

func TestACommandIsADoorOfItsOwn(t *testing.T) {
	t.Parallel()
	require.Equal(t, ViaCommand, Scope{User: "u", Command: true}.Via())
	require.Equal(t, ViaPage, Scope{User: "u", Session: "s"}.Via())
	require.Equal(t, ViaAPI, Scope{User: "u", Key: "k"}.Via())
	require.Equal(t, ViaSystem, Scope{User: "u"}.Via())
}
