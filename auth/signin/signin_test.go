package signin_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/oauth"
	"github.com/heddle/heddle/auth/signin"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// bundle has names of its own in the shared database, so tests run side by side.
type bundle struct {
	*signin.Service
	db    *store.DB
	clock *clock.Fake
	tag   string
}

func setup(t *testing.T, policy auth.SignupPolicy) bundle {
	t.Helper()
	db, err := store.Open(context.Background(), store.Options{URL: databaseURL, MaxConns: 4, MinConns: 0})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	clk := clock.NewFake(time.Now().Truncate(time.Microsecond))
	s, err := signin.New(signin.Options{Ledger: db, Signup: policy, Clock: clk, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return bundle{s, db, clk, strings.ReplaceAll(id.New(), "-", "")[20:]}
}

func (b bundle) profile(subject string) oauth.Finished {
	return oauth.Finished{Profile: auth.Profile{Provider: "idp", Name: "Ada",
		Identity: auth.Identity{Issuer: "https://id.test/" + b.tag, Subject: subject},
		Email:    subject + "@" + b.domain(), EmailVerified: true}}
}

func (b bundle) domain() string { return "d" + b.tag + ".test" }
func (b bundle) slug() string   { return "o" + b.tag }

// org makes an organisation with one owner.
func (b bundle) org(t *testing.T, slug string) auth.Scope {
	t.Helper()
	s, err := b.db.EnsurePerson(context.Background(), auth.Person{
		Identity: auth.Identity{Issuer: "https://id.test/" + b.tag, Subject: "boss-" + slug}, Provider: "idp",
		Email: "boss@" + b.domain(), Name: "Boss", OrgSlug: slug, OrgName: "Org", Role: auth.RoleOwner})
	require.NoError(t, err)
	return s
}

func TestOpenSignupMakesAPersonAnOrganisationAndASession(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	in, token, err := b.Enter(ctx, b.profile("ada"), signin.Browser{UserAgent: "Test\x00\xff", IP: "127.0.0.1"})
	require.NoError(t, err)
	require.Equal(t, auth.RoleOwner, in.Role)
	require.True(t, in.Org.Personal)

	got, err := b.Cookie(ctx, token.Reveal())
	require.NoError(t, err)
	require.Equal(t, in.Session.ID, got.Session.ID)
	require.Equal(t, "Test", got.Session.UserAgent)
	require.Equal(t, auth.Scope{User: in.User.ID, Org: in.Org.ID, Role: auth.RoleOwner, Session: in.Session.ID, Locale: "en"}, got.Scope())

	again, _, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.NoError(t, err)
	require.Equal(t, in.User.ID, again.User.ID)
	require.Equal(t, in.Org.ID, again.Org.ID)
	require.NotEqual(t, in.Session.ID, again.Session.ID)
}

func TestTheSameAddressAtAnotherProviderIsAnotherPerson(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	first, _, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.NoError(t, err)
	other := b.profile("ada")
	other.Profile.Identity.Issuer += "/evil"
	second, _, err := b.Enter(ctx, other, signin.Browser{})
	require.NoError(t, err)
	require.NotEqual(t, first.User.ID, second.User.ID)
	require.NotEqual(t, first.Org.ID, second.Org.ID)
}

func TestParallelFirstSignInsMakeOnePerson(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	var mu sync.Mutex
	people := make(map[auth.UserID]bool)
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 8 {
		wg.Go(func() {
			in, _, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
			if err != nil {
				failed.Add(1)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			people[in.User.ID] = true
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	require.Len(t, people, 1)
}

func TestAProvedDomainPlacesAndAnUnprovedOneDoesNot(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupDomain)
	boss := b.org(t, b.slug())
	_, _, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.Equal(t, "signup_refused", fault.Code(err))

	require.NoError(t, b.db.ProveDomain(ctx, b.slug(), strings.ToUpper(b.domain()), b.clock.Now()))
	require.NoError(t, b.db.ProveDomain(ctx, b.slug(), b.domain(), b.clock.Now()), "twice is fine")
	in, _, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.NoError(t, err)
	require.Equal(t, boss.Org, in.Org.ID)
	require.Equal(t, auth.RoleMember, in.Role)

	b.org(t, b.slug()+"x")
	require.Equal(t, fault.KindConflict, fault.KindOf(b.db.ProveDomain(ctx, b.slug()+"x", b.domain(), b.clock.Now())))
	require.Equal(t, fault.KindInvalid, fault.KindOf(b.db.ProveDomain(ctx, b.slug(), "gmail.com", b.clock.Now())))
	require.Equal(t, fault.KindNotFound, fault.KindOf(b.db.ProveDomain(ctx, "nobody", "x.test", b.clock.Now())))
}

func TestAnInvitationIsAcceptedOnceByItsAddress(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupInvite)
	boss := b.org(t, b.slug())
	link := auth.NewToken()
	invite := auth.Invitation{ID: auth.InvitationID(id.New()), Email: "ada@" + b.domain(), Role: auth.RoleReviewer,
		ExpiresAt: b.clock.Now().Add(auth.InvitationLifetime)}
	require.NoError(t, b.db.CreateInvitation(ctx, boss, invite, link.Digest()))

	_, _, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.Equal(t, "signup_refused", fault.Code(err), "being invited is not accepting")
	digest := link.Digest()
	thief := b.profile("eve")
	thief.Invitation = &digest
	_, _, err = b.Enter(ctx, thief, signin.Browser{})
	require.Equal(t, "invitation_mismatch", fault.Code(err))

	f := b.profile("ada")
	f.Invitation = &digest
	in, _, err := b.Enter(ctx, f, signin.Browser{})
	require.NoError(t, err)
	require.Equal(t, boss.Org, in.Org.ID)
	require.Equal(t, auth.RoleReviewer, in.Role)
	other := f
	other.Profile.Identity.Subject = "ada2"
	_, _, err = b.Enter(ctx, other, signin.Browser{})
	require.Equal(t, "invitation_closed", fault.Code(err))

	admin := boss
	admin.Role = auth.RoleAdmin
	invite.ID, invite.Role = auth.InvitationID(id.New()), auth.RoleOwner
	err = b.db.CreateInvitation(ctx, admin, invite, auth.NewToken().Digest())
	require.Contains(t, fault.FieldsOf(err), "role", "nobody invites above their own role")
	member := boss
	member.Role = auth.RoleMember
	require.Equal(t, fault.KindForbidden, fault.KindOf(b.db.CreateInvitation(ctx, member, invite, auth.NewToken().Digest())))

	revoked := auth.NewToken()
	invite.ID, invite.Role = auth.InvitationID(id.New()), auth.RoleMember
	invite.Email = "max@" + b.domain()
	require.NoError(t, b.db.CreateInvitation(ctx, boss, invite, revoked.Digest()))
	foreign := b.org(t, b.slug()+"x")
	require.Equal(t, fault.KindNotFound, fault.KindOf(b.db.RevokeInvitation(ctx, foreign, invite.ID, b.clock.Now())))
	require.NoError(t, b.db.RevokeInvitation(ctx, boss, invite.ID, b.clock.Now()))
	late := b.profile("max")
	d := revoked.Digest()
	late.Invitation = &d
	_, _, err = b.Enter(ctx, late, signin.Browser{})
	require.Equal(t, "invitation_closed", fault.Code(err))
}

func TestAChosenCookieNeverBecomesASession(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	planted := auth.NewToken()
	_, fresh, err := b.Enter(ctx, b.profile("ada"), signin.Browser{Cookie: planted.Reveal()})
	require.NoError(t, err)
	require.NotEqual(t, planted.Reveal(), fresh.Reveal())
	_, err = b.Cookie(ctx, planted.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))

	_, next, err := b.Enter(ctx, b.profile("ada"), signin.Browser{Cookie: fresh.Reveal()})
	require.NoError(t, err)
	_, err = b.Cookie(ctx, fresh.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err), "signing in ends the browser's earlier session")
	_, err = b.Cookie(ctx, next.Reveal())
	require.NoError(t, err)
	_, err = b.Cookie(ctx, "")
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
}

func TestSessionsEndByIdlenessAgeAndRevocation(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	in, token, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.NoError(t, err)
	for range 14 { // a week less an hour of steady use
		b.clock.Advance(auth.SessionIdle - 5*time.Minute)
		_, err = b.Cookie(ctx, token.Reveal())
		require.NoError(t, err)
	}
	b.clock.Advance(2 * time.Hour)
	_, err = b.Cookie(ctx, token.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err), "the absolute limit")
	live, err := b.db.LiveCredentials(ctx, []string{string(in.Session.ID)}, b.clock.Now())
	require.NoError(t, err)
	require.Empty(t, live)

	_, token, err = b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.NoError(t, err)
	b.clock.Advance(auth.SessionIdle)
	_, err = b.Cookie(ctx, token.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err), "idle")

	in, token, err = b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.NoError(t, err)
	live, err = b.db.LiveCredentials(ctx, []string{string(in.Session.ID)}, b.clock.Now())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{string(in.Session.ID): true}, live)
	stranger, _, err := b.Enter(ctx, b.profile("eve"), signin.Browser{})
	require.NoError(t, err)
	require.Equal(t, fault.KindNotFound, fault.KindOf(b.db.RevokeSession(ctx, stranger.Scope(), in.Session.ID, b.clock.Now())))
	list, err := b.db.Sessions(ctx, in.Scope(), b.clock.Now())
	require.NoError(t, err)
	require.Len(t, list, 1, "ended sessions and those of others are not listed")
	require.NoError(t, b.Leave(ctx, in.Scope()))
	require.NoError(t, b.Leave(ctx, in.Scope()))
	_, err = b.Cookie(ctx, token.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
	live, err = b.db.LiveCredentials(ctx, []string{string(in.Session.ID)}, b.clock.Now())
	require.NoError(t, err)
	require.Empty(t, live)
}

func TestSwitchingRotatesTheCookieAndNeedsAMembership(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	home := b.org(t, b.slug())
	away := b.org(t, b.slug()+"x")
	f := oauth.Finished{Profile: auth.Profile{Provider: "idp", Identity: auth.Identity{
		Issuer: "https://id.test/" + b.tag, Subject: "boss-" + b.slug()}, Email: "boss@" + b.domain(), EmailVerified: true}}
	in, old, err := b.Enter(ctx, f, signin.Browser{})
	require.NoError(t, err)
	require.Equal(t, home.Org, in.Org.ID)

	for _, target := range []auth.OrgID{away.Org, auth.OrgID(id.New()), "nonsense", ""} {
		_, err = b.Switch(ctx, in.Scope(), target)
		require.Equal(t, "Organisation not found", fault.Public(err), "foreign and absent look the same")
	}
	_, err = b.db.EnsurePerson(ctx, auth.Person{Identity: f.Profile.Identity, Email: f.Profile.Email,
		OrgSlug: b.slug() + "x", OrgName: "Org", Role: auth.RoleMember})
	require.NoError(t, err)
	fresh, err := b.Switch(ctx, in.Scope(), away.Org)
	require.NoError(t, err)
	_, err = b.Cookie(ctx, old.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
	got, err := b.Cookie(ctx, fresh.Reveal())
	require.NoError(t, err)
	require.Equal(t, away.Org, got.Org.ID)
	require.Equal(t, auth.RoleMember, got.Role)
	require.Equal(t, in.Session.ID, got.Session.ID)

	list, err := b.db.Memberships(ctx, got.Scope())
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, away.Org, list[0].Org.ID, "the latest used first")
	again, _, err := b.Enter(ctx, f, signin.Browser{})
	require.NoError(t, err)
	require.Equal(t, away.Org, again.Org.ID, "the next sign-in goes on there")
	byKey := got.Scope()
	byKey.Session, byKey.Key = "", "k"
	_, err = b.Switch(ctx, byKey, home.Org)
	require.Equal(t, fault.KindForbidden, fault.KindOf(err))
}

func TestAPIKeysActAsTheirPersonUntilRevoked(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	boss := b.org(t, b.slug())
	scope, err := b.db.MemberScope(ctx, b.slug(), "BOSS@"+b.domain())
	require.NoError(t, err)
	require.Equal(t, boss, scope)
	_, err = b.db.MemberScope(ctx, b.slug(), "nobody@"+b.domain())
	require.Equal(t, fault.KindNotFound, fault.KindOf(err))

	key, clear, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), "CI", nil, 0, b.clock.Now())
	require.NoError(t, err)
	require.NoError(t, b.db.CreateAPIKey(ctx, scope, key))
	got, err := b.Key(ctx, clear.Reveal())
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(auth.Scope{User: boss.User, Org: boss.Org, Role: auth.RoleOwner, Key: key.ID,
		KeyScopes: []auth.KeyScope{auth.ScopeRun}}, got))
	list, err := b.db.APIKeys(ctx, scope, "")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, b.clock.Now(), list[0].LastUsedAt)

	foreign := b.org(t, b.slug()+"x")
	require.Equal(t, fault.KindNotFound, fault.KindOf(b.db.RevokeAPIKey(ctx, foreign, key.ID, b.clock.Now())))
	hers, err := b.db.APIKeys(ctx, foreign, "")
	require.NoError(t, err)
	require.Empty(t, hers)
	require.Equal(t, fault.KindForbidden, fault.KindOf(b.db.CreateAPIKey(ctx, foreign, key)))

	other, _, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), "other", nil, 0, b.clock.Now())
	require.NoError(t, err)
	require.NoError(t, b.db.CreateAPIKey(ctx, scope, other))
	_, secret, _ := auth.ParseAPIKey(clear.Reveal())
	for _, bad := range []string{"", "x", clear.Reveal() + "x", "hdl_" + other.Prefix + "_" + secret.Reveal(),
		"hdl_" + strings.Repeat("a", 12) + "_" + secret.Reveal(), " " + clear.Reveal()} {
		_, err := b.Key(ctx, bad)
		require.Equal(t, "This API key is not valid.", fault.Public(err))
		require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
	}
	require.NoError(t, b.db.RevokeAPIKey(ctx, scope, key.ID, b.clock.Now()))
	_, err = b.Key(ctx, clear.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
	b.clock.Advance(auth.KeyDefaultLifetime)
	_, err = b.Key(ctx, clear.Reveal())
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
}

func TestAttemptsAreTakenOnce(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	link := auth.NewToken().Digest()
	a := auth.Attempt{State: auth.NewToken().Digest(), Cookie: auth.NewToken().Digest(), Provider: "idp", Verifier: "v",
		Nonce: "n", ReturnTo: "/", Invitation: &link, ExpiresAt: b.clock.Now().Add(time.Minute)}
	require.NoError(t, b.db.Attempts().Put(ctx, a))
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := b.db.Attempts().Take(ctx, a.State)
			if err == nil && cmp.Equal(a, got) {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
	_, err := b.db.Attempts().Take(ctx, a.State)
	require.Equal(t, fault.KindNotFound, fault.KindOf(err))

	a.State, a.Invitation = auth.NewToken().Digest(), nil
	require.NoError(t, b.db.Attempts().Put(ctx, a))
	got, err := b.db.Attempts().Take(ctx, a.State)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(a, got))
}

func TestAnOperatorMayAddAnIdentityToAMemberByAddress(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	boss := b.org(t, b.slug())
	moved, err := b.db.EnsurePerson(ctx, auth.Person{Identity: auth.Identity{Issuer: "https://other.test/" + b.tag, Subject: "1"},
		Email: "boss@" + b.domain(), OrgSlug: b.slug(), OrgName: "Org", Role: auth.RoleMember})
	require.NoError(t, err)
	require.Equal(t, boss, moved, "what exists stays as it is")
}

// system runs one statement as the role that crosses organisations.
func system(t *testing.T, sql string, args ...any) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, databaseURL)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	_, err = conn.Exec(ctx, "set role heddle_system")
	require.NoError(t, err)
	tag, err := conn.Exec(ctx, sql, args...)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
}

func TestLeavingTheOrganisationEndsSessionsAndKeysThere(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, auth.SignedIn){
		"membership ended": func(t *testing.T, in auth.SignedIn) {
			system(t, "delete from memberships where org_id = $1 and user_id = $2", string(in.Org.ID), string(in.User.ID))
		},
		"person disabled": func(t *testing.T, in auth.SignedIn) {
			system(t, "update users set disabled_at = now() where id = $1", string(in.User.ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, b := context.Background(), setup(t, auth.SignupOpen)
			in, token, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
			require.NoError(t, err)
			key, clear, err := auth.MintAPIKey(in.Scope(), auth.KeyID(id.New()), "k", nil, 0, b.clock.Now())
			require.NoError(t, err)
			require.NoError(t, b.db.CreateAPIKey(ctx, in.Scope(), key))
			_, err = b.Key(ctx, clear.Reveal())
			require.NoError(t, err)

			end(t, in)
			_, err = b.Cookie(ctx, token.Reveal())
			require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
			_, err = b.Key(ctx, clear.Reveal())
			require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
			live, err := b.db.LiveCredentials(ctx, []string{string(in.Session.ID)}, b.clock.Now())
			require.NoError(t, err)
			require.Empty(t, live, "sockets of the session are to be closed")
			if name == "person disabled" {
				_, _, err = b.Enter(ctx, b.profile("ada"), signin.Browser{})
				require.Equal(t, "account_disabled", fault.Code(err))
			}
		})
	}
}

func TestARoleChangeCountsFromTheNextRequest(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupOpen)
	in, token, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.NoError(t, err)
	system(t, "update memberships set role = 'member' where org_id = $1 and user_id = $2", string(in.Org.ID), string(in.User.ID))
	got, err := b.Cookie(ctx, token.Reveal())
	require.NoError(t, err)
	require.Equal(t, auth.RoleMember, got.Scope().Role)
}

func TestARefusedSignInLeavesNoTrace(t *testing.T) {
	t.Parallel()
	ctx, b := context.Background(), setup(t, auth.SignupInvite)
	_, _, err := b.Enter(ctx, b.profile("ada"), signin.Browser{})
	require.Equal(t, "signup_refused", fault.Code(err))
	conn, err := pgx.Connect(ctx, databaseURL)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	_, err = conn.Exec(ctx, "set role heddle_system")
	require.NoError(t, err)
	var n int
	require.NoError(t, conn.QueryRow(ctx, `select (select count(*) from users where email = $1)
		+ (select count(*) from identities where issuer = $2)`, "ada@"+b.domain(), "https://id.test/"+b.tag).Scan(&n))
	require.Zero(t, n)
}
