package store_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/store"
)

// scopeOf lets a table of tests name whose scope it is.
type scopeOf struct{ auth.Scope }

var kept = store.Answer{Status: 201, Headers: map[string]string{"Content-Type": "application/json"}, Body: []byte(`{"id":1}`)}

func TestOfTwentyAtOnceOneIsFresh(t *testing.T) {
	b := setup(t)
	nodes := []store.Idempotency{b.db.Idempotency(), open(t, b.url).Idempotency()}
	var mu sync.Mutex
	var claims []string
	inFlight := 0
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			claim, answer, err := nodes[i%2].Begin(t.Context(), b.mia, "key", []byte("hash"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && answer == nil && claim != "":
				claims = append(claims, claim)
			case fault.Code(err) == store.CodeIdempotencyInFlight:
				inFlight++
			default:
				t.Errorf("claim %q, answer %v, error %v", claim, answer, err)
			}
		})
	}
	group.Wait()
	require.Len(t, claims, 1)
	require.Equal(t, 19, inFlight)
	require.NoError(t, nodes[0].Finish(t.Context(), b.mia, "key", claims[0], kept))
	claim, answer, err := nodes[1].Begin(t.Context(), b.mia, "key", []byte("hash"))
	require.NoError(t, err)
	require.Empty(t, claim)
	require.Equal(t, &kept, answer)
}

func TestKeyIsBoundToItsRequestPersonAndOrganisation(t *testing.T) {
	b := setup(t)
	s := b.db.Idempotency()
	claim, _, err := s.Begin(t.Context(), b.mia, "key", []byte("hash"))
	require.NoError(t, err)
	_, _, err = s.Begin(t.Context(), b.mia, "key", []byte("other"))
	require.Equal(t, store.CodeIdempotencyMismatch, fault.Code(err), "also in flight")
	require.NoError(t, s.Finish(t.Context(), b.mia, "key", claim, kept))
	_, _, err = s.Begin(t.Context(), b.mia, "key", []byte("other"))
	requireKind(t, fault.KindInvalid, err)
	require.Contains(t, fault.FieldsOf(err), "Idempotency-Key")
	for _, other := range []auth.Scope{b.max, b.ada, b.gia} {
		fresh, answer, err := s.Begin(t.Context(), other, "key", []byte("hash"))
		require.NoError(t, err)
		require.NotEmpty(t, fresh)
		require.Nil(t, answer)
		// Nor does knowing the claim help.
		requireKind(t, fault.KindConflict, s.Finish(t.Context(), other, "key", claim, kept))
	}
}

func TestAbandonedAndOldKeysAreFreeAgain(t *testing.T) {
	b := setup(t)
	s := b.db.Idempotency()
	begin := func(hash string) (string, *store.Answer, error) {
		return s.Begin(t.Context(), b.mia, "key", []byte(hash))
	}
	age := func(by string) {
		_, err := connect(t, b.url, "heddle_system").Exec(t.Context(), "update idempotency_keys set created_at = created_at - $1::text::interval", by)
		require.NoError(t, err)
	}
	first, _, err := begin("hash")
	require.NoError(t, err)
	require.NoError(t, s.Abandon(t.Context(), b.mia, "key", first))
	second, _, err := begin("other")
	require.NoError(t, err)
	require.NotEmpty(t, second)

	age("4 minutes 50 seconds")
	_, _, err = begin("other")
	requireKind(t, fault.KindConflict, err)
	age("20 seconds") // whoever began it is taken for dead
	third, _, err := begin("hash")
	require.NoError(t, err)
	require.NotEmpty(t, third)
	// It was not dead, but it can neither answer nor free the key any more.
	requireKind(t, fault.KindConflict, s.Finish(t.Context(), b.mia, "key", second, kept))
	require.NoError(t, s.Abandon(t.Context(), b.mia, "key", second))
	require.NoError(t, s.Finish(t.Context(), b.mia, "key", third, kept))
	require.NoError(t, s.Abandon(t.Context(), b.mia, "key", third), "a finished one stays")

	age("23 hours 59 minutes")
	_, answer, err := begin("hash")
	require.NoError(t, err)
	require.Equal(t, &kept, answer)
	age("2 minutes")
	fourth, answer, err := begin("quite another")
	require.NoError(t, err)
	require.NotEmpty(t, fourth)
	require.Nil(t, answer)
	_, _, err = begin("quite another")
	requireKind(t, fault.KindConflict, err)
}

func TestAnswerWithoutBodyDiffersFromAnEmptyOne(t *testing.T) {
	b := setup(t)
	s := b.db.Idempotency()
	for key, body := range map[string][]byte{"empty": {}, "lost": nil} {
		claim, _, err := s.Begin(t.Context(), b.mia, key, []byte("hash"))
		require.NoError(t, err)
		require.NoError(t, s.Finish(t.Context(), b.mia, key, claim, store.Answer{Status: 200, Body: body}))
		_, answer, err := s.Begin(t.Context(), b.mia, key, []byte("hash"))
		require.NoError(t, err)
		require.Equal(t, &store.Answer{Status: 200, Headers: map[string]string{}, Body: body}, answer)
	}
}

func TestOldKeysAreRemovedAsNewOnesCome(t *testing.T) {
	b := setup(t)
	s := b.db.Idempotency()
	for _, key := range []string{"a", "b", "c"} {
		for _, scope := range []auth.Scope{b.mia, b.max, b.gia} {
			_, _, err := s.Begin(t.Context(), scope, key, []byte("hash"))
			require.NoError(t, err)
		}
	}
	system := connect(t, b.url, "heddle_system")
	_, err := system.Exec(t.Context(), "update idempotency_keys set created_at = now() - interval '25 hours'")
	require.NoError(t, err)
	claim, _, err := s.Begin(t.Context(), b.mia, "a", []byte("other"))
	require.NoError(t, err)
	require.NotEmpty(t, claim)
	require.Equal(t, 1, scan[int](t, b.inOrg(t, b.mia), "select count(*) from idempotency_keys"))
	require.Equal(t, 3, scan[int](t, b.inOrg(t, b.gia), "select count(*) from idempotency_keys"), "others' are not touched")
}
