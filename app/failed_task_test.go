package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

// TestAStateTellsWhichTaskFailed: the task that was due when the run ended in error
// says why, until the thread goes on; the history keeps it.
func TestAStateTellsWhichTaskFailed(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	done := make(chan struct{}, 1)
	wrote := graph.Append[string]("wrote")
	writes := func(name string) graph.Node {
		return func(context.Context, *graph.Task) (graph.Command, error) {
			done <- struct{}{}
			return graph.Command{Update: []graph.Write{wrote.Put([]string{name})}}, nil
		}
	}
	breaks := func(context.Context, *graph.Task) (graph.Command, error) {
		if mended.Load() {
			return graph.Command{}, nil
		}
		<-done // the other one is ready
		return graph.Command{}, graph.Fail("The loom is broken.")
	}
	inner, err := graph.New("inner").Channels(wrote).Node("weave", breaks).Edge(graph.Start, "weave").Edge("weave", graph.End).Compile()
	require.NoError(t, err)
	pair := func(name string) *graph.Builder {
		return graph.New(name).Channels(wrote).Node("spin", writes("spin")).Entry("spin").Finish("spin")
	}
	flat, err := pair("flat").Node("weave", breaks).Entry("weave").Finish("weave").Compile()
	require.NoError(t, err)
	nested, err := pair("deep").Subgraph("shed", inner).Entry("shed").Finish("shed").Compile()
	require.NoError(t, err)
	mia, _, _ := newClients(t, testweb.Options{Graphs: []*graph.Graph{flat, nested}})
	errorsOf := func(s apiState) map[string]string {
		out := map[string]string{}
		for _, task := range s.Tasks {
			if task.Error != nil {
				out[task.Name] = toldBy(t, *task.Error)
			}
		}
		return out
	}
	fails := func(thread, graph string) (status string) {
		t.Helper()
		mended.Store(false)
		a := mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs/wait", obj{"assistant_id": graph, "input": say("go")}, nil)
		require.Contains(t, a.Body, "__error__")
		var of apiThread
		mia.want(http.StatusOK, "GET", "/threads/"+thread, nil, &of)
		return of.Status
	}
	for name, node := range map[string]string{"flat": "weave", "deep": "shed"} {
		thread := mia.thread(nil).ID
		require.Equal(t, "error", fails(thread, name), name)
		state := mia.state(thread)
		require.Len(t, state.Tasks, 2, name)
		require.Equal(t, map[string]string{node: "The loom is broken."}, errorsOf(state), name)
		var one apiState
		mia.want(http.StatusOK, "GET", "/threads/"+thread+"/state/"+state.Checkpoint.ID, nil, &one)
		require.Equal(t, state, one)
		all := mia.history(thread, nil)
		require.Equal(t, state, all[0])
		for _, s := range all[1:] {
			require.Empty(t, errorsOf(s), "%s: step %v", name, s.Metadata["step"])
		}
		// Tried again from there, and mended.
		mended.Store(true)
		mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs/wait", obj{"assistant_id": name, "input": nil}, nil)
		require.Empty(t, errorsOf(mia.state(thread)), name)
		now := mia.history(thread, nil)
		for _, s := range now {
			want := map[string]string{}
			if *s.Checkpoint == *state.Checkpoint {
				want[node] = "The loom is broken."
			}
			require.Equal(t, want, errorsOf(s), "%s: step %v", name, s.Metadata["step"])
		}
		select { // what was ready did not run again
		case <-done:
			t.Fatal("spin ran twice")
		default:
		}
	}

	// A change of the state, or a branch from there, has not failed yet.
	thread := mia.thread(nil).ID
	fails(thread, "flat")
	failed := mia.state(thread)
	for _, values := range []any{say("by hand"), nil} {
		mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": values, "checkpoint": failed.Checkpoint}, nil)
		require.NotEmpty(t, mia.state(thread).Next)
		require.Empty(t, errorsOf(mia.state(thread)))
	}
	mia.run(thread, "echo", say("never mind"))
	require.Empty(t, errorsOf(mia.state(thread)))

	// What had been said when it failed stays, and the error stands behind it.
	thread = mia.thread(nil).ID
	require.Equal(t, "error", fails(thread, "failing"))
	require.NotEmpty(t, errorsOf(mia.state(thread))["failing"])
	var run struct{ Status string }
	mia.want(http.StatusOK, "GET", "/threads/"+thread+"/runs/"+mia.state(thread).Metadata["run_id"].(string), nil, &run)
	require.Equal(t, string(agents.RunFailed), run.Status)
}

// toldBy gives the message of a task's error, which clients read from its JSON.
func toldBy(t *testing.T, text string) string {
	t.Helper()
	var told struct{ Error, Message string }
	require.NoError(t, json.Unmarshal([]byte(text), &told))
	require.NotEmpty(t, told.Error)
	return told.Message
}
