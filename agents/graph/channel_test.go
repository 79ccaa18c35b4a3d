package graph_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
)

func TestChannelsMergeByTheirReducersAndLeaveTheOldStateAlone(t *testing.T) {
	t.Parallel()
	topic, notes := graph.Replace[string]("topic"), graph.Append[string]("notes")
	facts, cost := graph.Merge[int]("facts"), graph.Sum("cost")
	g, err := graph.New("g").Channels(topic, notes, facts, cost).Node("a", nothing).Entry("a").Finish("a").Compile()
	require.NoError(t, err)
	old, _, err := g.Apply(graph.NewState(nil, nil), "l", 1, []graph.Write{
		topic.Put("tea"), notes.Put([]string{"a"}), facts.Put(map[string]int{"x": 1, "y": 1}), cost.Put(1.5),
		graph.AddMessage(agents.Message{ID: "m1", Text: "one"}), graph.AddMessage(agents.Message{ID: "m2"}),
	})
	require.NoError(t, err)
	next, changes, err := g.Apply(old, "l", 2, []graph.Write{
		topic.Put("milk"), notes.Put([]string{"b", "c"}), facts.Put(map[string]int{"y": 2}), cost.Put(2),
		graph.RemoveMessage("m2"), graph.RemoveMessage("absent"), graph.AddMessage(agents.Message{ID: "m1", Text: "two"}),
	})
	require.NoError(t, err)
	check := func(s graph.State, wantTopic string, wantNotes []string, wantFacts map[string]int, wantCost float64) {
		t.Helper()
		gotTopic, ok, err := topic.Get(s)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, wantTopic, gotTopic)
		gotNotes, _, err := notes.Get(s)
		require.NoError(t, err)
		require.Equal(t, wantNotes, gotNotes)
		gotFacts, _, err := facts.Get(s)
		require.NoError(t, err)
		require.Equal(t, wantFacts, gotFacts)
		gotCost, _, err := cost.Get(s)
		require.NoError(t, err)
		require.InDelta(t, wantCost, gotCost, 1e-9)
	}
	check(old, "tea", []string{"a"}, map[string]int{"x": 1, "y": 1}, 1.5)
	check(next, "milk", []string{"a", "b", "c"}, map[string]int{"x": 1, "y": 2}, 3.5)
	require.Len(t, old.Messages(), 2)
	require.Len(t, next.Messages(), 1)
	rev := next.Messages()[0].Revision
	require.NotZero(t, rev)
	require.NotEqual(t, old.Messages()[0].Revision, rev)
	require.Equal(t, []agents.Op{{Kind: agents.OpRemove, ID: "m2"}, {Kind: agents.OpReplace, ID: "m1", Rev: rev}}, changes.Ops)

	_, ok, err := graph.Replace[int](graph.Replace[string]("never").Name()).Get(next)
	require.NoError(t, err)
	require.False(t, ok, "what nobody wrote is absent, not zero")
	_, _, err = graph.Replace[int]("topic").Get(next)
	require.ErrorContains(t, err, "topic")
}
