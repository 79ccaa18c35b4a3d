package run_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
)

func TestAStopWhileTheModelWritesACallTakesTheCallBack(t *testing.T) {
	t.Parallel()
	compiled, err := graph.New("calls").Node("calls", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		parent := task.NewID()
		task.Emit(event.ToolCallStart, event.ToolStartData{ToolCallID: "whole", ToolCallName: "search", ParentMessageID: parent})
		task.Emit(event.ToolCallArgs, event.ToolArgsData{ToolCallID: "whole", Delta: `{"query":"x"}`})
		task.Emit(event.ToolCallStart, event.ToolStartData{ToolCallID: "half", ToolCallName: "search", ParentMessageID: parent})
		task.Emit(event.ToolCallArgs, event.ToolArgsData{ToolCallID: "half", Delta: `{"que`})
		<-ctx.Done()
		return graph.Command{}, context.Cause(ctx)
	}).Edge(graph.Start, "calls").Edge("calls", graph.End).Compile()
	require.NoError(t, err)
	b := setup(t, compiled)
	b.worker(t, nil)
	thread := agents.ThreadID(id.New())
	r := b.submit(t, thread, "calls", "go")
	require.Eventually(t, func() bool { return strings.Contains(strings.Join(b.hub.payloads(), ""), `{\"que`) }, 10*time.Second, 5*time.Millisecond)
	_, err = b.service.Cancel(t.Context(), b.scope, thread, r.ID, "stopped")
	require.NoError(t, err)
	require.Equal(t, agents.RunCancelled, b.wait(t, r).Status)

	state, err := b.db.State(t.Context(), b.scope, thread)
	require.NoError(t, err)
	require.Len(t, state.Messages, 3)
	require.Len(t, state.Messages[1].ToolCalls, 1)
	require.Equal(t, "whole", state.Messages[1].ToolCalls[0].ID)
	require.Equal(t, "whole", state.Messages[2].ToolCallID, "it has a result, so that the next model call is valid")
	ended := map[string]bool{}
	for _, e := range b.log(t, thread) {
		require.NotEqual(t, event.TextMessageEnd, e.Type, "no text ever began")
		if e.Type == event.ToolCallEnd {
			var d event.ToolEndData
			require.NoError(t, e.Decode(&d))
			ended[d.ToolCallID] = d.Broken
		}
	}
	require.Equal(t, map[string]bool{"whole": false, "half": true}, ended)
}
