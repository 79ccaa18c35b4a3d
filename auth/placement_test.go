package auth

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

func TestPlaceDecidesFromTrustedFactsAlone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	acme := Org{ID: "01900000-0000-7000-8000-000000000001", Slug: "acme"}
	globex := Org{ID: "01900000-0000-7000-8000-000000000002", Slug: "globex"}
	verified := Profile{Identity: Identity{"https://id.test", "1"}, Email: "ada@acme.test", EmailVerified: true, Name: "Ada"}
	unverified := verified
	unverified.EmailVerified = false
	public := verified
	public.Email = "ada@gmail.com"
	open := &Invitation{ID: "inv", Org: acme, Email: "Ada@acme.test", Role: RoleReviewer, ExpiresAt: now.Add(time.Hour)}
	change := func(f func(*Invitation)) *Invitation { c := *open; f(&c); return &c }
	inGlobex := []Membership{{Org: globex, Role: RoleAdmin}}
	inAcme := []Membership{{Org: globex, Role: RoleAdmin}, {Org: acme, Role: RoleMember}}
	invited := Placement{Kind: PlaceInvite, Org: acme.ID, Role: RoleReviewer, Invitation: "inv"}
	byDomain := Placement{Kind: PlaceDomain, Org: acme.ID, Role: RoleMember}

	for name, c := range map[string]struct {
		policy SignupPolicy
		facts  Facts
		want   Placement
		code   string
	}{
		"an invitation places a new person":              {SignupInvite, Facts{Profile: verified, Invited: true, Invitation: open}, invited, ""},
		"an invitation wins over the domain":             {SignupInvite, Facts{Profile: verified, Invited: true, Invitation: open, DomainOrg: &globex}, invited, ""},
		"an invitation adds to other memberships":        {SignupInvite, Facts{Profile: verified, Invited: true, Invitation: open, Memberships: inGlobex}, invited, ""},
		"an invitation changes no role that exists":      {SignupInvite, Facts{Profile: verified, Invited: true, Invitation: open, Memberships: inAcme}, Placement{Kind: PlaceMember, Org: acme.ID, Role: RoleMember}, ""},
		"a used link leads its member home":              {SignupInvite, Facts{Profile: verified, Invited: true, Invitation: change(func(i *Invitation) { i.AcceptedAt = now }), Memberships: inAcme}, Placement{Kind: PlaceMember, Org: acme.ID, Role: RoleMember}, ""},
		"an invitation needs the verified address":       {SignupOpen, Facts{Profile: unverified, Invited: true, Invitation: open}, Placement{}, "invitation_mismatch"},
		"an invitation of another address is refused":    {SignupOpen, Facts{Profile: public, Invited: true, Invitation: open}, Placement{}, "invitation_mismatch"},
		"an expired invitation is refused":               {SignupOpen, Facts{Profile: verified, Invited: true, Invitation: change(func(i *Invitation) { i.ExpiresAt = now })}, Placement{}, "invitation_closed"},
		"a revoked invitation is refused":                {SignupOpen, Facts{Profile: verified, Invited: true, Invitation: change(func(i *Invitation) { i.RevokedAt = now })}, Placement{}, "invitation_closed"},
		"a used invitation is refused":                   {SignupOpen, Facts{Profile: verified, Invited: true, Invitation: change(func(i *Invitation) { i.AcceptedAt = now })}, Placement{}, "invitation_closed"},
		"an invitation to an unknown role is refused":    {SignupOpen, Facts{Profile: verified, Invited: true, Invitation: change(func(i *Invitation) { i.Role = "god" })}, Placement{}, "invitation_closed"},
		"an unknown link is refused even for members":    {SignupOpen, Facts{Profile: verified, Invited: true, Memberships: inGlobex}, Placement{}, "invitation_unknown"},
		"a link must be opened, not only be sent":        {SignupInvite, Facts{Profile: verified, Invitation: open}, Placement{}, "signup_refused"},
		"a membership wins over the domain":              {SignupOpen, Facts{Profile: verified, Memberships: inGlobex, DomainOrg: &acme}, Placement{Kind: PlaceMember, Org: globex.ID, Role: RoleAdmin}, ""},
		"the latest membership comes first":              {SignupInvite, Facts{Profile: verified, Memberships: inAcme}, Placement{Kind: PlaceMember, Org: globex.ID, Role: RoleAdmin}, ""},
		"a member may lose the verified address":         {SignupInvite, Facts{Profile: unverified, Memberships: inGlobex}, Placement{Kind: PlaceMember, Org: globex.ID, Role: RoleAdmin}, ""},
		"a proved domain places, policy invite":          {SignupInvite, Facts{Profile: verified, DomainOrg: &acme}, byDomain, ""},
		"a proved domain places, policy domain":          {SignupDomain, Facts{Profile: verified, DomainOrg: &acme}, byDomain, ""},
		"a proved domain places, policy open":            {SignupOpen, Facts{Profile: verified, DomainOrg: &acme}, byDomain, ""},
		"a domain needs the verified address":            {SignupOpen, Facts{Profile: unverified, DomainOrg: &acme}, Placement{}, "email_unverified"},
		"a public domain never places":                   {SignupDomain, Facts{Profile: public, DomainOrg: &acme}, Placement{}, "signup_refused"},
		"policy domain refuses the rest":                 {SignupDomain, Facts{Profile: verified}, Placement{}, "signup_refused"},
		"policy invite refuses the rest":                 {SignupInvite, Facts{Profile: verified}, Placement{}, "signup_refused"},
		"an unknown policy refuses":                      {"", Facts{Profile: verified}, Placement{}, "signup_refused"},
		"policy open needs the verified address as well": {SignupOpen, Facts{Profile: unverified}, Placement{}, "email_unverified"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Place(c.policy, c.facts, now)
			require.Equal(t, c.want, got)
			if c.code == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, fault.KindForbidden, fault.KindOf(err))
			require.Equal(t, c.code, fault.Code(err))
		})
	}
}

func TestOpenSignupMakesAPersonalOrganisationWithAValidSlug(t *testing.T) {
	t.Parallel()
	slug := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`) // the check of table orgs
	for email, start := range map[string]string{
		"ada@acme.test":        "ada-",
		"Ada.Love+x@gmail.com": "ada-love-x-",
		"---@acme.test":        "org-",
		"!#$%@acme.test":       "org-",
		"a2345678901234567890123.-long.local.part@a.test": "a2345678901234567890123-",
	} {
		p, err := Place(SignupOpen, Facts{Profile: Profile{Email: email, EmailVerified: true}}, time.Now())
		require.NoError(t, err)
		require.Equal(t, PlaceCreate, p.Kind)
		require.Equal(t, RoleOwner, p.Role)
		require.Regexp(t, slug, p.OrgSlug)
		require.True(t, len(p.OrgSlug) > len(start) && p.OrgSlug[:len(start)] == start, p.OrgSlug)
		require.NotEmpty(t, p.OrgName)
	}
}
