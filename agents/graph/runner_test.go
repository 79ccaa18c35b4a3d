package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// three is a graph of a, b and c in a row.
func three(t testing.TB, ran *counter) *graph.Graph {
	t.Helper()
	return compile(t, nodes(graph.New("three").Channels(log), ran.counting(logs), "a", "b", "c").Entry("a").Edge("a", "b").Edge("b", "c").Finish("c"))
}

// past lists a thread's states, the newest first.
func (b *bench) past() []agents.State {
	b.Helper()
	all, err := b.History(b.Context(), b.thread, agents.HistoryQuery{Limit: agents.MaxHistory})
	require.NoError(b, err)
	return all
}

func picture(t testing.TB, all []agents.State) (out []string) {
	t.Helper()
	for _, s := range all {
		out = append(out, fmt.Sprint(s.Step, " ", s.Head.Source, " ", logged(t, s), " next ", agents.Nodes(s.Head.Next)))
	}
	return out
}

func TestAHistoryShowsEachStepAndAnyStateCanBeReadAgain(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	state := b.run(graph.Begin(), graph.RunID("r1"))
	all := b.past()
	require.Equal(t, []string{"3 loop [a b c] next []", "2 loop [a b] next [c]", "1 loop [a] next [b]", "0 input [] next [a]"}, picture(t, all))
	require.Equal(t, state, all[0])
	for i, s := range all {
		require.Equal(t, agents.RunID("r1"), s.Head.Run)
		at, err := b.StateAt(t.Context(), b.thread, s.Head.ID)
		require.NoError(t, err)
		require.Equal(t, s, at)
		if i > 0 {
			require.Equal(t, s.Head.ID, all[i-1].Parent.ID)
		}
	}
	require.Nil(t, all[3].Parent)
	some, err := b.History(t.Context(), b.thread, agents.HistoryQuery{Limit: 2, Before: all[0].Head.ID})
	require.NoError(t, err)
	require.Equal(t, all[1:3], some)
	_, err = b.StateAt(t.Context(), b.thread, "none")
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
}

func TestARunFromAnOlderCheckpointWritesALineOfItsOwn(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, three(t, &ran))
	first := b.run(graph.Begin())
	old := b.past()
	state := b.run(graph.Continue(), graph.From(old[2].Head.ID))
	require.Equal(t, []string{"a", "b", "c"}, logged(t, state))
	require.NotEqual(t, first.Line, state.Line)
	require.Equal(t, map[string]int{"a": 1, "b": 2, "c": 2}, ran.n, "what is older isn't run again, what is later is")
	state = b.run(graph.Jump([]string{"c"}, log.Put([]string{"jumped"})), graph.From(old[3].Head.ID))
	require.Equal(t, []string{"jumped", "c"}, logged(t, state))
	require.Equal(t, state, b.now(), "the newest line is the active one")
	kept, err := b.StateAt(t.Context(), b.thread, old[0].Head.ID)
	require.NoError(t, err)
	require.Equal(t, old[0], kept, "and the first stays as it was")
	require.Len(t, b.past(), len(old)+3+2, "all lines are listed")
}

func TestAForkAsksAgain(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", ran.counting(asking)).Entry("a").Finish("a")))
	open := b.pauses(graph.Begin())
	asked := b.now().Head.ID
	b.run(graph.Answer(map[string]any{open[0].ID: "first"}))
	require.ErrorIs(t, b.fails(graph.Answer("x"), graph.From(asked)), agents.ErrNotInterrupted)
	again := b.pauses(graph.Continue(), graph.From(asked))
	require.NotEqual(t, open[0].ID, again[0].ID)
	require.Equal(t, []string{`a="second"`}, logged(t, b.run(graph.Answer("second"))))

	b.pauses(graph.Begin())
	newest := b.now().Head.ID
	b.pauses(graph.Continue(), graph.From(newest))
	require.Equal(t, 6, ran.of("a"))

	require.NoError(t, b.Fork(t.Context(), b.thread, asked))
	require.Empty(t, b.now().Head.Interrupts)
	require.Equal(t, agents.DueNodes("a"), b.now().Head.Next)
	b.pauses(graph.Continue())
	require.Equal(t, 7, ran.of("a"))
}

func TestAForkRunsAgainWhatHadFinishedAtItsCheckpoint(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, several(t, &ran))
	b.pauses(graph.Begin())
	b.pauses(graph.Continue())
	require.Equal(t, 1, ran.of("free"))
	b.pauses(graph.Continue(), graph.From(b.now().Head.ID))
	require.Equal(t, 2, ran.of("free"))
}

func TestAStateIsChangedFromOutside(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	b.pauses(graph.Begin(), graph.BreakAt(graph.Breakpoints{Before: []string{"b"}}))

	named, err := b.Update(t.Context(), b.thread, graph.Change{Writes: []graph.Write{log.Put([]string{"written"}), graph.AddMessage(agents.Message{ID: "m", Text: "hi"})}})
	require.NoError(t, err)
	state := b.now()
	require.Equal(t, named, state.Head.ID)
	require.Equal(t, agents.SourceUpdate, state.Head.Source)
	require.Equal(t, []string{"a", "written"}, logged(t, state), "through the reducers")
	require.Equal(t, agents.DueNodes("b"), state.Head.Next, "what is due stays due")
	require.Len(t, state.Head.Interrupts, 1, "and what is asked stays asked")

	_, err = b.Update(t.Context(), b.thread, graph.Change{AsNode: "b", Writes: []graph.Write{log.Put([]string{"as b"})}})
	require.NoError(t, err)
	state = b.now()
	require.Equal(t, agents.DueNodes("c"), state.Head.Next, "what follows the node is due")
	require.Empty(t, state.Head.Interrupts)
	require.JSONEq(t, `{"as_node":"b"}`, string(state.Head.Metadata))
	require.Equal(t, []string{"a", "written", "as b", "c"}, logged(t, b.run(graph.Continue())))

	_, err = b.Update(t.Context(), b.thread, graph.Change{AsNode: graph.Start})
	require.NoError(t, err)
	require.Equal(t, agents.DueNodes("a"), b.now().Head.Next, "the start leads to the entry")
	_, err = b.Update(t.Context(), b.thread, graph.Change{AsNode: graph.End})
	require.NoError(t, err)
	require.Empty(t, b.now().Head.Next, "the end ends the turn")

	fresh := agents.ThreadID("fresh")
	_, err = b.Update(t.Context(), fresh, graph.Change{Writes: []graph.Write{log.Put([]string{"x"})}})
	require.NoError(t, err)
	state, err = b.State(t.Context(), fresh)
	require.NoError(t, err)
	require.Equal(t, []string{"x"}, logged(t, state), "a thread may begin with a change")
}

func TestAChangeInANodesNameKeepsWhatItsSiblingsFinished(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, compile(t, nodes(graph.New("g").Channels(log).Node("b", asking), ran.counting(logs), "a", "z").Entry("a").Entry("b").
		Edge("a", "z").Edge("b", "z").Finish("z")))
	b.pauses(graph.Begin())
	_, err := b.Update(t.Context(), b.thread, graph.Change{AsNode: "b", Writes: []graph.Write{log.Put([]string{"b by hand"})}})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b by hand", "z"}, logged(t, b.run(graph.Continue())))
	require.Equal(t, 1, ran.of("a"))
}

func TestAChangeInANodesNameCountsForItsJoins(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, nodes(graph.New("g").Channels(log).Node("b", asking), logs, "a", "j").Entry("a").Entry("x").Node("x", logs).Edge("x", "b").
		Join("j", "a", "b").Finish("j")))
	b.pauses(graph.Begin())
	_, err := b.Update(t.Context(), b.thread, graph.Change{AsNode: "b", Writes: []graph.Write{log.Put([]string{"b by hand"})}})
	require.NoError(t, err)
	require.Equal(t, agents.DueNodes("j"), b.now().Head.Next, "the other source had finished")
	require.Equal(t, []string{"a", "x", "b by hand", "j"}, logged(t, b.run(graph.Continue())))

	// In the other order: the change comes first, the other source finishes later.
	fresh := agents.ThreadID("fresh")
	_, err = b.BulkUpdate(t.Context(), fresh, []graph.Change{{AsNode: "b"}, {AsNode: "a"}})
	require.NoError(t, err)
	state, err := b.State(t.Context(), fresh)
	require.NoError(t, err)
	require.Equal(t, agents.DueNodes("j"), state.Head.Next)
	require.Equal(t, "[]", string(join(t, state)), "and waits anew")
}

func TestSeveralChangesAreACheckpointEach(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	b.run(graph.Begin())
	old := b.past()
	named, err := b.BulkUpdate(t.Context(), b.thread, []graph.Change{
		{From: old[2].Head.ID, Writes: []graph.Write{log.Put([]string{"one"})}}, {AsNode: "b", Writes: []graph.Write{log.Put([]string{"two"})}}, {},
	})
	require.NoError(t, err)
	require.Equal(t, named, b.now().Head.ID)
	require.Equal(t, []string{"4 update [a one two] next [c]", "3 update [a one two] next [c]", "2 update [a one] next [b]", "3 loop [a b c] next []"},
		picture(t, b.past()[:4]))
	require.Equal(t, []string{"a", "one", "two", "c"}, logged(t, b.run(graph.Continue())))
}

func TestAChangeTakesTheThreadFromARunUnderWay(t *testing.T) {
	t.Parallel()
	var b *bench
	b = setUp(t, compile(t, graph.New("g").Channels(log).Node("a", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		_, err := b.Update(ctx, task.Thread, graph.Change{Writes: []graph.Write{log.Put([]string{"meanwhile"})}})
		if err != nil {
			return graph.Command{}, err
		}
		return logs(ctx, task)
	}).Entry("a").Finish("a")))
	require.ErrorIs(t, b.fails(graph.Begin()), agents.ErrFenced)
	require.Equal(t, []string{"meanwhile"}, logged(t, b.now()))
}

func TestACopyGoesItsOwnWay(t *testing.T) {
	t.Parallel()
	b := setUp(t, asks(t))
	b.pauses(graph.Begin())
	other := agents.ThreadID("other")
	require.NoError(t, b.Copy(t.Context(), b.thread, other))
	require.True(t, fault.Is(b.Copy(t.Context(), b.thread, other), fault.KindConflict))
	require.ErrorIs(t, b.Copy(t.Context(), "none", "more"), agents.ErrThreadNotFound)
	_, err := b.Invoke(t.Context(), other, graph.Answer(1))
	require.ErrorIs(t, err, agents.ErrNotInterrupted, "no question is copied")
	_, err = b.Invoke(t.Context(), other, graph.Continue())
	require.ErrorAs(t, err, new(*graph.Interrupted), "it asks for itself")
	_, err = b.Invoke(t.Context(), other, graph.Answer("copy"))
	require.ErrorAs(t, err, new(*graph.Interrupted))
	b.pauses(graph.Answer("original"))
	require.Equal(t, []string{`a="original"`}, logged(t, b.now()))
	state, err := b.State(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, []string{`a="copy"`}, logged(t, state))
	_, err = b.StateAt(t.Context(), other, b.now().Head.ID)
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound, "a checkpoint of another thread")
	_, err = b.Invoke(t.Context(), other, graph.Continue(), graph.From(b.now().Head.ID))
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
}

func TestADeletedThreadIsGoneAndBeginsAnew(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	b.run(graph.Begin())
	require.NoError(t, b.Delete(t.Context(), b.thread))
	_, err := b.State(t.Context(), b.thread)
	require.ErrorIs(t, err, agents.ErrThreadNotFound)
	_, err = b.History(t.Context(), b.thread, agents.HistoryQuery{Limit: 1})
	require.ErrorIs(t, err, agents.ErrThreadNotFound)
	require.NoError(t, b.Delete(t.Context(), b.thread))
	require.Equal(t, 3, b.run(graph.Begin()).Step)
}

func TestARunTakesUpAsManyTurnsAsItIsGiven(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	b.run(graph.Begin(graph.AddMessage(agents.Message{ID: "1", Text: "one"})))
	state := b.run(graph.Begin(graph.AddMessage(agents.Message{ID: "2", Text: "two"})))
	require.Equal(t, 7, state.Step)
	require.Equal(t, []string{"one", "two"}, texts(state))
	require.Equal(t, []string{"a", "b", "c", "a", "b", "c"}, logged(t, state))
	require.Equal(t, state.Values, b.run(graph.Continue()).Values, "with nothing due nothing is done")
}

func TestInputMayBeginElsewhereAndFillWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	state := b.run(graph.Feed("b", log.Put([]string{"fed"})))
	require.Equal(t, []string{"fed", "b", "c"}, logged(t, state))
	state = b.run(graph.Feed(graph.Start))
	require.Equal(t, []string{"fed", "b", "c", "a", "b", "c"}, logged(t, state))
	in := graph.Begin(log.Put([]string{"new"}))
	in.Fill = func(s graph.State) []graph.Write {
		return []graph.Write{log.Put([]string{fmt.Sprint("after ", len(logOf(s)))})}
	}
	require.Equal(t, []string{"after 6", "new", "a", "b", "c"}, logged(t, b.run(in))[6:])
}

func TestNodesSeeWhoAsks(t *testing.T) {
	t.Parallel()
	seen := make(chan graph.Info, 1)
	scope := auth.Scope{Org: "acme", User: "mia"}
	assistant := agents.Assistant{ID: "guide"}
	fake := clock.NewFake(time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC))
	b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		seen <- task.Info
		return graph.Command{}, nil
	}).Entry("a").Finish("a")), func(o *graph.RunnerOptions) { o.Scope, o.Assistant, o.Clock = scope, assistant, fake })
	state := b.run(graph.Begin(), graph.RunID("r"))
	info := <-seen
	require.Equal(t, graph.Info{Scope: scope, Thread: b.thread, Run: "r", Attempt: 1, Assistant: assistant, Line: state.Line, Token: info.Token, StartedAt: fake.Now()}, info)
	var begun event.RunStartedData
	require.NoError(t, json.Unmarshal(b.told[0].Data, &begun))
	require.Equal(t, "guide", begun.Assistant)
	require.Equal(t, "g", begun.Graph)
}

func TestAThreadIsResumedWithTheReducersThatMadeIt(t *testing.T) {
	t.Parallel()
	version := func(label string, more ...graph.Declared) *graph.Graph {
		n := graph.Reduce("n", label, func(a, b int) int { return a + b })
		return compile(t, graph.New("g").Channels(n).Channels(more...).Node("count", func(_ context.Context, task *graph.Task) (graph.Command, error) {
			_, err := task.Interrupt("go on?")
			return graph.Command{Update: []graph.Write{n.Put(1)}}, err
		}).Entry("count").Branch("count", func(graph.State) ([]string, error) { return []string{"count"}, nil }, "count", graph.End))
	}
	require.Equal(t, map[string]string{"log": "append", "n": "reduce:sum/1"}, version("sum/1", log).Labels())
	b := setUp(t, version("sum/1"))
	b.pauses(graph.Begin())
	other := graph.NewRunner(version("sum/2"), graph.RunnerOptions{Checkpointer: b.cp})
	state, err := other.Invoke(t.Context(), b.thread, graph.Answer("yes"))
	require.ErrorAs(t, err, new(*graph.Interrupted), "where nothing was written yet it doesn't matter")
	require.JSONEq(t, `1`, string(state.Values["n"]))
	_, err = graph.NewRunner(version("sum/3"), graph.RunnerOptions{Checkpointer: b.cp}).Invoke(t.Context(), b.thread, graph.Answer("yes"))
	refusal(t, err, "values.n", graph.ErrNotResumable)
	require.Len(t, b.now().Head.Interrupts, 1, "it waits for whoever can go on with it")
	_, err = graph.NewRunner(version("sum/2", log), graph.RunnerOptions{Checkpointer: b.cp}).Invoke(t.Context(), b.thread, graph.Answer("yes"))
	require.ErrorAs(t, err, new(*graph.Interrupted), "a channel more is no obstacle")
}

func TestEmbeddingNeedsNoCheckpointer(t *testing.T) {
	t.Parallel()
	child := compile(t, nodes(graph.New("child").Channels(log), logs, "x").Entry("x").Finish("x"))
	state, err := compile(t, around(child)).Run(t.Context(), graph.Execution{State: graph.NewState(nil, nil)})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "x", "z"}, logOf(state))
	last, ok := state.Last()
	require.False(t, ok)
	require.Zero(t, last)
	last, ok = graph.NewState([]agents.Message{{ID: "1"}, {ID: "2"}}, nil).Last()
	require.True(t, ok)
	require.Equal(t, agents.MessageID("2"), last.ID)
}

func TestAStorageErrorEndsTheRunAndIsTheCallers(t *testing.T) {
	t.Parallel()
	b := setUp(t, three(t, &counter{}))
	for commits := range 3 {
		r := graph.NewRunner(three(t, &counter{}), graph.RunnerOptions{Checkpointer: &mortal{Checkpointer: b.cp, left: commits}})
		_, err := r.Invoke(t.Context(), agents.ThreadID(fmt.Sprint(commits)), graph.Begin())
		require.ErrorIs(t, err, errDead)
		require.False(t, errors.As(err, new(*graph.NodeError)), "no node is blamed")
	}
}

func TestTheNewestRunOfAThreadWins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ran counter
		gate := make(chan struct{})
		b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
			if ran.add("a") == 1 {
				<-gate
			}
			return logs(ctx, task)
		}).Entry("a").Finish("a")))
		older := make(chan error, 1)
		go func() {
			_, err := b.Invoke(t.Context(), b.thread, graph.Begin(log.Put([]string{"older"})))
			older <- err
		}()
		synctest.Wait()
		b.run(graph.Begin(log.Put([]string{"newer"})))
		close(gate)
		require.ErrorIs(t, <-older, agents.ErrFenced)
		require.Equal(t, []string{"older", "newer", "a"}, logged(t, b.now()))
	})
}
