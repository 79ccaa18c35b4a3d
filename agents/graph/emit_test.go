package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// told says in short what watchers were told of a node.
func told(t testing.TB, events []event.Envelope, node string) []string {
	t.Helper()
	var out []string
	for _, e := range events {
		if e.Node != node {
			continue
		}
		name, value := e.CustomName()
		switch e.Type {
		case event.TextMessageStart, event.TextMessageContent, event.TextMessageEnd:
			var d struct {
				MessageID, Delta string
				Broken           bool
			}
			require.NoError(t, json.Unmarshal(e.Data, &d))
			out = append(out, fmt.Sprint(e.Type, " ", d.MessageID, " ", d.Delta, map[bool]string{true: "broken"}[d.Broken]))
		case event.Custom:
			out = append(out, fmt.Sprint(name, " ", string(value)))
		default:
			out = append(out, string(e.Type))
		}
	}
	return out
}

func speak(t *graph.Task, id, text string, whole bool) {
	t.Emit(event.TextMessageStart, event.TextStartData{MessageID: id, Role: "assistant"})
	t.Emit(event.TextMessageContent, event.TextContentData{MessageID: id, Delta: text})
	if whole {
		t.Emit(event.TextMessageEnd, event.TextEndData{MessageID: id})
	}
}

func TestWhatANodeSaysCarriesWhereItIs(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		speak(task, "m", "hi", true)
		task.EmitCustom(event.GraphCustom, map[string]int{"tick": 1})
		return graph.Command{}, nil
	}).Entry("a").Finish("a")))
	b.run(graph.Begin(), graph.RunID("r"))
	require.Equal(t, []string{"STEP_STARTED", "TEXT_MESSAGE_START m ", "TEXT_MESSAGE_CONTENT m hi", "TEXT_MESSAGE_END m ", `graph.custom {"tick":1}`, "STEP_FINISHED"},
		told(t, b.told, "a"))
	for i, e := range b.told {
		require.Equal(t, int64(i+1), e.Seq, "in order and without a gap")
		require.Equal(t, "r", e.RunID)
		require.Equal(t, "thread", e.ThreadID)
		require.Equal(t, 1, e.Attempt)
		require.Equal(t, event.Version, e.V)
	}
	require.Equal(t, event.RunStarted, b.told[0].Type)
	require.Equal(t, event.RunFinished, b.told[len(b.told)-1].Type)
}

func TestWhatANodeSaysAfterItReturnedIsLost(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]error{"Finished": nil, "Failed": errors.New("boom"), "Paused": graph.ErrPaused} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var kept *graph.Task
				b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
					kept = task
					if errors.Is(result, graph.ErrPaused) {
						_, err := task.Interrupt("?")
						return graph.Command{}, err
					}
					return graph.Command{}, result
				}).Entry("a").Finish("a")))
				_, _ = b.Invoke(t.Context(), b.thread, graph.Begin())
				before := len(b.told)
				kept.EmitCustom(event.GraphCustom, "late")
				speak(kept, "m", "late", true)
				require.Len(t, b.told, before)
			})
		})
	}
}

func TestWhatAFailedTrySaidIsTakenBack(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		if task.Try == 1 {
			speak(task, "whole", "one", true)
			speak(task, "open", "two", false)
			return graph.Command{}, errors.New("boom")
		}
		speak(task, "good", "three", true)
		return graph.Command{}, nil
	}, graph.Retry(graph.RetryPolicy{On: yes})).Entry("a").Finish("a")))
	b.run(graph.Begin())
	require.Equal(t, []string{
		"STEP_STARTED", "TEXT_MESSAGE_START whole ", "TEXT_MESSAGE_CONTENT whole one", "TEXT_MESSAGE_END whole ",
		"TEXT_MESSAGE_START open ", "TEXT_MESSAGE_CONTENT open two", "TEXT_MESSAGE_END open broken", `messages.discarded {"discarded":["whole","open"]}`,
		"STEP_STARTED", "TEXT_MESSAGE_START good ", "TEXT_MESSAGE_CONTENT good three", "TEXT_MESSAGE_END good ", "STEP_FINISHED",
	}, told(t, b.told, "a"))
}

func TestWhatAHandledNodeSaidIsTakenBack(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		speak(task, "m", "x", false)
		return graph.Command{}, errors.New("boom")
	}, graph.OnError("h")).Node("h", nothing).Entry("a").Finish("a").Finish("h")))
	b.run(graph.Begin())
	require.Equal(t, []string{"STEP_STARTED", "TEXT_MESSAGE_START m ", "TEXT_MESSAGE_CONTENT m x", "TEXT_MESSAGE_END m broken", `messages.discarded {"discarded":["m"]}`},
		told(t, b.told, "a"))
}

func TestWhatANodeSaidBeforeItPausedIsTakenBack(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		speak(task, "m", "x", true)
		task.Emit(event.ToolCallStart, event.ToolStartData{ToolCallID: "c", ParentMessageID: "parent"})
		_, err := task.Interrupt("?")
		return graph.Command{}, err
	}).Entry("a").Finish("a")))
	b.pauses(graph.Begin())
	require.Contains(t, told(t, b.told, "a"), `messages.discarded {"discarded":["m","parent"]}`, "a call's message too")
	require.NotContains(t, told(t, b.told, "a"), "STEP_FINISHED")
	b.run(graph.Answer(1))
	require.Contains(t, told(t, b.told, "a"), "STEP_FINISHED")
}

func TestNothingIsTakenBackWhereNothingWasSaid(t *testing.T) {
	t.Parallel()
	b := setUp(t, compile(t, graph.New("g").Node("a", asking).Channels(log).Entry("a").Finish("a")))
	b.pauses(graph.Begin())
	require.Empty(t, b.of(func(e event.Envelope) bool { name, _ := e.CustomName(); return name == event.MessagesDiscarded }))
}

func TestIDsOfATaskDoNotDependOnItsSiblings(t *testing.T) {
	t.Parallel()
	take := func(parallel int) map[string][]string {
		got := make(chan []string, 6)
		use := func(_ context.Context, task *graph.Task) (graph.Command, error) {
			got <- []string{task.Node, task.NewID(), task.NewID()}
			return graph.Command{}, nil
		}
		b := graph.New("g")
		for i := range 6 {
			name := fmt.Sprint("n", i)
			b.Node(name, use).Entry(name).Finish(name)
		}
		_, err := compile(t, b).Run(t.Context(), graph.Execution{Info: graph.Info{Run: "r"}, Step: -1, Parallel: parallel, IDs: graph.NamedIDs("seed")})
		require.NoError(t, err)
		out := map[string][]string{}
		for range 6 {
			ids := <-got
			out[ids[0]] = ids[1:]
		}
		return out
	}
	one := take(1)
	require.Equal(t, one, take(6))
	seen := map[string]bool{}
	for _, ids := range one {
		for _, id := range ids {
			require.False(t, seen[id])
			seen[id] = true
		}
	}
	require.NotEqual(t, graph.TaskID("r", nil, 1, 0), graph.TaskID("r", nil, 1, 1))
	require.NotEqual(t, graph.TaskID("r", nil, 1, 0), graph.TaskID("r", []string{"s:l"}, 1, 0))
	require.NotEqual(t, graph.TaskID("r", nil, 1, 0), graph.TaskID(agents.RunID("q"), nil, 1, 0))
}
