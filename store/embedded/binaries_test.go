package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeInstallation stands in for versions this machine does not have. The
// programs are never run, except with -V.
func fakeInstallation(t *testing.T, dir string, major int) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %d.4'\n", major)
	for _, name := range []string{"postgres", "initdb"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

func TestMissingProgramsTellTheWayOut(t *testing.T) {
	_, err := Start(t.Context(), Options{DataDir: openDir(t), BinDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	var missing *BinariesError
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, "PostgreSQL 15 or newer is not installed")
	require.ErrorContains(t, err, "install postgresql")
	require.ErrorContains(t, err, "set DATABASE_URL")
}

func TestProgramsTooOldAreNamed(t *testing.T) {
	dir := fakeInstallation(t, t.TempDir(), 13)
	_, err := findBinaries(t.Context(), dir, 0)
	require.ErrorContains(t, err, "found: 13")
}

func TestExistingClusterTakesOnlyItsOwnMajorVersion(t *testing.T) {
	dir := openDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "postgres"), 0o711))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres", "PG_VERSION"), []byte("16\n"), 0o600))
	bins := fakeInstallation(t, t.TempDir(), 17)
	_, err := Start(t.Context(), Options{DataDir: dir, BinDir: bins, Log: slog.New(slog.DiscardHandler)})
	var missing *BinariesError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, BinariesError{Cluster: 16, Found: []int{17}, BinDir: bins}, *missing)
	require.ErrorContains(t, err, "made by PostgreSQL 16")

	found, err := findBinaries(t.Context(), fakeInstallation(t, t.TempDir(), 16), 16)
	require.NoError(t, err)
	require.Equal(t, 16, found.major)
}

func TestHighestVersionOnPathOrFromADistributionWins(t *testing.T) {
	installed, err := findBinaries(t.Context(), "", 0)
	require.NoError(t, err)
	newer := fakeInstallation(t, t.TempDir(), installed.major+1)
	t.Setenv("PATH", newer+":"+os.Getenv("PATH"))
	found, err := findBinaries(t.Context(), "", 0)
	require.NoError(t, err)
	require.Equal(t, installed.major+1, found.major)
	found, err = findBinaries(t.Context(), "", installed.major)
	if filepath.Dir(filepath.Dir(installed.dir)) == "/usr/lib/postgresql" {
		require.NoError(t, err)
		require.Equal(t, installed.major, found.major)
	}
	older := fakeInstallation(t, t.TempDir(), MinMajor-1)
	t.Setenv("PATH", older+":"+os.Getenv("PATH"))
	found, err = findBinaries(t.Context(), older, MinMajor-1)
	require.NoError(t, err, "an old cluster may go on with its own version")
	require.Equal(t, MinMajor-1, found.major)
}
