package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
)

// entry is an element of a list by id.
type entry struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

func read[T any](t testing.TB, s graph.State, c interface {
	Get(graph.State) (T, bool, error)
}) T {
	t.Helper()
	v, _, err := c.Get(s)
	require.NoError(t, err)
	return v
}

func TestChannelsMergeByTheirReducersAndLeaveTheOldStateAlone(t *testing.T) {
	t.Parallel()
	topic, notes := graph.Replace[string]("topic"), graph.Append[string]("notes")
	facts, cost := graph.Merge[int]("facts"), graph.Sum("cost")
	entries := graph.AppendByID[entry]("entries")
	most := graph.Reduce("most", "max/1", func(a, b int) int { return max(a, b) })
	g := compile(t, declared().Channels(topic, notes, facts, cost, entries, most))
	old, _, err := g.Apply(graph.NewState(nil, nil), "l", 1, []graph.Write{
		topic.Put("tea"), notes.Put([]string{"a"}), facts.Put(map[string]int{"x": 1, "y": 1}), cost.Put(1.5),
		entries.Put([]entry{{"1", "one"}, {"2", "two"}}), most.Put(3), most.Put(2),
		graph.AddMessage(agents.Message{ID: "m1", Text: "one"}), graph.AddMessage(agents.Message{ID: "m2"}),
	})
	require.NoError(t, err)
	next, changes, err := g.Apply(old, "l", 2, []graph.Write{
		topic.Put("milk"), notes.Put([]string{"b", "c"}), facts.Put(map[string]int{"y": 2}), cost.Put(2),
		entries.Put([]entry{{"3", "three"}, {"1", "uno"}}), entries.Remove("2", "absent"), most.Put(9), most.Put(4),
		graph.RemoveMessage("m2"), graph.RemoveMessage("absent"), graph.AddMessage(agents.Message{ID: "m1", Text: "two"}),
	})
	require.NoError(t, err)
	for _, want := range []struct {
		s       graph.State
		topic   string
		notes   []string
		facts   map[string]int
		cost    float64
		entries []entry
		most    int
	}{
		{old, "tea", []string{"a"}, map[string]int{"x": 1, "y": 1}, 1.5, []entry{{"1", "one"}, {"2", "two"}}, 3},
		{next, "milk", []string{"a", "b", "c"}, map[string]int{"x": 1, "y": 2}, 3.5, []entry{{"1", "uno"}, {"3", "three"}}, 9},
	} {
		require.Equal(t, want.topic, read(t, want.s, topic))
		require.Equal(t, want.notes, read(t, want.s, notes))
		require.Equal(t, want.facts, read(t, want.s, facts))
		require.InDelta(t, want.cost, read(t, want.s, cost), 1e-9)
		require.Equal(t, want.entries, read(t, want.s, entries), "replaced in place, added at the end")
		require.Equal(t, want.most, read(t, want.s, most))
	}
	require.Len(t, old.Messages(), 2)
	require.Len(t, next.Messages(), 1)
	rev := next.Messages()[0].Revision
	require.NotZero(t, rev)
	require.NotEqual(t, old.Messages()[0].Revision, rev)
	require.Equal(t, []agents.Op{{Kind: agents.OpRemove, ID: "m2"}, {Kind: agents.OpReplace, ID: "m1", Rev: rev}}, changes.Ops)
	require.Equal(t, agents.Delta{Op: agents.DeltaSet, Value: json.RawMessage(`9`), From: json.RawMessage(`4`)}, changes.Deltas["most"][1],
		"what a reducer made is stored whole, with what it was made of")

	folded := map[string]json.RawMessage{}
	for name, v := range old.Values() {
		folded[name] = v
	}
	for name, deltas := range changes.Deltas {
		require.NoError(t, agents.Fold(folded, name, deltas))
	}
	require.Equal(t, next.Values(), folded, "storage replays the changes without knowing the graph")
}

func TestWhatNobodyWroteIsAbsentAndWhatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	s := graph.NewState(nil, map[string]json.RawMessage{"topic": json.RawMessage(`"tea"`), "none": json.RawMessage(`null`)})
	_, ok, err := graph.Replace[int]("never").Get(s)
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = graph.Replace[*int]("none").Get(s)
	require.NoError(t, err)
	require.True(t, ok, "null was written")
	_, ok, err = graph.Replace[int]("topic").Get(s)
	require.True(t, ok)
	var unread *graph.DecodeError
	require.ErrorAs(t, err, &unread)
	require.Equal(t, "topic", unread.Channel)
	require.ErrorAs(t, err, new(*json.UnmarshalTypeError))
	require.ErrorContains(t, err, "reading channel topic")
}

func TestAWriteThatDoesNotFitIsRefusedWhole(t *testing.T) {
	t.Parallel()
	text, entries := graph.Replace[string]("text"), graph.AppendByID[entry]("entries")
	broken := graph.Reduce("broken", "broken/1", func(_, _ int) int { panic("canary") })
	most := graph.Reduce("most", "max/1", func(a, b int) int { return max(a, b) })
	g := compile(t, declared().Channels(text, entries, broken, most, graph.Sum("cost")))
	start := graph.NewState(nil, map[string]json.RawMessage{"cost": json.RawMessage(`"much"`), "most": json.RawMessage(`"much"`)})
	for name, c := range map[string]struct {
		write graph.Write
		field string
		rule  error
	}{
		"Undeclared":           {graph.Replace[int]("other").Put(1), "values.other", graph.ErrUnknownChannel},
		"Engine":               {graph.Replace[[]string]("__join:x").Put(nil), "values.__join:x", graph.ErrUnknownChannel},
		"OtherReducer":         {graph.Append[string]("text").Put([]string{"x"}), "values.text", graph.ErrWrongType},
		"RemoveOfText":         {text.Remove("x"), "values.text", graph.ErrWrongType},
		"WithoutID":            {entries.Put([]entry{{Text: "x"}}), "values.entries", graph.ErrWrongType},
		"UnreadableOldReduced": {most.Put(1), "values.most", graph.ErrWrongType},
		"UnreadableReduced":    {graph.Reduce("most", "max/1", func(a, _ string) string { return a }).Put("x"), "values.most", graph.ErrWrongType},
		"UnreadableOld":        {graph.Sum("cost").Put(1), "values.cost", graph.ErrWrongType},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after, changes, err := g.Apply(start, "l", 1, []graph.Write{text.Put("before"), c.write})
			refusal(t, err, c.field, c.rule)
			require.Equal(t, start, after)
			require.Empty(t, changes)
		})
	}
	_, _, err := g.Apply(start, "l", 1, []graph.Write{broken.Put(1)})
	require.ErrorAs(t, err, new(*graph.PanicError), "a reducer that panics")
	require.ErrorContains(t, err, "broken")
	_, _, err = g.Apply(start, "l", 1, []graph.Write{graph.Sum("cost").Put(math.NaN())})
	require.ErrorAs(t, err, new(*json.UnsupportedValueError), "what JSON can't write")
}

func TestAPrivateChannelLivesAsLongAsItsRun(t *testing.T) {
	t.Parallel()
	secret := graph.Replace[string]("secret").Private()
	require.Equal(t, "_secret", secret.Name())
	require.Equal(t, "_secret", secret.Private().Name())
	require.True(t, agents.Hidden(secret.Name()))
	step := func(want string) graph.Node {
		return func(_ context.Context, task *graph.Task) (graph.Command, error) {
			got, _, err := secret.Get(task.State)
			if err == nil && got != want {
				err = errors.New("the node reads " + got)
			}
			return graph.Command{Update: []graph.Write{secret.Put("s3cret"), log.Put([]string{task.Node})}}, err
		}
	}
	b := setUp(t, compile(t, graph.New("g").Channels(secret, log).Node("a", step("")).Node("b", step("s3cret")).
		Edge(graph.Start, "a").Edge("a", "b").Edge("b", graph.End)))
	b.run(graph.Begin())
	kept := b.now()
	require.JSONEq(t, `"s3cret"`, string(kept.Values["_secret"]), "whoever goes on has it")
	require.NotContains(t, agents.Public(kept.Values), "_secret")
	b.run(graph.Begin()) // a starts without it again
	require.Equal(t, []string{"a", "b", "a", "b"}, logged(t, b.now()))
}

func TestNamesOfChannels(t *testing.T) {
	t.Parallel()
	for _, c := range []graph.Declared{graph.Sum("a"), graph.Sum("A-1_b.c"), graph.Sum(strings.Repeat("a", 64)), graph.Sum("a").Private(),
		graph.NewKey[int]("ns", "key", 1), graph.NewKey[int]("ns", "key", 12).Private()} {
		compile(t, declared().Channels(c))
	}
}
