package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

type headOf struct {
	Checkpoint struct {
		ID string `json:"checkpoint_id"`
	}
	Next       []string
	Interrupts []struct{ ID string }
	Metadata   struct {
		Source string
		RunID  string `json:"run_id"`
	}
}

func (c client) head(thread string) headOf {
	c.t.Helper()
	var h headOf
	c.call(http.StatusOK, "GET", "/threads/"+thread+"/state", nil, &h)
	return h
}

// checkpoints lists the ids of those of a thread, the newest first.
func checkpoints(t *testing.T, s *testweb.Server, thread string) []agents.State {
	t.Helper()
	states, err := s.App.Database().History(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread), agents.HistoryQuery{Limit: 50})
	require.NoError(t, err)
	return states
}

func TestARunFromAnOlderCheckpointBeginsALineOfItsOwn(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	scope := s.Scope("acme", "mia@acme.test")
	thread := c.thread()
	wait := "/threads/" + thread + "/runs/wait"
	at := func(checkpoint string) map[string]any {
		return map[string]any{"checkpoint": map[string]any{"thread_id": thread, "checkpoint_id": checkpoint, "checkpoint_ns": "", "checkpoint_map": nil}}
	}
	c.call(200, "POST", wait, body("echo", "one", nil), nil)
	afterOne := c.head(thread).Checkpoint.ID
	require.Equal(t, []string{"one", "echo: one", "two", "echo: two"}, said(t, c.call(200, "POST", wait, body("echo", "two", at(afterOne)), nil)),
		"the newest one is where the thread stands")
	afterTwo := c.head(thread).Checkpoint.ID

	// New input at an older one: an edited message.
	w := watch(t, s, mia, "the page", thread)
	require.Equal(t, []string{"one", "echo: one", "three", "echo: three"}, said(t, c.call(200, "POST", wait, body("echo", "three", at(afterOne)), nil)))
	for w.socket.Next().Event != "lag" { // whoever watches reads the thread anew
	}
	w = watch(t, s, mia, "the page that read anew", thread)
	w.shows(s.Page(mia, "/threads/"+thread))
	require.Equal(t, []string{"one", "echo: one", "three", "echo: three"}, conversation(s.Page(mia, "/threads/"+thread)))
	old, err := s.App.Database().StateAt(t.Context(), scope, agents.ThreadID(thread), afterTwo)
	require.NoError(t, err)
	require.Equal(t, "echo: two", old.Messages[3].Text, "the line that was left stays")

	// No input at an older one: the answer is made anew, with the same question.
	afterThree := c.head(thread).Checkpoint.ID
	states := checkpoints(t, s, thread)
	require.Equal(t, afterThree, states[0].Head.ID)
	asked := states[1].Head
	require.Equal(t, agents.SourceInput, asked.Source)
	again := map[string]any{"assistant_id": "echo", "input": nil, "checkpoint": map[string]any{"checkpoint_id": asked.ID}}
	require.Equal(t, []string{"one", "echo: one", "three", "echo: three"}, said(t, c.call(200, "POST", wait, again, nil)))
	require.NotEqual(t, old.Line, checkpoints(t, s, thread)[0].Line)
	delete(again, "input") // as useStream sends it
	again["checkpoint"], again["checkpoint_id"] = nil, afterOne
	require.Equal(t, []string{"one", "echo: one"}, said(t, c.call(200, "POST", wait, again, nil)), "nothing was due there")

	// A jump, a change of the state.
	jump := map[string]any{"assistant_id": "echo", "checkpoint_id": afterTwo, "command": map[string]any{"goto": []any{"echo"},
		"update": []any{[]any{"messages", []any{map[string]any{"type": "human", "content": "four", "id": "own"}}}}}}
	require.Equal(t, []string{"one", "echo: one", "two", "echo: two", "four", "echo: four"}, said(t, c.call(200, "POST", wait, jump, nil)))
	require.Contains(t, c.call(404, "POST", wait, body("echo", "x", at(id.New())), nil).Body, "heckpoint")
	other := c.thread()
	c.call(404, "POST", "/threads/"+other+"/runs", body("echo", "x", at(afterOne)), nil)
	answer := map[string]any{"assistant_id": "echo", "checkpoint_id": afterOne, "command": map[string]any{"resume": "yes"}}
	require.Contains(t, c.call(409, "POST", wait, answer, nil).Body, "open now")

	// Taken back, the thread stands on the line that it had.
	before := c.head(thread)
	var slow madeRun
	c.call(200, "POST", "/threads/"+thread+"/runs", body("slow", "five", at(afterOne)), &slow)
	s.Eventually("it has begun", func() bool { return c.head(thread).Metadata.RunID == slow.ID })
	c.call(204, "POST", "/threads/"+thread+"/runs/"+slow.ID+"/cancel?action=rollback", nil, nil)
	require.Equal(t, before, c.head(thread))
	require.Equal(t, []string{"one", "echo: one", "two", "echo: two", "four", "echo: four"}, conversation(s.Page(mia, "/threads/"+thread)))
}

func TestACheckpointOfARunThatGoesOnIsWhereTheThreadStands(t *testing.T) {
	t.Parallel()
	a := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{a.graph(t)}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	runs := "/threads/" + thread + "/runs"
	c.call(200, "POST", runs+"/wait", body("echo", "zero", nil), nil)
	before := c.head(thread).Checkpoint.ID
	c.call(200, "POST", runs, body("answers", "first", nil), nil)
	s.Eventually("it has begun", func() bool { return c.head(thread).Checkpoint.ID != before })
	// What a client knows is from before the run, or from within it.
	for i, checkpoint := range []string{before, c.head(thread).Checkpoint.ID} {
		c.call(200, "POST", runs, body("echo", []string{"second", "third"}[i], map[string]any{"checkpoint_id": checkpoint}), nil)
	}
	close(a.of("first"))
	require.Equal(t, []string{"zero", "echo: zero", "first", "about first", "second", "echo: second", "third", "echo: third", "fourth", "echo: fourth"},
		said(t, c.call(200, "POST", runs+"/wait", body("echo", "fourth", nil), nil)), "nothing of the answer is lost")
}

func TestAForkAsksAgainAndWithdrawsWhatWasAsked(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	runs := "/threads/" + thread + "/runs"
	var first madeRun
	c.call(200, "POST", runs, body("approval", "please", nil), &first)
	c.call(200, "GET", runs+"/"+first.ID+"/join", nil, nil)
	open := c.head(thread)
	require.Len(t, open.Interrupts, 1)
	states := checkpoints(t, s, thread)
	begun := states[len(states)-1].Head
	require.Equal(t, agents.SourceInput, begun.Source)

	again := c.call(200, "POST", runs+"/wait", map[string]any{"assistant_id": "approval", "input": nil, "checkpoint_id": begun.ID}, nil)
	require.Contains(t, again.Body, "__interrupt__")
	fork := c.head(thread)
	require.Len(t, fork.Interrupts, 1)
	require.NotEqual(t, open.Interrupts[0].ID, fork.Interrupts[0].ID)
	require.Equal(t, "interrupted", c.run(thread, first.ID).Status, "what waited there is over")
	late := map[string]any{"assistant_id": "approval", "command": map[string]any{"resume": map[string]any{open.Interrupts[0].ID: "yes"}}}
	c.call(422, "POST", runs, late, nil)

	// As agent-chat-ui answers: input {}, and the newest checkpoint.
	resume := map[string]any{"assistant_id": "approval", "input": map[string]any{}, "on_disconnect": "cancel", "stream_resumable": true,
		"checkpoint": map[string]any{"thread_id": thread, "checkpoint_id": fork.Checkpoint.ID, "checkpoint_ns": "", "checkpoint_map": nil},
		"command":    map[string]any{"resume": map[string]any{"decisions": []any{map[string]any{"type": "approve"}}}}}
	done := c.call(200, "POST", runs+"/wait", resume, nil)
	require.NotContains(t, done.Body, "__interrupt__")
	require.Empty(t, c.head(thread).Next)
	require.Equal(t, fork.Metadata.Source, "loop")
	require.Equal(t, checkpoints(t, s, thread)[0].Line, lineOf(t, s, thread), "it went on where it was asked")

	// An answer together with a change of the state, and a jump instead of an answer.
	named := []any{map[string]any{"type": "human", "id": "own", "content": "once more"}}
	c.call(200, "POST", runs+"/wait", map[string]any{"assistant_id": "approval", "input": map[string]any{"messages": named}}, nil)
	both := c.call(200, "POST", runs+"/wait", map[string]any{"assistant_id": "approval", "command": map[string]any{"resume": "yes",
		"update": map[string]any{"messages": []any{map[string]any{"type": "human", "id": "own", "content": "by the way"}}}}}, nil)
	require.Contains(t, said(t, both), "by the way")
	require.NotContains(t, both.Body, "__interrupt__")
	c.call(200, "POST", runs+"/wait", body("approval", "and again", nil), nil)
	ended := c.call(200, "POST", runs+"/wait", map[string]any{"assistant_id": "approval", "command": map[string]any{"goto": "__end__"}}, nil)
	require.NotContains(t, ended.Body, "__interrupt__")
	var th struct{ Status string }
	c.call(200, "GET", "/threads/"+thread, nil, &th)
	require.Equal(t, "idle", th.Status)
	c.call(409, "POST", runs, map[string]any{"assistant_id": "approval", "command": map[string]any{"resume": "late"}}, nil)
}

func lineOf(t *testing.T, s *testweb.Server, thread string) agents.LineID {
	t.Helper()
	th, err := s.App.Database().Thread(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread))
	require.NoError(t, err)
	return th.Line
}

// TestAWorkerIsLostBetweenTheForkAndTheRun: the next attempt begins on the line that
// the lost one has made, and once.
func TestAWorkerIsLostBetweenTheForkAndTheRun(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_WORKER=off"}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	db, scope := s.App.Database(), s.Scope("acme", "mia@acme.test")
	thread := c.thread()
	runs := "/threads/" + thread + "/runs"
	worked := func(do func(agents.Lease)) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		claimed, err := db.Claim(ctx, agents.WorkerID(id.New()), 1, time.Minute)
		require.NoError(t, err)
		require.Len(t, claimed, 1)
		lease := agents.Lease{Thread: agents.ThreadID(thread), Run: claimed[0].Run.ID, Token: claimed[0].Run.Token}
		do(lease)
		require.NoError(t, db.HandBack(ctx, scope.Org, lease))
	}
	var first madeRun
	c.call(200, "POST", runs, body("echo", "one", nil), &first)
	other := testweb.Start(t, testweb.Options{RedisURL: s.RedisURL, DatabaseURL: s.DatabaseURL})
	c.call(200, "GET", runs+"/"+first.ID+"/join", nil, nil)
	at := c.head(thread).Checkpoint.ID
	c.call(200, "POST", runs+"/wait", body("echo", "two", nil), nil)
	main := lineOf(t, s, thread)
	other.Stop()

	var run madeRun
	c.call(200, "POST", runs, body("echo", "three", map[string]any{"checkpoint_id": at}), &run)
	var fork agents.LineID
	worked(func(lease agents.Lease) {
		var err error
		fork, err = db.Fork(t.Context(), scope, lease, at)
		require.NoError(t, err)
	})
	require.NotEqual(t, main, fork)
	testweb.Start(t, testweb.Options{RedisURL: s.RedisURL, DatabaseURL: s.DatabaseURL})
	require.Equal(t, []string{"one", "echo: one", "three", "echo: three"}, said(t, c.call(200, "GET", runs+"/"+run.ID+"/join", nil, nil)))
	require.Equal(t, fork, lineOf(t, s, thread))
	found, err := db.Run(t.Context(), scope, agents.ThreadID(thread), agents.RunID(run.ID))
	require.NoError(t, err)
	require.Equal(t, main, found.BaseLine)
}

// TestInputMayBringOtherChannels: what the graph has is written through its reducers,
// what it does not have is left out.
func TestInputMayBringOtherChannels(t *testing.T) {
	t.Parallel()
	topic, notes := graph.Replace[string]("topic"), graph.Append[string]("notes")
	g, err := graph.New("channels").Channels(topic, notes).Node("write", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		var in map[string]string
		if task.Input != nil {
			if err := json.Unmarshal(task.Input, &in); err != nil {
				return graph.Command{}, err
			}
		}
		return graph.Command{Update: []graph.Write{notes.Put([]string{"wrote " + in["what"]})}}, nil
	}).Edge(graph.Start, "write").Edge("write", graph.End).Compile()
	require.NoError(t, err)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{g}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	wait := "/threads/" + thread + "/runs/wait"
	var got struct {
		Topic    string
		Notes    []string
		Other    any
		Messages []any
	}
	c.call(200, "POST", wait, map[string]any{"assistant_id": "channels", "input": map[string]any{"topic": "tea", "notes": []string{"a"}, "other": 1}}, &got)
	require.Equal(t, "tea", got.Topic)
	require.Equal(t, []string{"a", "wrote "}, got.Notes)
	require.Nil(t, got.Other)
	require.Empty(t, got.Messages)
	require.Contains(t, c.call(422, "POST", wait, map[string]any{"assistant_id": "channels", "input": map[string]any{"topic": 3}}, nil).Body, "input.topic")
	require.Contains(t, c.call(422, "POST", wait, map[string]any{"assistant_id": "channels", "command": map[string]any{"update": map[string]any{"topic": 3}}}, nil).Body, "command.update.topic")
	c.call(200, "POST", wait, map[string]any{"assistant_id": "channels", "command": map[string]any{"update": map[string]any{"topic": "milk"},
		"goto": []any{map[string]any{"node": "write", "input": map[string]any{"what": "this"}}, "write"}}}, &got)
	require.Equal(t, "milk", got.Topic)
	require.ElementsMatch(t, []string{"a", "wrote ", "wrote this", "wrote "}, got.Notes)

	blocks := []any{map[string]any{"type": "text", "text": "look"}, map[string]any{"type": "image_url", "image_url": map[string]any{"url": "data:x"}}}
	kept := c.call(200, "POST", "/runs/wait", map[string]any{"assistant_id": "echo", "input": map[string]any{"messages": []any{
		map[string]any{"type": "human", "id": "own-id", "content": blocks}}}}, nil)
	var v struct {
		Messages []struct {
			ID      string
			Content any
		}
	}
	kept.JSON(t, &v)
	require.Equal(t, "own-id", v.Messages[0].ID)
	require.Equal(t, blocks, v.Messages[0].Content)
}

// TestInputThatIsDisplacedBeforeItsRunBeganStays: a worker had taken the run, and had
// done nothing yet.
func TestInputThatIsDisplacedBeforeItsRunBeganStays(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_WORKER=off"}})
	mia := s.SignIn("mia@acme.test")
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	db, scope := s.App.Database(), s.Scope("acme", "mia@acme.test")
	thread := c.thread()
	runs := "/threads/" + thread + "/runs"
	var first, second madeRun
	c.call(200, "POST", runs, body("echo", "first", nil), &first)
	claimed, err := db.Claim(t.Context(), agents.WorkerID(id.New()), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	require.NoError(t, db.HandBack(t.Context(), scope.Org, agents.Lease{Thread: agents.ThreadID(thread), Run: claimed[0].Run.ID, Token: claimed[0].Run.Token}))
	w := watch(t, s, mia, "the page", thread)
	c.call(200, "POST", runs, body("echo", "second", map[string]any{"multitask_strategy": "interrupt"}), &second)
	require.Equal(t, "interrupted", c.run(thread, first.ID).Status)
	testweb.Start(t, testweb.Options{RedisURL: s.RedisURL, DatabaseURL: s.DatabaseURL})
	require.Equal(t, []string{"first", "second", "echo: second"}, said(t, c.call(200, "GET", runs+"/"+second.ID+"/join", nil, nil)))
	w.until("messages", "echo: second")
	require.Equal(t, []string{"first", "second", "echo: second"}, conversation(w.page))
	w.shows(s.Page(mia, "/threads/"+thread))
}
