package graph_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// client is a graph with a channel of each kind that a client may write, and one
// that it may not.
func client(t testing.TB) *graph.Graph {
	t.Helper()
	return compile(t, declared().Channels(graph.Replace[string]("topic"), graph.Append[string]("notes"), graph.Merge[int]("facts"),
		graph.Sum("cost"), graph.AppendByID[entry]("entries"), graph.Reduce("most", "max/1", func(a, b int) int { return max(a, b) }),
		graph.Replace[string]("secret").Private(), graph.NewKey[int]("ns", "k", 1)))
}

func TestClientsValuesBecomeWritesInTheOrderOfNames(t *testing.T) {
	t.Parallel()
	g := client(t)
	var values map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(`{"topic":"tea","notes":["a"],"facts":{"x":1},"cost":2,"entries":[{"id":"1","text":"one"}],"most":7,"ns:k:v1":3}`), &values))
	writes, err := g.Decode(values)
	require.NoError(t, err)
	var ops []string
	for _, w := range writes {
		ops = append(ops, w.Channel+" "+string(w.Delta.Op))
	}
	require.Equal(t, []string{"cost add", "entries upsert", "facts merge", "most reduce", "notes append", "ns:k:v1 set", "topic set"}, ops)
	s, _, err := g.Apply(graph.NewState(nil, nil), "l", 1, writes)
	require.NoError(t, err)
	require.Len(t, s.Values(), len(values))
	for name, v := range values {
		require.JSONEq(t, string(v), string(s.Values()[name]), name)
	}
}

func TestWhatAClientMayNotWriteIsRefusedFieldByField(t *testing.T) {
	t.Parallel()
	g := client(t)
	for name, c := range map[string]struct {
		values string
		broken map[string]error
	}{
		"Unknown":      {`{"nothing":1}`, map[string]error{"values.nothing": graph.ErrUnknownChannel}},
		"Messages":     {`{"messages":[]}`, map[string]error{"values.messages": graph.ErrUnknownChannel}},
		"Private":      {`{"_secret":"x"}`, map[string]error{"values._secret": graph.ErrPrivateChannel}},
		"PrivateBare":  {`{"secret":"x"}`, map[string]error{"values.secret": graph.ErrUnknownChannel}},
		"Engine":       {`{"__join:[\"a\"]:b":["a"]}`, map[string]error{`values.__join:["a"]:b`: graph.ErrPrivateChannel}},
		"Text":         {`{"topic":1}`, map[string]error{"values.topic": graph.ErrWrongType}},
		"List":         {`{"notes":"a"}`, map[string]error{"values.notes": graph.ErrWrongType}},
		"ListElements": {`{"notes":[1]}`, map[string]error{"values.notes": graph.ErrWrongType}},
		"Map":          {`{"facts":{"x":"y"}}`, map[string]error{"values.facts": graph.ErrWrongType}},
		"Number":       {`{"cost":"2"}`, map[string]error{"values.cost": graph.ErrWrongType}},
		"Reduced":      {`{"most":1.5}`, map[string]error{"values.most": graph.ErrWrongType}},
		"All": {`{"_secret":1,"topic":[],"cost":1,"x":1}`, map[string]error{"values._secret": graph.ErrPrivateChannel,
			"values.topic": graph.ErrWrongType, "values.x": graph.ErrUnknownChannel}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var values map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(c.values), &values))
			_, err := g.Decode(values)
			require.Error(t, err)
			var joined interface{ Unwrap() []error }
			require.ErrorAs(t, err, &joined)
			got := map[string]error{}
			for _, e := range joined.Unwrap() {
				var bad *graph.InputError
				require.ErrorAs(t, e, &bad)
				require.Equal(t, "g", bad.Graph)
				got[bad.Field] = bad.Rule
				refusal(t, e, bad.Field, bad.Rule)
			}
			require.Equal(t, c.broken, got)
		})
	}
}

// asks is a graph that asks, and then asks again.
func asks(t testing.TB) *graph.Graph {
	t.Helper()
	return compile(t, graph.New("asks").Channels(log).Node("a", asking).Node("b", asking).Edge(graph.Start, "a").Edge("a", "b").Edge("b", graph.End))
}

func TestWhatIsRefusedLeavesTheThreadAndItsHolderAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in      graph.Input
		options []graph.RunOption
		field   string
		rule    error
		// missing is true where something isn't found.
		missing bool
	}{
		"GotoNowhere":      {in: graph.Jump([]string{"z"}), field: "goto", rule: graph.ErrNoSuchNode},
		"GotoStart":        {in: graph.Jump([]string{graph.Start}), field: "goto", rule: graph.ErrNoSuchNode},
		"EntryNowhere":     {in: graph.Feed("z"), field: "entry", rule: graph.ErrNoSuchNode},
		"EntryEnd":         {in: graph.Feed(graph.End), field: "entry", rule: graph.ErrNoSuchNode},
		"Channel":          {in: graph.Begin(graph.Sum("z").Put(1)), field: "values.z", rule: graph.ErrUnknownChannel},
		"LimitZero":        {in: graph.Begin(), options: []graph.RunOption{graph.RecursionLimit(0)}, field: "recursion_limit", rule: graph.ErrOutOfRange},
		"LimitNegative":    {in: graph.Begin(), options: []graph.RunOption{graph.RecursionLimit(-1)}, field: "recursion_limit", rule: graph.ErrOutOfRange},
		"LimitHuge":        {in: graph.Begin(), options: []graph.RunOption{graph.RecursionLimit(graph.MaxRecursionLimit + 1)}, field: "recursion_limit", rule: graph.ErrOutOfRange},
		"BreakNowhere":     {in: graph.Begin(), options: []graph.RunOption{graph.BreakAt(graph.Breakpoints{Before: []string{"z"}})}, field: "interrupt", rule: graph.ErrNoSuchNode},
		"BreakAfterNobody": {in: graph.Begin(), options: []graph.RunOption{graph.BreakAt(graph.Breakpoints{After: []string{"a/b"}})}, field: "interrupt", rule: graph.ErrNoSuchNode},
		"NoCheckpoint":     {in: graph.Begin(), options: []graph.RunOption{graph.From("none")}, missing: true},
		"OthersCheckpoint": {in: graph.Begin(), options: []graph.RunOption{graph.From(agents.CheckpointID("00000000-0000-4000-8000-000000000000", 0))}, missing: true},
		"Unwritable":       {in: graph.Answer(func() {}), field: "answer", rule: graph.ErrWrongType},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setUp(t, asks(t))
			b.pauses(graph.Begin())
			b.untouched(func() {
				err := b.fails(c.in, c.options...)
				if c.missing {
					require.True(t, fault.Is(err, fault.KindNotFound), "%v", err)
					return
				}
				refusal(t, err, c.field, c.rule)
			})
			fresh := agents.ThreadID("fresh")
			_, err := b.Invoke(t.Context(), fresh, c.in, c.options...)
			require.Error(t, err)
			_, err = b.State(t.Context(), fresh)
			require.ErrorIs(t, err, agents.ErrThreadNotFound, "nor is a thread made for it")
		})
	}
}

func TestAnAnswerThatNobodyWaitsForChangesNothing(t *testing.T) {
	t.Parallel()
	b := setUp(t, asks(t))
	_, err := b.Invoke(t.Context(), b.thread, graph.Answer("yes"))
	require.ErrorIs(t, err, agents.ErrNotInterrupted, "a thread that never ran")
	first := b.pauses(graph.Begin())
	second := b.pauses(graph.Answer(map[string]any{first[0].ID: "one"}))
	require.Equal(t, "b", second[0].Node)
	for name, answer := range map[string]any{
		"Twice":    map[string]any{first[0].ID: "one"},
		"TooMuch":  map[string]any{first[0].ID: "one", second[0].ID: "two"},
		"Stranger": map[string]any{id.New(): "three"},
	} {
		b.untouched(func() {
			err := b.fails(graph.Answer(answer))
			require.Equal(t, map[string]string{"command.resume": "names an interrupt that is not open"}, fault.FieldsOf(err), name)
		})
	}
	b.run(graph.Answer(map[string]any{second[0].ID: "two"}))
	require.Equal(t, []string{`a="one"`, `b="two"`}, logged(t, b.now()))
	b.untouched(func() { require.ErrorIs(t, b.fails(graph.Answer("again")), agents.ErrNotInterrupted) })
	b.untouched(func() {
		require.ErrorIs(t, b.fails(graph.Answer(map[string]any{second[0].ID: "again"})), agents.ErrNotInterrupted)
	})
}

func TestARefusedChangeLeavesTheThreadAndItsHolderAlone(t *testing.T) {
	t.Parallel()
	b := setUp(t, asks(t))
	b.pauses(graph.Begin())
	for name, c := range map[string]struct {
		changes []graph.Change
		field   string
		rule    error
	}{
		"None":       {nil, "changes", graph.ErrOutOfRange},
		"Channel":    {[]graph.Change{{Writes: []graph.Write{graph.Sum("z").Put(1)}}}, "values.z", graph.ErrUnknownChannel},
		"Node":       {[]graph.Change{{AsNode: "z"}}, "as_node", graph.ErrNoSuchNode},
		"TheLast":    {[]graph.Change{{Writes: []graph.Write{log.Put([]string{"x"})}}, {AsNode: "z"}}, "as_node", graph.ErrNoSuchNode},
		"SecondFrom": {[]graph.Change{{}, {From: "x"}}, "changes", graph.ErrOutOfRange},
	} {
		b.untouched(func() {
			_, err := b.BulkUpdate(t.Context(), b.thread, c.changes)
			require.Error(t, err, name)
			refusal(t, err, c.field, c.rule)
		})
	}
	b.untouched(func() {
		_, err := b.Update(t.Context(), b.thread, graph.Change{From: "none"})
		require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
	})
	b.untouched(func() {
		require.ErrorIs(t, b.Fork(t.Context(), b.thread, "none"), agents.ErrCheckpointNotFound)
	})
}

func TestAnInputErrorTellsPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	err := error(&graph.InputError{Graph: "g", Field: "values.x", Rule: graph.ErrWrongType, Detail: "it is no list"})
	require.EqualError(t, err, "graph g: values.x has the wrong type: it is no list")
	require.Equal(t, map[string]string{"values.x": "has the wrong type: it is no list"}, fault.FieldsOf(err))
	require.True(t, errors.Is(err, graph.ErrWrongType))
}
