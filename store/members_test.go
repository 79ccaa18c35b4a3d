package store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// recorded gives the audit log of an organisation as action, object, before and
// after, the oldest first.
func (b *bundle) recorded(t *testing.T, scope auth.Scope) []string {
	t.Helper()
	return collect[string](t, connect(t, b.url, "heddle_system"), `select action || ' ' || object_name || ' ' || coalesce(before::text, '-')
		|| ' ' || coalesce(after::text, '-') from audit_log where org_id = $1 order by seq`, string(scope.Org))
}

func (b *bundle) role(t *testing.T, scope auth.Scope) string {
	t.Helper()
	return scan[string](t, connect(t, b.url, "heddle_system"),
		`select coalesce((select role from memberships where org_id = $1 and user_id = $2), 'none')`, string(scope.Org), string(scope.User))
}

// apiKey makes a key of a person with a prefix of its own.
func (b *bundle) apiKey(t *testing.T, scope auth.Scope) auth.APIKey {
	t.Helper()
	key := auth.APIKey{ID: auth.KeyID(id.New()), Org: scope.Org, User: scope.User, Name: "laptop", Prefix: "hdl_" + id.New()[24:],
		Scopes: []auth.KeyScope{auth.ScopeRun}, CreatedAt: time.Now()}
	require.NoError(t, b.db.CreateAPIKey(t.Context(), scope, key))
	return key
}

func (b *bundle) invite(t *testing.T, scope auth.Scope, email string, role auth.Role) (auth.InvitationID, auth.Digest) {
	t.Helper()
	i := auth.Invitation{ID: auth.InvitationID(id.New()), Email: email, Role: role, ExpiresAt: time.Now().Add(time.Hour)}
	token := auth.Digest(sha256.Sum256([]byte(i.ID)))
	require.NoError(t, b.db.CreateInvitation(t.Context(), scope, i, token))
	return i.ID, token
}

// enter signs a person in as the product does; the link's digest may be nil.
func (b *bundle) enter(t *testing.T, org, name string, link *auth.Digest) (auth.SignedIn, error) {
	t.Helper()
	now, token := time.Now(), auth.Digest(sha256.Sum256([]byte(id.New())))
	return b.db.SignIn(t.Context(), auth.Entry{
		Profile: auth.Profile{Identity: auth.Identity{Issuer: "https://idp.test", Subject: org + "/" + name}, Provider: "test",
			Email: name + "@" + org + ".test", EmailVerified: true, Name: name},
		Invitation: link, Session: auth.NewSession(auth.SessionID(id.New()), "test", "192.0.2.1", now), Token: token,
	}, func(f auth.Facts) (auth.Placement, error) { return auth.Place(auth.SignupInvite, f, now) })
}

func TestMembersAreFoundSortedAndPaged(t *testing.T) {
	e := furnish(t)
	ctx := t.Context()
	e.person(t, "acme", "ray", auth.RoleReviewer)
	names := func(q auth.MemberQuery) []string {
		found, total, err := e.db.Members(ctx, e.ada, q)
		require.NoError(t, err)
		require.GreaterOrEqual(t, total, len(found))
		out := make([]string, len(found))
		for i, m := range found {
			out[i] = m.Name
		}
		return out
	}
	require.Equal(t, []string{"ada", "max", "mia", "ray"}, names(auth.MemberQuery{}))
	require.Equal(t, []string{"ray", "mia", "max", "ada"}, names(auth.MemberQuery{Sort: auth.SortByName, Descending: true}))
	require.Equal(t, []string{"ada", "ray", "max", "mia"}, names(auth.MemberQuery{Sort: auth.SortByRole, Descending: true}))
	require.Equal(t, []string{"max", "mia", "ray", "ada"}, names(auth.MemberQuery{Sort: auth.SortByRole}))
	require.Equal(t, []string{"mia", "max", "ada", "ray"}, names(auth.MemberQuery{Sort: auth.SortByJoined}))
	require.Equal(t, []string{"ray", "ada", "max", "mia"}, names(auth.MemberQuery{Sort: auth.SortByJoined, Descending: true}))
	require.Equal(t, []string{"max", "mia"}, names(auth.MemberQuery{Text: "M", Role: auth.RoleMember}))
	require.Equal(t, []string{"ray"}, names(auth.MemberQuery{Text: "RAY@ACME"}))
	require.Empty(t, names(auth.MemberQuery{Text: "%"}), "text is no pattern")
	require.Equal(t, []string{"ray"}, names(auth.MemberQuery{Skip: 3}))

	found, total, err := e.db.Members(ctx, e.ada, auth.MemberQuery{Text: "mia"})
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.WithinDuration(t, time.Now(), found[0].LastSeenAt, time.Minute, "she signed in")
	require.Equal(t, 1, found[0].Keys)
	one, err := e.db.Member(ctx, e.ada, e.mia.User)
	require.NoError(t, err)
	require.Equal(t, found[0], one)
	ada, err := e.db.Member(ctx, e.ada, e.ada.User)
	require.NoError(t, err)
	require.Zero(t, ada.LastSeenAt)
	for _, s := range []auth.Scope{e.mia, keyOf(e.ada, auth.ScopeRun)} {
		_, _, err = e.db.Members(ctx, s, auth.MemberQuery{})
		requireKind(t, fault.KindForbidden, err)
		_, err = e.db.Member(ctx, s, e.max.User)
		requireKind(t, fault.KindForbidden, err)
	}
}

// keyOf gives the scope of a key with these scopes.
func keyOf(s auth.Scope, scopes ...auth.KeyScope) auth.Scope {
	s.Key, s.KeyScopes = auth.KeyID(id.New()), scopes
	return s
}

func TestARoleChangesWithinTheRulesAndIsRecorded(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	olga := b.person(t, "acme", "olga", auth.RoleOwner)
	session, key := b.signIn(t, "acme/mia", 2), b.apiKey(t, b.mia)

	ended, err := b.db.SetRole(ctx, b.ada, b.mia.User, auth.RoleReviewer)
	require.NoError(t, err)
	require.Equal(t, auth.Credentials{Sessions: []auth.SessionID{session.ID}, Keys: []auth.KeyID{key.ID}}, ended)
	require.Equal(t, "reviewer", b.role(t, b.mia))
	ended, err = b.db.SetRole(ctx, b.ada, b.mia.User, auth.RoleReviewer)
	require.NoError(t, err)
	require.Empty(t, ended, "nothing changed")

	for name, c := range map[string]struct {
		by   auth.Scope
		whom auth.Scope
		to   auth.Role
		kind fault.Kind
	}{
		"above their own":      {b.ada, b.mia, auth.RoleOwner, fault.KindForbidden},
		"of someone above":     {b.ada, olga, auth.RoleMember, fault.KindForbidden},
		"by a member":          {b.max, b.mia, auth.RoleMember, fault.KindForbidden},
		"of the last owner":    {olga, olga, auth.RoleAdmin, fault.KindConflict},
		"to what is no role":   {olga, b.mia, "root", fault.KindInvalid},
		"of someone elsewhere": {olga, b.gia, auth.RoleReviewer, fault.KindNotFound},
	} {
		_, err := b.db.SetRole(ctx, c.by, c.whom.User, c.to)
		requireKind(t, c.kind, err)
		require.NotEqual(t, string(c.to), b.role(t, c.whom), name)
	}
	stale := b.ada
	_, err = b.db.SetRole(ctx, olga, b.ada.User, auth.RoleMember)
	require.NoError(t, err)
	_, err = b.db.SetRole(ctx, stale, b.max.User, auth.RoleAdmin)
	requireKind(t, fault.KindForbidden, err) // what counts is the role now, not when the request began
	require.Equal(t, []string{
		`key.created laptop - {"prefix":"` + key.Prefix + `","scopes":["run"]}`,
		`member.role_changed mia {"role":"member"} {"role":"reviewer"}`,
		`member.role_changed ada {"role":"admin"} {"role":"member"}`,
	}, b.recorded(t, b.ada))
}

func TestRemovalEndsSessionsKeysAndInvitationsAndLeavesThreads(t *testing.T) {
	e := furnish(t)
	ctx := t.Context()
	// The same person in another organisation keeps what they have there.
	_, err := e.db.EnsurePerson(ctx, auth.Person{Identity: auth.Identity{Issuer: "https://idp.test", Subject: "acme/mia"}, Provider: "test",
		Email: "mia@acme.test", Name: "mia", OrgSlug: "globex", OrgName: "globex", Role: auth.RoleMember})
	require.NoError(t, err)
	elsewhere := auth.Scope{User: e.mia.User, Org: e.gus.Org, Role: auth.RoleMember}
	other := e.apiKey(t, elsewhere)

	ended, err := e.db.RemoveMember(ctx, e.ada, e.mia.User, time.Now())
	require.NoError(t, err)
	require.Equal(t, auth.Credentials{Sessions: []auth.SessionID{e.session.ID}, Keys: []auth.KeyID{e.key.ID}}, ended)
	require.Equal(t, "none", e.role(t, e.mia))
	require.Equal(t, "member", e.role(t, elsewhere))
	live, err := e.db.LiveCredentials(ctx, []string{string(e.session.ID), string(e.key.ID), string(other.ID)}, time.Now())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{string(other.ID): true}, live)
	_, err = e.db.FindSession(ctx, auth.Digest{2}, time.Now())
	requireKind(t, fault.KindNotFound, err)
	_, _, err = e.db.FindAPIKey(ctx, e.key.Prefix)
	requireKind(t, fault.KindNotFound, err)
	_, err = e.db.Thread(ctx, e.ada, e.private.ID)
	require.NoError(t, err, "her threads stay")
	_, err = e.db.RemoveMember(ctx, e.ada, e.mia.User, time.Now())
	requireKind(t, fault.KindNotFound, err)
	log := e.recorded(t, e.ada)
	require.Equal(t, `member.removed mia {"email":"mia@acme.test","role":"member"} {"invitations_revoked":0,"keys_revoked":["hdl_ours"],"sessions_ended":1}`,
		log[len(log)-1])
}

func TestWhoWasRemovedOrLeftComesBackByInvitationAlone(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	require.NoError(t, b.db.ProveDomain(ctx, "acme", "acme.test", time.Now()))
	in, err := b.enter(t, "acme", "zoe", nil)
	require.NoError(t, err)
	require.Equal(t, auth.RoleMember, in.Role, "the domain places a newcomer")

	_, early := b.invite(t, b.ada, "other@acme.test", auth.RoleMember)
	_, err = b.db.RemoveMember(ctx, b.ada, in.User.ID, time.Now())
	require.NoError(t, err)
	_, err = b.enter(t, "acme", "zoe", nil)
	require.Equal(t, "signup_refused", fault.Code(err), "but not somebody who was removed")
	_, err = b.enter(t, "acme", "zoe", &early)
	require.Equal(t, "invitation_mismatch", fault.Code(err))

	// A key that was made in the moment of the removal.
	late := b.apiKey(t, in.Scope())
	_, link := b.invite(t, b.ada, "Zoe@acme.test", auth.RoleReviewer)
	in, err = b.enter(t, "acme", "zoe", &link)
	require.NoError(t, err)
	live, err := b.db.LiveCredentials(ctx, []string{string(late.ID), string(in.Session.ID)}, time.Now())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{string(in.Session.ID): true}, live)
	require.Equal(t, auth.RoleReviewer, in.Role)
	_, err = b.db.LeaveOrg(ctx, in.Scope(), time.Now())
	require.NoError(t, err)
	_, err = b.enter(t, "acme", "zoe", &link)
	require.Equal(t, "invitation_closed", fault.Code(err))
	log := b.recorded(t, b.ada)
	require.Equal(t, []string{"member.joined", "invitation.created", "member.removed", "key.created", "invitation.created", "invitation.accepted", "member.joined", "member.left"},
		actions(log))
	require.Equal(t, `invitation.accepted zoe@acme.test - {"member":"`+string(in.User.ID)+`","role":"reviewer"}`, log[5])
}

func actions(log []string) []string {
	out := make([]string, len(log))
	for i, line := range log {
		_, _ = fmt.Sscan(line, &out[i])
	}
	return out
}

func TestRemovalWithdrawsWhatWouldLetThePersonInAgain(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	// An invitation made before its address became a member's.
	_, link := b.invite(t, b.ada, "ZOE@acme.test", auth.RoleAdmin)
	zoe := b.person(t, "acme", "zoe", auth.RoleMember)
	_, err := b.db.RemoveMember(ctx, b.ada, zoe.User, time.Now())
	require.NoError(t, err)
	_, err = b.enter(t, "acme", "zoe", &link)
	require.Equal(t, "invitation_closed", fault.Code(err))
}

// TestOneOwnerAlwaysStays lets the owners of an organisation go in every way at
// the same time: one of them must remain.
func TestOneOwnerAlwaysStays(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	for round := range 8 {
		org := fmt.Sprintf("org%d", round)
		owners := make([]auth.Scope, 4)
		for i := range owners {
			owners[i] = b.person(t, org, fmt.Sprintf("owner%d", i), auth.RoleOwner)
		}
		begin := make(chan struct{})
		errs := make([]error, len(owners))
		var all sync.WaitGroup
		for i, me := range owners {
			all.Go(func() {
				<-begin
				switch i {
				case 0:
					_, errs[i] = b.db.SetRole(ctx, me, me.User, auth.RoleMember)
				case 1:
					_, errs[i] = b.db.RemoveMember(ctx, me, owners[2].User, time.Now())
				default:
					_, errs[i] = b.db.LeaveOrg(ctx, me, time.Now())
				}
			})
		}
		// A fifth hand takes away the owner whom nobody else touches.
		all.Go(func() {
			<-begin
			_, _ = b.db.LeaveOrg(ctx, owners[1], time.Now()) // whether it may depends on the others
		})
		close(begin)
		all.Wait()
		left := scan[int](t, connect(t, b.url, "heddle_system"), `select count(*) from memberships where org_id = $1 and role = 'owner'`, string(owners[0].Org))
		require.Equal(t, 1, left, "round %d: %v", round, errs)
		for _, err := range errs {
			require.True(t, err == nil || slices.Contains([]fault.Kind{fault.KindConflict, fault.KindNotFound, fault.KindForbidden}, fault.KindOf(err)), "%v", err)
		}
	}
}

func TestTheLastOwnerWhoCanSignInStays(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	olga, otto := b.person(t, "acme", "olga", auth.RoleOwner), b.person(t, "acme", "otto", auth.RoleOwner)
	_, err := connect(t, b.url, "heddle_system").Exec(ctx, "update users set disabled_at = now() where id = $1", string(otto.User))
	require.NoError(t, err)
	_, err = b.db.LeaveOrg(ctx, olga, time.Now())
	require.Equal(t, auth.CodeLastOwner, fault.Code(err))
	_, err = b.db.RemoveMember(ctx, olga, otto.User, time.Now())
	require.NoError(t, err, "a disabled owner is none that counts")
	require.Equal(t, "owner", b.role(t, olga))
}

func TestInvitationsAreListedReplacedAndWithdrawn(t *testing.T) {
	b := setup(t)
	ctx, now := t.Context(), time.Now()
	list := func() []auth.Invitation {
		found, err := b.db.Invitations(ctx, b.ada, now)
		require.NoError(t, err)
		return found
	}
	first, old := b.invite(t, b.ada, "new@acme.test", auth.RoleMember)
	second, _ := b.invite(t, b.ada, "NEW@acme.test", auth.RoleReviewer)
	found := list()
	require.Len(t, found, 1, "one link of an address is good at a time")
	require.Equal(t, second, found[0].ID)
	require.Equal(t, auth.RoleReviewer, found[0].Role)
	require.Equal(t, "ada", found[0].Inviter)
	require.Equal(t, b.ada.User, found[0].InvitedBy)
	require.True(t, found[0].Open(now))
	require.NotEqual(t, first, second)
	_, err := b.enter(t, "acme", "new", &old)
	require.Equal(t, "invitation_closed", fault.Code(err))

	err = b.db.CreateInvitation(ctx, b.ada, auth.Invitation{ID: auth.InvitationID(id.New()), Email: "Mia@acme.test", Role: auth.RoleMember,
		ExpiresAt: now.Add(time.Hour)}, auth.Digest{7})
	require.Contains(t, fault.FieldsOf(err), "email", "a member needs no invitation")
	err = b.db.CreateInvitation(ctx, b.ada, auth.Invitation{Email: "x", Role: auth.RoleOwner}, auth.Digest{7})
	require.Len(t, fault.FieldsOf(err), 2, "all that is wrong at once")

	_, err = connect(t, b.url, "heddle_system").Exec(ctx, "update invitations set expires_at = $1 where id = $2", now.Add(-time.Hour), string(second))
	require.NoError(t, err)
	require.False(t, list()[0].Open(now), "an expired one is still shown")
	require.NoError(t, b.db.RevokeInvitation(ctx, b.ada, second, now))
	require.Empty(t, list())
	requireKind(t, fault.KindNotFound, b.db.RevokeInvitation(ctx, b.ada, second, now))
	requireKind(t, fault.KindForbidden, b.db.RevokeInvitation(ctx, b.mia, second, now))
	_, err = b.db.Invitations(ctx, b.mia, now)
	requireKind(t, fault.KindForbidden, err)
	log := b.recorded(t, b.ada)
	require.Equal(t, []string{"invitation.created", "invitation.created", "invitation.revoked"}, actions(log))
	require.Contains(t, log[1], `"replaced":1`)
}

func TestKeysOfEveryoneAreFoundByPersonAndTheirRevocationIsRecorded(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	hers, his := b.apiKey(t, b.mia), b.apiKey(t, b.max)
	ids := func(s auth.Scope, person string) []auth.KeyID {
		found, err := b.db.APIKeys(ctx, s, person)
		require.NoError(t, err)
		var out []auth.KeyID
		for _, k := range found {
			out = append(out, k.ID)
		}
		return out
	}
	require.ElementsMatch(t, []auth.KeyID{hers.ID, his.ID}, ids(b.ada, ""))
	require.Equal(t, []auth.KeyID{hers.ID}, ids(b.ada, "MIA@"))
	require.Equal(t, []auth.KeyID{hers.ID}, ids(b.mia, ""), "a member sees her own")
	require.Empty(t, ids(b.mia, "max"))
	found, err := b.db.APIKeys(ctx, b.ada, "max")
	require.NoError(t, err)
	require.Equal(t, "max@acme.test", found[0].OwnerEmail)
	require.Equal(t, "max", found[0].OwnerName)

	requireKind(t, fault.KindNotFound, b.db.RevokeAPIKey(ctx, b.mia, his.ID, time.Now()))
	require.NoError(t, b.db.RevokeAPIKey(ctx, b.ada, his.ID, time.Now()))
	require.Equal(t, []auth.KeyID{hers.ID}, ids(b.ada, ""))
	log := b.recorded(t, b.ada)
	require.Equal(t, []string{"key.created", "key.created", "key.revoked"}, actions(log))
	require.Equal(t, `key.revoked laptop {"owner":"`+string(b.max.User)+`","prefix":"`+his.Prefix+`","scopes":["run"]} -`, log[2])
}

func TestOwnersAloneChangeTheOrganisationAndOnlyWhatTheyName(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	olga := b.person(t, "acme", "olga", auth.RoleOwner)
	on, off := true, false
	settings := func() auth.OrgSettings {
		s, err := b.db.OrgSettings(ctx, b.mia)
		require.NoError(t, err)
		return s
	}
	require.Nil(t, settings().FourEyes)
	requireKind(t, fault.KindForbidden, b.db.SetOrgSettings(ctx, b.ada, auth.OrgSettings{FourEyes: &off}))
	requireKind(t, fault.KindForbidden, b.db.RenameOrg(ctx, b.ada, "x"))
	requireKind(t, fault.KindInvalid, b.db.RenameOrg(ctx, olga, " "))

	_, err := connect(t, b.url, "heddle_system").Exec(ctx, `update orgs set settings = '{"later": 1}' where id = $1`, string(olga.Org))
	require.NoError(t, err)
	require.NoError(t, b.db.SetOrgSettings(ctx, olga, auth.OrgSettings{FourEyes: &off}))
	require.NoError(t, b.db.SetOrgSettings(ctx, olga, auth.OrgSettings{}))
	require.False(t, settings().RequiresFourEyes())
	require.JSONEq(t, `{"later": 1, "four_eyes": false}`, scan[string](t, b.inOrg(t, olga), "select settings::text from orgs"))
	require.NoError(t, b.db.SetOrgSettings(ctx, olga, auth.OrgSettings{FourEyes: &on}))
	require.NoError(t, b.db.SetOrgSettings(ctx, olga, auth.OrgSettings{FourEyes: &on}))
	require.True(t, settings().RequiresFourEyes())
	require.NoError(t, b.db.RenameOrg(ctx, olga, "  Acme   Ltd "))
	require.NoError(t, b.db.RenameOrg(ctx, olga, "Acme Ltd"))
	require.Equal(t, []string{
		`organisation.settings_changed acme {"four_eyes":true} {"four_eyes":false}`,
		`organisation.settings_changed acme {"four_eyes":false} {"four_eyes":true}`,
		`organisation.renamed Acme Ltd {"name":"acme"} {"name":"Acme Ltd"}`,
	}, b.recorded(t, olga), "what changes nothing is not recorded")
}

// TestAChangeThatCannotBeRecordedDoesNotHappen holds the audit log's last lock
// until the caller gives up.
func TestAChangeThatCannotBeRecordedDoesNotHappen(t *testing.T) {
	b := setup(t)
	b.apiKey(t, b.mia) // so that there is a head
	holder := connect(t, b.url, "heddle_system")
	tx, err := holder.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "select 1 from audit_heads where org_id = $1 for update", string(b.ada.Org))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = b.db.SetRole(ctx, b.ada, b.mia.User, auth.RoleReviewer)
	require.Error(t, err)
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, "member", b.role(t, b.mia))
}

func TestOfInvitationsMadeAtOnceOneStaysOpen(t *testing.T) {
	e := furnish(t)
	var wg sync.WaitGroup
	for range 8 {
		i := auth.Invitation{ID: auth.InvitationID(id.New()), Email: "new@acme.test", Role: auth.RoleMember, ExpiresAt: time.Now().Add(time.Hour)}
		wg.Go(func() { assert.NoError(t, e.db.CreateInvitation(t.Context(), e.ada, i, sha256.Sum256([]byte(i.ID)))) })
	}
	wg.Wait()
	open := collect[int](t, e.inOrg(t, e.ada), `select count(*)::int from invitations
		where org_id = $1 and lower(email) = 'new@acme.test' and revoked_at is null and accepted_at is null`, string(e.ada.Org))
	require.Equal(t, []int{1}, open)
}

func TestWhoIsNoAdminAnyMoreInvitesNobody(t *testing.T) {
	e := furnish(t)
	late := e.person(t, "acme", "late", auth.RoleAdmin)
	_, err := e.db.SetRole(t.Context(), e.ada, late.User, auth.RoleMember)
	require.NoError(t, err)
	err = e.db.CreateInvitation(t.Context(), late, auth.Invitation{ID: auth.InvitationID(id.New()), Email: "new@acme.test",
		Role: auth.RoleMember, ExpiresAt: time.Now().Add(time.Hour)}, auth.Digest{1})
	requireKind(t, fault.KindForbidden, err)
}

// A sign-in ends the session of the cookie it replaces, a removal those of the
// member; both are recorded in the same log.
func TestASignInAndARemovalDoNotWaitForEachOther(t *testing.T) {
	e := furnish(t)
	now := time.Now()
	for round := range 25 {
		leaver := e.person(t, "acme", fmt.Sprintf("leaver%d", round), auth.RoleMember)
		cookie := auth.Digest(sha256.Sum256([]byte(id.New())))
		sign := func(name string, token auth.Digest, link, replaces *auth.Digest) error {
			_, err := e.db.SignIn(t.Context(), auth.Entry{
				Profile: auth.Profile{Identity: auth.Identity{Issuer: "https://idp.test", Subject: "acme/" + name}, Provider: "test",
					Email: name + "@acme.test", EmailVerified: true, Name: name},
				Invitation: link, Session: auth.NewSession(auth.SessionID(id.New()), "test", "192.0.2.1", now), Token: token, Replaces: replaces,
			}, func(f auth.Facts) (auth.Placement, error) { return auth.Place(auth.SignupInvite, f, now) })
			return err
		}
		require.NoError(t, sign(fmt.Sprintf("leaver%d", round), cookie, nil, nil))
		comer := fmt.Sprintf("comer%d", round)
		_, link := e.invite(t, e.ada, comer+"@acme.test", auth.RoleMember)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := e.db.RemoveMember(t.Context(), e.ada, leaver.User, now)
			assert.NoError(t, err)
		})
		wg.Go(func() { assert.NoError(t, sign(comer, auth.Digest(sha256.Sum256([]byte(comer))), &link, &cookie)) })
		wg.Wait()
	}
	report, err := e.db.VerifyAuditOf(t.Context(), e.ada.Org)
	require.NoError(t, err)
	require.Nil(t, report.Broken)
}
