package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

func TestAPersonsChoicesStandInTheirNextRequest(t *testing.T) {
	b := setup(t)
	b.signIn(t, "acme/mia", 2)
	found := func() auth.SignedIn {
		in, err := b.db.FindSession(t.Context(), auth.Digest{2}, time.Now())
		require.NoError(t, err)
		return in
	}
	require.True(t, found().User.LetterKeys)
	require.NoError(t, b.db.SetLetterKeys(t.Context(), b.mia, false))
	require.NoError(t, b.db.SetName(t.Context(), b.mia, "Mia Ångström"))
	require.False(t, found().User.LetterKeys)
	require.Equal(t, "Mia Ångström", found().User.Name)
	require.Equal(t, "en", found().Scope().Locale)
	for _, name := range []string{"", "  ", "a\nb", "a\x00", "\xff", "\u202eaim", strings.Repeat("é", auth.MaxNameRunes+1)} {
		err := b.db.SetName(t.Context(), b.mia, name)
		requireKind(t, fault.KindInvalid, err)
		require.Contains(t, fault.FieldsOf(err), "name")
	}
	require.NoError(t, b.db.SetName(t.Context(), b.mia, strings.Repeat("é", auth.MaxNameRunes)))
}

func TestEndingTheOtherSessionsLeavesOnesOwnAndIsWrittenDown(t *testing.T) {
	b := setup(t)
	own, lost, older := b.signIn(t, "acme/mia", 2), b.signIn(t, "acme/mia", 3), b.signIn(t, "acme/mia", 4)
	fellow := b.signIn(t, "acme/max", 5)
	mia := b.mia
	mia.Session = own.ID
	ended, err := b.db.RevokeOtherSessions(t.Context(), mia, time.Now())
	require.NoError(t, err)
	require.ElementsMatch(t, []auth.SessionID{lost.ID, older.ID}, ended)
	ended, err = b.db.RevokeOtherSessions(t.Context(), mia, time.Now())
	require.NoError(t, err)
	require.Empty(t, ended)
	live, err := b.db.LiveCredentials(t.Context(), []string{string(own.ID), string(lost.ID), string(older.ID), string(fellow.ID)}, time.Now())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{string(own.ID): true, string(fellow.ID): true}, live)
	require.NoError(t, b.db.RevokeSession(t.Context(), mia, own.ID, time.Now()))
	var ids []string
	for _, e := range b.audited(t, mia) {
		require.Equal(t, "session.ended", e.Action)
		require.Equal(t, string(mia.User), e.Actor)
		ids = append(ids, e.Holder)
	}
	require.ElementsMatch(t, []string{string(own.ID), string(lost.ID), string(older.ID)}, ids)
}

func TestASessionThatEndsIsRecordedWhereItWorked(t *testing.T) {
	b := setup(t)
	own := b.signIn(t, "acme/mia", 2)
	_, err := b.db.EnsurePerson(t.Context(), auth.Person{Identity: auth.Identity{Issuer: "https://idp.test", Subject: "acme/mia"}, Provider: "test",
		Email: "mia@acme.test", Name: "mia", OrgSlug: "globex", OrgName: "globex", Role: auth.RoleMember})
	require.NoError(t, err)
	abroad, err := b.db.SignIn(t.Context(), auth.Entry{
		Profile: auth.Profile{Identity: auth.Identity{Issuer: "https://idp.test", Subject: "acme/mia"}, Provider: "test"},
		Session: auth.NewSession(auth.SessionID(id.New()), "test", "192.0.2.1", time.Now()), Token: auth.Digest{9},
	}, func(auth.Facts) (auth.Placement, error) {
		return auth.Placement{Kind: auth.PlaceMember, Org: b.gus.Org, Role: auth.RoleMember}, nil
	})
	require.NoError(t, err)
	mia := b.mia
	mia.Session = own.ID
	ended, err := b.db.RevokeOtherSessions(t.Context(), mia, time.Now())
	require.NoError(t, err)
	require.Equal(t, []auth.SessionID{abroad.Session.ID}, ended)
	require.Empty(t, b.audited(t, mia), "it is none of this organisation's business")
	there := b.audited(t, b.gus)
	require.Len(t, there, 1)
	require.Equal(t, string(abroad.Session.ID), there[0].Holder)
}
