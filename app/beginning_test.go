package app_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// firstOf gives the last two states of a history: before the first step, and it.
func firstOf(c keyholder, thread string) (before, first apiState) {
	c.t.Helper()
	all := c.history(thread, obj{"limit": 100})
	return all[len(all)-1], all[len(all)-2]
}

func TestAHistoryBeginsBeforeTheFirstStep(t *testing.T) {
	t.Parallel()
	mia, other, _ := newClients(t, testweb.Options{})
	thread := mia.thread(nil).ID
	mia.run(thread, "echo", say("one"))
	mia.run(thread, "echo", say("two"))
	before, first := firstOf(mia, thread)
	require.Equal(t, before.Checkpoint, first.Parent)
	require.Nil(t, before.Parent)
	require.Equal(t, []string{"__start__"}, before.Next)
	require.Empty(t, before.Values.Messages)
	require.Equal(t, float64(agents.BeforeFirst), before.Metadata["step"])
	require.Equal(t, first.Metadata["run_id"], before.Metadata["run_id"])
	require.Equal(t, first.CreatedAt, before.CreatedAt)
	require.Len(t, before.Tasks, 1)
	require.Equal(t, "__start__", before.Tasks[0].Name)
	require.Equal(t, []string{"human: one"}, before.Tasks[0].Result.texts(), "what came in")

	// Every call that takes a checkpoint knows it, and nobody else's does.
	all := mia.history(thread, nil)
	for i := range all {
		require.Equal(t, all[:i+1], mia.history(thread, obj{"limit": i + 1}))
		require.Equal(t, all[i+1:], mia.history(thread, obj{"before": all[i].Checkpoint}))
	}
	require.Equal(t, []apiState{before}, mia.history(thread, obj{"checkpoint": before.Checkpoint}))
	require.Equal(t, []apiState{before}, mia.history(thread, obj{"metadata": obj{"step": -1}}))
	require.Empty(t, mia.history(thread, obj{"metadata": obj{"step": -2}}))
	bare := mia.want(http.StatusOK, "POST", "/threads/"+thread+"/history", obj{"before": first.Checkpoint, "select": []string{"next", "values.nothing"}}, nil)
	require.JSONEq(t, `[{"next":["__start__"],"values":{}}]`, bare.Body)
	strange := mia.thread(nil).ID
	for _, at := range []string{strange, thread} {
		who, status := mia, http.StatusNotFound
		if at == thread {
			who = other
		}
		who.want(status, "GET", "/threads/"+at+"/state/"+before.Checkpoint.ID, nil, nil)
		who.want(status, "POST", "/threads/"+at+"/state", obj{"values": say("x"), "checkpoint": before.Checkpoint}, nil)
		who.want(status, "POST", "/threads/"+at+"/runs", obj{"assistant_id": "echo", "input": say("x"), "checkpoint": before.Checkpoint}, nil)
	}
	unused := agents.CheckpointID(agents.LineID(id.New()), agents.BeforeFirst)
	mia.want(http.StatusNotFound, "GET", "/threads/"+thread+"/state/"+unused, nil, nil)
}

func TestAThreadBeginsAnewBeforeItsFirstStep(t *testing.T) {
	t.Parallel()
	mia, _, _ := newClients(t, testweb.Options{})
	thread := mia.thread(nil).ID
	mia.run(thread, "echo", say("one"))
	mia.run(thread, "echo", say("two"))
	was := mia.history(thread, nil)
	before, _ := firstOf(mia, thread)
	anew := func(text string) values {
		t.Helper()
		var got values
		mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs/wait",
			obj{"assistant_id": "echo", "input": say(text), "checkpoint": before.Checkpoint}, &got)
		return got
	}
	require.Equal(t, []string{"human: uno", "ai: echo: uno"}, anew("uno").texts())
	require.Equal(t, []string{"human: uno", "ai: echo: uno"}, mia.state(thread).Values.texts())
	require.Equal(t, []string{"uno", "echo: uno"}, conversation(mia.s.Page(mia.s.SignIn("mia@acme.test"), "/threads/"+thread)))
	all := mia.history(thread, nil)
	require.Equal(t, was, all[len(all)-len(was):], "the branch that was stays as it was")
	require.Len(t, all, len(was)+2, "and there is one beginning")
	require.Equal(t, before.Checkpoint, all[1].Parent, "both branches stand on it")
	mia.run(thread, "echo", say("dos"))
	require.Equal(t, []string{"human: uno", "ai: echo: uno", "human: dos", "ai: echo: dos"}, mia.state(thread).Values.texts())
	require.Equal(t, []string{"human: un", "ai: echo: un"}, anew("un").texts(), "from the second branch, too")

	// On either branch the thread goes on where a client names the checkpoint.
	require.Equal(t, []string{"human: one", "ai: echo: one", "human: two", "ai: echo: two", "human: three", "ai: echo: three"}, func() []string {
		var got values
		mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs/wait", obj{"assistant_id": "echo", "input": say("three"), "checkpoint": was[0].Checkpoint}, &got)
		return got.texts()
	}())
	// A branch of a branch whose first step is all that it has knows where that stands.
	first := all[1]
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": nil, "checkpoint": first.Checkpoint, "as_node": "__end__"}, nil)
	require.Equal(t, first.Checkpoint, mia.state(thread).Parent)
	var one apiState
	mia.want(http.StatusOK, "GET", "/threads/"+thread+"/state/"+first.Checkpoint.ID, nil, &one)
	require.Equal(t, first, one)

	// There is nothing to go on with, but a change of the state can begin there.
	mia.refused("POST", "/threads/"+thread+"/runs", obj{"assistant_id": "echo", "input": nil, "checkpoint": before.Checkpoint}, "input", "is required")
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": say("by hand"), "as_node": "__start__", "checkpoint": before.Checkpoint}, nil)
	state := mia.state(thread)
	require.Equal(t, []string{"human: by hand"}, state.Values.texts())
	require.Equal(t, before.Checkpoint, state.Parent)
	require.Equal(t, []string{"echo"}, state.Next)
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": nil, "checkpoint": before.Checkpoint}, nil)
	require.Empty(t, mia.state(thread).Values.Messages)
	jump := obj{"assistant_id": "echo", "checkpoint": before.Checkpoint, "command": obj{"goto": "echo", "update": obj{"messages": say("jumped")["messages"]}}}
	var got values
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs/wait", jump, &got)
	require.Equal(t, []string{"human: jumped", "ai: echo: jumped"}, got.texts())

	// A copy has the branches and the one beginning.
	var made apiThread
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/copy", nil, &made)
	mine, theirs := mia.history(thread, obj{"limit": 100}), mia.history(made.ID, obj{"limit": 100})
	require.Len(t, theirs, len(mine))
	copied, _ := firstOf(mia, made.ID)
	require.NotEqual(t, before.Checkpoint, copied.Checkpoint)
	roots := 0
	for i := range theirs {
		require.Equal(t, mine[i].Values, theirs[i].Values)
		require.Equal(t, mine[i].Parent == nil, theirs[i].Parent == nil)
		if theirs[i].Parent != nil && *theirs[i].Parent == *copied.Checkpoint {
			roots++
		}
	}
	require.Greater(t, roots, 3)
}

// TestARunThatBeganAnewIsTakenBack: the thread stands on the branch that it had.
func TestARunThatBeganAnewIsTakenBack(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	runs := "/threads/" + thread + "/runs"
	c.call(200, "POST", runs+"/wait", body("echo", "one", nil), nil)
	before := c.head(thread)
	start := agents.CheckpointID(lineOf(t, s, thread), agents.BeforeFirst)
	var slow madeRun
	c.call(200, "POST", runs, body("slow", "two", map[string]any{"checkpoint_id": start}), &slow)
	s.Eventually("it has begun", func() bool { return c.head(thread).Metadata.RunID == slow.ID })
	c.call(204, "POST", runs+"/"+slow.ID+"/cancel?action=rollback", nil, nil)
	require.Equal(t, before, c.head(thread))
	require.Len(t, checkpoints(t, s, thread), 2)
}

// TestAWorkerIsLostAfterAThreadBeganAnew: the next attempt begins on the line that
// the lost one has made.
func TestAWorkerIsLostAfterAThreadBeganAnew(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_WORKER=off"}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	db, scope := s.App.Database(), s.Scope("acme", "mia@acme.test")
	thread := c.thread()
	runs := "/threads/" + thread + "/runs"
	var first, run madeRun
	c.call(200, "POST", runs, body("echo", "one", nil), &first)
	other := testweb.Start(t, testweb.Options{RedisURL: s.RedisURL, DatabaseURL: s.DatabaseURL})
	c.call(200, "GET", runs+"/"+first.ID+"/join", nil, nil)
	main := lineOf(t, s, thread)
	start := agents.CheckpointID(main, agents.BeforeFirst)
	other.Stop()
	c.call(200, "POST", runs, body("echo", "uno", map[string]any{"checkpoint_id": start}), &run)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	claimed, err := db.Claim(ctx, agents.WorkerID(id.New()), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	lease := agents.Lease{Thread: agents.ThreadID(thread), Run: claimed[0].Run.ID, Token: claimed[0].Run.Token}
	fork, err := db.Fork(ctx, scope, lease, start)
	require.NoError(t, err)
	stands, err := db.State(ctx, scope, lease.Thread)
	require.NoError(t, err)
	require.Nil(t, stands.Head)
	require.Equal(t, start, stands.Parent.ID)
	require.NoError(t, db.HandBack(ctx, scope.Org, lease))
	testweb.Start(t, testweb.Options{RedisURL: s.RedisURL, DatabaseURL: s.DatabaseURL})
	require.Equal(t, []string{"uno", "echo: uno"}, said(t, c.call(200, "GET", runs+"/"+run.ID+"/join", nil, nil)))
	require.Equal(t, fork, lineOf(t, s, thread))
	found, err := db.Run(ctx, scope, lease.Thread, agents.RunID(run.ID))
	require.NoError(t, err)
	require.Equal(t, main, found.BaseLine)
}
