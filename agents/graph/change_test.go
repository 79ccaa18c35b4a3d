package graph_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
)

// TestChangesOfOneStepAreMadeInSeveralNames: what follows each of the nodes is due,
// once, and a join sees all of them.
func TestChangesOfOneStepAreMadeInSeveralNames(t *testing.T) {
	t.Parallel()
	count := graph.Sum("count")
	g, err := graph.New("several").Channels(count).
		Node("split", nothing).Node("left", nothing).Node("right", nothing).Node("after", nothing).Node("meet", nothing).
		Entry("split").Edge("split", "left").Edge("split", "right").Edge("left", "after").Edge("right", "after").
		Join("meet", "left", "right").Finish("meet").Finish("after").Compile()
	require.NoError(t, err)
	fresh := agents.State{Line: "01a2170e-a8f4-7dd0-8926-43595d489936", Step: -1}
	for name, c := range map[string]struct {
		change graph.Change
		next   []string
		count  string
	}{
		"one":              {graph.Change{AsNode: "left", Writes: []graph.Write{count.Put(1)}}, []string{"after"}, "1"},
		"both":             {graph.Change{AsNode: "left", Writes: []graph.Write{count.Put(1)}, With: []graph.Change{{AsNode: "right", Writes: []graph.Write{count.Put(2)}}}}, []string{"after", "meet"}, "3"},
		"one and the end":  {graph.Change{AsNode: graph.End, With: []graph.Change{{AsNode: "split"}}}, []string{"left", "right"}, ""},
		"a value alone":    {graph.Change{With: []graph.Change{{Writes: []graph.Write{count.Put(5)}}}}, []string{}, "5"},
		"named by another": {graph.Change{With: []graph.Change{{AsNode: graph.Start}}}, []string{"split"}, ""},
	} {
		step, after, err := g.Changed(fresh, c.change)
		require.NoError(t, err, name)
		require.ElementsMatch(t, c.next, agents.Nodes(step.Next), name)
		require.Equal(t, c.count, string(after.Values["count"]), name)
	}
	_, _, err = g.Changed(fresh, graph.Change{AsNode: "left", With: []graph.Change{{AsNode: "nobody"}}})
	require.ErrorIs(t, err, graph.ErrNoSuchNode)
}
