package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

// notes is a host that keeps what was committed.
type notes struct {
	graph.Ephemeral
	commits []graph.Commit
}

func (n *notes) Commit(_ context.Context, c graph.Commit) error {
	n.commits = append(n.commits, c)
	return nil
}

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
	host := &notes{}
	x := graph.Execution{Host: host, IDs: ids()}
	state, err := g.Run(t.Context(), x)
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	require.Len(t, paused.Interrupts, 1)
	require.JSONEq(t, `"name?"`, string(paused.Interrupts[0].Value))
	require.Equal(t, agents.DueNodes("ask"), host.commits[0].Next, "the node stays due")

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
	state, err := g.Run(t.Context(), graph.Execution{Host: &notes{}})
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
	host := &notes{}
	x := graph.Execution{Host: host, Parallel: 1}
	state, err := g.Run(t.Context(), x)
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	require.Len(t, paused.Interrupts, 2, "several at once")
	require.Empty(t, heard(t, state), "nothing is merged before all are done")
	pending := host.commits[0].Pending
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
	x.Pending, x.Resume = host.commits[1].Pending, paused.Interrupts
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
	_, err = g.Run(t.Context(), graph.Execution{Host: &notes{}})
	var paused *graph.Interrupted
	require.ErrorAs(t, err, &paused)
	paused.Interrupts[0].Answer = json.RawMessage(`true`)
	_, err = g.Run(t.Context(), graph.Execution{Host: &notes{}, Next: agents.DueNodes("ask"), Resume: paused.Interrupts})
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
