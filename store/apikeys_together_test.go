package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// Keys that are looked for at one moment are looked for together; each gets its own
// answer, and what does not exist is not found.
func TestKeysAreLookedForTogether(t *testing.T) {
	b := setup(t)
	var keys []auth.APIKey
	for _, scope := range []auth.Scope{b.mia, b.gia} {
		k, _, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), "k", nil, 0, time.Now())
		require.NoError(t, err)
		require.NoError(t, b.db.CreateAPIKey(t.Context(), scope, k))
		keys = append(keys, k)
	}
	found := make(chan error, 100)
	for i := range cap(found) {
		go func() {
			want := keys[i%2]
			got, role, err := b.db.FindAPIKey(t.Context(), want.Prefix)
			if err == nil && (got.ID != want.ID || got.Org != want.Org || role != auth.RoleMember) {
				err = fmt.Errorf("looked for %s of %s, got %s of %s", want.ID, want.Org, got.ID, got.Org)
			}
			if _, _, none := b.db.FindAPIKey(t.Context(), fmt.Sprint("none", i)); !fault.Is(none, fault.KindNotFound) {
				err = fmt.Errorf("a key that does not exist: %w", none)
			}
			found <- err
		}()
	}
	for range cap(found) {
		require.NoError(t, <-found)
	}
	_, _, err := b.db.FindAPIKey(t.Context(), "a\x00b")
	require.Error(t, err, "what PostgreSQL does not take harms nobody else")
}
