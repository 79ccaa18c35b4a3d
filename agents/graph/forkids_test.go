package graph_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

func TestAForkWithNamedIDsKeepsItsOwnMessages(t *testing.T) {
	t.Parallel()
	texts := []string{"zero", "first", "second"}
	g, err := graph.New("g").Node("say", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		text := texts[0]
		texts = texts[1:]
		return graph.Command{Update: []graph.Write{graph.AddMessage(
			agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: text})}}, nil
	}).Entry("say").Finish("say").Compile()
	require.NoError(t, err)
	r := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: memory.New(memory.Options{}), IDs: graph.NamedIDs("seed")})
	zero, err := r.Invoke(t.Context(), "t", graph.Begin())
	require.NoError(t, err)
	first, err := r.Invoke(t.Context(), "t", graph.Begin())
	require.NoError(t, err)
	second, err := r.Invoke(t.Context(), "t", graph.Begin(), graph.From(zero.Head.ID))
	require.NoError(t, err)
	require.Equal(t, "first", first.Messages[1].Text)
	require.Equal(t, "second", second.Messages[1].Text)
	require.NotEqual(t, first.Messages[1].ID, second.Messages[1].ID)
}
