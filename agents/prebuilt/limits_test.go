package prebuilt

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/tool"
)

// looped runs the chat graph with a model that asks for a tool again and again.
func looped(t *testing.T, cfg agents.AssistantConfig) (messages []agents.Message, ran int, err error) {
	t.Helper()
	var calls atomic.Int32
	look, err := tool.New(tool.Spec{Name: "look", Description: "d", Effect: tool.EffectRead, Review: tool.ReviewNever},
		func(context.Context, tool.Invocation, struct{}) (tool.Result, error) {
			calls.Add(1)
			return tool.Text("seen", ""), nil
		})
	require.NoError(t, err)
	tools, err := tool.NewRegistry(look)
	require.NoError(t, err)
	models, err := model.NewRegistry(model.Entry{ID: "mock", Model: caller{endless: true}, Tools: true})
	require.NoError(t, err)
	chat, err := Chat(ChatOptions{Models: models, Tools: tools, Call: tool.NewDispatcher(tools, tool.DispatcherOptions{}), Ledger: review.Blank{}})
	require.NoError(t, err)
	cfg.Tools = []string{"look"}
	state, err := chat.Run(t.Context(), graph.Execution{
		State: graph.NewState([]agents.Message{{ID: "m", Role: agents.RoleUser, Text: "hello"}}, nil), RecursionLimit: 60,
		Info: graph.Info{Scope: admin, Thread: "t", Run: "r", Line: "l", Assistant: agents.Assistant{Graph: ChatName, Config: cfg}},
	})
	return state.Messages(), int(calls.Load()), err
}

func TestARunAsksTheModelAsOftenAsItMayAndSaysSo(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]int{0: 10, 3: 3} {
		messages, ran, err := looped(t, agents.AssistantConfig{MaxModelCalls: limit})
		require.NoError(t, err)
		require.Equal(t, want, ran)
		last := messages[len(messages)-1]
		require.Equal(t, agents.RoleAssistant, last.Role)
		require.Contains(t, last.Text, "I stop here")
	}
	_, ran, err := looped(t, agents.AssistantConfig{MaxModelCalls: 2, OnLimit: agents.OnLimitError})
	require.ErrorContains(t, err, "asked the model 2 times")
	require.Equal(t, 2, ran)
}

func TestACallBeyondTheLimitOfARunIsRefusedAndTheModelGoesOn(t *testing.T) {
	t.Parallel()
	messages, ran, err := looped(t, agents.AssistantConfig{MaxModelCalls: 5, MaxToolCalls: 2})
	require.NoError(t, err)
	require.Equal(t, 2, ran)
	refused := 0
	for _, m := range messages {
		if m.Role == agents.RoleTool && m.Status == agents.MessageFailed && strings.Contains(m.Text, "may make 2 tool calls") {
			refused++
		}
	}
	require.Equal(t, 3, refused, "every call has a result")
}

func TestLimitsOfCallsAreChecked(t *testing.T) {
	t.Parallel()
	a := agents.Assistant{Name: "a", Graph: "chat", Config: agents.AssistantConfig{MaxModelCalls: 501, MaxToolCalls: -1, OnLimit: "stop"}}
	err := a.Validate()
	for _, field := range []string{"max_model_calls", "max_tool_calls", "on_limit"} {
		require.ErrorContains(t, err, field)
	}
}
