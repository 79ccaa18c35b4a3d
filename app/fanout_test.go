package app_test

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/script"
	"github.com/heddle/heddle/internal/testweb"
)

// counted is a model that knows how often it was asked.
type counted struct {
	model.Model
	calls atomic.Int32
}

func (c *counted) Stream(ctx context.Context, req model.Request) iter.Seq2[model.Chunk, error] {
	c.calls.Add(1)
	return c.Model.Stream(ctx, req)
}

// asks is a graph that asks a model once it may, and passes on what it says.
func asks(t *testing.T, m model.Model, may <-chan struct{}) *graph.Graph {
	t.Helper()
	compiled, err := graph.New("asks").Node("asks", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		<-may
		answer := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Run: task.Run, CreatedAt: task.Clock.Now()}
		last, _ := task.State.Last()
		task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(answer.ID), Role: "assistant"})
		_, err := model.Collect(m.Stream(ctx, model.Request{Model: script.ID, Messages: []model.Message{model.UserText(last.Text)}}),
			func(c model.Chunk) error {
				if c.Kind == model.ChunkText {
					answer.Text += c.Text
					task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(answer.ID), Delta: c.Text})
				}
				return nil
			})
		task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(answer.ID)})
		return graph.Command{Update: []graph.Write{graph.AddMessage(answer)}}, err
	}).Edge(graph.Start, "asks").Edge("asks", graph.End).Compile()
	require.NoError(t, err)
	return compiled
}

func TestThreeSocketsGetTheSameWhileTheModelIsAskedOnce(t *testing.T) {
	t.Parallel()
	mock, err := script.New(script.Options{TokensPerSecond: 1000})
	require.NoError(t, err)
	m, may := &counted{Model: mock}, make(chan struct{})
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{asks(t, m, may)}})
	mia := s.SignIn("mia@acme.test")
	thread := startOn(t, s, mia, "asks", "count to 200")
	topic := "thread:" + thread
	first, second := s.Dial(mia), s.Dial(mia)
	for _, k := range []*testweb.Socket{first, second} {
		k.Join(topic, map[string]any{"after": 0})
	}
	third := watch(t, s, mia, "the page", thread)
	close(may)

	// payloads are what a socket got until the run's end, byte for byte.
	payloads := func(k *testweb.Socket) (raw []string, parsed []event.Envelope) {
		for {
			f := k.Next()
			if f.Topic != topic || f.Event != "envelope" {
				continue
			}
			e, err := event.Parse(f.Payload)
			require.NoError(t, err)
			raw, parsed = append(raw, string(f.Payload)), append(parsed, e)
			if testweb.RunEnds(e) {
				return raw, parsed
			}
		}
	}
	one, got := payloads(first)
	two, _ := payloads(second)
	require.Equal(t, one, two)
	dense(t, 0, got)
	require.Contains(t, testweb.Text(got), "199, 200")

	var at, last int64 = 0, got[len(got)-1].Seq
	for at < last {
		f := third.socket.Next()
		require.Equal(t, "view", f.Event, string(f.Payload))
		var view struct{ Seq int64 }
		require.NoError(t, json.Unmarshal(f.Payload, &view))
		require.Greater(t, view.Seq, at)
		at = view.Seq
		third.page.Patch(f.Payload)
	}
	require.Equal(t, last, at)
	third.shows(s.Page(mia, "/threads/"+thread))

	rows, head, err := s.App.Database().Log(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(thread), 0, 0)
	require.NoError(t, err)
	var logged []string
	for _, row := range rows {
		logged = append(logged, string(row.Payload(head.Epoch)))
	}
	require.Equal(t, logged, one)
	require.EqualValues(t, 1, m.calls.Load())
}

func TestANewTitleReachesOpenPages(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "hello")
	s.WaitIdle(mia, thread)
	asleep := s.Page(mia, "/threads/"+thread)
	w := watch(t, s, mia, "the page", thread)
	list := s.Dial(mia)
	list.Join("user", map[string]any{})
	rename := func(title string) {
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/title", url.Values{"title": {title}}).Status)
	}
	rename("A better title")
	w.until("thread-title", "A better title")
	reload := s.Page(mia, "/threads/"+thread)
	w.shows(reload)
	join(t, s, mia, "the page that slept", thread, asleep).shows(reload)
	for f := list.Next(); f.Event != "notice"; {
		f = list.Next()
	}
	rename("A better title") // nothing changes, and nobody is told
	require.Equal(t, reload.At(), s.Page(mia, "/threads/"+thread).At())
}
