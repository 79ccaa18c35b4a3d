package app_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/event/eventtest"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

var update = flag.Bool("update", false, "write the golden envelopes anew")

// logs are what the threads of some scenarios hold in the end, in the bytes
// that every watcher gets.
type logs struct {
	mu         sync.Mutex
	byScenario map[string][][]byte
}

// read keeps a thread's log.
func (l *logs) read(t *testing.T, s *testweb.Server, scenario, thread string) {
	t.Helper()
	rows, head, err := s.App.Database().Log(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(thread), 0, 0)
	require.NoError(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, row := range rows {
		l.byScenario[scenario] = append(l.byScenario[scenario], row.Payload(head.Epoch))
	}
}

// has reports whether some payload of a type says something.
func (l *logs) has(kind event.Type, words string) bool {
	for _, payloads := range l.byScenario {
		for _, p := range payloads {
			if strings.Contains(string(p), `"type":"`+string(kind)+`"`) && strings.Contains(string(p), words) {
				return true
			}
		}
	}
	return false
}

// TestEveryEnvelopeIsAsTheCatalogueSays plays what people do and holds all that
// was logged against the schema, in both directions: nothing undocumented, and
// nothing documented that never happens.
func TestEveryEnvelopeIsAsTheCatalogueSays(t *testing.T) {
	t.Parallel()
	all := &logs{byScenario: map[string][][]byte{}}
	t.Run("Scenarios", func(t *testing.T) { play(t, all) })
	if t.Failed() {
		return
	}
	check, err := eventtest.NewValidator()
	require.NoError(t, err)
	seen := map[string]bool{}
	for scenario, payloads := range all.byScenario {
		require.NotEmpty(t, payloads, scenario)
		for _, p := range payloads {
			require.NoError(t, check.Check(p), scenario)
			e, err := event.Parse(p)
			require.NoError(t, err)
			seen[e.Key()] = true
		}
	}
	var emitted []string
	for _, e := range event.Catalogue() {
		if !e.Reserved {
			emitted = append(emitted, e.Key())
		}
	}
	require.ElementsMatch(t, emitted, slices.Collect(maps.Keys(seen)))
	for _, variant := range []struct {
		kind  event.Type
		words string
	}{
		{event.TextMessageEnd, `"broken":true`}, {event.TextMessageEnd, `"stopped":true`}, {event.ToolCallEnd, `"broken":true`},
		{event.ToolCallResult, `"failed":true`}, {event.RunFinished, `"outcome":"cancelled"`},
	} {
		require.True(t, all.has(variant.kind, variant.words), "no %s with %s was seen", variant.kind, variant.words)
	}
	golden(t, all)
}

// play runs the scenarios side by side.
func play(t *testing.T, all *logs) {
	gates, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{gate, stuttering(t)}})
	mia := s.SignIn("mia@acme.test")
	for name, text := range map[string]string{
		"Text": "count to 30", "OneTool": "what is 17*23", "SeveralTools": "weather in Berlin and Oslo",
		"Search": "what is our refund policy", "FailedTool": "what is 1/0", "Memory": "remember that I like tea",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			thread := startOn(t, s, mia, "chat", text)
			s.WaitIdle(mia, thread)
			all.read(t, s, name, thread)
		})
	}

	t.Run("Failure", func(t *testing.T) {
		t.Parallel()
		thread := startOn(t, s, mia, "failing", "go")
		s.WaitIdle(mia, thread)
		all.read(t, s, "Failure", thread)
	})

	t.Run("TriedAgain", func(t *testing.T) {
		t.Parallel()
		thread := startOn(t, s, mia, "stuttering", "go")
		s.WaitIdle(mia, thread)
		all.read(t, s, "TriedAgain", thread)
	})

	t.Run("Stopped", func(t *testing.T) {
		t.Parallel()
		thread := startOn(t, s, mia, "slow", "go")
		k := s.Dial(mia)
		k.Join("thread:"+thread, map[string]any{"after": 0})
		k.Envelopes("thread:"+thread, func(e event.Envelope) bool { return e.Type == event.TextMessageContent })
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/cancel", nil).Status)
		k.Envelopes("thread:"+thread, testweb.RunEnds)
		all.read(t, s, "Stopped", thread)
	})

	t.Run("QueueAndTitle", func(t *testing.T) {
		t.Parallel()
		thread := startOn(t, s, mia, "gate", "first")
		topic := "thread:" + thread
		k := s.Dial(mia)
		k.Join(topic, map[string]any{"after": 0})
		gates.write(thread, "One")
		k.Envelopes(topic, func(e event.Envelope) bool { return e.Type == event.TextMessageContent })
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {"second"}}).Status)
		got := k.Envelopes(topic, func(e event.Envelope) bool { return e.Key() == string(event.MessageQueued) })
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/queue/"+got[len(got)-1].RunID+"/withdraw", nil).Status)
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/title", url.Values{"title": {"A better title"}}).Status)
		got = k.Envelopes(topic, func(e event.Envelope) bool { return e.Key() == string(event.ThreadChanged) })
		require.Equal(t, "message.unqueued thread.changed", types(got))
		gates.end(thread)
		k.Envelopes(topic, testweb.RunEnds)
		all.read(t, s, "QueueAndTitle", thread)
	})

	t.Run("Review", func(t *testing.T) {
		t.Parallel()
		d := deskOn(t, s, "")
		thread, asked := d.ask()
		d.decide(thread, asked, "edit", map[string]any{"edited_action": map[string]any{"name": "send_email",
			"args": map[string]string{"to": "bob@example.com", "subject": "We ship", "body": "On Friday."}}})
		d.ends(thread)
		require.Equal(t, http.StatusOK, s.API(d.mia, http.MethodPost, "/api/threads/"+thread+"/state", map[string]any{
			"values": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "by the way"}}}}).Status)
		all.read(t, s, "Review", thread)
	})

	t.Run("LostWorker", func(t *testing.T) {
		t.Parallel()
		lost := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{interrupted(t)}})
		mia := lost.SignIn("mia@acme.test")
		for tries := 0; ; tries++ { // a busy machine may lose the second attempt, too
			thread := startOn(t, lost, mia, "interrupted", "go")
			k := lost.Dial(mia)
			k.Join("thread:"+thread, map[string]any{"after": 0})
			k.Envelopes("thread:"+thread, func(e event.Envelope) bool { return e.Type == event.ToolCallArgs })
			cutWorkers(t, lost.DatabaseURL)
			got := k.Envelopes("thread:"+thread, testweb.RunEnds)
			require.Equal(t, event.RunFinished, got[len(got)-1].Type)
			if got[len(got)-1].Attempt == 2 {
				all.read(t, lost, "LostWorker", thread)
				return
			}
			require.Less(t, tries, 5)
		}
	})
}

// stuttering is a graph whose node says something, fails, and says it anew when
// it is tried again.
func stuttering(t *testing.T) *graph.Graph {
	t.Helper()
	compiled, err := graph.New("stuttering").Node("stuttering", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Run: task.Run, CreatedAt: task.Clock.Now(),
			Text: fmt.Sprintf("try %d", task.Try)}
		task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: "assistant"})
		task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: m.Text})
		if task.Try == 1 {
			return graph.Command{}, io.ErrUnexpectedEOF
		}
		task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
		return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
	}, graph.Retry(graph.RetryPolicy{})).Edge(graph.Start, "stuttering").Edge("stuttering", graph.End).Compile()
	require.NoError(t, err)
	return compiled
}

// interrupted is a graph whose first attempt says half a sentence, begins to
// ask for a tool and goes no further; the next one answers.
func interrupted(t *testing.T) *graph.Graph {
	t.Helper()
	compiled, err := graph.New("interrupted").Node("interrupted", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Run: task.Run, CreatedAt: task.Clock.Now(),
			Text: fmt.Sprintf("attempt %d", task.Attempt)}
		task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: "assistant"})
		task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: m.Text})
		if task.Attempt == 1 {
			call := "call-" + string(m.ID)
			task.Emit(event.ToolCallStart, event.ToolStartData{ToolCallID: call, ToolCallName: "weather", ParentMessageID: string(m.ID)})
			task.Emit(event.ToolCallArgs, event.ToolArgsData{ToolCallID: call, Delta: `{"city":`})
			<-ctx.Done()
			return graph.Command{}, context.Cause(ctx)
		}
		task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
		return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
	}).Edge(graph.Start, "interrupted").Edge("interrupted", graph.End).Compile()
	require.NoError(t, err)
	return compiled
}

// cutWorkers ends the connections that hold the workers' locks, as the end of
// their processes would.
func cutWorkers(t *testing.T, databaseURL string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	var cut int
	err = conn.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
		where application_name like 'heddle worker%' and datname = current_database()`).Scan(&cut)
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, err)
	require.Equal(t, 1, cut)
}

// goldenOrder says from which scenario an example comes: of the first that has
// one. In the first two nothing depends on how fast the machine is.
var goldenOrder = []string{"QueueAndTitle", "OneTool", "Failure", "TriedAgain", "Stopped", "LostWorker", "Review"}

// golden compares one envelope of each kind with what the documentation shows.
func golden(t *testing.T, all *logs) {
	t.Helper()
	first := map[string][]byte{}
	for _, scenario := range goldenOrder {
		for _, p := range all.byScenario[scenario] {
			e, err := event.Parse(p)
			require.NoError(t, err)
			if first[e.Key()] == nil {
				first[e.Key()] = p
			}
		}
	}
	alike := alike{ids: map[string]string{}}
	out := eventtest.Examples{}
	for _, e := range event.Catalogue() {
		if e.Reserved {
			continue
		}
		require.NotNil(t, first[e.Key()], e.Key())
		out[e.Key()] = alike.make(len(out)+1, first[e.Key()])
	}
	want, err := json.MarshalIndent(out, "", "  ")
	require.NoError(t, err)
	path := filepath.Join("..", "agents", "event", "testdata", "envelopes.json")
	if *update {
		require.NoError(t, os.WriteFile(path, append(want, '\n'), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(got), string(want)+"\n", "if this is meant: go test ./app -run Envelope -update, then make generate")
}

// alike makes what differs from run to run the same: ids are counted, times,
// durations and counts of tokens fixed.
type alike struct{ ids map[string]string }

var (
	anyID       = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime     = regexp.MustCompile(`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z"`)
	anyDuration = regexp.MustCompile(`"(durationMs|duration_ms)":[0-9]+`)
	anyTokens   = regexp.MustCompile(`"(input_tokens|output_tokens)":[0-9]+`)
	anySeq      = regexp.MustCompile(`^\{"v":1,"seq":[0-9]+`)
)

func (a alike) make(seq int, payload []byte) json.RawMessage {
	payload = anyID.ReplaceAllFunc(payload, func(found []byte) []byte {
		if a.ids[string(found)] == "" {
			a.ids[string(found)] = fmt.Sprintf("00000000-0000-7000-8000-%012d", len(a.ids)+1)
		}
		return []byte(a.ids[string(found)])
	})
	payload = anyTime.ReplaceAll(payload, []byte(`"2026-01-02T03:04:05.678Z"`))
	payload = anyDuration.ReplaceAll(payload, []byte(`"$1":120`))
	payload = anyTokens.ReplaceAll(payload, []byte(`"$1":100`))
	return anySeq.ReplaceAll(payload, fmt.Appendf(nil, `{"v":1,"seq":%d`, seq))
}
