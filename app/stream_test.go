package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// everyMode asks for all ways to look at a run.
const everyMode = `["values","updates","messages-tuple","messages","custom","events","debug","tasks","checkpoints","tools","lifecycle"]`

// caller streams with one key.
type caller struct {
	t   *testing.T
	s   *testweb.Site
	key string
}

func (c caller) thread() string {
	c.t.Helper()
	thread := id.New()
	require.Equal(c.t, http.StatusOK, c.s.API(c.key, http.MethodPost, "/api/threads", map[string]any{"thread_id": thread}).Status)
	return thread
}

func (c caller) open(method, path, body string, headers ...string) *testweb.Stream {
	c.t.Helper()
	stream, err := c.s.Stream(c.t.Context(), c.key, method, path, body, headers...)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = stream.Close() })
	return stream
}

// run streams a new run to its end and gives the run's address.
func (c caller) run(thread, graph, modes, more string) (events []testweb.Event, run string) {
	c.t.Helper()
	body := fmt.Sprintf(`{"assistant_id":%q,"stream_mode":%s,"stream_subgraphs":true%s}`, graph, modes, more)
	stream := c.open(http.MethodPost, "/api/threads/"+thread+"/runs/stream", body)
	events, err := stream.Rest()
	require.NoError(c.t, err)
	return events, "/api" + stream.Header.Get("Content-Location")
}

const says = `,"input":{"messages":[{"role":"user","content":"hi"}]}`

func names(events []testweb.Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.Name
	}
	return out
}

// nested is a graph whose node is a graph that speaks, beside a node that says
// something without streaming it.
func nested(t *testing.T) *graph.Graph {
	t.Helper()
	say := func(text string, streams bool) graph.Node {
		return func(_ context.Context, task *graph.Task) (graph.Command, error) {
			m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: text, CreatedAt: task.Clock.Now()}
			if streams {
				task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: "assistant"})
				task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: text})
				task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
			}
			task.EmitCustom(event.GraphCustom, map[string]string{"from": text})
			return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
		}
	}
	child, err := graph.New("child").Node("inner", say("from inside\nin two lines", true)).Edge(graph.Start, "inner").Edge("inner", graph.End).Compile()
	require.NoError(t, err)
	g, err := graph.New("nested").Node("first", say("at once", false)).Subgraph("sub", child).
		Edge(graph.Start, "first").Edge("first", "sub").Edge("sub", graph.End).Compile()
	require.NoError(t, err)
	return g
}

// Whoever comes back with the id of any frame gets exactly the frames after it,
// whatever the graph and with all modes at once.
func TestAStreamGoesOnFromAnyFrame(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{nested(t)}})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	for _, name := range []string{"echo", "stream50", "approval", "failing", "nested"} {
		thread := c.thread()
		all, run := c.run(thread, name, everyMode, says)
		require.Equal(t, "metadata", all[0].Name, name)
		require.Contains(t, []string{"end", "error"}, all[len(all)-1].Name, name)
		seen := map[string]bool{}
		for _, e := range all {
			require.NotEmpty(t, e.ID, "%s: %s has no id", name, e.Name)
			require.False(t, seen[e.ID], "%s: id %s comes twice", name, e.ID)
			seen[e.ID] = true
			require.True(t, json.Valid([]byte(e.Data)), e.Data)
		}
		join := run + "/stream?stream_mode=" + strings.Trim(strings.NewReplacer(`"`, "", ",", "&stream_mode=").Replace(everyMode), "[]")
		again, err := c.open(http.MethodGet, join, "", "Last-Event-ID", "-1").Rest()
		require.NoError(t, err)
		require.Equal(t, all[1:], again[1:], name)
		for i := 0; i < len(all)-1; i += max(1, len(all)/12) {
			rest, err := c.open(http.MethodGet, join, "", "Last-Event-ID", all[i].ID).Rest()
			require.NoError(t, err)
			require.Equal(t, names(all[i+1:]), names(rest), "%s after %s", name, all[i].ID)
			require.Equal(t, all[i+1:], rest, "%s after %s", name, all[i].ID)
		}
		over, err := c.open(http.MethodGet, join, "").Rest()
		require.NoError(t, err)
		require.Equal(t, []string{"metadata", all[len(all)-1].Name}, names(over), "%s: of a run that is over only the end is live", name)
	}
}

// What each mode says of the same run.
func TestStreamModes(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{nested(t)}})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()

	events, _ := c.run(thread, "nested", `["messages-tuple"]`, says)
	require.Equal(t, "metadata", events[0].Name)
	require.Equal(t, "messages", events[1].Name, "a message that nobody streamed is told whole")
	require.Contains(t, events[1].Data, `"content":"at once"`)
	require.Contains(t, events[1].Data, `"langgraph_node":"first"`)
	require.Regexp(t, `^messages\|sub:[0-9a-f-]{36}$`, events[2].Name)
	require.Contains(t, events[2].Data, `"type":"AIMessageChunk","content":"from inside\nin two lines"`)
	require.Equal(t, "end", events[3].Name, "told in pieces, so not again: %v", events)

	var last struct {
		Messages []struct{ ID, Type, Content string }
	}
	events, _ = c.run(thread, "echo", `"values"`, says)
	require.Equal(t, []string{"metadata", "values", "values", "end"}, names(events))
	require.NoError(t, json.Unmarshal([]byte(events[2].Data), &last))
	require.Equal(t, "echo: hi", last.Messages[len(last.Messages)-1].Content)

	events, _ = c.run(thread, "echo", `["updates"]`, says)
	require.Equal(t, []string{"metadata", "updates", "end"}, names(events))
	require.Contains(t, events[1].Data, `{"echo":{"messages":[{`)

	events, _ = c.run(thread, "echo", `["messages"]`, says)
	require.Equal(t, []string{"metadata", "messages/metadata", "messages/partial", "messages/complete", "end"}, names(events))

	events, _ = c.run(thread, "nested", `["custom"]`, says)
	require.Equal(t, `{"from":"at once"}`, events[1].Data)

	events, _ = c.run(thread, "echo", `["tasks"]`, says)
	require.Equal(t, []string{"metadata", "tasks", "tasks", "end"}, names(events))
	var began, ended struct {
		ID, Name string
		Input    struct{ Messages []any }
		Result   [][2]json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(events[1].Data), &began))
	require.NoError(t, json.Unmarshal([]byte(events[2].Data), &ended))
	require.Equal(t, began.ID, ended.ID)
	require.NotEmpty(t, began.Input.Messages)
	require.Equal(t, `"messages"`, string(ended.Result[0][0]))

	events, _ = c.run(thread, "failing", `["tasks"]`, says)
	require.Equal(t, []string{"metadata", "tasks", "tasks", "error"}, names(events))
	require.Contains(t, events[2].Data, `"error":"boom"`)
	require.JSONEq(t, `{"error":"node_failed","message":"boom"}`, events[3].Data)
}

// A pause stands in the stream as it stands in the thread, and its answer goes on
// in a stream of its own.
func TestAnInterruptInTheStream(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	events, _ := c.run(thread, "approval", `["values","updates"]`, says)
	values, updates := events[len(events)-2], events[len(events)-3]
	require.Equal(t, []string{"updates", "values", "end"}, []string{updates.Name, values.Name, events[len(events)-1].Name})
	type pause struct {
		Interrupts []struct {
			ID    string
			Value json.RawMessage
		} `json:"__interrupt__"`
	}
	var inUpdates, inValues pause
	require.NoError(t, json.Unmarshal([]byte(updates.Data), &inUpdates))
	require.NoError(t, json.Unmarshal([]byte(values.Data), &inValues))
	require.Equal(t, inUpdates, inValues)
	state := s.API(c.key, http.MethodGet, "/api/threads/"+thread+"/state", nil)
	require.Contains(t, state.Body, inValues.Interrupts[0].ID)
	events, _ = c.run(thread, "approval", `["values"]`, `,"command":{"resume":"yes"}`)
	require.Contains(t, events[len(events)-2].Data, "The answer was")
}

// Several readers of one run each get all of it, from when they came.
func TestEveryReaderGetsAll(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	body := `{"assistant_id":"slow","stream_mode":["messages-tuple","custom"]` + says + `}`
	first := c.open(http.MethodPost, "/api/threads/"+thread+"/runs/stream", body)
	join := "/api" + first.Header.Get("Location") + "?stream_mode=messages-tuple&stream_mode=custom"
	require.Equal(t, "/api"+first.Header.Get("Content-Location")+"/stream", strings.Split(join, "?")[0])
	var before []testweb.Event
	for len(before) < 5 {
		e, err := first.Next()
		require.NoError(t, err)
		before = append(before, e)
	}
	var readers sync.WaitGroup
	got := make([][]testweb.Event, 4)
	for i := range got {
		last := "-1"
		if i%2 == 1 {
			last = before[4].ID
		}
		stream := c.open(http.MethodGet, join, "", "Last-Event-ID", last)
		readers.Go(func() { got[i], _ = stream.Rest() })
	}
	live := c.open(http.MethodGet, join, "")
	opening, err := live.Next()
	require.NoError(t, err)
	require.Equal(t, "metadata", opening.Name)
	after, err := first.Rest()
	require.NoError(t, err)
	readers.Wait()
	all := append(before, after...)
	require.Equal(t, "end", all[len(all)-1].Name)
	require.Equal(t, all[1:], got[0][1:])
	require.Equal(t, all[1:], got[2][1:])
	require.Equal(t, after, got[1])
	require.Equal(t, after, got[3])
	rest, err := live.Rest()
	require.NoError(t, err)
	require.Equal(t, all[len(all)-len(rest):], rest, "whoever comes without an id gets what happens from then on")
}

// A client that hangs up stops its run only if it asked for that.
func TestHangingUp(t *testing.T) {
	t.Parallel()
	held := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{held.graph(t)}})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	for on, want := range map[string]string{"cancel": "interrupted", "continue": "success"} {
		thread := c.thread()
		ctx, hangUp := context.WithCancel(t.Context())
		stream, err := c.s.Stream(ctx, c.key, http.MethodPost, "/api/threads/"+thread+"/runs/stream",
			fmt.Sprintf(`{"assistant_id":"answers","on_disconnect":%q,"input":{"messages":[{"role":"user","content":%q}]}}`, on, on))
		require.NoError(t, err)
		run := "/api" + stream.Header.Get("Content-Location")
		for e := (testweb.Event{}); e.Name != "values"; {
			e, err = stream.Next()
			require.NoError(t, err)
		}
		hangUp()
		_ = stream.Close()
		if on == "continue" {
			close(held.of(on))
		}
		s.Eventually(on+" ends the run", func() bool {
			return strings.Contains(s.API(c.key, http.MethodGet, run, nil).Body, `"status":"`+want+`"`)
		})
	}
}

// While nothing happens a comment comes every five seconds; a key that is
// revoked meanwhile ends the stream.
func TestHeartbeatAndRevocation(t *testing.T) {
	t.Parallel()
	held := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{held.graph(t)}})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	body := `{"assistant_id":"answers"` + says + `}`
	stream := c.open(http.MethodPost, "/api/threads/"+thread+"/runs/stream", body)
	began := time.Now()
	mia := s.Scope("acme", "mia@acme.test")
	keys, err := s.App.Database().OwnAPIKeys(t.Context(), mia)
	require.NoError(t, err)
	for _, k := range keys {
		err := s.App.Database().RevokeAPIKey(t.Context(), mia, k.ID, time.Now())
		require.NoError(t, err)
	}
	events, err := stream.Rest()
	require.NoError(t, err)
	last := events[len(events)-1]
	require.Equal(t, "error", last.Name)
	require.Contains(t, last.Data, "unauthenticated")
	require.Equal(t, 1, stream.Beats)
	require.GreaterOrEqual(t, time.Since(began), 4*time.Second)
	close(held.of("hi"))
}

// What a stream refuses, it refuses before a run is made.
func TestStreamRefusals(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	foreign := caller{t, s.Site, s.Key("globex", "gia@globex.test")}
	thread := c.thread()
	_, run := c.run(thread, "echo", `["values"]`, says)
	for _, refused := range []struct {
		c                  caller
		method, path, body string
		last, want         string
	}{
		{c, http.MethodPost, "/api/threads/" + thread + "/runs/stream", `{"assistant_id":"echo","stream_mode":"sideways"` + says + `}`, "", `"stream_mode":"must be of values, updates`},
		{c, http.MethodPost, "/api/threads/" + thread + "/runs/stream", `{"assistant_id":"nobody"` + says + `}`, "", `404 {"detail":"Assistant not found"`},
		{c, http.MethodPost, "/api/threads/" + id.New() + "/runs/stream", `{"assistant_id":"echo"` + says + `}`, "", `404 {"detail":"Thread not found"`},
		{foreign, http.MethodPost, "/api/threads/" + thread + "/runs/stream", `{"assistant_id":"echo"` + says + `}`, "", `404 {"detail":"Thread not found"`},
		{c, http.MethodGet, run + "/stream", "", "yesterday", `"Last-Event-ID":"must be the id of a frame`},
		{c, http.MethodGet, run + "/stream?stream_mode=sideways", "", "", `"stream_mode":"must be of`},
		{c, http.MethodGet, run + "/stream?cancel_on_disconnect=maybe", "", "", `"cancel_on_disconnect":"must be true or false"`},
		{c, http.MethodGet, run + "/stream?stream_subgraphs=2", "", "", `"stream_subgraphs":"must be true or false"`},
		{foreign, http.MethodGet, run + "/stream", "", "-1", `404 {"detail":"Run not found"`},
		{foreign, http.MethodGet, "/api/threads/" + thread + "/stream", "", "-1", `404 {"detail":"Thread not found"`},
		{c, http.MethodGet, "/api/threads/" + thread + "/stream?stream_mode=values", "", "", `"stream_mode":"must be of run_modes`},
	} {
		_, err := refused.c.s.Stream(t.Context(), refused.c.key, refused.method, refused.path, refused.body, "Last-Event-ID", refused.last)
		require.ErrorContains(t, err, refused.want, refused.path)
	}
}

// The stream of a thread tells of all its runs, each in the modes it was asked for.
func TestTheStreamOfAThread(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	path := "/api/threads/" + thread + "/stream"
	watch := c.open(http.MethodGet, path, "")
	c.run(thread, "echo", `["messages-tuple"]`, says)
	c.run(thread, "failing", `["updates"]`, says)
	var got []testweb.Event
	for len(got) == 0 || strings.Count(strings.Join(names(got), " "), "run_done") < 2 {
		e, err := watch.Next()
		require.NoError(t, err)
		got = append(got, e)
	}
	require.Equal(t, []string{"metadata", "messages", "run_done", "metadata", "error", "run_done"}, names(got))
	require.Contains(t, got[2].Data, `"status":"success"`)
	require.Contains(t, got[5].Data, `"status":"error"`)

	again := c.open(http.MethodGet, path+"?stream_mode=lifecycle", "", "Last-Event-ID", "-1")
	var life []testweb.Event
	for len(life) < 8 {
		e, err := again.Next()
		require.NoError(t, err)
		life = append(life, e)
	}
	require.Equal(t, []string{"metadata", "lifecycle", "lifecycle", "run_done", "metadata", "lifecycle", "lifecycle", "run_done"}, names(life))
}

// A run that is started on one node is streamed, left and rejoined on another,
// which goes on after the first one is gone.
func TestAStreamOnAnotherNode(t *testing.T) {
	t.Parallel()
	held := &answers{ends: map[string]chan struct{}{}}
	a := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{held.graph(t)}})
	b := testweb.Start(t, testweb.Options{DatabaseURL: a.DatabaseURL, RedisURL: a.RedisURL, Graphs: []*graph.Graph{held.graph(t)}})
	key := a.Key("acme", "mia@acme.test")
	onA, onB := caller{t, a.Site, key}, caller{t, b.Site, key}
	thread := onA.thread()
	first := onA.open(http.MethodPost, "/api/threads/"+thread+"/runs/stream", `{"assistant_id":"answers","stream_mode":["values"]`+says+`}`)
	var last testweb.Event
	for last.Name != "values" {
		var err error
		last, err = first.Next()
		require.NoError(t, err)
	}
	run := "/api" + first.Header.Get("Content-Location")
	second := onB.open(http.MethodGet, run+"/stream?stream_mode=values", "", "Last-Event-ID", last.ID)
	gone := make(chan error, 1)
	go func() {
		_, err := first.Rest()
		gone <- err
	}()
	close(held.of("hi"))
	a.Stop()
	select {
	case err := <-gone:
		if err != nil {
			require.False(t, errors.Is(err, io.EOF))
		}
	case <-time.After(time.Minute):
		t.Fatal("the stream of a node that stopped did not end")
	}
	rest, err := second.Rest()
	require.NoError(t, err)
	require.Equal(t, []string{"values", "end"}, names(rest))
	require.Contains(t, rest[0].Data, "about hi")
}

// Without gathering, each piece that a node says is a frame of its own.
func TestPiecesThatAreNotGathered(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_MERGE=0"}})
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	events, _ := c.run(c.thread(), "stream50", `["messages-tuple"]`, says)
	require.Len(t, events, 52)
	for i, e := range events[1:51] {
		require.Contains(t, e.Data, fmt.Sprintf(`"content":"token%d "`, i))
	}
}
