package memory_test

import (
	"testing"

	"github.com/heddle/heddle/agents/checkpoint/checkpointtest"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	checkpointtest.Run(t, func(*testing.T) graph.Checkpointer { return memory.New(memory.Options{Checkpoints: -1}) })
}
