package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

// answers is a graph that answers «about MESSAGE» and ends when the test says so,
// by message: a run that was stopped takes nothing that is meant for another.
type answers struct {
	mu   sync.Mutex
	ends map[string]chan struct{}
}

func (a *answers) of(message string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ends[message] == nil {
		a.ends[message] = make(chan struct{})
	}
	return a.ends[message]
}

func (a *answers) graph(t *testing.T) *graph.Graph {
	t.Helper()
	g, err := graph.New("answers").Node("answer", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		messages := task.State.Messages()
		asked := messages[len(messages)-1].Text
		m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Run: task.Run, CreatedAt: task.Clock.Now(), Text: "about " + asked}
		task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: "assistant"})
		task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: m.Text})
		select {
		case <-a.of(asked):
		case <-ctx.Done():
		}
		if ctx.Err() != nil { // of both, it was stopped first
			return graph.Command{}, context.Cause(ctx)
		}
		task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
		return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
	}).Entry("answer").Finish("answer").Compile()
	require.NoError(t, err)
	return g
}

// conversation lists what a page shows of a conversation.
func conversation(p *testweb.Page) []string {
	var out []string
	for _, n := range p.Find("#messages .msg-text, #messages .prose").EachIter() {
		out = append(out, strings.TrimSpace(n.Text()))
	}
	return out
}

// TestEveryWayInKnowsAllStrategies: page, socket and API do the same to a busy
// thread, whatever the strategy and wherever it is chosen.
func TestEveryWayInKnowsAllStrategies(t *testing.T) {
	t.Parallel()
	a := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{a.graph(t)}})
	mia, key := s.SignIn("mia@acme.test"), s.Key("acme", "mia@acme.test")
	// Each gives the new run's fate: nothing, or the code of the refusal.
	ways := map[string]func(t *testing.T, thread, text, strategy string) string{
		"page": func(t *testing.T, thread, text, strategy string) string {
			t.Helper()
			answer := s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {text}, "multitask_strategy": {strategy}})
			if answer.Status == http.StatusConflict {
				return "thread_busy"
			}
			require.Equal(t, http.StatusOK, answer.Status)
			return ""
		},
		"socket": func(t *testing.T, thread, text, strategy string) string {
			t.Helper()
			k := s.Dial(mia)
			defer k.Close()
			ref := k.Join("thread:"+thread, map[string]any{})
			r := k.Push(ref, "thread:"+thread, "send", map[string]any{"text": text, "multitask_strategy": strategy})
			if r.Status == "error" {
				require.Contains(t, r.Reason(), "already running")
				return "thread_busy"
			}
			return ""
		},
		"API": func(t *testing.T, thread, text, strategy string) string {
			t.Helper()
			answer := s.API(key, "POST", "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "answers", "multitask_strategy": strategy,
				"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": text}}}})
			if answer.Status == http.StatusConflict {
				return "thread_busy"
			}
			require.Equal(t, http.StatusOK, answer.Status, answer.Body)
			return ""
		},
		"API that waits": func(t *testing.T, thread, text, strategy string) string {
			t.Helper()
			done := make(chan testweb.Answer, 1)
			go func() {
				done <- s.API(key, "POST", "/api/threads/"+thread+"/runs/wait", body("answers", text, map[string]any{"multitask_strategy": strategy}))
			}()
			refused := ""
			s.Eventually("the run is accepted or refused", func() bool {
				select {
				case answer := <-done:
					require.Equal(t, http.StatusConflict, answer.Status, answer.Body)
					refused = "thread_busy"
					return true
				default:
				}
				open, err := s.App.Database().OpenRuns(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread))
				return err == nil && slices.ContainsFunc(open, func(r agents.Run) bool { return r.Input.Messages[0].Text == text })
			})
			if refused == "" {
				t.Cleanup(func() { require.Contains(t, (<-done).Body, "about "+text) })
			}
			return refused
		},
		"config of the API": func(t *testing.T, thread, text, strategy string) string {
			t.Helper()
			answer := s.API(key, "POST", "/api/threads/"+thread+"/runs", map[string]any{"assistant_id": "answers",
				"config": map[string]any{"configurable": map[string]any{"multitask_strategy": strategy}},
				"input":  map[string]any{"messages": []any{map[string]any{"role": "user", "content": text}}}})
			if answer.Status == http.StatusConflict {
				return "thread_busy"
			}
			require.Equal(t, http.StatusOK, answer.Status, answer.Body)
			return ""
		},
	}
	for way, send := range ways {
		for strategy, want := range map[string]struct {
			refused string
			// status is the first run's, in the API's words; 404 where it is gone.
			status string
			said   []string
		}{
			"enqueue":   {status: "success", said: []string{"first", "about first", "second", "about second", "queued", "about queued"}},
			"reject":    {refused: "thread_busy", status: "success", said: []string{"first", "about first", "queued", "about queued"}},
			"interrupt": {status: "interrupted", said: []string{"first", "about first", "second", "about second", "queued", "about queued"}},
			"rollback":  {status: "404", said: []string{"second", "about second", "queued", "about queued"}},
		} {
			t.Run(way+"/"+strategy, func(t *testing.T) {
				t.Parallel()
				mark := fmt.Sprintf(" (%s, %s)", way, strategy)
				made := s.Post(mia, "/threads", url.Values{"message": {"first" + mark}, "assistant_id": {"answers"}})
				thread := strings.TrimPrefix(made.Path, "/threads/")
				w := watch(t, s, mia, "the page", thread)
				w.until("messages", "about first")
				open, err := s.App.Database().OpenRuns(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread))
				require.NoError(t, err)
				require.Len(t, open, 1)
				if strategy == "enqueue" {
					require.Empty(t, send(t, thread, "second"+mark, strategy))
				}
				require.Empty(t, ways["page"](t, thread, "queued"+mark, "enqueue"))
				if strategy != "enqueue" {
					require.Equal(t, want.refused, send(t, thread, "second"+mark, strategy))
				}
				if strategy == "interrupt" { // an answer that is ready first would be no interruption
					s.Eventually("the first run has stopped", func() bool {
						now, err := s.App.Database().OpenRuns(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread))
						return err == nil && !slices.ContainsFunc(now, func(r agents.Run) bool { return r.ID == open[0].ID })
					})
				}
				for _, text := range []string{"first", "second", "queued"} {
					close(a.of(text + mark))
				}
				s.WaitIdle(mia, thread)
				reload := s.Page(mia, "/threads/"+thread)
				var said []string
				for _, text := range conversation(reload) {
					said = append(said, strings.TrimSuffix(text, mark))
				}
				require.Equal(t, want.said, said)
				if strategy == "rollback" { // the page is told to read the thread anew
					f := w.socket.Next()
					for f.Event == "view" {
						f = w.socket.Next()
					}
					require.Equal(t, "lag", f.Event)
					w = watch(t, s, mia, "the page that read anew", thread)
				}
				w.shows(reload)
				answer := s.API(key, "GET", "/api/threads/"+thread+"/runs/"+string(open[0].ID), nil)
				if want.status == "404" {
					require.Equal(t, http.StatusNotFound, answer.Status)
					return
				}
				var run struct{ Status string }
				answer.JSON(t, &run)
				require.Equal(t, want.status, run.Status)
			})
		}
	}
}

// TestAQueuedMessageIsEditedAndSentNow: what waits can be changed by who wrote it,
// and can go first.
func TestAQueuedMessageIsEditedAndSentNow(t *testing.T) {
	t.Parallel()
	a := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{a.graph(t)}})
	mia := s.SignIn("mia@acme.test")
	made := s.Post(mia, "/threads", url.Values{"message": {"first"}, "assistant_id": {"answers"}})
	at := made.Path
	w := watch(t, s, mia, "the page", strings.TrimPrefix(at, "/threads/"))
	w.until("messages", "about first")
	for _, text := range []string{"second", "third"} {
		require.Equal(t, http.StatusOK, s.Post(mia, at+"/messages", url.Values{"message": {text}}).Status)
	}
	w.until("queue", "third")
	third, _ := s.Page(mia, at).Find("#queue li:nth-child(2)").Attr("id")
	third = strings.TrimPrefix(third, "queued-")
	field := "message:" + third

	refused := s.PageOf(s.Post(mia, at+"/queue/"+third+"/edit", url.Values{field: {strings.Repeat("x", 10_001)}}))
	require.Equal(t, http.StatusUnprocessableEntity, refused.Status)
	require.Contains(t, refused.Text("#queued-"+third+" .field-error"), "10,000")
	require.Len(t, strings.TrimSpace(refused.Text("#words-"+third)), 10_001, "what was typed is there still")

	require.Equal(t, at, s.Post(mia, at+"/queue/"+third+"/edit", url.Values{field: {"third, mended"}}).Path)
	w.until("queue", "third, mended")
	require.Equal(t, []string{"second", "third, mended"}, queued(w.page))
	w.shows(s.Page(mia, at))

	require.Equal(t, at, s.Post(mia, at+"/queue/"+third+"/now", nil).Path)
	w.until("messages", "about third, mended")
	require.Equal(t, []string{"second"}, queued(w.page))
	for _, what := range []string{"edit", "now", "withdraw"} {
		answer := s.Post(mia, at+"/queue/"+third+"/"+what, url.Values{field: {"too late"}})
		if what != "withdraw" { // which stops a run that has begun
			require.Equal(t, http.StatusConflict, answer.Status, what)
		}
	}
	close(a.of("second"))
	s.WaitIdle(mia, strings.TrimPrefix(at, "/threads/"))
	reload := s.Page(mia, at)
	require.Equal(t, []string{"first", "about first", "third, mended", "about third, mended", "second", "about second"}, conversation(reload))
	w.shows(reload)
	require.Equal(t, http.StatusNotFound, s.Post(s.SignIn("max@acme.test"), at+"/queue/"+third+"/now", nil).Status)
}
