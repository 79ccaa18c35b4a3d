package store_test

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/store"
	"github.com/heddle/heddle/store/embedded"
)

// TestFirstMigrationNeedsNoSuperuserAndBearsCompany begins on a server that has
// none of our roles yet, which belong to all of its databases: two databases
// are migrated at once, one of them by two nodes.
func TestFirstMigrationNeedsNoSuperuserAndBearsCompany(t *testing.T) {
	dir, err := os.MkdirTemp("", "heddle-store-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711)) // the server may run under another account
	server, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, Volatile: true, OwnerCreatesDatabases: true,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })

	base := connect(t, server.URL(), "")
	require.False(t, scan[bool](t, base, "select rolsuper or rolbypassrls from pg_roles where rolname = current_user"))
	require.Zero(t, scan[int](t, base, "select count(*) from pg_roles where rolname like 'heddle\\_app'"))
	var urls []string
	for _, name := range []string{"one", "two"} {
		_, err := base.Exec(t.Context(), "create database "+name)
		require.NoError(t, err)
		u, err := url.Parse(server.URL())
		require.NoError(t, err)
		u.Path = "/" + name
		urls = append(urls, u.String())
	}
	db := open(t, urls[0])
	state, err := db.Migrations(t.Context(), migrations.FS)
	require.NoError(t, err)
	require.True(t, state.Behind(), "before any migration, with no role to take")
	require.Zero(t, state.Current)

	var group errgroup.Group
	for _, url := range []string{urls[0], urls[1], urls[0]} {
		group.Go(func() error {
			_, after, err := store.Migrate(t.Context(), url, migrations.FS, nil)
			if err == nil && after.Behind() {
				t.Error("behind after migrating")
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	for _, url := range urls {
		state, err := open(t, url).Migrations(t.Context(), migrations.FS)
		require.NoError(t, err)
		require.Equal(t, state.Wanted, state.Current)
		require.Positive(t, state.Wanted)
	}
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	address := testpg.Database(t, migrated())
	schema := func() []string {
		return collect[string](t, connect(t, address, ""), `select 'relation ' || oid || ' ' || relname || ' ' || coalesce(relacl::text, '') from pg_class
				where relnamespace = 'public'::regnamespace
			union all select 'function ' || oid || ' ' || coalesce(proacl::text, '') from pg_proc where pronamespace = 'public'::regnamespace
			union all select 'policy ' || oid || ' ' || polname from pg_policy
			union all select 'member ' || roleid || ' ' || member from pg_auth_members order by 1`)
	}
	before := schema()
	var ran []string
	from, to, err := store.Migrate(t.Context(), address, migrations.FS, func(name string) { ran = append(ran, name) })
	require.NoError(t, err)
	require.Empty(t, ran)
	require.Equal(t, from, to)
	require.Equal(t, before, schema())
}

func TestMigrationsTellBehindFromAhead(t *testing.T) {
	files := fstest.MapFS{
		"0001_first.sql":  {Data: []byte("create table first (id int);")},
		"0002_second.sql": {Data: []byte("create table second (id int);")},
	}
	address := testpg.Database(t, testpg.Template{Name: "empty"})
	db := open(t, address)
	state, err := db.Migrations(t.Context(), files)
	require.NoError(t, err)
	require.Equal(t, store.MigrationState{Current: 0, Wanted: 2}, state)
	require.True(t, state.Behind())

	older := fstest.MapFS{"0001_first.sql": files["0001_first.sql"]}
	var ran []string
	_, after, err := store.Migrate(t.Context(), address, older, func(name string) { ran = append(ran, name) })
	require.NoError(t, err)
	require.Len(t, ran, 1)
	require.Equal(t, store.MigrationState{Current: 1, Wanted: 1}, after)
	state, err = db.Migrations(t.Context(), files)
	require.NoError(t, err)
	require.Equal(t, store.MigrationState{Current: 1, Wanted: 2}, state)
	require.True(t, state.Behind())

	before, after, err := store.Migrate(t.Context(), address, files, nil)
	require.NoError(t, err)
	require.EqualValues(t, []int32{1, 2}, []int32{before.Current, after.Current})
	state, err = db.Migrations(t.Context(), older)
	require.NoError(t, err)
	require.False(t, state.Behind(), "a newer node has migrated: this one goes on serving")
	_, _, err = store.Migrate(t.Context(), address, older, nil)
	require.ErrorContains(t, err, "run a newer binary")
}

func TestMigrationThatFailsLeavesTheVersionBeforeIt(t *testing.T) {
	files := fstest.MapFS{
		"0001_first.sql":  {Data: []byte("create table first (id int);")},
		"0002_broken.sql": {Data: []byte("create table second (id int); select 1/0;")},
	}
	address := testpg.Database(t, testpg.Template{Name: "empty"})
	_, _, err := store.Migrate(t.Context(), address, files, nil)
	require.ErrorContains(t, err, "division by zero")
	state, err := open(t, address).Migrations(t.Context(), files)
	require.NoError(t, err)
	require.Equal(t, store.MigrationState{Current: 1, Wanted: 2}, state)
	require.True(t, scan[bool](t, connect(t, address, ""), "select to_regclass('second') is null"))
}

func TestFailuresNeverQuoteThePassword(t *testing.T) {
	for _, address := range []string{"postgres://heddle:hunter2@127.0.0.1:1/none?connect_timeout=1", "postgres://heddle:hunter2@bad host/none"} {
		_, _, err := store.Migrate(t.Context(), address, migrations.FS, nil)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
		db, err := store.Open(t.Context(), store.Options{URL: address})
		if err == nil {
			err = db.Ping(t.Context())
			db.Close()
		}
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
