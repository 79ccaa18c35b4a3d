package store_test

import (
	"testing"

	"github.com/heddle/heddle/agents/checkpoint/checkpointtest"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/store"
)

func TestCheckpointer(t *testing.T) {
	b := setup(t)
	checkpointtest.Run(t, func(*testing.T) graph.Checkpointer { return store.NewCheckpointer(b.db, b.mia) })
}
