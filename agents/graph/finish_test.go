package graph_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

func TestTheLastFrameOfASessionAlwaysSaysThatItIs(t *testing.T) {
	t.Parallel()
	g, err := graph.New("g").Node("a", nothing).Entry("a").Finish("a").Compile()
	require.NoError(t, err)
	s := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: memory.New(memory.Options{})}).Open(t.Context(), "t", nil)
	s.Finish("")
	last, ok := <-s.Frames()
	require.True(t, ok)
	require.Equal(t, "finished", last.Closed)
	require.ErrorIs(t, s.Feed(t.Context(), graph.Feed(graph.Start)), graph.ErrSessionClosed)
}
