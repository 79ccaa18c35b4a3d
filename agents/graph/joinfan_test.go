package graph_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
)

func TestAJoinCountsTheTasksOfAFanAsOneSource(t *testing.T) {
	t.Parallel()
	rounds, joined := graph.Sum("rounds"), graph.Append[string]("joined")
	note := func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{joined.Put([]string{task.Node})}}, nil
	}
	// In each round "quick" finishes a step before the tasks of "many" do: marks
	// that the first round left behind would let the second join too early.
	g, err := graph.New("rounds").Channels(rounds, joined).
		Node("split", func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{rounds.Put(1)}}, nil
		}).
		Node("quick", nothing).Node("wait", nothing).Node("many", note).Node("meet", note).
		Entry("split").Edge("split", "quick").Edge("split", "wait").
		Fan("wait", func(graph.State) ([]graph.Send, error) {
			return []graph.Send{{Node: "many", Input: 1}, {Node: "many", Input: 2}, {Node: "many", Input: 3}}, nil
		}, "many").
		Join("meet", "quick", "many").
		Branch("meet", func(s graph.State) ([]string, error) {
			if n, _, err := rounds.Get(s); err != nil || n == 2 {
				return []string{graph.End}, err
			}
			return []string{"split"}, nil
		}, "split", graph.End).Compile()
	require.NoError(t, err)
	state, err := g.Run(t.Context(), graph.Execution{Host: &host{}, Step: -1})
	require.NoError(t, err)
	got, _, err := joined.Get(state)
	require.NoError(t, err)
	require.Equal(t, []string{"many", "many", "many", "meet", "many", "many", "many", "meet"}, got)
}
