package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

const (
	orgA = OrgID("01900000-0000-7000-8000-00000000000a")
	orgB = OrgID("01900000-0000-7000-8000-00000000000b")
)

func TestTokensAreLongUniqueAndPrintAsStars(t *testing.T) {
	t.Parallel()
	a, b := NewToken(), NewToken()
	require.Len(t, a.Reveal(), 43)
	require.NotEqual(t, a.Reveal(), b.Reveal())
	require.True(t, a.Digest().Equal(Token(a.Reveal()).Digest()))
	require.False(t, a.Digest().Equal(b.Digest()))

	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "err", a, "topic", struct{ T Token }{a})
	asJSON, err := json.Marshal(map[string]any{"t": a})
	require.NoError(t, err)
	for _, out := range []string{
		log.String(), string(asJSON), fmt.Sprint(a), fmt.Sprintf("%v %s %+v %#v %q", a, a, a, a, a),
		fmt.Sprintf("%+v", struct{ T Token }{a}),
	} {
		require.NotContains(t, out, a.Reveal())
		require.Contains(t, out, stars)
	}
}

func TestSessionsEndByIdlenessAgeAndRevocation(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s := Session{CreatedAt: start, LastSeenAt: start, ExpiresAt: start.Add(SessionLifetime)}
	require.True(t, s.Live(start))
	require.True(t, s.Live(start.Add(SessionIdle-1)))
	require.False(t, s.Live(start.Add(SessionIdle)))
	s.LastSeenAt = start.Add(SessionLifetime - 1)
	require.True(t, s.Live(start.Add(SessionLifetime-1)))
	require.False(t, s.Live(start.Add(SessionLifetime)))
	s.RevokedAt = start
	require.False(t, s.Live(start))
	require.False(t, Session{}.Live(start), "the zero session is nobody's")
}

func TestAPIKeysRoundTripAndExpire(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	scope := Scope{User: "u", Org: orgA, Role: RoleMember}
	key, clear, err := MintAPIKey(scope, "k", " CI ", nil, 0, now)
	require.NoError(t, err)
	require.Equal(t, "CI", key.Name)
	require.Equal(t, []KeyScope{ScopeRun}, key.Scopes)
	prefix, secret, ok := ParseAPIKey(clear.Reveal())
	require.True(t, ok)
	require.Equal(t, key.Prefix, prefix)
	require.True(t, key.Accepts(secret, now))
	require.False(t, key.Accepts(NewToken(), now))
	require.False(t, key.Accepts(secret, now.Add(KeyDefaultLifetime)))
	key.RevokedAt = now
	require.False(t, key.Accepts(secret, now))
	require.False(t, APIKey{}.Accepts("", now))

	got := key.Scope(RoleAdmin)
	require.True(t, got.Can(PermRun))
	require.False(t, got.Can(PermManageMembers), "the key's scopes narrow the role")
	require.Error(t, got.Require(PermReview))
}

func TestMintingAKeyNamesEveryWrongField(t *testing.T) {
	t.Parallel()
	now := time.Now()
	_, _, err := MintAPIKey(Scope{User: "u", Org: orgA, Role: RoleMember}, "k", "", []KeyScope{"root"}, KeyMaxLifetime+1, now)
	require.Len(t, fault.FieldsOf(err), 3)
	_, _, err = MintAPIKey(Scope{}, "k", "CI", nil, 0, now)
	require.Equal(t, fault.KindUnauthenticated, fault.KindOf(err))
	_, _, err = MintAPIKey(Scope{User: "u", Org: orgA, Role: RoleMember}, "k", strings.Repeat("x", 81), nil, -1, now)
	require.Len(t, fault.FieldsOf(err), 2)
}

func FuzzParseAPIKeyAcceptsOneSpelling(f *testing.F) {
	_, clear, err := MintAPIKey(Scope{User: "u", Org: orgA, Role: RoleMember}, "k", "n", nil, 0, time.Now())
	require.NoError(f, err)
	for _, s := range []string{
		"", "hdl_", clear.Reveal(), strings.ToUpper(clear.Reveal()), " " + clear.Reveal(), clear.Reveal() + "\n",
		strings.Replace(clear.Reveal(), "_", "-", 1), clear.Reveal()[:60], "hdl_" + strings.Repeat("_", 65),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		prefix, secret, ok := ParseAPIKey(s)
		if !ok {
			require.Empty(t, prefix)
			require.Empty(t, secret.Reveal())
			return
		}
		require.Equal(t, s, keyMark+prefix+"_"+secret.Reveal())
		require.Equal(t, strings.ToLower(s), s)
	})
}

func TestCSRFTokensBindSessionAndOrganisation(t *testing.T) {
	t.Parallel()
	c := NewCSRF([]byte("server key"))
	mine := Scope{User: "u", Org: orgA, Role: RoleMember, Session: "01900000-0000-7000-8000-0000000000aa"}
	token := c.Token(mine)
	require.NoError(t, c.Verify(mine, token))
	require.NotEqual(t, token, c.Token(mine), "masked anew each time")
	require.NoError(t, c.Verify(mine, c.Token(mine)))

	otherSession := mine
	otherSession.Session = "01900000-0000-7000-8000-0000000000bb"
	require.Equal(t, CodeCSRF, fault.Code(c.Verify(otherSession, token)))
	switched := mine
	switched.Org = orgB
	err := c.Verify(switched, token)
	require.Equal(t, CodeOrgSwitched, fault.Code(err))
	require.Equal(t, fault.KindConflict, fault.KindOf(err))
	require.Equal(t, CodeCSRF, fault.Code(NewCSRF([]byte("other key")).Verify(mine, token)))

	for i := range token {
		bent := []byte(token)
		if bent[i] == 'A' {
			bent[i] = 'B'
		} else {
			bent[i] = 'A'
		}
		require.Error(t, c.Verify(mine, string(bent)), "character %d", i)
	}
	for _, bad := range []string{"", "x", token[1:], token + "A", strings.Repeat("A", len(token))} {
		require.Equal(t, CodeCSRF, fault.Code(c.Verify(mine, bad)))
	}
	byKey := Scope{User: "u", Org: orgA, Role: RoleMember, Key: "k"}
	require.Empty(t, c.Token(byKey))
	require.Error(t, c.Verify(byKey, token))
}
