package embedded

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestServerKeepsDataDurableAndListensOnItsSocketAlone(t *testing.T) {
	dir := openDir(t)
	s := startWith(t, Options{DataDir: dir})
	require.Equal(t, "on", ask[string](t, s.URL(), "show fsync"))
	require.Equal(t, "on", ask[string](t, s.URL(), "show synchronous_commit"))
	require.Empty(t, ask[string](t, s.URL(), "show listen_addresses"))
	require.Equal(t, "UTF8", ask[string](t, s.URL(), "show server_encoding"))
	require.Equal(t, "C.UTF-8", ask[string](t, s.URL(), "select datctype::text from pg_database where datname = 'heddle'"))
	info, err := os.Stat(filepath.Join(dir, "sock"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	run(t, s.URL(), "create table kept as select 42 as answer")
	stop(t, s)
	require.NoError(t, s.Err())
	require.NoFileExists(t, filepath.Join(dir, "postgres", "postmaster.pid"))

	again := startWith(t, Options{DataDir: dir})
	require.Equal(t, 42, ask[int](t, again.URL(), "select answer from kept"))
}

func TestProductRoleIsNoSuperuserAndCannotBypassRowSecurity(t *testing.T) {
	s := startIn(t, madeDir(t))
	conn := connectTo(t, s.URL())
	ctx := testContext(t)
	var name string
	var super, bypass, createRole, createDB, replication bool
	err := conn.QueryRow(ctx, `select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication
		from pg_roles where rolname = current_user`).Scan(&name, &super, &bypass, &createRole, &createDB, &replication)
	require.NoError(t, err)
	require.Equal(t, Owner, name)
	require.False(t, super)
	require.False(t, bypass)
	require.False(t, createDB)
	require.False(t, replication)
	require.True(t, createRole)

	_, err = conn.Exec(ctx, `create table rows_of_orgs (org int);
		insert into rows_of_orgs values (1), (2);
		alter table rows_of_orgs enable row level security;
		alter table rows_of_orgs force row level security;
		create policy one on rows_of_orgs using (org = 1)`)
	require.NoError(t, err)
	var seen int
	require.NoError(t, conn.QueryRow(ctx, "select count(*) from rows_of_orgs").Scan(&seen))
	require.Equal(t, 1, seen)

	// A role that was changed by hand is put back into shape.
	run(t, socketURL(s.cluster.sock, superuser, "postgres"), "alter role heddle superuser")
	data := s.cluster.data
	stop(t, s)
	s = startIn(t, data)
	require.False(t, ask[bool](t, s.URL(), "select rolsuper from pg_roles where rolname = current_user"))
}

func TestOwnerMayBeAllowedToMakeDatabases(t *testing.T) {
	s := startWith(t, Options{DataDir: madeDir(t), Volatile: true, OwnerCreatesDatabases: true, Settings: map[string]string{"max_connections": "37"}})
	run(t, s.URL(), "create database another")
	require.Equal(t, "off", ask[string](t, s.URL(), "show fsync"))
	require.Equal(t, "37", ask[string](t, s.URL(), "show max_connections"))
}

func TestRootDropsToAnotherAccount(t *testing.T) {
	needRoot(t)
	dir := madeDir(t)
	s := startIn(t, dir)
	require.False(t, s.cluster.acct.namespace)
	require.NotZero(t, uidOf(t, pidOf(s)))
	for path, mine := range map[string]bool{"": true, "lock": true, "postgres.log": true, "postgres": false, "sock": false} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, mine, info.Sys().(*syscall.Stat_t).Uid == 0, "owner of %q", path)
	}
}

func TestRootWithAClosedDataPathUsesANamespaceAndSaysSo(t *testing.T) {
	needRoot(t)
	var log bytes.Buffer
	// t.TempDir lies below a directory of mode 0700.
	dir := filepath.Join(t.TempDir(), "data")
	s := startWith(t, Options{DataDir: dir, Volatile: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.True(t, s.cluster.acct.namespace)
	require.Contains(t, log.String(), "no privilege drop")
	require.Zero(t, uidOf(t, pidOf(s)))
	run(t, s.URL(), "create table kept as select 7 as answer")
	stop(t, s)

	// Opened up, the same data is handed to the account that may now reach it.
	open := openDir(t)
	require.NoError(t, os.Rename(dir, open))
	s = startIn(t, open)
	require.False(t, s.cluster.acct.namespace)
	require.Equal(t, 7, ask[int](t, s.URL(), "select answer from kept"))
}

func TestRootThatCanRunTheServerNoWayIsToldWhatToSet(t *testing.T) {
	needRoot(t)
	bins := binaries{dir: t.TempDir(), major: MinMajor}
	require.NoError(t, os.WriteFile(bins.path("postgres"), []byte("#!/bin/sh\nexit 1\n"), 0o755))
	_, err := chooseAccount(testContext(t), bins, t.TempDir())
	require.ErrorContains(t, err, "set HEDDLE_DATA_DIR to a directory that")
	require.ErrorContains(t, err, "trying a user namespace")
}

func TestLongSocketPathMovesToARuntimeDirectory(t *testing.T) {
	dir := filepath.Join(openDir(t), strings.Repeat("long", 25))
	t.Setenv("XDG_RUNTIME_DIR", "")
	s := startIn(t, dir)
	require.Equal(t, 1, ask[int](t, s.URL(), "select 1"))
	require.NotContains(t, s.cluster.sock, "longlong")
	require.True(t, socketFits(s.cluster.sock))
	info, err := os.Stat(s.cluster.sock)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	stop(t, s)
	require.NoDirExists(t, s.cluster.sock, "nothing of it stays in the runtime directory")
}

func TestSocketDirectoryOfAStrangerIsRefused(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "sock")
	require.NoError(t, os.Mkdir(dir, 0o777))
	require.NoError(t, os.Chown(dir, 4242, 4242))
	require.ErrorContains(t, claimSocketDir(dir, account{uid: 65534, gid: 65534}), "is in the way")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(t.TempDir(), link))
	require.ErrorContains(t, claimSocketDir(link, account{}), "is in the way")
}

// readyCount counts how often a log says that the server is ready.
type readyCount struct{ atomic.Int32 }

func (n *readyCount) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("postgres is ready")) {
		n.Add(1)
	}
	return len(line), nil
}

func TestDeadPostmasterIsStartedAgainOnceAndThenReported(t *testing.T) {
	var ready readyCount
	s, err := Start(testContext(t), Options{DataDir: madeDir(t), Log: slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &ready), nil))})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop(context.Background()) }) // it ends with the error this test wants
	run(t, s.URL(), "update kept set answer = 43")
	first := pidOf(s)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	eventually(t, "the server comes back", func() bool {
		conn, err := pgx.Connect(t.Context(), s.URL())
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil && pidOf(s) != first
	})
	// It answers before the restart is through; a death until then is a failed restart.
	eventually(t, "the restart is through", func() bool { return ready.Load() == 2 })
	require.Equal(t, 43, ask[int](t, s.URL(), "select answer from kept"))
	require.NoError(t, s.Err())

	require.NoError(t, syscall.Kill(pidOf(s), syscall.SIGKILL))
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("the second death was not reported")
	}
	require.ErrorContains(t, s.Err(), "second time")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.ErrorContains(t, s.Stop(ctx), "second time")

	lock, err := Lock(s.cluster.data)
	require.NoError(t, err, "the lock is free once the server has ended for good")
	require.NoError(t, lock.Release())
}

func TestStopDropsEverythingWhenItsDeadlinePasses(t *testing.T) {
	s := startIn(t, madeDir(t))
	// A postmaster that is held still cannot answer the first signal.
	require.NoError(t, syscall.Kill(pidOf(s), syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	pid := pidOf(s)
	go func() {
		<-s.hurry
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may be gone already
	}()
	require.NoError(t, s.Stop(ctx))
	require.False(t, alive(t, pid))
}

func TestStartThatFailsShowsWhatTheServerSaid(t *testing.T) {
	dir := madeDir(t)
	_, err := Start(testContext(t), Options{DataDir: dir, Log: slog.New(slog.DiscardHandler), Settings: map[string]string{"no_such_setting": "1"}})
	require.ErrorContains(t, err, "no_such_setting")
	lock, err := Lock(dir)
	require.NoError(t, err, "a failed start gives the lock back")
	require.NoError(t, lock.Release())
}

func TestStartGivesUpWhenItsContextEnds(t *testing.T) {
	dir := openDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, Options{DataDir: dir, Log: slog.New(slog.DiscardHandler)})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoDirExists(t, filepath.Join(dir, "postgres"), "a cluster is whole or absent")
}

func TestSocketURLSurvivesEveryPath(t *testing.T) {
	dir := "/data dir/with+odd&signs='x'"
	u, err := url.Parse(socketURL(dir, Owner, Owner))
	require.NoError(t, err)
	require.NotContains(t, u.RawQuery, "+")
	cfg, err := pgx.ParseConfig(u.String())
	require.NoError(t, err)
	require.Equal(t, dir, cfg.Host)
	require.Equal(t, Owner, cfg.User)
	require.Equal(t, Owner, cfg.Database)
}
