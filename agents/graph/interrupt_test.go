package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
)

var said = graph.Append[string]("said")

func heard(t *testing.T, s graph.State) []string {
	t.Helper()
	v, _, err := said.Get(s)
	require.NoError(t, err)
	return v
}

func TestAnAnswerOfAnotherTypeIsNamed(t *testing.T) {
	t.Parallel()
	g, err := graph.New("typed").Node("ask", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		_, err := graph.Ask[bool](task, "Go on?")
		return graph.Command{}, err
	}).Entry("ask").Finish("ask").Compile()
	require.NoError(t, err)
	r := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: memory.New(memory.Options{})})
	_, err = r.Invoke(t.Context(), "t", graph.Begin())
	require.ErrorAs(t, err, new(*graph.Interrupted))
	_, err = r.Invoke(t.Context(), "t", graph.Answer("perhaps"))
	require.ErrorIs(t, err, graph.ErrWrongType)
	require.ErrorContains(t, err, "node ask: answer has the wrong type")
	_, err = r.Invoke(t.Context(), "t", graph.Continue())
	require.ErrorAs(t, err, new(*graph.Interrupted), "the question stands")
	_, err = r.Invoke(t.Context(), "t", graph.Answer(true))
	require.NoError(t, err)
}

// ids counts, so that a run can be compared with another.
func ids() graph.IDs { return graph.NamedIDs("test") }

func TestANodeThatAsksStartsAgainWithItsAnswers(t *testing.T) {
	t.Parallel()
	starts := 0
	g, err := graph.New("two").Channels(said).Node("ask", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		starts++
		name, err := task.Interrupt("name?")
		if err != nil {
			return graph.Command{}, err
		}
		colour, err := task.Interrupt(map[string]string{"q": "colour?"})
		if err != nil {
			return graph.Command{}, err
		}
		return graph.Command{Update: []graph.Write{said.Put([]string{string(name), string(colour)})}}, nil
	}).Edge(graph.Start, "ask").Edge("ask", graph.End).Compile()
	require.NoError(t, err)
	h := &host{}
	x := graph.Execution{Host: h, IDs: ids()}
	state, err := g.Run(t.Context(), x)
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	require.Len(t, paused.Interrupts, 1)
	require.JSONEq(t, `"name?"`, string(paused.Interrupts[0].Value))
	require.Equal(t, agents.DueNodes("ask"), h.commits[0].Next, "the node stays due")

	// Going on without an answer asks the same again, under the same id.
	x.State, x.Next, x.Resume, x.Step = state, agents.DueNodes("ask"), paused.Interrupts, 1
	_, err = g.Run(t.Context(), x)
	var again *graph.Interrupted
	require.ErrorAs(t, err, &again)
	require.Equal(t, paused.Interrupts[0].ID, again.Interrupts[0].ID)

	answered := again.Interrupts
	answered[0].Answer = json.RawMessage(`null`)
	x.Resume, x.Step = answered, 2
	_, err = g.Run(t.Context(), x)
	require.ErrorAs(t, err, &paused)
	require.Equal(t, []json.RawMessage{json.RawMessage(`null`)}, paused.Interrupts[0].Answered, "null is an answer")
	require.NotEqual(t, again.Interrupts[0].ID, paused.Interrupts[0].ID)

	paused.Interrupts[0].Answer = json.RawMessage(`"red"`)
	x.Resume = paused.Interrupts
	state, err = g.Run(t.Context(), x)
	require.NoError(t, err)
	require.Equal(t, []string{`null`, `"red"`}, heard(t, state))
	require.Equal(t, 4, starts)
}

func TestASwallowedPauseIsAPauseAllTheSame(t *testing.T) {
	t.Parallel()
	g, err := graph.New("swallow").Channels(said).Node("ask", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		_, _ = task.Interrupt("really?")
		_, _ = task.Interrupt("and this?")
		return graph.Command{Update: []graph.Write{said.Put([]string{"went on"})}}, nil
	}).Edge(graph.Start, "ask").Edge("ask", graph.End).Compile()
	require.NoError(t, err)
	state, err := g.Run(t.Context(), graph.Execution{Host: &host{}})
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	require.JSONEq(t, `"really?"`, string(paused.Interrupts[0].Value))
	require.Empty(t, heard(t, state), "what it wrote afterwards is void")
}

func TestOneNodePausesAndTheOthersResultsAreKept(t *testing.T) {
	t.Parallel()
	runs := map[string]int{}
	node := func(name string, asks bool) graph.Node {
		return func(_ context.Context, task *graph.Task) (graph.Command, error) {
			runs[name]++
			if asks {
				answer, err := task.Interrupt(name)
				if err != nil {
					return graph.Command{}, err
				}
				return graph.Command{Update: []graph.Write{said.Put([]string{name + string(answer)})}}, nil
			}
			return graph.Command{Update: []graph.Write{said.Put([]string{name})}}, nil
		}
	}
	g, err := graph.New("fan").Channels(said).Node("a", node("a", true)).Node("b", node("b", false)).Node("c", node("c", true)).
		Edge(graph.Start, "a").Edge(graph.Start, "b").Edge(graph.Start, "c").
		Edge("a", graph.End).Edge("b", graph.End).Edge("c", graph.End).Compile()
	require.NoError(t, err)
	h := &host{}
	x := graph.Execution{Host: h, Parallel: 1}
	state, err := g.Run(t.Context(), x)
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	require.Len(t, paused.Interrupts, 2, "several at once")
	require.Empty(t, heard(t, state), "nothing is merged before all are done")
	pending := h.commits[0].Pending
	require.Len(t, pending, 1, "but what the finished one gave is kept")
	answered, err := agents.Match(json.RawMessage(fmt.Sprintf(`{%q:1}`, paused.Interrupts[1].ID)), paused.Interrupts)
	require.NoError(t, err)
	x.State, x.Next, x.Pending, x.Resume = state, agents.DueNodes("a", "b", "c"), pending, answered
	_, err = g.Run(t.Context(), x)
	require.ErrorAs(t, err, &paused)
	require.Len(t, paused.Interrupts, 1)
	require.Equal(t, "a", paused.Interrupts[0].Node)
	require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 2}, runs, "who was not answered waits on, who finished is done")
	paused.Interrupts[0].Answer = json.RawMessage(`2`)
	x.Pending, x.Resume = h.commits[1].Pending, paused.Interrupts
	state, err = g.Run(t.Context(), x)
	require.NoError(t, err)
	require.Equal(t, []string{"a2", "b", "c1"}, heard(t, state), "merged in the order of the step")
	require.Equal(t, 1, runs["b"], "a finished sibling never runs again")
}

func TestAnAnswerIsForOneStepOnly(t *testing.T) {
	t.Parallel()
	rounds := 0
	g, err := graph.New("loop").Channels(said).Node("ask", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		answer, err := task.Interrupt("again?")
		if err != nil {
			return graph.Command{}, err
		}
		rounds++
		return graph.Command{Update: []graph.Write{said.Put([]string{string(answer)})}}, nil
	}).Edge(graph.Start, "ask").Branch("ask", func(graph.State) ([]string, error) { return []string{"ask"}, nil }, "ask", graph.End).Compile()
	require.NoError(t, err)
	_, err = g.Run(t.Context(), graph.Execution{Host: &host{}})
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	paused.Interrupts[0].Answer = json.RawMessage(`true`)
	_, err = g.Run(t.Context(), graph.Execution{Host: &host{}, Next: agents.DueNodes("ask"), Resume: paused.Interrupts})
	require.True(t, errors.As(err, &paused), "the next round asks anew")
	require.Equal(t, 1, rounds)
	require.Empty(t, paused.Interrupts[0].Answered)
}

func TestABareAnswerCannotTellSeveralApart(t *testing.T) {
	t.Parallel()
	open := []agents.Interrupt{{ID: "a"}, {ID: "b"}}
	_, err := agents.Match(json.RawMessage(`"yes"`), open)
	require.ErrorContains(t, err, "several are open")
	_, err = agents.Match(json.RawMessage(`{"a":1,"x":2}`), open)
	require.ErrorContains(t, err, "not open")
	got, err := agents.Match(json.RawMessage(`{"b":{"x":1}}`), open)
	require.NoError(t, err)
	require.Nil(t, got[0].Answer)
	require.JSONEq(t, `{"x":1}`, string(got[1].Answer))
	got, err = agents.Match(nil, open)
	require.NoError(t, err)
	require.Nil(t, got[0].Answer)
	got, err = agents.Match(json.RawMessage(`{"a":1}`), open[:1])
	require.NoError(t, err)
	require.JSONEq(t, `1`, string(got[0].Answer), "its id names it even when it is alone")
}

func TestAnswersByIDAndByOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func([]agents.Interrupt) any
		want   []string
	}{
		"ByID": {func(open []agents.Interrupt) any {
			return map[string]any{open[2].ID: 3, open[0].ID: nil, open[1].ID: map[string]int{"x": 2}}
		}, []string{"a=null", `s1={"x":2}`, "s2=3"}},
		"ByOrder": {func([]agents.Interrupt) any { return []any{"one", nil, []int{3}} }, []string{`a="one"`, "s1=null", "s2=[3]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ran counter
			b := setUp(t, several(t, &ran))
			open := b.pauses(graph.Begin())
			require.Len(t, open, 3)
			for i, q := range []string{`"a?"`, `"s1?"`, `"s2?"`} {
				require.JSONEq(t, q, string(open[i].Value), "in the order of the tasks")
			}
			require.Equal(t, append(c.want, "free"), sortedLast(logged(t, b.run(graph.Answer(c.answer(open))))))
			require.Equal(t, 1, ran.of("free"), "who had finished doesn't run again")
		})
	}
}

// several is a graph with three questions in one step, two of them of one node,
// and a node that asks nothing.
func several(t testing.TB, ran *counter) *graph.Graph {
	t.Helper()
	return compile(t, graph.New("several").Channels(log).Node("a", ran.counting(asking)).Node("free", ran.counting(logs)).Node("s", ran.counting(asking)).
		Entry("a").Entry("free").Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
		return []graph.Send{{Node: "s", Input: 1}, {Node: "s", Input: 2}}, nil
	}, "s").Finish("a").Finish("free").Finish("s"))
}

// sortedLast puts the trace of the node that asks nothing last.
func sortedLast(all []string) []string {
	i := slices.Index(all, "free")
	return append(slices.Delete(slices.Clone(all), i, i+1), "free")
}

func TestQuestionsMayBeAnsweredOneByOneAndNobodyElseRunsAgain(t *testing.T) {
	t.Parallel()
	var ran counter
	g := several(t, &ran)
	b := setUp(t, g)
	open := b.pauses(graph.Begin())
	left := b.pauses(graph.Answer(map[string]any{open[2].ID: "last"}))
	require.Equal(t, open[:2], left, "the others are asked as before")
	require.Equal(t, 1, ran.of("a"))
	require.Equal(t, 3, ran.of("s"))
	b = over(t, g, b.cp)
	left = b.pauses(graph.Answer(map[string]any{open[0].ID: "first"}))
	require.Equal(t, open[1:2], left)
	require.Equal(t, 2, ran.of("a"))
	require.Equal(t, 3, ran.of("s"))
	require.Empty(t, logged(t, b.now()), "nothing is merged before all are done")
	state := b.run(graph.Answer("middle")) // the only one needs no name
	require.Equal(t, []string{`a="first"`, "free", `s1="middle"`, `s2="last"`}, logged(t, state))
	require.Equal(t, map[string]int{"a": 2, "s": 4, "free": 1}, ran.n)
}

func TestAnswersThatTellNothingApartAreRefused(t *testing.T) {
	t.Parallel()
	b := setUp(t, several(t, &counter{}))
	open := b.pauses(graph.Begin())
	for _, answer := range []any{nil, "yes", []any{1, 2}, []any{1, 2, 3, 4}, map[string]any{"x": 1}, map[string]any{}, map[string]any{open[0].ID: 1, "x": 2}} {
		b.untouched(func() {
			err := b.fails(graph.Answer(answer))
			require.Contains(t, fault.FieldsOf(err), "command.resume", "%v", answer)
		})
	}
}

func TestANullAnswerIsAnAnswer(t *testing.T) {
	t.Parallel()
	b := setUp(t, asks(t))
	b.pauses(graph.Begin())
	b.pauses(graph.Answer(nil))
	require.Equal(t, []string{"a=null", "b=null"}, logged(t, b.run(graph.Answer(json.RawMessage("null")))))
}

func TestGoingOnWithoutAnAnswerAsksTheSameAgain(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", ran.counting(asking)).Entry("a").Finish("a")))
	open := b.pauses(graph.Begin())
	require.Equal(t, open, b.pauses(graph.Continue()), "under the same id, so that an answer to the first still fits")
	require.Equal(t, 2, ran.of("a"))
	require.Equal(t, []string{"a=1"}, logged(t, b.run(graph.Answer(map[string]any{open[0].ID: 1}))))
}

func TestNewInputAndAJumpLeaveAQuestionBehind(t *testing.T) {
	t.Parallel()
	b := setUp(t, asks(t))
	first := b.pauses(graph.Begin())
	second := b.pauses(graph.Begin(log.Put([]string{"new"})))
	require.NotEqual(t, first[0].ID, second[0].ID)
	third := b.pauses(graph.Jump([]string{"b"}, log.Put([]string{"jumped"})))
	require.Equal(t, "b", third[0].Node)
	state := b.run(graph.Jump([]string{graph.End}))
	require.Empty(t, state.Head.Next)
	require.Empty(t, state.Head.Interrupts)
	require.Equal(t, []string{"new", "jumped"}, logged(t, state))
}

func TestAQuestionThatIsNoJSONFailsTheNode(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		_, err := task.Interrupt(func() {})
		return graph.Command{}, err
	}).Entry("a").Finish("a")))
	require.ErrorContains(t, b.fails(graph.Begin()), "writing a question as JSON")
}

func TestAQuestionAndAFailureInOneStep(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, compile(t, fanOut(graph.New("g").Channels(log).Node("asks", ran.counting(asking)).Node("fails", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		if ran.add("fails") == 1 {
			return graph.Command{}, errors.New("boom")
		}
		return logs(ctx, task)
	}), "asks", "fails")), func(o *graph.RunnerOptions) { o.Parallel, o.OnFailure = 1, graph.Proceed })
	b.fails(graph.Begin())
	require.Empty(t, b.now().Head.Interrupts, "a step that failed asks nothing")
	open := b.pauses(graph.Continue())
	require.Equal(t, "asks", open[0].Node)
	require.Equal(t, []string{"asks=1", "fails"}, logged(t, b.run(graph.Answer(1))))
	require.Equal(t, 2, ran.of("fails"))
}

func TestAReviewAsksAndIsNotAnsweredByTheEngine(t *testing.T) {
	t.Parallel()
	asked := 0
	g := compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		if asked++; asked > 1 {
			return graph.Command{}, nil // as its ledger says
		}
		return graph.Command{}, task.Review(map[string]string{"call": "c"}, []agents.Review{{CallID: "c"}})
	}).Entry("a").Finish("a"))
	h := &host{}
	_, err := g.Run(t.Context(), graph.Execution{Step: -1, Host: h})
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	require.Equal(t, agents.ReviewAsked, paused.Interrupts[0].Kind)
	require.Len(t, h.commits[0].Reviews, 1)
	require.Equal(t, paused.Interrupts[0].ID, h.commits[0].Reviews[0].Interrupt)
	_, err = g.Run(t.Context(), graph.Execution{Step: 0, Host: h, Next: h.commits[0].Next, Resume: paused.Interrupts})
	require.NoError(t, err)
}
