package graph_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
)

// stops goes through a run from pause to pause, with the same breakpoints each
// time, and says where it stopped and what had been done by then.
func stops(t testing.TB, b *bench, at graph.Breakpoints, goOn func(open []agents.Interrupt) graph.Input) (out []string) {
	t.Helper()
	in := graph.Begin()
	for range 20 {
		state, err := b.Invoke(t.Context(), b.thread, in, graph.BreakAt(at))
		if err == nil {
			return append(out, "done")
		}
		var paused *graph.Interrupted
		require.ErrorAs(t, err, &paused)
		text := ""
		for _, i := range paused.Interrupts {
			require.Equal(t, agents.Question, i.Kind)
			if i.Break != "" {
				require.JSONEq(t, `{"breakpoint":"`+i.Break+`","node":"`+i.Node+`"}`, string(i.Value))
				text += i.Break + " "
			} else {
				text += "asked by "
			}
			text += i.Node + ", "
		}
		out = append(out, text+"did "+joined(logged(t, state)))
		in = goOn(paused.Interrupts)
	}
	require.Fail(t, "it never ends", "%v", out)
	return nil
}

func joined(all []string) string {
	text := ""
	for _, s := range all {
		text += s
	}
	return text
}

func TestBreakpointsPauseWhereTheyAreSet(t *testing.T) {
	t.Parallel()
	// s → a, b → c → end, where c is a graph x → y.
	child := func() *graph.Graph {
		return compile(t, nodes(graph.New("child").Channels(log), logs, "x", "y").Entry("x").Edge("x", "y").Finish("y"))
	}
	g := compile(t, nodes(graph.New("g").Channels(log), logs, "a", "b", "d").Subgraph("c", child()).
		Entry("a").Entry("b").Edge("a", "c").Edge("b", "c").Edge("c", "d").Finish("d"))
	for name, c := range map[string]struct {
		at   graph.Breakpoints
		want []string
	}{
		"Nowhere":       {graph.Breakpoints{}, []string{"done"}},
		"Before":        {graph.Breakpoints{Before: []string{"b"}}, []string{"before b, did ", "done"}},
		"BeforeBoth":    {graph.Breakpoints{Before: []string{"b", "a"}}, []string{"before a, before b, did ", "done"}},
		"After":         {graph.Breakpoints{After: []string{"b"}}, []string{"after b, did ab", "done"}},
		"AfterBoth":     {graph.Breakpoints{After: []string{"a", "b"}}, []string{"after a, after b, did ab", "done"}},
		"AfterTheLast":  {graph.Breakpoints{After: []string{"d"}}, []string{"done"}},
		"Subgraph":      {graph.Breakpoints{Before: []string{"c"}, After: []string{"c"}}, []string{"before c, did ab", "after c, did abxy", "done"}},
		"Inside":        {graph.Breakpoints{Before: []string{"c/y"}}, []string{"before y, did ab", "done"}},
		"InsideAfter":   {graph.Breakpoints{After: []string{"c/x"}}, []string{"after x, did ab", "done"}},
		"InsideTheLast": {graph.Breakpoints{After: []string{"c/y"}}, []string{"after y, did ab", "done"}},
		"BareNameIsOfTheOuterGraph": {graph.Breakpoints{Before: []string{"d", "c/x"}, After: []string{"a"}},
			[]string{"after a, did ab", "before x, did ab", "before d, did abxy", "done"}},
		"EverywhereBefore": {graph.Breakpoints{Before: []string{"*"}}, []string{"before a, before b, did ", "before c, did ab", "before x, did ab",
			"before y, did ab", "before d, did abxy", "done"}},
		"EverywhereAfter": {graph.Breakpoints{After: []string{"*"}}, []string{"after a, after b, did ab", "after x, did ab", "after y, did ab",
			"after c, did abxy", "done"}},
	} {
		for how, goOn := range map[string]func([]agents.Interrupt) graph.Input{
			"Continue": func([]agents.Interrupt) graph.Input { return graph.Continue() },
			"Answer": func(open []agents.Interrupt) graph.Input {
				answers := map[string]any{}
				for _, i := range open {
					answers[i.ID] = true
				}
				return graph.Answer(answers)
			},
			"OneAnswer": func(open []agents.Interrupt) graph.Input { return graph.Answer(map[string]any{open[0].ID: nil}) },
		} {
			t.Run(name+how, func(t *testing.T) {
				t.Parallel()
				b := setUp(t, g)
				require.Equal(t, c.want, stops(t, b, c.at, goOn))
				require.Equal(t, []string{"a", "b", "x", "y", "d"}, logged(t, b.now()), "and change nothing")
			})
		}
	}
}

func TestAStepThatHasBegunDoesNotBreakAgain(t *testing.T) {
	t.Parallel()
	g := compile(t, graph.New("g").Channels(log).Node("a", asking).Node("b", asking).Entry("a").Entry("b").Finish("a").Finish("b"))
	b := setUp(t, g)
	require.Equal(t, []string{"before b, did ", "asked by a, asked by b, did ", "asked by b, did ", "done"},
		stops(t, b, graph.Breakpoints{Before: []string{"b"}}, func(open []agents.Interrupt) graph.Input {
			if open[0].Break != "" {
				return graph.Continue()
			}
			return graph.Answer(map[string]any{open[0].ID: "yes"})
		}))
	require.Equal(t, []string{`a="yes"`, `b="yes"`}, logged(t, b.now()), "so an answer isn't lost")
}

func TestBreakpointsInALoopPauseInEachRound(t *testing.T) {
	t.Parallel()
	g := compile(t, graph.New("g").Channels(log).Node("a", logs).Entry("a").Branch("a", func(s graph.State) ([]string, error) {
		if len(logOf(s)) < 3 {
			return []string{"a"}, nil
		}
		return []string{graph.End}, nil
	}, "a", graph.End))
	require.Equal(t, []string{"before a, did ", "after a, did a", "before a, did a", "after a, did aa", "before a, did aa", "done"},
		stops(t, setUp(t, g), graph.Breakpoints{Before: []string{"a"}, After: []string{"a"}}, func([]agents.Interrupt) graph.Input { return graph.Continue() }))
}

func logOf(s graph.State) []string {
	got, _, _ := log.Get(s)
	return got
}
