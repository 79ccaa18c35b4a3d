package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// around puts a graph as node s between nodes a and z.
func around(child *graph.Graph, channels ...graph.Declared) *graph.Builder {
	return nodes(graph.New("g").Channels(append(channels, log)...), logs, "a", "z").Subgraph("s", child).
		Entry("a").Edge("a", "s").Edge("s", "z").Finish("z")
}

func TestASubgraphSharesWhatBothDeclareAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	shared, own := graph.Replace[string]("shared"), graph.Replace[string]("own")
	secret, outer := graph.Replace[string]("secret").Private(), graph.Replace[string]("outer")
	look := func(t testing.TB, s graph.State) map[string]string {
		out := map[string]string{}
		for name, v := range s.Values() {
			if !strings.HasPrefix(name, "__") && name != log.Name() {
				out[name] = string(v)
			}
		}
		return out
	}
	seen := make(chan map[string]string, 3)
	child := compile(t, graph.New("child").Channels(log, shared, own, secret).Node("x", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		seen <- look(t, task.State)
		return graph.Command{Update: []graph.Write{shared.Put("inside"), own.Put("child's"), secret.Put("child's"), log.Put([]string{"x"}),
			graph.AddMessage(agents.Message{ID: "m2", Text: "inside"})}}, nil
	}).Node("y", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		seen <- look(t, task.State)
		return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{ID: "m1", Text: "changed"})}}, nil
	}).Entry("x").Edge("x", "y").Finish("y"))
	g := compile(t, graph.New("g").Channels(log, shared, secret, outer).Node("a", func(context.Context, *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{shared.Put("outside"), secret.Put("parent's"), outer.Put("parent's"),
			graph.AddMessage(agents.Message{ID: "m1", Text: "outside"})}}, nil
	}).Subgraph("s", child).Node("z", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		seen <- look(t, task.State)
		return graph.Command{}, nil
	}).Entry("a").Edge("a", "s").Edge("s", "z").Finish("z"))
	state := setUp(t, g).run(graph.Begin())
	require.Equal(t, map[string]string{"shared": `"outside"`}, <-seen, "the child doesn't see the parent's private channels, nor what only the parent declares")
	require.Equal(t, map[string]string{"shared": `"inside"`, "own": `"child's"`, "_secret": `"child's"`}, <-seen, "its own last through its steps")
	require.Equal(t, map[string]string{"shared": `"inside"`, "outer": `"parent's"`, "_secret": `"parent's"`}, <-seen, "and stay with it")
	require.Equal(t, []string{"changed", "inside"}, texts(state))
	require.Equal(t, []string{"x"}, logged(t, state))
}

func TestAnIsolatedSubgraphHasAStateOfItsOwn(t *testing.T) {
	t.Parallel()
	question, answer := graph.Replace[string]("question"), graph.Replace[string]("answer")
	child := compile(t, graph.New("child").Channels(question, answer, log).Node("x", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		require.Len(t, task.State.Messages(), 1)
		require.Empty(t, logOf(task.State))
		q, _, err := question.Get(task.State)
		return graph.Command{Update: []graph.Write{answer.Put(q + "!"), log.Put([]string{"x"}), graph.AddMessage(agents.Message{ID: "inner", Text: "inner"})}}, err
	}).Entry("x").Finish("x"))
	g := compile(t, nodes(graph.New("g").Channels(log, answer), logs, "a").Isolated("s", child,
		func(s graph.State, task *graph.Task) ([]graph.Write, error) {
			sent, err := graph.InputOf[string](task)
			return []graph.Write{question.Put(fmt.Sprint(sent, len(s.Messages()), logOf(s))), graph.AddMessage(agents.Message{ID: "first", Text: "for the child"})}, err
		}, func(s graph.State) ([]graph.Write, error) {
			a, _, err := answer.Get(s)
			return []graph.Write{log.Put([]string{a})}, err
		}).Entry("a").Fan("a", func(graph.State) ([]graph.Send, error) {
		return []graph.Send{{Node: "s", Input: "p"}, {Node: "s", Input: "q"}}, nil
	}, "s").Finish("s"))
	state := setUp(t, g).run(graph.Begin(graph.AddMessage(agents.Message{ID: "hello", Text: "hello"})))
	require.Equal(t, []string{"a", "p1 [a]!", "q1 [a]!"}, logged(t, state))
	require.Equal(t, []string{"hello"}, texts(state))
	require.NotContains(t, state.Values, "answer")
}

func TestWhatAnIsolatedSubgraphIsMadeOfMayFail(t *testing.T) {
	t.Parallel()
	child := compile(t, nodes(graph.New("child").Channels(log), logs, "x").Entry("x").Finish("x"))
	in := func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, nil }
	out := func(graph.State) ([]graph.Write, error) { return nil, nil }
	for name, c := range map[string]struct {
		in   func(graph.State, *graph.Task) ([]graph.Write, error)
		out  func(graph.State) ([]graph.Write, error)
		says string
	}{
		"InFails":  {func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, errors.New("boom") }, out, "beginning the subgraph: boom"},
		"InPanics": {func(graph.State, *graph.Task) ([]graph.Write, error) { panic("boom") }, out, "beginning the subgraph: panic: boom"},
		"InNowhere": {func(graph.State, *graph.Task) ([]graph.Write, error) {
			return []graph.Write{graph.Sum("z").Put(1)}, nil
		}, out, "values.z is not declared"},
		"InEngine": {func(graph.State, *graph.Task) ([]graph.Write, error) {
			return []graph.Write{graph.Sum("__z").Put(1)}, nil
		}, out, "values.__z is not declared"},
		"OutFails":   {in, func(graph.State) ([]graph.Write, error) { return nil, errors.New("boom") }, "ending the subgraph: boom"},
		"OutPanics":  {in, func(graph.State) ([]graph.Write, error) { panic("boom") }, "ending the subgraph: panic: boom"},
		"OutNowhere": {in, func(graph.State) ([]graph.Write, error) { return []graph.Write{graph.Sum("z").Put(1)}, nil }, "values.z is not declared"},
		"OutOfNoJSON": {in, func(graph.State) ([]graph.Write, error) {
			return []graph.Write{graph.Replace[func()]("log").Put(func() {})}, nil
		}, "writing channel log as JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := setUp(t, compile(t, graph.New("g").Channels(log).Isolated("s", child, c.in, c.out).Entry("s").Finish("s"))).fails(graph.Begin())
			var node *graph.NodeError
			require.ErrorAs(t, err, &node)
			require.Equal(t, "s", node.Node)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestACustomReducerMergesASubgraphsWritesOnce(t *testing.T) {
	t.Parallel()
	count := graph.Reduce("count", "sum/1", func(a, b int) int { return a + b })
	cost := graph.Sum("cost")
	add := func(n int) graph.Node {
		return func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{count.Put(n), cost.Put(float64(n))}}, nil
		}
	}
	leaf := compile(t, graph.New("leaf").Channels(count, cost).Node("x", add(100)).Entry("x").Finish("x"))
	child := compile(t, graph.New("child").Channels(count, cost).Node("x", add(10)).Node("y", add(20)).Subgraph("leaf", leaf).Entry("x").Edge("x", "y").Edge("y", "leaf").Finish("leaf"))
	g := compile(t, graph.New("g").Channels(count, cost).Node("a", add(1)).Node("b", add(1000)).Subgraph("s", child).Subgraph("t", child).
		Entry("a").Edge("a", "b").Edge("a", "s").Edge("a", "t").Finish("b").Finish("s").Finish("t"))
	state := setUp(t, g).run(graph.Begin())
	require.JSONEq(t, "1261", string(state.Values["count"]))
	require.JSONEq(t, "1261", string(state.Values["cost"]))
}

func TestInstancesOfASubgraphRunSideBySideWithInputsOfTheirOwn(t *testing.T) {
	t.Parallel()
	child := compile(t, graph.New("child").Channels(log).Node("x", logs).Node("y", logs).Entry("x").Edge("x", "y").Finish("y"))
	g := compile(t, graph.New("g").Channels(log).Subgraph("s", child).Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
		return []graph.Send{{Node: "s", Input: 1}, {Node: "s", Input: 2}, {Node: "s", Input: 3}}, nil
	}, "s").Finish("s"))
	b := setUp(t, g)
	require.Equal(t, []string{"x1", "y", "x2", "y", "x3", "y"}, logged(t, b.run(graph.Begin())))
	spaces := map[string]int{}
	for _, e := range b.told {
		if e.Node == "x" && e.Type == event.StepStarted {
			require.Len(t, e.NS, 1)
			require.True(t, strings.HasPrefix(e.NS[0], "s:"))
			spaces[e.NS[0]]++
		}
	}
	require.Len(t, spaces, 3, "each has a namespace of its own")
}

func TestAQuestionInsideASubgraphIsAnsweredThere(t *testing.T) {
	t.Parallel()
	var ran counter
	leaf := compile(t, graph.New("leaf").Channels(log).Node("q", ran.counting(asking)).Entry("q").Finish("q"))
	child := compile(t, graph.New("child").Channels(log).Node("x", ran.counting(logs)).Subgraph("leaf", leaf).Node("y", ran.counting(logs)).
		Entry("x").Edge("x", "leaf").Edge("leaf", "y").Finish("y"))
	g := compile(t, around(child))
	b := setUp(t, g)
	open := b.pauses(graph.Begin())
	require.Len(t, open, 1)
	require.Equal(t, "q", open[0].Node)
	require.Equal(t, []int{0, 0}, open[0].Root)
	require.Len(t, open[0].NS, 2)
	require.True(t, strings.HasPrefix(open[0].NS[0], "s:") && strings.HasPrefix(open[0].NS[1], "leaf:"), "%v", open[0].NS)
	require.Equal(t, agents.DueNodes("s"), b.now().Head.Next)
	b = over(t, g, b.cp)
	require.Equal(t, []string{"a", "x", "q=1", "y", "z"}, logged(t, b.run(graph.Answer(1))))
	require.Equal(t, map[string]int{"x": 1, "q": 2, "y": 1}, ran.n, "what was done inside isn't done again")
}

func TestQuestionsOfSeveralInstancesAreAnsweredOneByOne(t *testing.T) {
	t.Parallel()
	var ran counter
	child := compile(t, graph.New("child").Channels(log).Node("x", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		ran.add("x" + string(task.Input))
		return asking(ctx, task)
	}).Node("y", asking).Entry("x").Edge("x", "y").Finish("y"))
	g := compile(t, graph.New("g").Channels(log).Subgraph("s", child).Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
		return []graph.Send{{Node: "s", Input: 1}, {Node: "s", Input: 2}}, nil
	}, "s").Finish("s"))
	b := setUp(t, g)
	open := b.pauses(graph.Begin())
	require.Len(t, open, 2)
	open = b.pauses(graph.Answer(map[string]any{open[1].ID: "b"}))
	require.Equal(t, []string{"x", "y"}, []string{open[0].Node, open[1].Node}, "one is a question further")
	require.Equal(t, map[string]int{"x1": 1, "x2": 2}, ran.n, "and the other one didn't run")
	open = b.pauses(graph.Answer([]any{"a", "c"}))
	require.Len(t, open, 1)
	require.Equal(t, []string{`x1="a"`, `y="d"`, `x2="b"`, `y="c"`}, logged(t, b.run(graph.Answer("d"))))
	require.Equal(t, map[string]int{"x1": 2, "x2": 2}, ran.n)
}

func TestAFailureInsideASubgraphIsResumedInside(t *testing.T) {
	t.Parallel()
	var ran counter
	child := func() *graph.Graph {
		return compile(t, graph.New("child").Channels(log).Node("x", ran.counting(logs)).Node("y", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
			if ran.add("y") == 1 {
				return graph.Command{}, graph.Fail("No paper.")
			}
			return logs(ctx, task)
		}).Entry("x").Edge("x", "y").Finish("y"))
	}
	g := compile(t, around(child()))
	b := setUp(t, g)
	var node *graph.NodeError
	require.ErrorAs(t, b.fails(graph.Begin()), &node)
	require.Equal(t, "s/y", node.Node, "it names the way to the node")
	b = over(t, g, b.cp)
	require.Equal(t, []string{"a", "x", "y", "z"}, logged(t, b.run(graph.Continue())))
	require.Equal(t, 1, ran.of("x"), "its steps are kept one by one")
}

func TestAFailureInsideASubgraphIsHandledByTheParent(t *testing.T) {
	t.Parallel()
	for name, child := range map[string]*graph.Graph{
		"Node": compile(t, graph.New("child").Node("x", func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{}, graph.Fail("No paper.")
		}).Entry("x").Finish("x")),
		"Router": compile(t, graph.New("child").Node("x", nothing).Entry("x").Branch("x", func(graph.State) ([]string, error) { return nil, graph.Fail("No paper.") }, graph.End)),
	} {
		g := compile(t, graph.New("g").Channels(log).Subgraph("s", child, graph.OnError("h")).Node("h", func(_ context.Context, task *graph.Task) (graph.Command, error) {
			f, ok := graph.Failed(task)
			require.True(t, ok)
			return graph.Command{Update: []graph.Write{log.Put([]string{f.Node + ": " + f.Message})}}, nil
		}).Entry("s").Finish("s").Finish("h"))
		require.Equal(t, []string{"s: No paper."}, logged(t, setUp(t, g).run(graph.Begin())), name)
	}
	g := compile(t, around(compile(t, graph.New("child").Node("x", nothing).Entry("x").Branch("x", to("nowhere"), graph.End))))
	var node *graph.NodeError
	require.ErrorAs(t, setUp(t, g).fails(graph.Begin()), &node)
	require.Equal(t, "s/x", node.Node)
}

func TestASubgraphHasARecursionLimitOfItsOwn(t *testing.T) {
	t.Parallel()
	child := compile(t, graph.New("child").Node("x", nothing).Entry("x").Branch("x", to("x"), "x", graph.End))
	err := setUp(t, compile(t, around(child))).fails(graph.Begin(), graph.RecursionLimit(7))
	require.ErrorAs(t, err, new(*graph.RecursionError))
	var node *graph.NodeError
	require.ErrorAs(t, err, &node)
	require.Equal(t, "s", node.Node)
}

func TestAProceedingStepInsideASubgraphTellsAllItsFailures(t *testing.T) {
	t.Parallel()
	child := compile(t, fanOut(graph.New("child").Node("x", boom).Node("y", boom), "x", "y"))
	err := setUp(t, compile(t, around(child)), func(o *graph.RunnerOptions) { o.OnFailure = graph.Proceed }).fails(graph.Begin())
	require.EqualError(t, err, "node s: node s/x: boom\nnode s/y: boom")
}

func TestACrashInsideASubgraphResumesInside(t *testing.T) {
	t.Parallel()
	says := map[string][]graph.Write{
		"v": graph.AddMessages(agents.Message{ID: "m1", Text: "v"}, agents.Message{ID: "m2", Text: "v"}), "w": graph.AddMessages(agents.Message{ID: "m1", Text: "w"}),
		"x": {graph.RemoveMessage("m2")}, "y": graph.AddMessages(agents.Message{ID: "m3", Text: "y"}),
	}
	talk := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		return graph.Command{Update: append(slices.Clone(says[task.Node]), log.Put([]string{fmt.Sprint(task.Node, len(task.State.Messages()))}))}, nil
	}
	child := func(ran *counter) *graph.Graph {
		return compile(t, nodes(graph.New("child").Channels(log), ran.counting(talk), "v", "w", "x", "y").Entry("v").Edge("v", "w").Edge("w", "x").Edge("x", "y").Finish("y"))
	}
	for name, build := range map[string]func(ran *counter) *graph.Builder{
		"Shared": func(ran *counter) *graph.Builder { return around(child(ran)) },
		"Isolated": func(ran *counter) *graph.Builder {
			return nodes(graph.New("g").Channels(log), logs, "a", "z").Isolated("s", child(ran), func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, nil },
				func(s graph.State) ([]graph.Write, error) {
					return append(graph.AddMessages(s.Messages()...), log.Put(logOf(s))), nil
				}).
				Entry("a").Edge("a", "s").Edge("s", "z").Finish("z")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for after := range 9 {
				var ran counter
				g := compile(t, build(&ran))
				b := setUp(t, g)
				// The process ends after so many commits: later ones don't happen.
				dying := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: &mortal{Checkpointer: b.cp, left: after + 1}})
				_, err := dying.Invoke(t.Context(), b.thread, graph.Begin())
				if err != nil {
					require.ErrorIs(t, err, errDead)
					require.Equal(t, []string{"a", "v0", "w2", "x2", "y1", "z"}, logged(t, b.run(graph.Continue())), "after %d", after)
				}
				require.Equal(t, []string{"w", "y"}, texts(b.now()), "after %d", after)
				runs := 0
				for _, n := range ran.n {
					runs += n
				}
				require.LessOrEqual(t, runs, 5, "at most the step in flight is done again, after %d: %v", after, ran.n)
			}
		})
	}
}

// errDead is what a process sees that is dead.
var errDead = errors.New("the process is dead")

// mortal is a checkpointer under a process that dies after some commits.
type mortal struct {
	graph.Checkpointer
	left int
}

func (m *mortal) Commit(ctx context.Context, l agents.Lease, s agents.Step) error {
	if m.left--; m.left < 0 {
		return errDead
	}
	return m.Checkpointer.Commit(ctx, l, s)
}

func (m *mortal) Pend(ctx context.Context, l agents.Lease, w agents.PendingWrites) error {
	if m.left <= 0 {
		return errDead
	}
	return m.Checkpointer.Pend(ctx, l, w)
}

func TestAJoinInsideASubgraphSurvivesAPause(t *testing.T) {
	t.Parallel()
	child := compile(t, nodes(graph.New("child").Channels(log).Node("q", asking), logs, "x", "y", "j").
		Entry("x").Entry("y").Edge("y", "q").Join("j", "x", "q").Finish("j"))
	b := setUp(t, compile(t, around(child)))
	b.pauses(graph.Begin())
	require.Equal(t, []string{"a", "x", "y", "q=1", "j", "z"}, logged(t, b.run(graph.Answer(1))))
	require.False(t, slices.ContainsFunc(keys(b.now().Values), func(k string) bool { return strings.HasPrefix(k, "__join") }), "the parent keeps none of it")
}

func keys(m map[string]json.RawMessage) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestASubgraphInALoopBeginsAnewEachTime(t *testing.T) {
	t.Parallel()
	child := compile(t, graph.New("child").Channels(log, graph.Sum("own")).Node("x", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		n, _, err := graph.Sum("own").Get(task.State)
		return graph.Command{Update: []graph.Write{graph.Sum("own").Put(1), log.Put([]string{fmt.Sprint("x", n)})}}, err
	}).Entry("x").Finish("x"))
	g := compile(t, graph.New("g").Channels(log).Subgraph("s", child).Entry("s").Branch("s", func(s graph.State) ([]string, error) {
		if len(logOf(s)) < 3 {
			return []string{"s"}, nil
		}
		return []string{graph.End}, nil
	}, "s", graph.End))
	require.Equal(t, []string{"x0", "x0", "x0"}, logged(t, setUp(t, g).run(graph.Begin())))
}

func TestAPausedThreadIsNotResumedByAGraphWithoutItsSubgraph(t *testing.T) {
	t.Parallel()
	child := compile(t, graph.New("child").Channels(log).Node("q", asking).Entry("q").Finish("q"))
	other := compile(t, graph.New("child").Channels(log).Node("r", asking).Entry("r").Finish("r"))
	named := graph.New("g").Channels(log).Subgraph("s:1", child).Entry("s:1").Finish("s:1")
	b := setUp(t, compile(t, named))
	b.pauses(graph.Begin())
	for _, c := range []struct {
		g    *graph.Builder
		says string
	}{
		{graph.New("g").Channels(log).Node("s:1", logs).Entry("s:1").Finish("s:1"), "its node s:1 is no subgraph any more"},
		{graph.New("g").Channels(log).Subgraph("s:1", other).Entry("s:1").Finish("s:1"), "it has no node q any more"},
		{graph.New("g").Channels(log).Node("x", logs).Entry("x").Finish("x"), "it has no node s:1 any more"},
	} {
		err := over(t, compile(t, c.g), b.cp).fails(graph.Answer(1))
		refusal(t, err, "next", graph.ErrNotResumable)
		require.ErrorContains(t, err, c.says)
	}
	require.Equal(t, []string{"q=1"}, logged(t, b.run(graph.Answer(1))), "the right version still can")
}
