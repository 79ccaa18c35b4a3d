package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
)

// trace runs a graph and says step by step which tasks were due and ran.
func trace(t testing.TB, b *graph.Builder, options ...graph.RunOption) (steps []string, state agents.State) {
	t.Helper()
	bench := setUp(t, compile(t, b.Channels(log)))
	state = bench.run(graph.Begin(), options...)
	all, err := bench.History(t.Context(), bench.thread, agents.HistoryQuery{Limit: agents.MaxHistory})
	require.NoError(t, err)
	for i := len(all) - 1; i > 0; i-- {
		var due []string
		for _, d := range all[i].Head.Next {
			due = append(due, d.Node+string(d.Input))
		}
		steps = append(steps, strings.Join(due, " "))
	}
	return steps, state
}

// goes is a node that logs and commands.
func goes(c graph.Command) graph.Node {
	return func(ctx context.Context, t *graph.Task) (graph.Command, error) {
		out, err := logs(ctx, t)
		c.Update = out.Update
		return c, err
	}
}

func nodes(b *graph.Builder, node graph.Node, names ...string) *graph.Builder {
	for _, n := range names {
		b.Node(n, node)
	}
	return b
}

func ends(b *graph.Builder, names ...string) *graph.Builder {
	for _, n := range names {
		b.Finish(n)
	}
	return b
}

func TestWhatFollowsANode(t *testing.T) {
	t.Parallel()
	abc := func(a graph.Node) *graph.Builder {
		return ends(nodes(graph.New("g").Node("a", a, graph.Ends("b", "c", "d", graph.End)), logs, "b", "c", "d").Entry("a"), "b", "c", "d")
	}
	twice := graph.Send{Node: "c", Input: 7}
	for name, c := range map[string]struct {
		build *graph.Builder
		steps []string
		log   string
	}{
		"Edges":           {abc(logs).Edge("a", "c").Edge("a", "b"), []string{"a", "b c"}, "a b c"},
		"Branch":          {abc(logs).Branch("a", to("c"), "b", "c"), []string{"a", "c"}, "a c"},
		"BranchToSeveral": {abc(logs).Branch("a", to("c", "b"), "b", "c"), []string{"a", "b c"}, "a b c"},
		"BranchToNone":    {abc(logs).Branch("a", to(), "b"), []string{"a"}, "a"},
		"BranchToTheEnd":  {abc(logs).Branch("a", to(graph.End), "b", graph.End), []string{"a"}, "a"},
		"Branches":        {abc(logs).Branch("a", to("c"), "b", "c").Branch("a", to("d"), "d"), []string{"a", "c d"}, "a c d"},
		"BranchesAgree":   {abc(logs).Branch("a", to("c"), "b", "c").Branch("a", to("c"), "c").Edge("a", "d"), []string{"a", "c d"}, "a c d"},
		"BranchOfStart": {ends(nodes(graph.New("g"), logs, "b", "c"), "b", "c").Branch(graph.Start, to("c"), "b", "c"),
			[]string{"c"}, "c"},
		"Fan": {abc(logs).Fan("a", func(graph.State) ([]graph.Send, error) {
			return []graph.Send{{Node: "c", Input: 2}, {Node: "b", Input: "x"}, {Node: "c", Input: nil}}, nil
		}, "b", "c"), []string{"a", `c2 b"x" cnull`}, `a c2 b"x" cnull`},
		"FanOfNone": {abc(logs).Fan("a", spread, "b"), []string{"a"}, "a"},
		"FanToTheEnd": {abc(logs).Fan("a", func(graph.State) ([]graph.Send, error) {
			return []graph.Send{{Node: graph.End}, {Node: "b", Input: 1}}, nil
		}, "b", graph.End), []string{"a", "b1"}, "a b1"},
		"FanOfStart": {ends(nodes(graph.New("g"), logs, "b"), "b").Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
			return []graph.Send{{Node: "b", Input: 1}, {Node: "b", Input: 2}}, nil
		}, "b"), []string{"b1 b2"}, "b1 b2"},
		"FanBesideEdge": {abc(logs).Edge("a", "d").Edge("a", "c").Fan("a", func(graph.State) ([]graph.Send, error) { return []graph.Send{twice}, nil }, "c"),
			[]string{"a", "c d c7"}, "a c d c7"},
		"Goto":        {abc(goes(graph.Command{Goto: []string{"c"}})).Edge("a", "b"), []string{"a", "c"}, "a c"},
		"GotoTwice":   {abc(goes(graph.Command{Goto: []string{"c", "b", "c"}})), []string{"a", "b c"}, "a b c"},
		"GotoNothing": {abc(goes(graph.Command{Goto: []string{}})).Edge("a", "b"), []string{"a"}, "a"},
		"GotoTheEnd":  {abc(goes(graph.Command{Goto: []string{graph.End}})).Edge("a", "b"), []string{"a"}, "a"},
		"GotoPassesBranches": {abc(goes(graph.Command{Goto: []string{"c"}})).
			Branch("a", func(graph.State) ([]string, error) { return nil, errors.New("asked") }, "b"), []string{"a", "c"}, "a c"},
		"Also":         {abc(goes(graph.Command{Also: []string{"d"}})).Edge("a", "b"), []string{"a", "b d"}, "a b d"},
		"AlsoWithGoto": {abc(goes(graph.Command{Also: []string{"d"}, Goto: []string{"c"}})).Edge("a", "b"), []string{"a", "c d"}, "a c d"},
		"Send":         {abc(goes(graph.Command{Send: []graph.Send{twice, twice}})).Edge("a", "b"), []string{"a", "b c7 c7"}, "a b c7 c7"},
		"SendWithGoto": {abc(goes(graph.Command{Send: []graph.Send{twice}, Goto: []string{}})).Edge("a", "b"), []string{"a", "c7"}, "a c7"},
		"SendToTheEnd": {abc(goes(graph.Command{Send: []graph.Send{{Node: graph.End}}})).Edge("a", "b"), []string{"a", "b"}, "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps, state := trace(t, c.build)
			require.Equal(t, c.steps, steps)
			require.Equal(t, c.log, strings.Join(logged(t, state), " "))
			require.Empty(t, state.Head.Next)
		})
	}
}

func TestWaysThatDoNotExistFailTheNodeThatChoseThem(t *testing.T) {
	t.Parallel()
	two := func(a graph.Node) *graph.Builder {
		return nodes(graph.New("g").Channels(log).Node("a", a, graph.Ends(graph.End)), logs, "b").Entry("a").Edge("a", "b").Finish("b")
	}
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		build *graph.Builder
		says  string
	}{
		"Goto":         {two(goes(graph.Command{Goto: []string{"z"}})), "goto is no node of the graph: z"},
		"GotoStart":    {two(goes(graph.Command{Goto: []string{graph.Start}})), "goto is no node of the graph: __start__"},
		"Also":         {two(goes(graph.Command{Also: []string{"z"}})), "goto is no node of the graph: z"},
		"Send":         {two(goes(graph.Command{Send: []graph.Send{{Node: "z"}}})), "send is no node of the graph: z"},
		"SendOfNoJSON": {two(goes(graph.Command{Send: []graph.Send{{Node: "b", Input: func() {}}}})), "writing the input for b as JSON"},
		"Branch":       {two(logs).Branch("a", to(graph.End), "b"), `the branch chose "__end__", which isn't among its targets`},
		"BranchFails":  {two(logs).Branch("a", func(graph.State) ([]string, error) { return nil, boom }, "b"), "choosing a way: boom"},
		"BranchPanics": {two(logs).Branch("a", func(graph.State) ([]string, error) { panic("boom") }, "b"), "panic: boom"},
		"Fan":          {two(logs).Fan("a", func(graph.State) ([]graph.Send, error) { return []graph.Send{{Node: "a"}}, nil }, "b"), `the fan sent to "a", which isn't among its targets`},
		"FanFails":     {two(logs).Fan("a", func(graph.State) ([]graph.Send, error) { return nil, boom }, "b"), "spreading tasks: boom"},
		"FanPanics":    {two(logs).Fan("a", func(graph.State) ([]graph.Send, error) { panic("boom") }, "b"), "panic: boom"},
		"FanOfNoJSON":  {two(logs).Fan("a", func(graph.State) ([]graph.Send, error) { return []graph.Send{{Node: "b", Input: func() {}}}, nil }, "b"), "writing the input for b as JSON"},
		"WriteNowhere": {two(func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{graph.Sum("z").Put(1)}}, nil
		}), "values.z is not declared by the graph"},
		"WriteOfNoJSON": {two(func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{graph.Replace[func()]("log").Put(func() {})}}, nil
		}), "writing channel log as JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setUp(t, compile(t, c.build))
			err := b.fails(graph.Begin())
			var node *graph.NodeError
			require.ErrorAs(t, err, &node)
			require.Equal(t, "a", node.Node)
			require.ErrorContains(t, err, c.says)
			state := b.now()
			require.Equal(t, 0, state.Step, "nothing of the step is stored")
			require.Equal(t, agents.DueNodes("a"), state.Head.Next)
			require.Empty(t, state.Pending)
		})
	}
}

func TestARouterOfTheStartThatFailsRefusesTheRun(t *testing.T) {
	t.Parallel()
	for name, route := range map[string]graph.Router{
		"Fails":  func(graph.State) ([]string, error) { return nil, errors.New("boom") },
		"Panics": func(graph.State) ([]string, error) { panic("boom") },
		"Astray": to("z"),
	} {
		b := setUp(t, compile(t, graph.New("g").Node("a", nothing).Branch(graph.Start, route, "a").Finish("a")))
		_, err := b.Invoke(t.Context(), b.thread, graph.Begin())
		var node *graph.NodeError
		require.ErrorAs(t, err, &node, name)
		require.Equal(t, graph.Start, node.Node)
		_, err = b.State(t.Context(), b.thread)
		require.ErrorIs(t, err, agents.ErrThreadNotFound)
	}
}

func TestInputsAreReadByType(t *testing.T) {
	t.Parallel()
	type order struct{ N int }
	got := make(chan any, 3)
	read := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		v, err := graph.InputOf[order](task)
		if err != nil {
			got <- err.Error()
		} else {
			got <- v
		}
		return graph.Command{}, nil
	}
	g := compile(t, graph.New("g").Node("a", read).Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
		return []graph.Send{{Node: "a", Input: order{7}}, {Node: "a", Input: "x"}}, nil
	}, "a").Edge(graph.Start, "a").Finish("a"))
	setUp(t, g, func(o *graph.RunnerOptions) { o.Parallel = 1 }).run(graph.Begin())
	require.Equal(t, "node a was not sent an input", <-got)
	require.Equal(t, order{7}, <-got)
	require.Contains(t, <-got, "reading the input of node a")
}

func TestAJoinWaitsForAllItsSourcesWhateverStepTheyFinishIn(t *testing.T) {
	t.Parallel()
	b := nodes(graph.New("g"), logs, "a", "b", "b2", "b3", "j").
		Entry("a").Entry("b").Edge("b", "b2").Edge("b2", "b3").Join("j", "b3", "a").Finish("j")
	steps, state := trace(t, b)
	require.Equal(t, []string{"a b", "b2", "b3", "j"}, steps)
	for name, v := range state.Values {
		if strings.HasPrefix(name, "__join") {
			require.Equal(t, "[]", string(v), name)
		}
	}
}

func TestAJoinInALoopWaitsAnew(t *testing.T) {
	t.Parallel()
	b := nodes(graph.New("g"), logs, "a", "b", "b2", "j").Branch("j", func(s graph.State) ([]string, error) {
		seen, _, err := log.Get(s)
		if strings.Count(strings.Join(seen, ""), "j") < 3 {
			return []string{"a", "b"}, err
		}
		return []string{graph.End}, err
	}, "a", "b", graph.End).Entry("a").Entry("b").Edge("b", "b2").Join("j", "a", "b2")
	steps, _ := trace(t, b)
	require.Equal(t, []string{"a b", "b2", "j", "a b", "b2", "j", "a b", "b2", "j"}, steps)
}

func TestASourceThatFinishesTwiceCountsOnceForAJoin(t *testing.T) {
	t.Parallel()
	b := nodes(graph.New("g"), logs, "b", "b2", "j").Node("a", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		c, err := logs(ctx, task)
		if seen, _, _ := log.Get(task.State); len(seen) == 0 {
			c.Also = []string{"a"}
		}
		return c, err
	}).Entry("a").Entry("b").Edge("b", "b2").Join("j", "a", "b2").Finish("j")
	steps, _ := trace(t, b)
	require.Equal(t, []string{"a b", "a b2", "j"}, steps)
}

func TestASourceThatGoesElsewhereHasNotFinishedForAJoin(t *testing.T) {
	t.Parallel()
	b := nodes(graph.New("g").Node("a", goes(graph.Command{Goto: []string{"c"}}), graph.Ends("c")), logs, "b", "c", "j").
		Entry("a").Entry("b").Join("j", "a", "b").Finish("c").Finish("j")
	steps, _ := trace(t, b)
	require.Equal(t, []string{"a b", "c"}, steps)
}

func TestTwoJoinsKeepTheirMarksApart(t *testing.T) {
	t.Parallel()
	b := nodes(graph.New("g"), logs, "a", "b c", "a b", "c", "j", "k").Entry("a").Entry("a b").Edge("a", "b c").
		Join("j", "a", "b c").Join("k", "a b", "c").Edge("b c", "c").Finish("j").Finish("k")
	steps, _ := trace(t, b)
	require.Equal(t, []string{"a a b", "b c", "c j", "k"}, steps)
}

func TestNewInputForgetsWhoAJoinWaitedFor(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, nodes(graph.New("g").Channels(log), logs, "a", "j").Node("b", asking).Entry("a").Entry("x").Node("x", logs).
		Edge("x", "b").Join("j", "a", "b").Finish("j")))
	b.pauses(graph.Begin())
	require.Contains(t, string(join(t, b.now())), "a")
	b.pauses(graph.Begin())
	asked := b.pauses(graph.Continue())
	b.run(graph.Answer(map[string]any{asked[0].ID: 1}))
	require.Equal(t, []string{"a", "x", "a", "x", "b=1", "j"}, logged(t, b.now()), "the join met once")
}

// join gives the marks of the only join.
func join(t testing.TB, s agents.State) json.RawMessage {
	t.Helper()
	for name, v := range s.Values {
		if strings.HasPrefix(name, "__join") {
			return v
		}
	}
	require.Fail(t, "nothing is marked")
	return nil
}

func TestEntryAndAfterSayWhatFollowsOnAState(t *testing.T) {
	t.Parallel()
	g := compile(t, nodes(graph.New("g").Channels(log), logs, "a", "b").Entry("a").Branch("a", func(s graph.State) ([]string, error) {
		if len(s.Messages()) > 0 {
			return []string{"b"}, nil
		}
		return []string{graph.End}, nil
	}, "b", graph.End).Finish("b"))
	empty, full := graph.NewState(nil, nil), graph.NewState([]agents.Message{{ID: "m"}}, nil)
	for _, c := range []struct {
		as    string
		state graph.State
		want  []agents.Due
	}{{graph.Start, empty, agents.DueNodes("a")}, {"a", empty, nil}, {"a", full, agents.DueNodes("b")}, {"b", full, nil}} {
		got, err := g.After(c.as, c.state)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(c.want), fmt.Sprint(got))
	}
	entry, err := g.Entry(empty)
	require.NoError(t, err)
	require.Equal(t, agents.DueNodes("a"), entry)
	_, err = g.After("z", empty)
	refusal(t, err, "as_node", graph.ErrNoSuchNode)
}
