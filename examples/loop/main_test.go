package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/graph/graphtest"
)

func Example() {
	main()
	// Output:
	// 6: 8 calls. That is all.
	// 27: stopped after 25 steps.
	// 27: 111 calls. That is all.
	// 5: 5 calls. That is all.
}

func TestEachCallIsAnsweredInItsTurn(t *testing.T) {
	t.Parallel()
	g, err := build()
	require.NoError(t, err)
	b := graphtest.New(t, g)
	state, err := b.Invoke(t.Context(), "t", graph.Begin(number("4")))
	require.NoError(t, err)
	require.Equal(t, []string{"decide", "tools", "decide", "tools", "decide"}, b.Sink.Ran())
	var texts []string
	for i, m := range state.Messages {
		if m.Role == agents.RoleTool {
			require.Equal(t, state.Messages[i-1].ToolCalls[0].ID, m.ToolCallID)
			texts = append(texts, m.Name+" "+m.Text)
		}
	}
	require.Equal(t, []string{"halve 2", "halve 1"}, texts)
	require.Equal(t, 2.0, graphtest.Value(t, state, calls))
}

func TestALimitKeepsWhatWasDone(t *testing.T) {
	t.Parallel()
	g, err := build()
	require.NoError(t, err)
	b := graphtest.New(t, g)
	_, err = b.Invoke(t.Context(), "t", graph.Begin(number("8")), graph.RecursionLimit(3))
	require.ErrorAs(t, err, new(*graph.RecursionError))
	state, err := b.State(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, 1.0, graphtest.Value(t, state, calls))
	require.Equal(t, agents.DueNodes("tools"), state.Head.Next)
	state, err = b.Invoke(t.Context(), "t", graph.Continue())
	require.NoError(t, err)
	require.Equal(t, 3.0, graphtest.Value(t, state, calls))
}

func TestWhatIsNoNumberIsRefusedInWords(t *testing.T) {
	t.Parallel()
	g, err := build()
	require.NoError(t, err)
	_, err = graphtest.New(t, g).Invoke(t.Context(), "t", graph.Begin(number("six")))
	require.ErrorContains(t, err, "Please send a number.")
}
