package prebuilt

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

func TestAToolIsToldWhoAsksAndWhereItRuns(t *testing.T) {
	t.Parallel()
	told := make(chan tool.Invocation, 1)
	probe, err := tool.New(tool.Spec{Name: "probe", Description: "d", Effect: tool.EffectRead, Review: tool.ReviewNever},
		func(_ context.Context, inv tool.Invocation, _ struct{}) (tool.Result, error) {
			told <- inv
			return tool.Text("seen", ""), nil
		})
	require.NoError(t, err)
	tools, err := tool.NewRegistry(probe)
	require.NoError(t, err)
	models, err := model.NewRegistry(model.Entry{ID: "mock", Model: caller{}, Tools: true})
	require.NoError(t, err)
	chat, err := Chat(ChatOptions{Models: models, Tools: tools, Call: tool.NewDispatcher(tools, tool.DispatcherOptions{}), Ledger: review.Blank{}})
	require.NoError(t, err)
	began := time.Date(2026, time.May, 1, 8, 0, 0, 0, time.UTC)
	_, err = chat.Run(t.Context(), graph.Execution{
		State: graph.NewState([]agents.Message{{ID: "m", Role: agents.RoleUser, Text: "hello"}}, nil), Step: 4,
		Info: graph.Info{Scope: admin, UserName: "Ada", Thread: "thread", Run: "run", Attempt: 2, StartedAt: began, Line: "line",
			Assistant: agents.Assistant{ID: "guide", Graph: ChatName, Config: agents.AssistantConfig{Tools: []string{"probe"}}}},
	})
	require.NoError(t, err)
	inv := <-told
	require.Equal(t, tool.Invocation{
		Scope: admin, UserName: "Ada", AssistantID: "guide", GraphID: ChatName, ThreadID: "thread", RunID: "run",
		TaskID: graph.TaskID("run", nil, 6, 0), Node: nodeTools, Step: 6, Attempt: 2, StartedAt: began,
		CallID: inv.CallID, IdempotencyKey: "line:" + inv.CallID, Clock: inv.Clock,
	}, inv)
	require.NotEmpty(t, inv.CallID)
	require.True(t, inv.Scope.Can(auth.PermRun), "the scope says what the person may do")
}
