package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/replay"
	"github.com/heddle/heddle/agents/replay/replaytest"
	"github.com/heddle/heddle/internal/testweb"
)

// recordings is where those that are replayed without a server are kept.
var recordings = filepath.Join("..", "agents", "replay", "testdata")

// tape records what happens on a server. What is kept of it is written anew by
// go test ./app -run Recorded -update.
type tape struct {
	s      *testweb.Server
	graphs []*graph.Graph
}

// keep records a thread, replays it at once, and holds it against the recording
// that is kept under its name.
func (p *tape) keep(t *testing.T, name, thread string) replay.Recording {
	t.Helper()
	r, err := p.s.App.Record(t.Context(), p.s.Scope("acme", "mia@acme.test"), threadID(thread), name)
	require.NoError(t, err)
	raw, err := r.Encode()
	require.NoError(t, err)
	r, err = replay.Parse(raw)
	require.NoError(t, err)
	report, err := replay.Again(t.Context(), r, replay.Options{Graphs: p.graphs})
	require.NoError(t, err)
	require.True(t, report.Same(), report.String())
	path := filepath.Join(recordings, name+".json")
	if *update {
		require.NoError(t, os.WriteFile(path, raw, 0o644))
	}
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	was, err := replay.Parse(kept)
	require.NoError(t, err)
	was.Name = "kept"
	same := replay.Compare(was, r)
	require.True(t, same.Same(), "%s\nif this is meant: go test ./app -run Recorded -update", same)
	return r
}

// replayable are the graphs of the recordings, with the server's own.
func replayable(t *testing.T, p replaytest.Parts) (all, own []*graph.Graph) {
	t.Helper()
	own, err := replaytest.Graphs(p)
	require.NoError(t, err)
	development, err := prebuilt.Development()
	require.NoError(t, err)
	return append(development, own...), own
}

// TestWhatIsRecordedIsReplayed plays on the real server what recordings are kept
// of.
func TestWhatIsRecordedIsReplayed(t *testing.T) {
	t.Parallel()
	all, own := replayable(t, replaytest.Parts{})
	s := testweb.Start(t, testweb.Options{Graphs: own})
	p := &tape{s, all}
	mia, key := s.SignIn("mia@acme.test"), s.Key("acme", "mia@acme.test")
	for _, c := range []struct{ name, graph, text string }{
		{"answer", "chat", "count to 5"}, {"tool", "chat", "what is 17*23"}, {"tools", "chat", "weather in Berlin and Oslo"},
		{"failed-tool", "chat", "what is 1/0"}, {"failure", "failing", "go"}, {"failed-model", "chat", "simulate an overload"}, {"fanout", "weave", "the shuttle carries the weft"},
		{"loom", "loom", "go"}, {"relay", "relay", "go"}, {"painted-at-once", "paint-at-once", "paint it"}, {"subgraphs-at-once", "order-at-once", "a table, please"}, {"long-answer", "chat", "count to 30"}, {"repaired", "repaired", "go"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			thread := startOn(t, s, mia, c.graph, c.text)
			s.WaitIdle(mia, thread)
			p.keep(t, c.name, thread)
		})
	}
	for _, c := range []struct {
		name, kind string
		more       map[string]any
	}{
		{"approved", "approve", nil}, {"rejected", "reject", map[string]any{"message": "Not before Monday."}},
		{"edited", "edit", map[string]any{"edited_action": map[string]any{"name": "send_email",
			"args": map[string]string{"to": "bob@example.com", "subject": "We ship", "body": "On Friday."}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := deskOn(t, s, "")
			thread, asked := d.ask()
			d.decide(thread, asked, c.kind, c.more)
			d.ends(thread)
			p.keep(t, c.name, thread)
		})
	}
	for _, c := range []struct {
		name, graph, text string
		answers           []any
	}{
		{"question", "approval", "water the plants", []any{map[string]any{"decisions": []any{map[string]any{"type": "approve"}}}}},
		{"painted", "paint", "paint it", []any{"blue"}},
		{"subgraphs", "order", "a table, please", []any{"Mia", 12}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := deskOn(t, s, "")
			thread := startOn(t, s, mia, c.graph, c.text)
			for _, answer := range c.answers {
				d.open(thread)
				a := s.API(key, http.MethodPost, "/api/threads/"+thread+"/runs/wait", map[string]any{
					"assistant_id": c.graph, "command": map[string]any{"resume": answer}})
				require.Equal(t, http.StatusOK, a.Status, a.Body)
			}
			d.ends(thread)
			p.keep(t, c.name, thread)
		})
	}
	for _, c := range []struct{ name, graph string }{{"summary", "summary"}, {"diary", "diary"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			thread := startOn(t, s, mia, c.graph, "it rains")
			s.WaitIdle(mia, thread)
			require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {"the sun shines"}}).Status)
			s.WaitIdle(mia, thread)
			p.keep(t, c.name, thread)
		})
	}
	t.Run("left-behind", func(t *testing.T) {
		t.Parallel()
		d := deskOn(t, s, "")
		thread, _ := d.ask()
		asked, err := s.App.Database().Thread(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(thread))
		require.NoError(t, err)
		a := s.API(d.mia, http.MethodPost, "/api/threads/"+thread+"/runs/wait", map[string]any{
			"assistant_id": asked.Assistant, "input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "count to 3"}}}})
		require.Equal(t, http.StatusOK, a.Status, a.Body)
		d.ends(thread)
		p.keep(t, "left-behind", thread)
	})
}

// TestARecordedRunThatLostItsWorkerIsReplayed takes workers away in mid-sentence.
func TestARecordedRunThatLostItsWorkerIsReplayed(t *testing.T) {
	t.Parallel()
	t.Run("Answer", func(t *testing.T) {
		t.Parallel()
		all, own := replayable(t, replaytest.Parts{})
		s := testweb.Start(t, testweb.Options{Graphs: own, TokensPerSecond: 40})
		mia := s.SignIn("mia@acme.test")
		thread := startOn(t, s, mia, "chat", "count to 30")
		k := s.Dial(mia)
		k.Join("thread:"+thread, map[string]any{"after": 0})
		k.Envelopes("thread:"+thread, func(e event.Envelope) bool { return e.Type == event.TextMessageContent })
		cutWorkers(t, s.DatabaseURL)
		k.Envelopes("thread:"+thread, testweb.RunEnds)
		lost := (&tape{s, all}).keep(t, "lost-answer", thread)
		require.True(t, continued(lost), "the run was never taken over")
	})
	for _, c := range []struct {
		name, graph, text, node string
		// ends is how many executions of the node end before the worker is lost.
		ends int
	}{{"lost-fanout", "weave", "the shuttle carries the weft", "count", 5}, {"lost-subgraph", "relay", "go", "first", 1}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			held := make(chan struct{})
			all, own := replayable(t, replaytest.Parts{Hold: func(ctx context.Context, task *graph.Task) error {
				first := false
				once.Do(func() { first = true; close(held) })
				if !first {
					return nil
				}
				<-ctx.Done()
				return context.Cause(ctx)
			}})
			s := testweb.Start(t, testweb.Options{Graphs: own})
			mia := s.SignIn("mia@acme.test")
			thread := startOn(t, s, mia, c.graph, c.text)
			<-held
			k := s.Dial(mia)
			k.Join("thread:"+thread, map[string]any{"after": 0})
			left := c.ends
			k.Envelopes("thread:"+thread, func(e event.Envelope) bool {
				if e.Type == event.StepFinished && e.Node == c.node {
					left--
				}
				return left == 0
			})
			s.Eventually("what has ended is kept", func() bool { return keptOf(t, s, thread) >= c.ends })
			cutWorkers(t, s.DatabaseURL)
			k.Envelopes("thread:"+thread, testweb.RunEnds)
			lost := (&tape{s, all}).keep(t, c.name, thread)
			require.True(t, continued(lost), "the run was never taken over")
			require.Empty(t, takenBack(lost), "what is not said again must not be taken back")
		})
	}
}

// keptOf counts the results that are kept of a step that is not complete, and the
// steps of subgraphs.
func keptOf(t *testing.T, s *testweb.Server, thread string) int {
	t.Helper()
	state, err := s.App.Database().State(t.Context(), s.Scope("acme", "mia@acme.test"), threadID(thread))
	require.NoError(t, err)
	return len(state.Pending)
}

// takenBack lists messages of the final state that a new attempt took back.
func takenBack(r replay.Recording) (ids []agents.MessageID) {
	for _, e := range r.Events {
		var d event.ContinuedValue
		name, value := e.CustomName()
		if name != event.RunContinued || json.Unmarshal(value, &d) != nil {
			continue
		}
		for _, m := range r.State.Messages {
			if slices.Contains(d.Discarded, string(m.ID)) {
				ids = append(ids, m.ID)
			}
		}
	}
	return ids
}

func continued(r replay.Recording) bool {
	for _, e := range r.Events {
		if e.Key() == string(event.RunContinued) {
			return true
		}
	}
	return false
}
