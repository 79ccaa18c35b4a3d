package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// frames runs a graph and writes each frame in short.
func frames(t testing.TB, b *bench, in graph.Input, modes []graph.Mode, options ...graph.RunOption) (out []string, err error) {
	t.Helper()
	for f, failed := range b.Stream(t.Context(), b.thread, in, modes, options...) {
		if err = failed; err == nil {
			out = append(out, short(f))
		}
	}
	return out, err
}

func short(f graph.Frame) string {
	text := string(f.Mode)
	for _, ns := range f.Envelope.NS {
		text += " " + strings.Split(ns, ":")[0] + "/"
	}
	state := func(s *agents.State) string {
		return fmt.Sprint(s.Step, " ", s.Head.Source, " log=", string(s.Values["log"]), " messages=", len(s.Messages), " next=", agents.Nodes(s.Head.Next))
	}
	switch {
	case f.Update != nil && f.Update.Interrupts != nil:
		for _, i := range f.Update.Interrupts {
			text += fmt.Sprint(" asks ", i.Node, string(i.Value))
		}
	case f.Update != nil:
		text += " " + f.Update.Node
		for _, w := range f.Update.Writes {
			switch {
			case w.Message != nil:
				text += " +" + string(w.Message.ID)
			case w.Remove != "":
				text += " -" + string(w.Remove)
			default:
				text += " " + w.Channel + string(w.Delta.Value)
			}
		}
	case f.State != nil:
		text += " " + state(f.State)
	case f.Message != nil:
		text += fmt.Sprint(" ", f.Message.Node, f.Message.Step, " ", f.Message.MessageID, " ", f.Message.Delta)
	case f.Task != nil:
		text += fmt.Sprint(" ", f.Task.Node, f.Task.Step, map[bool]string{true: " ended", false: " began"}[f.Task.Ended])
		for _, i := range f.Task.Interrupts {
			text += " asks " + string(i.Value)
		}
	case f.Custom != nil:
		text += " " + string(f.Custom)
	default:
		text += " " + string(f.Envelope.Type)
		if name, _ := f.Envelope.CustomName(); name != "" {
			text += " " + string(name)
		}
	}
	return text
}

// talker says, tells and asks, in a subgraph too, and keeps something for itself.
func talker(t testing.TB) *graph.Graph {
	t.Helper()
	secret := graph.Replace[string]("secret").Private()
	talk := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		speak(task, "m-"+task.Node, "hi", true)
		task.EmitCustom(event.GraphCustom, task.Node)
		return graph.Command{Update: []graph.Write{log.Put([]string{task.Node}), secret.Put("hunter2"),
			graph.AddMessage(agents.Message{ID: agents.MessageID("m-" + task.Node), Text: "hi"})}}, nil
	}
	child := compile(t, graph.New("child").Channels(log, secret).Node("x", talk).Entry("x").Finish("x"))
	return compile(t, graph.New("g").Channels(log, secret).Node("a", talk).Node("b", talk).Subgraph("s", child).Node("q", asking).
		Entry("b").Entry("a").Edge("a", "s").Edge("s", "q").Finish("q").Finish("b"))
}

func TestEachModeShowsARunItsOwnWay(t *testing.T) {
	t.Parallel()
	for mode, want := range map[graph.Mode][]string{
		graph.ModeValues: {
			"values 0 input log= messages=1 next=[a b]", `values 1 loop log=["a","b"] messages=3 next=[s]`,
			`values 2 loop log=["a","b","x"] messages=4 next=[q]`,
			// the pause changes nothing; it goes on:
			`values 4 input log=["a","b","x"] messages=4 next=[q]`, `values 5 loop log=["a","b","x","q=1"] messages=4 next=[]`,
		},
		graph.ModeUpdates: {
			`updates a +m-a log["a"]`, `updates b +m-b log["b"]`, `updates s +m-x log["x"]`, `updates asks q"q?"`,
			`updates q log["q=1"]`,
		},
		graph.ModeMessages: {"messages a1 m-a hi", "messages b1 m-b hi", "messages s/ x2 m-x hi"},
		graph.ModeCustom:   {`custom "a"`, `custom "b"`},
		graph.ModeTasks: {
			"tasks a1 began", "tasks a1 ended", "tasks b1 began", "tasks b1 ended", "tasks s2 began", "tasks s2 ended",
			"tasks q3 began", `tasks q3 ended asks "q?"`, "tasks q5 began", "tasks q5 ended",
		},
		graph.ModeCheckpoints: {
			"checkpoints 0 input log= messages=1 next=[a b]", `checkpoints 1 loop log=["a","b"] messages=3 next=[s]`,
			`checkpoints 2 loop log=["a","b","x"] messages=4 next=[q]`, `checkpoints 3 loop log=["a","b","x"] messages=4 next=[q]`,
			`checkpoints 4 input log=["a","b","x"] messages=4 next=[q]`, `checkpoints 5 loop log=["a","b","x","q=1"] messages=4 next=[]`,
		},
		graph.ModeDebug: {
			"debug 0 input log= messages=1 next=[a b]", "debug a1 began", "debug a1 ended", "debug b1 began", "debug b1 ended",
			`debug 1 loop log=["a","b"] messages=3 next=[s]`, "debug s2 began", "debug s2 ended", `debug 2 loop log=["a","b","x"] messages=4 next=[q]`,
			"debug q3 began", `debug q3 ended asks "q?"`, `debug 3 loop log=["a","b","x"] messages=4 next=[q]`,
			`debug 4 input log=["a","b","x"] messages=4 next=[q]`, "debug q5 began", "debug q5 ended", `debug 5 loop log=["a","b","x","q=1"] messages=4 next=[]`,
		},
		graph.ModeEvents: {
			"events RUN_STARTED", "events CUSTOM checkpoint",
			"events STEP_STARTED", "events TEXT_MESSAGE_START", "events TEXT_MESSAGE_CONTENT", "events TEXT_MESSAGE_END", "events CUSTOM graph.custom", "events STEP_FINISHED",
			"events STEP_STARTED", "events TEXT_MESSAGE_START", "events TEXT_MESSAGE_CONTENT", "events TEXT_MESSAGE_END", "events CUSTOM graph.custom", "events STEP_FINISHED",
			"events CUSTOM checkpoint", "events STEP_STARTED",
			"events s/ STEP_STARTED", "events s/ TEXT_MESSAGE_START", "events s/ TEXT_MESSAGE_CONTENT", "events s/ TEXT_MESSAGE_END", "events s/ CUSTOM graph.custom", "events s/ STEP_FINISHED",
			"events s/ CUSTOM checkpoint", "events STEP_FINISHED", "events CUSTOM checkpoint",
			"events STEP_STARTED", "events CUSTOM review.requested", "events CUSTOM checkpoint", "events RUN_FINISHED",
			"events RUN_STARTED", "events CUSTOM checkpoint", "events STEP_STARTED", "events STEP_FINISHED", "events CUSTOM checkpoint", "events RUN_FINISHED",
		},
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			b := setUp(t, talker(t), func(o *graph.RunnerOptions) { o.Parallel = 1 })
			got, err := frames(t, b, graph.Begin(graph.AddMessage(agents.Message{ID: "hello"})), []graph.Mode{mode})
			require.ErrorAs(t, err, new(*graph.Interrupted))
			more, err := frames(t, b, graph.Answer(1), []graph.Mode{mode})
			require.NoError(t, err)
			require.Equal(t, want, append(got, more...))
		})
	}
}

func TestEveryModeIsCovered(t *testing.T) {
	t.Parallel()
	require.Equal(t, []graph.Mode{graph.ModeValues, graph.ModeUpdates, graph.ModeMessages, graph.ModeCustom, graph.ModeTasks, graph.ModeCheckpoints,
		graph.ModeDebug, graph.ModeEvents}, graph.Modes())
}

func TestSubgraphsAreShownWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	b := setUp(t, talker(t), func(o *graph.RunnerOptions) { o.Parallel = 1 })
	got, err := frames(t, b, graph.Begin(), []graph.Mode{graph.ModeUpdates, graph.ModeCustom, graph.ModeTasks, graph.ModeCheckpoints}, graph.Subgraphs())
	require.ErrorAs(t, err, new(*graph.Interrupted))
	inner := slices.DeleteFunc(got, func(s string) bool { return !strings.Contains(s, " s/") })
	require.Equal(t, []string{
		"tasks s/ x2 began", `custom s/ "x"`, "tasks s/ x2 ended", `updates s/ x +m-x log["x"]`, `checkpoints s/ 2 loop log=["a","b","x"] messages=3 next=[]`,
	}, inner)
}

func TestModesOfOneStreamKeepTheirOrder(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", logs).Entry("a").Finish("a")))
	got, err := frames(t, b, graph.Begin(), []graph.Mode{graph.ModeCheckpoints, graph.ModeValues, graph.ModeUpdates, graph.ModeTasks})
	require.NoError(t, err)
	require.Equal(t, []string{
		"values 0 input log= messages=0 next=[a]", "checkpoints 0 input log= messages=0 next=[a]", "tasks a1 began", "tasks a1 ended",
		`updates a log["a"]`, `values 1 loop log=["a"] messages=0 next=[]`, `checkpoints 1 loop log=["a"] messages=0 next=[]`,
	}, got)
	got, err = frames(t, b, graph.Begin(), nil)
	require.NoError(t, err)
	require.Empty(t, got, "no mode, no frame")
}

func TestWhatIsPrivateIsInNoUpdate(t *testing.T) {
	t.Parallel()
	b := setUp(t, talker(t))
	for f, err := range b.Stream(t.Context(), b.thread, graph.Begin(), []graph.Mode{graph.ModeUpdates, graph.ModeMessages, graph.ModeEvents, graph.ModeTasks, graph.ModeCustom}, graph.Subgraphs()) {
		if err == nil {
			raw, err := json.Marshal(f)
			require.NoError(t, err)
			require.NotContains(t, string(raw), "hunter2")
		}
	}
	require.Contains(t, string(b.now().Values["_secret"]), "hunter2")
}

func TestATasksFrameNamesTheSameTaskFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, fanOut(graph.New("g").Channels(log).Node("a", asking).Node("b", logs), "a", "b")))
	ids := map[string][]string{}
	for f, err := range b.Stream(t.Context(), b.thread, graph.Begin(), []graph.Mode{graph.ModeTasks}) {
		if err == nil {
			ids[f.Task.Node] = append(ids[f.Task.Node], f.Task.ID)
		}
	}
	require.Len(t, ids, 2)
	for _, of := range ids {
		require.Len(t, of, 2)
		require.Equal(t, of[0], of[1])
	}
	require.NotEqual(t, ids["a"], ids["b"])
}

func TestAStreamEndsWithTheRunsError(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Node("a", func(context.Context, *graph.Task) (graph.Command, error) {
		return graph.Command{}, errors.Join(graph.Fail("No paper."), errors.New("password is hunter2"))
	}).Entry("a").Finish("a")))
	var last event.Envelope
	n := 0
	for f, err := range b.Stream(t.Context(), b.thread, graph.Begin(), []graph.Mode{graph.ModeEvents}) {
		if err != nil {
			require.ErrorContains(t, err, "No paper.")
			require.Zero(t, f)
			n++
			continue
		}
		require.Zero(t, n, "nothing follows the error")
		last = f.Envelope
	}
	require.Equal(t, 1, n)
	require.Equal(t, event.RunError, last.Type)
	require.JSONEq(t, `{"message":"No paper.","code":"node_failed","node":"a"}`, string(last.Data), "what people read is what the author wrote for them")
}

func TestWhoeverLeavesAStreamStopsTheRun(t *testing.T) {
	t.Parallel()
	for name, node := range map[string]graph.Node{
		"Patient": waits,
		"Deaf":    func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, errors.New("boom") },
		"Quick":   logs,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setUp(t, compile(t, graph.New("g").Channels(log).Node("a", node).Entry("a").Finish("a")))
				for left := 1; left < 5; left++ {
					seen := 0
					for range b.Stream(t.Context(), b.thread, graph.Begin(), []graph.Mode{graph.ModeEvents}) {
						if seen++; seen == left {
							break
						}
						if name == "Patient" && seen == 3 {
							break // nothing more comes
						}
					}
					synctest.Wait() // and the run has ended, else the test fails
				}
			})
		})
	}
}

func TestALoopThatEndsTheTestStopsTheRunToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, compile(t, graph.New("g").Node("a", waits).Entry("a").Finish("a")))
		require.Panics(t, func() {
			for range b.Stream(t.Context(), b.thread, graph.Begin(), []graph.Mode{graph.ModeEvents}) {
				panic("the reader is broken")
			}
		})
	})
}

func TestACancelledRunIsToldAsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	b := setUp(t, compile(t, graph.New("g").Node("a", func(ctx context.Context, _ *graph.Task) (graph.Command, error) {
		cancel()
		<-ctx.Done()
		return graph.Command{}, ctx.Err()
	}).Entry("a").Finish("a")))
	_, err := b.Invoke(ctx, b.thread, graph.Begin())
	require.ErrorIs(t, err, context.Canceled)
	end := b.told[len(b.told)-1]
	require.Equal(t, event.RunFinished, end.Type)
	require.Contains(t, string(end.Data), `"outcome":"cancelled"`)
	require.Equal(t, agents.DueNodes("a"), b.now().Head.Next)
}

func TestAStepThatCannotBeReadEndsItsProjection(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	p := graph.NewProjection([]graph.Mode{graph.ModeValues}, false, func(agents.LineID, int) (graph.Stepped, error) { return graph.Stepped{}, gone })
	_, err := p.Frames(event.Envelope{Type: event.Custom, Data: event.NewCustom(event.CheckpointMade, event.CheckpointValue{Line: "l", Step: 3})})
	require.ErrorIs(t, err, gone)
	require.ErrorContains(t, err, "reading step 3")
	p = graph.NewProjection([]graph.Mode{graph.ModeMessages, graph.ModeCustom, graph.ModeEvents}, false, nil)
	out, err := p.Frames(event.Envelope{Type: event.Custom, Data: event.NewCustom(event.CheckpointMade, event.CheckpointValue{Line: "l", Step: 3})})
	require.NoError(t, err, "modes that look at no state need none")
	require.Len(t, out, 1)
}

func TestAStepThatTellsNotWhoWroteItIsItsOnlyTasks(t *testing.T) {
	t.Parallel()
	s := graph.Stepped{Was: agents.DueNodes("a"), Messages: []agents.Message{{ID: "m"}}, State: agents.State{Head: &agents.Checkpoint{Source: agents.SourceLoop,
		Ops:    []agents.Op{{Kind: agents.OpAppend, ID: "m"}, {Kind: agents.OpRemove, ID: "n"}},
		Deltas: map[string][]agents.Delta{"log": {{Op: agents.DeltaAppend, Value: json.RawMessage(`["x"]`)}}, "_p": {{Op: agents.DeltaSet, Value: json.RawMessage(`1`)}}}}}}
	require.Equal(t, "updates a +m -n log[\"x\"]", short(graph.Frame{Mode: graph.ModeUpdates, Update: &s.Updates()[0]}))
	s.State.Head.Source = agents.SourceInput
	require.Empty(t, s.Updates())
}
