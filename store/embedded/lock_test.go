package embedded

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLockIsExclusiveAndComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	lock, err := Lock(dir)
	require.NoError(t, err)
	_, err = Lock(dir)
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, os.Getpid(), locked.PID)
	require.NoError(t, lock.Release())
	again, err := Lock(dir)
	require.NoError(t, err)
	require.NoError(t, again.Release())
	_, err = Lock("")
	require.ErrorContains(t, err, "must not be empty")
}

func TestRunFileIsPrivateAndEndsWithItsLock(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadRun(dir)
	require.ErrorIs(t, err, ErrNotRunning)
	lock, err := Lock(dir)
	require.NoError(t, err)
	_, err = ReadRun(dir)
	require.ErrorIs(t, err, ErrNotReady)

	require.NoError(t, lock.WriteRun(RunFile{DatabaseURL: "postgres://x", RedisURL: "redis://y", BaseURL: "http://z"}))
	info, err := os.Stat(filepath.Join(dir, "run.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	run, err := ReadRun(dir)
	require.NoError(t, err)
	require.Equal(t, RunFile{PID: os.Getpid(), DatabaseURL: "postgres://x", RedisURL: "redis://y", BaseURL: "http://z"}, run)

	require.NoError(t, lock.Release())
	_, err = ReadRun(dir)
	require.ErrorIs(t, err, ErrNotRunning)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "only the lock file stays")
}

func TestRunFileOfAnEarlierOwnerIsNotTheNextOnes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "run.json"), []byte(`{"pid": 1, "database_url": "postgres://old"}`), 0o600))
	lock, err := Lock(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, lock.Release()) }()
	_, err = ReadRun(dir)
	require.ErrorIs(t, err, ErrNotReady)
}

func TestReadersOfTheRunFileDoNotKeepAnOwnerOut(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = ReadRun(dir) // whatever it finds, it probes the lock
			}
		}
	}()
	for range 50 {
		lock, err := Lock(dir)
		require.NoError(t, err)
		require.NoError(t, lock.Release())
	}
	close(stop)
	<-done
}
