package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/checkpoint/checkpointtest"
	"github.com/heddle/heddle/agents/checkpoint/sqlite"
	"github.com/heddle/heddle/agents/graph"
)

func open(t testing.TB, o sqlite.Options) *sqlite.Checkpointer {
	t.Helper()
	c, err := sqlite.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	t.Run("InMemory", func(t *testing.T) {
		t.Parallel()
		checkpointtest.Run(t, func(t *testing.T) graph.Checkpointer { return open(t, sqlite.Options{Path: sqlite.Memory}) })
	})
	t.Run("OnAFile", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "heddle.db")
		checkpointtest.Run(t, func(t *testing.T) graph.Checkpointer { return open(t, sqlite.Options{Path: path}) })
	})
}
