package store_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/store"
)

// TestKeysForChatBecomeKeysForRuns migrates an installation whose keys were made
// before there was the scope read.
func TestKeysForChatBecomeKeysForRuns(t *testing.T) {
	const renaming = "0018_key_scopes.sql"
	before := fstest.MapFS{}
	names, err := fs.Glob(migrations.FS, "*.sql")
	require.NoError(t, err)
	require.Contains(t, names, renaming)
	for _, name := range names {
		if name < renaming {
			raw, err := fs.ReadFile(migrations.FS, name)
			require.NoError(t, err)
			before[name] = &fstest.MapFile{Data: raw}
		}
	}
	address := testpg.Database(t, testpg.Template{Name: "empty"})
	_, _, err = store.Migrate(t.Context(), address, before, nil)
	require.NoError(t, err)
	c := connect(t, address, "")
	org, user := id.New(), id.New()
	for _, made := range []struct {
		sql  string
		args []any
	}{
		{"insert into orgs (id, slug, name) values ($1, 'acme', 'Acme')", []any{org}},
		{"insert into users (id, email) values ($1, 'mia@acme.test')", []any{user}},
		{"insert into api_keys (org_id, id, user_id, name, prefix, secret_hash, scopes) values ($1, $2, $3, 'old', 'old', 'x', '{chat,review}')", []any{org, id.New(), user}},
		{"insert into api_keys (org_id, id, user_id, name, prefix, secret_hash, scopes) values ($1, $2, $3, 'other', 'other', 'x', '{admin}')", []any{org, id.New(), user}},
	} {
		_, err := c.Exec(t.Context(), made.sql, made.args...)
		require.NoError(t, err)
	}
	_, _, err = store.Migrate(t.Context(), address, migrations.FS, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"{admin}", "{run,review}"}, collect[string](t, c, "select scopes::text from api_keys order by name desc"))
}
