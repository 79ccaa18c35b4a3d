package run_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// version is a version of a graph that counts, asks, and says what it heard.
func version(t *testing.T, total graph.Declared, put func(float64) graph.Write, asks string, more ...string) *graph.Graph {
	t.Helper()
	pass := func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, nil }
	b := graph.New("evolving").Channels(total).
		Node("count", func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{put(2)}}, nil
		}).
		Node(asks, func(_ context.Context, task *graph.Task) (graph.Command, error) {
			answer, err := task.Interrupt("go on?")
			if err != nil {
				return graph.Command{}, err
			}
			m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: "heard " + string(answer), CreatedAt: task.Clock.Now()}
			task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: "assistant"})
			task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: m.Text})
			task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
			return graph.Command{Update: []graph.Write{put(3), graph.AddMessage(m)}}, nil
		}).Entry("count").Edge("count", asks)
	last := asks
	for _, name := range more {
		b.Node(name, pass).Edge(last, name)
		last = name
	}
	g, err := b.Finish(last).Compile()
	require.NoError(t, err)
	return g
}

func TestAPausedRunGoesOnUnderANewVersionOrIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	sum, set := graph.Sum("total"), graph.Replace[float64]("total")
	first := version(t, sum, sum.Put, "ask")
	for name, c := range map[string]struct {
		next   *graph.Graph
		reason string
	}{
		"Same":         {first, ""},
		"OneMoreNode":  {version(t, sum, sum.Put, "ask", "afterwards"), ""},
		"NodeRenamed":  {version(t, sum, sum.Put, "question"), "it has no node ask any more"},
		"OtherReducer": {version(t, set, set.Put, "ask"), "the reducer of total was add and is set now"},
		"Gone":         {nil, "the graph evolving is not on this server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, first)
			b.worker(t, nil)
			thread := agents.ThreadID(id.New())
			paused := b.wait(t, b.submit(t, thread, "evolving", "go"))
			require.Equal(t, agents.RunWaiting, paused.Status)
			require.Equal(t, first.Hash(), paused.Manifest.GraphHash)
			require.Equal(t, map[string]string{"total": "add"}, paused.Manifest.Channels)

			if delete(b.graphs, "evolving"); c.next != nil {
				b.graphs["evolving"] = c.next
			}
			state, err := b.db.State(t.Context(), b.scope, thread)
			require.NoError(t, err)
			refused := run.Resumable(b.graphs, "evolving", state)
			_, err = b.service.Resume(t.Context(), b.scope, thread, run.Command{Answer: json.RawMessage(`"yes"`)})
			if c.reason != "" {
				require.ErrorContains(t, refused, c.reason)
				require.Equal(t, "not_resumable", fault.Code(err), "%v", err)
				require.Contains(t, fault.Public(err), c.reason)
				still, err := b.db.Run(t.Context(), b.scope, thread, paused.ID)
				require.NoError(t, err)
				require.Equal(t, agents.RunWaiting, still.Status, "nothing was consumed")
				return
			}
			require.NoError(t, refused)
			require.NoError(t, err)
			open, err := b.db.OpenRuns(t.Context(), b.scope, thread)
			require.NoError(t, err)
			for _, r := range open {
				require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
			}
			state, err = b.db.State(t.Context(), b.scope, thread)
			require.NoError(t, err)
			last := state.Messages[len(state.Messages)-1]
			require.Equal(t, `heard "yes"`, last.Text)
			require.JSONEq(t, `5`, string(state.Values["total"]))
		})
	}
}
