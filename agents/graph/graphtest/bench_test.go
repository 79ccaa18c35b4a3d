package graphtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/graph/graphtest"
)

var (
	topics = graph.Replace[[]string]("topics")
	notes  = graph.AppendByID[note]("notes")
	count  = graph.Sum("count")
)

type note struct {
	ID   string    `json:"id"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// whole is a graph that uses a bit of everything: tasks that are sent, a subgraph,
// a retry, words as they come, ids, the time, a pause.
func whole(t *testing.T) *graph.Graph {
	t.Helper()
	child, err := graph.New("child").Channels(count).
		Node("count", func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{count.Put(1)}}, nil
		}).Entry("count").Finish("count").Compile()
	require.NoError(t, err)
	busy := errors.New("busy")
	g, err := graph.New("whole").Channels(topics, notes, count).
		Node("research", func(_ context.Context, task *graph.Task) (graph.Command, error) {
			topic, err := graph.InputOf[string](task)
			if err == nil && topic == "loom" && task.Try == 1 {
				err = busy
			}
			task.EmitCustom(event.GraphCustom, topic)
			return graph.Command{Update: []graph.Write{notes.Put([]note{{ID: task.NewID(), Text: topic, At: task.Clock.Now()}})}}, err
		}, graph.Retry(graph.RetryPolicy{On: func(err error) bool { return errors.Is(err, busy) }})).
		Subgraph("child", child).
		Node("ask", func(_ context.Context, task *graph.Task) (graph.Command, error) {
			name, err := graph.Ask[string](task, "Who signs?")
			if err != nil {
				return graph.Command{}, err
			}
			id := task.NewID()
			task.Emit(event.TextMessageStart, event.TextStartData{MessageID: id, Role: "assistant"})
			for _, piece := range []string{"Signed, ", name} {
				task.Emit(event.TextMessageContent, event.TextContentData{MessageID: id, Delta: piece})
			}
			task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: id})
			return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{
				ID: agents.MessageID(id), Role: agents.RoleAssistant, Text: "Signed, " + name, CreatedAt: task.Clock.Now()})}}, nil
		}).
		Fan(graph.Start, func(s graph.State) ([]graph.Send, error) {
			list, _, err := topics.Get(s)
			var sends []graph.Send
			for _, topic := range list {
				sends = append(sends, graph.Send{Node: "research", Input: topic})
			}
			return sends, err
		}, "research").
		Edge(graph.Start, "child").Join("ask", "research", "child").Finish("ask").Compile()
	require.NoError(t, err)
	return g
}

// record runs the whole graph on a bench of its own and gives every byte that
// came of it: what was told, and each state of the history.
func record(t *testing.T, options ...graphtest.Option) []byte {
	t.Helper()
	b := graphtest.New(t, whole(t), options...)
	_, err := b.Invoke(t.Context(), "letters", graph.Begin(topics.Put([]string{"weft", "loom", "warp"})))
	require.ErrorAs(t, err, new(*graph.Interrupted))
	b.Clock.Advance(time.Hour)
	state, err := b.Invoke(t.Context(), "letters", graph.Answer("ada"))
	require.NoError(t, err)
	require.Len(t, graphtest.Value(t, state, notes), 3)
	history, err := b.History(t.Context(), "letters", agents.HistoryQuery{Limit: 100})
	require.NoError(t, err)
	var out []byte
	for _, e := range b.Sink.Snapshot() {
		raw, err := json.Marshal(e)
		require.NoError(t, err)
		out = append(append(out, raw...), '\n')
	}
	for _, s := range history {
		raw, err := json.Marshal(s)
		require.NoError(t, err)
		out = append(append(out, raw...), '\n')
	}
	return out
}

func TestARunIsTheSameByteForByte(t *testing.T) {
	t.Parallel()
	first := record(t)
	require.Equal(t, string(first), string(record(t)))
	other := record(t, func(o *graph.RunnerOptions) { o.IDs = graph.NamedIDs("another seed") })
	require.NotEqual(t, string(first), string(other), "ids are part of it")
}

func TestABenchTellsWhatHappened(t *testing.T) {
	t.Parallel()
	b := graphtest.New(t, whole(t))
	_, err := b.Invoke(t.Context(), "letters", graph.Begin(topics.Put([]string{"loom"})))
	require.ErrorAs(t, err, new(*graph.Interrupted))
	require.Equal(t, []string{"child", "count", "research", "research", "ask"}, b.Sink.Ran(), "the second research is the retry")

	b.Sink.Clear()
	b.Clock.Advance(time.Hour)
	state, err := b.Restart(whole(t)).Invoke(t.Context(), "letters", graph.Answer("ada"))
	require.NoError(t, err)
	require.Equal(t, []string{"Signed, ada"}, b.Sink.Texts())
	require.Equal(t, []string{"RUN_STARTED", "checkpoint", "STEP_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT",
		"TEXT_MESSAGE_END", "STEP_FINISHED", "checkpoint", "RUN_FINISHED"}, b.Sink.Types())
	first := graphtest.Value(t, state, notes)[0].At
	require.Equal(t, time.Hour, state.Messages[0].CreatedAt.Sub(first), "the clock moved only when told to")
	require.Equal(t, 1.0, graphtest.Value(t, state, count))
}
