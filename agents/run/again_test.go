package run_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/internal/id"
)

func TestAFailedRunIsTriedAgainFromWhereItFailed(t *testing.T) {
	t.Parallel()
	var prepared, tried atomic.Int32
	steps := graph.Append[string]("steps")
	g, err := graph.New("fragile").Channels(steps).
		Node("prepare", func(context.Context, *graph.Task) (graph.Command, error) {
			prepared.Add(1)
			return graph.Command{Update: []graph.Write{steps.Put([]string{"prepared"})}}, nil
		}).
		Node("answer", func(_ context.Context, task *graph.Task) (graph.Command, error) {
			m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: "Half", CreatedAt: task.Clock.Now()}
			task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: "assistant"})
			task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: m.Text})
			if tried.Add(1) == 1 {
				return graph.Command{}, errors.New("the wire was cut")
			}
			m.Text = "Half and whole."
			task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: " and whole."})
			task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
			return graph.Command{Update: []graph.Write{steps.Put([]string{"answered"}), graph.AddMessage(m)}}, nil
		}).
		Node("sibling", func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{steps.Put([]string{"beside"})}}, nil
		}).
		Entry("prepare").Edge("prepare", "answer").Edge("prepare", "sibling").Finish("answer").Finish("sibling").Compile()
	require.NoError(t, err)
	b := setup(t, g)
	b.worker(t, nil)
	thread := agents.ThreadID(id.New())
	failed := b.wait(t, b.submit(t, thread, "fragile", "go"))
	require.Equal(t, agents.RunFailed, failed.Status)
	state, err := b.db.State(t.Context(), b.scope, thread)
	require.NoError(t, err)
	require.Equal(t, "Half", state.Messages[1].Text, "what was seen is kept")
	require.Equal(t, agents.DueNodes("answer", "sibling"), state.Head.Next, "and what failed stays due")

	again, err := b.service.Submit(t.Context(), b.scope, run.Request{Thread: thread, Assistant: "fragile", Input: agents.RunInput{Resume: &agents.Resume{}}})
	require.NoError(t, err)
	require.Equal(t, agents.RunSuccess, b.wait(t, again).Status)
	state, err = b.db.State(t.Context(), b.scope, thread)
	require.NoError(t, err)
	require.Len(t, state.Messages, 2, "the half answer was taken back")
	require.Equal(t, "Half and whole.", state.Messages[1].Text)
	require.JSONEq(t, `["prepared","answered","beside"]`, string(state.Values["steps"]))
	require.EqualValues(t, 1, prepared.Load(), "what succeeded is not repeated")
}
