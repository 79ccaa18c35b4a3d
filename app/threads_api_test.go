package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// apiThread and apiState are what the API says of threads and states.
type apiThread struct {
	ID         string         `json:"thread_id"`
	Status     string         `json:"status"`
	Metadata   map[string]any `json:"metadata"`
	Values     values         `json:"values"`
	Interrupts map[string]any `json:"interrupts"`
	Extracted  map[string]any `json:"extracted"`
	TTL        *struct {
		Strategy  string  `json:"strategy"`
		Minutes   float64 `json:"ttl_minutes"`
		ExpiresAt string  `json:"expires_at"`
	} `json:"ttl"`
}

type apiCheckpoint struct {
	ID     string `json:"checkpoint_id"`
	NS     string `json:"checkpoint_ns"`
	Thread string `json:"thread_id"`
}

type apiState struct {
	Values     values         `json:"values"`
	Next       []string       `json:"next"`
	Checkpoint *apiCheckpoint `json:"checkpoint"`
	Parent     *apiCheckpoint `json:"parent_checkpoint"`
	Metadata   map[string]any `json:"metadata"`
	Interrupts []any          `json:"interrupts"`
	CreatedAt  string         `json:"created_at"`
	Tasks      []struct {
		ID         string  `json:"id"`
		Name       string  `json:"name"`
		Result     *values `json:"result"`
		Error      *string `json:"error"`
		Interrupts []any   `json:"interrupts"`
	} `json:"tasks"`
}

// keyholder is somebody's key.
type keyholder struct {
	t   *testing.T
	s   *testweb.Server
	key string
}

// want calls and requires a status; into may be nil.
func (c keyholder) want(status int, method, path string, body, into any) testweb.Answer {
	c.t.Helper()
	a := c.s.API(c.key, method, "/api"+path, body)
	require.Equal(c.t, status, a.Status, "%s %s: %s", method, path, a.Body)
	if into != nil {
		a.JSON(c.t, into)
	}
	return a
}

// refused requires a 422 that names a field and its rule.
func (c keyholder) refused(method, path string, body any, field, rule string) {
	c.t.Helper()
	var got struct{ Fields map[string]string }
	c.want(http.StatusUnprocessableEntity, method, path, body, &got)
	require.Contains(c.t, got.Fields, field)
	require.Contains(c.t, got.Fields[field], rule)
}

type obj = map[string]any

func (c keyholder) thread(body any) apiThread {
	c.t.Helper()
	var made apiThread
	c.want(http.StatusOK, "POST", "/threads", body, &made)
	return made
}

func (c keyholder) run(thread, assistant string, input any) values {
	c.t.Helper()
	var got values
	c.want(http.StatusOK, "POST", "/threads/"+thread+"/runs/wait", obj{"assistant_id": assistant, "input": input}, &got)
	require.Nil(c.t, got.Failure)
	return got
}

func say(text string) obj {
	return obj{"messages": []any{obj{"role": "user", "content": text}}}
}

func (c keyholder) history(thread string, body any) []apiState {
	c.t.Helper()
	var got []apiState
	c.want(http.StatusOK, "POST", "/threads/"+thread+"/history", body, &got)
	return got
}

func (c keyholder) state(thread string) apiState {
	c.t.Helper()
	var got apiState
	c.want(http.StatusOK, "GET", "/threads/"+thread+"/state", nil, &got)
	return got
}

func newClients(t *testing.T, o testweb.Options) (mia, max, gia keyholder) {
	t.Helper()
	s := testweb.Start(t, o)
	of := func(org, email string) keyholder { return keyholder{t, s, s.Key(org, email)} }
	return of("acme", "mia@acme.test"), of("acme", "max@acme.test"), of("globex", "gia@globex.test")
}

func TestThreadsAreMadeFoundChangedAndRemovedByAPI(t *testing.T) {
	t.Parallel()
	mia, other, gia := newClients(t, testweb.Options{})
	red := mia.thread(obj{"metadata": obj{"color": "red", "of": obj{"team": "a", "n": 1}}, "ttl": 30})
	blue := mia.thread(obj{"metadata": obj{"color": "blue"}, "unknown": true})
	answer := mia.run(red.ID, "echo", say("hello"))
	require.Equal(t, []string{"human: hello", "ai: echo: hello"}, answer.texts())

	var found []apiThread
	a := mia.want(http.StatusOK, "POST", "/threads/search", obj{"metadata": obj{"color": "red", "of": obj{"team": "a"}}}, &found)
	require.Len(t, found, 1)
	require.Equal(t, red.ID, found[0].ID)
	require.Equal(t, answer.texts(), found[0].Values.texts(), "its values come with it")
	require.Equal(t, "echo", found[0].Metadata["graph_id"])
	require.Equal(t, "1", a.Header.Get("X-Pagination-Total"))
	a = mia.want(http.StatusOK, "POST", "/threads/search", obj{"limit": 1, "status": nil, "metadata": nil, "select": []string{"thread_id", "status"}}, nil)
	require.JSONEq(t, `[{"thread_id":"`+red.ID+`","status":"idle"}]`, a.Body, "the newest, and no more than was asked for")
	require.Equal(t, "2", a.Header.Get("X-Pagination-Total"))
	require.Equal(t, "1", a.Header.Get("X-Pagination-Next"))
	a = mia.want(http.StatusOK, "POST", "/threads/search", obj{"limit": 1, "offset": 1, "select": []string{"thread_id"}}, nil)
	require.JSONEq(t, `[{"thread_id":"`+blue.ID+`"}]`, a.Body)
	require.Empty(t, a.Header.Get("X-Pagination-Next"))
	a = mia.want(http.StatusOK, "POST", "/threads/search", obj{"ids": []string{red.ID}, "select": []string{"thread_id"}, "extract": obj{
		"last": "values.messages[-1].content", "first": "values.messages[0].type", "none": "values.messages[9].content", "graph": "metadata.graph_id", "n": "metadata.of.n"}}, nil)
	require.JSONEq(t, `[{"thread_id":"`+red.ID+`","extracted":{"last":"echo: hello","first":"human","none":null,"graph":"echo","n":1}}]`, a.Body)
	require.Equal(t, "2", mia.want(http.StatusOK, "POST", "/threads/count", nil, nil).Body)
	require.Equal(t, "1", mia.want(http.StatusOK, "POST", "/threads/count", obj{"metadata": obj{"color": "blue"}, "status": "idle"}, nil).Body)
	for _, stranger := range []keyholder{other, gia} {
		require.Equal(t, "0", stranger.want(http.StatusOK, "POST", "/threads/count", obj{"ids": []string{red.ID}}, nil).Body)
		require.Equal(t, "[]", stranger.want(http.StatusOK, "POST", "/threads/search", obj{}, nil).Body)
	}
	for field, body := range map[string]obj{"status": {"status": "asleep"}, "sort_by": {"sort_by": "title"}, "sort_order": {"sort_order": "up"},
		"ids[0]": {"ids": []string{"x"}}, "metadata": {"metadata": []int{1}}, "values": {"values": 1}, "limit": {"limit": 0}, "extract.x": {"extract": obj{"x": "values..y"}}} {
		mia.refused("POST", "/threads/search", body, field, "")
	}

	// What a client keeps with a thread.
	var got apiThread
	mia.want(http.StatusOK, "GET", "/threads/"+red.ID, nil, &got)
	require.Nil(t, got.TTL)
	mia.want(http.StatusOK, "GET", "/threads/"+red.ID+"?include=ttl", nil, &got)
	require.Equal(t, "delete", got.TTL.Strategy)
	require.Equal(t, 30.0, got.TTL.Minutes)
	mia.want(http.StatusOK, "PATCH", "/threads/"+red.ID, obj{"metadata": obj{"size": 3}, "ttl": obj{"ttl": 2.5, "strategy": "keep_latest"}}, &got)
	require.Equal(t, "red", got.Metadata["color"])
	require.EqualValues(t, 3, got.Metadata["size"])
	require.Equal(t, answer.texts(), got.Values.texts())
	mia.want(http.StatusOK, "GET", "/threads/"+red.ID+"?include=ttl", nil, &got)
	require.Equal(t, "keep_latest", got.TTL.Strategy)
	minimal := mia.s.Do(nil, "PATCH", "/api/threads/"+red.ID, []byte(`{"metadata":{"size":4}}`), "Content-Type", "application/json", "X-Api-Key", mia.key, "Prefer", "return=minimal")
	require.Equal(t, http.StatusNoContent, minimal.Status)
	require.Empty(t, minimal.Body)
	mia.want(http.StatusNoContent, "PATCH", "/threads/"+red.ID+"/state", obj{"metadata": obj{"patched": true}}, nil)
	mia.want(http.StatusOK, "GET", "/threads/"+strings.ToUpper(red.ID), nil, &got)
	require.EqualValues(t, 4, got.Metadata["size"])
	require.Equal(t, true, got.Metadata["patched"])
	for field, body := range map[string]obj{"ttl": {"ttl": "soon"}, "ttl.ttl": {"ttl": -1}, "ttl.strategy": {"ttl": obj{"ttl": 1, "strategy": "burn"}}, "metadata": {"metadata": "x"}} {
		mia.refused("PATCH", "/threads/"+red.ID, body, field, "")
		mia.refused("POST", "/threads", body, field, "")
	}

	for _, stranger := range []keyholder{other, gia} {
		for _, call := range [][2]string{{"PATCH", ""}, {"DELETE", ""}, {"POST", "/copy"}, {"POST", "/history"}, {"GET", "/history"}, {"PATCH", "/state"}} {
			for _, thread := range []string{red.ID, id.New(), "x"} {
				a := stranger.want(http.StatusNotFound, call[0], "/threads/"+thread+call[1], obj{}, nil)
				require.JSONEq(t, `{"detail":"Thread not found"}`, a.Body)
			}
		}
	}
	require.Empty(t, mia.want(http.StatusNoContent, "DELETE", "/threads/"+red.ID, nil, nil).Body)
	mia.want(http.StatusNotFound, "GET", "/threads/"+red.ID, nil, nil)
	mia.want(http.StatusNotFound, "DELETE", "/threads/"+red.ID, nil, nil)
}

func TestWhoMayReadAnyThreadListsNoneAndIsRecordedForThoseItNames(t *testing.T) {
	t.Parallel()
	mia, _, _ := newClients(t, testweb.Options{})
	ada := keyholder{t, mia.s, mia.s.Key("acme", "ada@acme.test", auth.ScopeRun, auth.ScopeAdmin)}
	thread := mia.thread(nil)
	require.Equal(t, "[]", ada.want(http.StatusOK, "POST", "/threads/search", obj{}, nil).Body)
	reads := func() (n int) {
		page, err := mia.s.App.Database().AuditLog(t.Context(), mia.s.Scope("acme", "ada@acme.test"), auth.AuditQuery{})
		require.NoError(t, err)
		for _, r := range page.Rows {
			if r.Action == "thread.read_by_admin" && r.ObjectID == thread.ID {
				n++
			}
		}
		return n
	}
	require.Zero(t, reads())
	require.Contains(t, ada.want(http.StatusOK, "POST", "/threads/search", obj{"ids": []string{thread.ID}}, nil).Body, thread.ID)
	require.Equal(t, 1, reads())
}

// TestAWatcherIsToldThatAThreadWentByAPI: removing by the API ends what waits on
// the thread, as removing by the page does.
func TestAWatcherIsToldThatAThreadWentByAPI(t *testing.T) {
	t.Parallel()
	mia, _, _ := newClients(t, testweb.Options{})
	for name, remove := range map[string]func(thread string){
		"delete": func(thread string) { mia.want(http.StatusNoContent, "DELETE", "/threads/"+thread, nil, nil) },
		"prune": func(thread string) {
			require.JSONEq(t, `{"pruned_count":1}`, mia.want(http.StatusOK, "POST", "/threads/prune", obj{"thread_ids": []string{thread}}, nil).Body)
		},
	} {
		thread := mia.thread(nil).ID
		k := mia.s.DialKey(mia.key)
		k.Join("thread:"+thread, map[string]any{"after": 0})
		remove(thread)
		ended(t, k)
		k.Close()
		mia.want(http.StatusNotFound, "GET", "/threads/"+thread, nil, nil)
		t.Log(name)
	}
}

func TestAHistoryTellsWhatEveryStepDid(t *testing.T) {
	t.Parallel()
	mia, _, _ := newClients(t, testweb.Options{})
	thread := mia.thread(nil).ID
	require.Equal(t, []apiState{}, mia.history(thread, nil), "nothing happened yet")
	mia.run(thread, "echo", say("one"))
	mia.run(thread, "echo", say("two"))
	all := mia.history(thread, nil)
	var steps, sources []string
	for _, s := range all {
		steps, sources = append(steps, fmt.Sprint(s.Metadata["step"])), append(sources, fmt.Sprint(s.Metadata["source"]))
	}
	require.Equal(t, []string{"3", "2", "1", "0"}, steps)
	require.Equal(t, []string{"loop", "input", "loop", "input"}, sources)
	require.Equal(t, []string{"human: one", "ai: echo: one", "human: two", "ai: echo: two"}, all[0].Values.texts())
	require.Equal(t, all[0], mia.state(thread), "the newest of them is the state")
	for i, s := range all {
		require.Equal(t, thread, s.Checkpoint.Thread)
		require.NotEmpty(t, s.CreatedAt)
		require.NotEmpty(t, s.Metadata["run_id"])
		if i > 0 {
			require.Equal(t, s.Checkpoint, all[i-1].Parent)
		}
	}
	require.Nil(t, all[3].Parent)
	require.Equal(t, []string{"echo"}, all[3].Next)
	require.Equal(t, []string{"ai: echo: one"}, all[3].Tasks[0].Result.texts(), "what the task gave, told by the step after")

	got := mia.history(thread, obj{"limit": 2, "before": all[1].Checkpoint.ID})
	require.Equal(t, all[2:], got)
	require.Equal(t, got, mia.history(thread, obj{"limit": 2, "before": obj{"configurable": all[1].Checkpoint}}))
	require.Equal(t, got, mia.history(thread, obj{"limit": 2, "before": all[1].Checkpoint}))
	var byGet []apiState
	mia.want(http.StatusOK, "GET", "/threads/"+thread+"/history?limit=2&before="+all[1].Checkpoint.ID, nil, &byGet)
	require.Equal(t, got, byGet)
	require.Equal(t, []apiState{all[1], all[3]}, mia.history(thread, obj{"metadata": obj{"source": "input"}}))
	require.Equal(t, all[2:], mia.history(thread, obj{"metadata": obj{"run_id": all[3].Metadata["run_id"]}}))
	require.Equal(t, all[1:2], mia.history(thread, obj{"checkpoint": all[1].Checkpoint}))
	require.Equal(t, []apiState{}, mia.history(thread, obj{"before": all[3].Checkpoint.ID}), "the first has none before")
	for _, old := range all {
		var one apiState
		mia.want(http.StatusOK, "GET", "/threads/"+thread+"/state/"+old.Checkpoint.ID, nil, &one)
		require.Equal(t, old, one)
		mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state/checkpoint", obj{"checkpoint": old.Checkpoint, "subgraphs": true}, &one)
		require.Equal(t, old, one)
	}
	a := mia.want(http.StatusOK, "POST", "/threads/"+thread+"/history", obj{"limit": 1, "select": []string{"next", "values.nothing"}}, nil)
	require.JSONEq(t, `[{"next":[],"values":{}}]`, a.Body)
	a = mia.want(http.StatusOK, "GET", "/threads/"+thread+"/state?select=next&select=created_at", nil, nil)
	require.JSONEq(t, `{"next":[],"created_at":"`+all[0].CreatedAt+`"}`, a.Body)
	var one apiState
	mia.want(http.StatusOK, "GET", "/threads/"+thread+"/state?select=values.messages", nil, &one)
	require.Equal(t, all[0].Values, one.Values)
	require.Nil(t, one.Checkpoint)

	for _, absent := range []string{id.New(), agents.CheckpointID(agents.LineID(id.New()), 0), "x"} {
		mia.want(http.StatusNotFound, "GET", "/threads/"+thread+"/state/"+absent, nil, nil)
		mia.want(http.StatusNotFound, "POST", "/threads/"+thread+"/state/checkpoint", obj{"checkpoint": obj{"checkpoint_id": absent}}, nil)
		mia.want(http.StatusNotFound, "POST", "/threads/"+thread+"/history", obj{"before": absent}, nil)
	}
	for field, body := range map[string]obj{"limit": {"limit": 5000}, "before": {"before": 7}, "metadata": {"metadata": 7},
		"checkpoint.checkpoint_ns": {"checkpoint": obj{"checkpoint_ns": "sub:1"}}} {
		mia.refused("POST", "/threads/"+thread+"/history", body, field, "")
	}
}

func TestAChangeAtAnOldCheckpointBeginsABranchAndLeavesTheOther(t *testing.T) {
	t.Parallel()
	mia, other, _ := newClients(t, testweb.Options{})
	thread := mia.thread(nil).ID
	mia.run(thread, "echo", say("one"))
	mia.run(thread, "echo", say("two"))
	before := mia.history(thread, nil)
	asked := before[1]
	require.Equal(t, []string{"echo"}, asked.Next)
	edited := obj{"messages": []any{obj{"type": "human", "id": asked.Values.Messages[2].ID, "content": "two, said otherwise"}}}
	var done struct{ Checkpoint apiCheckpoint }
	other.want(http.StatusNotFound, "POST", "/threads/"+thread+"/state", obj{"values": edited, "checkpoint": asked.Checkpoint}, nil)
	mia.want(http.StatusNotFound, "POST", "/threads/"+thread+"/state", obj{"values": edited, "checkpoint_id": id.New()}, nil)
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": edited, "checkpoint": asked.Checkpoint}, &done)
	state := mia.state(thread)
	require.Equal(t, done.Checkpoint, *state.Checkpoint)
	require.Equal(t, asked.Checkpoint, state.Parent)
	require.Equal(t, []string{"human: one", "ai: echo: one", "human: two, said otherwise"}, state.Values.texts())
	require.Equal(t, []string{"echo"}, state.Next, "what was due there is due here")
	var got values
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs/wait", obj{"assistant_id": "echo", "input": nil}, &got)
	require.Equal(t, "ai: echo: two, said otherwise", got.texts()[3])
	after := mia.history(thread, obj{"limit": 100})
	require.Greater(t, len(after), len(before)+1)
	require.Equal(t, before, after[len(after)-len(before):], "the line that was stays as it was")

	// Back onto the other branch, and nothing but that; then from its end as a node.
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": nil, "checkpoint_id": before[0].Checkpoint.ID}, &done)
	require.Equal(t, before[0].Values, mia.state(thread).Values)
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": nil, "checkpoint_id": before[3].Checkpoint.ID, "as_node": "__end__"}, nil)
	state = mia.state(thread)
	require.Empty(t, state.Next)
	require.Equal(t, "__end__", state.Metadata["as_node"])
	// Messages are taken out by their ids, or all; several values are written in turn.
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"checkpoint_id": before[0].Checkpoint.ID,
		"values": []any{obj{"messages": []any{obj{"type": "remove", "id": before[0].Values.Messages[1].ID}}}, say("three")}}, nil)
	require.Equal(t, []string{"human: one", "human: two", "ai: echo: two", "human: three"}, mia.state(thread).Values.texts())
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": []any{obj{"type": "remove", "id": "__remove_all__"}, obj{"type": "human", "content": "anew"}}}, nil)
	require.Equal(t, []string{"human: anew"}, mia.state(thread).Values.texts())
	mia.refused("POST", "/threads/"+thread+"/state", obj{"values": obj{"messages": []any{obj{"type": "remove"}}}}, "values.messages[0].id", "required")
	mia.refused("POST", "/threads/"+thread+"/state", obj{"values": nil}, "values", "must hold")
	mia.refused("POST", "/threads/"+thread+"/state", obj{"values": edited, "checkpoint": obj{"checkpoint_ns": "x:1"}}, "checkpoint.checkpoint_ns", "must be empty")
	fresh := mia.thread(nil).ID
	mia.refused("POST", "/threads/"+fresh+"/state", obj{"values": edited}, "metadata.graph_id", "must name a graph")
	named := mia.thread(obj{"metadata": obj{"graph_id": "echo"}}).ID
	mia.want(http.StatusOK, "POST", "/threads/"+named+"/state", obj{"values": edited, "as_node": "__start__"}, nil)
	require.Equal(t, []string{"echo"}, mia.state(named).Next)
}

// TestABranchFromBeforeAReviewWithdrawsIt: what is open stays on the line that was,
// and nobody is asked about it any more; the branch asks for itself.
func TestABranchFromBeforeAReviewWithdrawsIt(t *testing.T) {
	t.Parallel()
	d := deskOn(t, testweb.Start(t, testweb.Options{}), "")
	mia := keyholder{t, d.s, d.mia}
	thread, interrupt := d.ask()
	all := mia.history(thread, nil)
	open := slices.IndexFunc(all, func(s apiState) bool { return len(s.Interrupts) > 0 })
	require.Zero(t, open)
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": nil, "checkpoint": all[len(all)-1].Checkpoint}, nil)
	require.Empty(t, mia.state(thread).Interrupts)
	a := d.resume(d.ray, thread, obj{"decisions": []any{obj{"type": "approve"}}})
	require.Equal(t, http.StatusConflict, a.Status, a.Body)
	var old apiState
	mia.want(http.StatusOK, "GET", "/threads/"+thread+"/state/"+all[0].Checkpoint.ID, nil, &old)
	require.Len(t, old.Interrupts, 1, "the old line still shows what was asked")
	var of apiThread
	mia.want(http.StatusOK, "GET", "/threads/"+thread, nil, &of)
	require.Equal(t, "interrupted", of.Status, "a step is due")
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs", obj{"assistant_id": of.Metadata["assistant_id"], "input": nil}, nil)
	again := d.open(thread)
	require.Len(t, again, 1)
	require.NotEqual(t, interrupt, again[0].ID)
}

func TestACopyGoesItsOwnWay(t *testing.T) {
	t.Parallel()
	mia, other, _ := newClients(t, testweb.Options{})
	thread := mia.thread(obj{"metadata": obj{"color": "red"}}).ID
	mia.run(thread, "echo", say("one"))
	all := mia.history(thread, nil)
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"values": say("another"), "checkpoint": all[1].Checkpoint}, nil)
	all = mia.history(thread, nil)
	var made apiThread
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/copy", nil, &made)
	require.NotEqual(t, thread, made.ID)
	require.Equal(t, "red", made.Metadata["color"])
	require.Equal(t, mia.state(thread).Values, made.Values)
	copied := mia.history(made.ID, nil)
	require.Len(t, copied, len(all), "all branches")
	for i := range all {
		require.Equal(t, all[i].Values, copied[i].Values)
		require.Equal(t, all[i].Next, copied[i].Next)
		require.NotEqual(t, all[i].Checkpoint, copied[i].Checkpoint)
	}
	mia.run(made.ID, "echo", say("only here"))
	require.Equal(t, all, mia.history(thread, nil), "the other one is as it was")
	mia.want(http.StatusNoContent, "DELETE", "/threads/"+thread, nil, nil)
	require.Equal(t, "ai: echo: only here", mia.state(made.ID).Values.texts()[len(mia.state(made.ID).Values.texts())-1])
	other.want(http.StatusNotFound, "POST", "/threads/"+made.ID+"/copy", nil, nil)
}

func TestABusyThreadIsNeitherChangedNorCopiedNorPruned(t *testing.T) {
	t.Parallel()
	ends := &answers{ends: map[string]chan struct{}{}}
	mia, _, _ := newClients(t, testweb.Options{Graphs: []*graph.Graph{ends.graph(t)}})
	thread := mia.thread(nil).ID
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/runs", obj{"assistant_id": "answers", "input": say("slow")}, nil)
	mia.want(http.StatusConflict, "POST", "/threads/"+thread+"/copy", nil, nil)
	mia.want(http.StatusConflict, "POST", "/threads/"+thread+"/state", obj{"values": say("x")}, nil)
	for _, how := range []string{"delete", "keep_latest"} {
		a := mia.want(http.StatusOK, "POST", "/threads/prune", obj{"thread_ids": []string{thread, id.New()}, "strategy": how}, nil)
		require.JSONEq(t, `{"pruned_count":0}`, a.Body)
	}
	close(ends.of("slow"))
	mia.s.Eventually("the run is over", func() bool { return mia.state(thread).Metadata["source"] == "loop" })
	mia.refused("POST", "/threads/prune", obj{"thread_ids": []string{}}, "thread_ids", "must hold")
	mia.refused("POST", "/threads/prune", obj{"thread_ids": []string{"x"}}, "thread_ids[0]", "UUID")
	mia.refused("POST", "/threads/prune", obj{"thread_ids": []string{thread}, "strategy": "burn"}, "strategy", "delete or keep_latest")
}

func TestANewThreadIsGivenItsSteps(t *testing.T) {
	t.Parallel()
	mia, _, _ := newClients(t, testweb.Options{})
	steps := []any{
		obj{"updates": []any{obj{"values": say("what was said elsewhere"), "as_node": "__input__"}}},
		obj{"updates": []any{obj{"command": obj{"update": obj{"messages": []any{obj{"type": "ai", "content": "and answered"}}}}, "as_node": "echo"},
			obj{"values": obj{"messages": []any{obj{"type": "ai", "content": "twice"}}}, "as_node": "echo"}}},
	}
	made := mia.thread(obj{"metadata": obj{"graph_id": "echo"}, "supersteps": steps})
	require.Equal(t, []string{"human: what was said elsewhere", "ai: and answered", "ai: twice"}, made.Values.texts())
	all := mia.history(made.ID, nil)
	require.Len(t, all, 2, "a checkpoint each")
	require.Equal(t, []string{"echo"}, all[1].Next)
	require.Empty(t, all[0].Next)
	require.Equal(t, "idle", made.Status)
	mia.run(made.ID, "echo", say("go on"))

	// What can't be given leaves no thread behind.
	taken := id.New()
	for field, body := range map[string]obj{
		"metadata.graph_id":     {"supersteps": steps},
		"as_node":               {"metadata": obj{"graph_id": "echo"}, "supersteps": append(slices.Clone(steps), obj{"updates": []any{obj{"as_node": "nobody"}}})},
		"supersteps[0].updates": {"metadata": obj{"graph_id": "echo"}, "supersteps": []any{obj{}}},
		"supersteps[0].updates[0].command.goto": {"metadata": obj{"graph_id": "echo"},
			"supersteps": []any{obj{"updates": []any{obj{"command": obj{"goto": "echo"}}}}}},
	} {
		body["thread_id"] = taken
		mia.refused("POST", "/threads", body, field, "")
		mia.want(http.StatusNotFound, "GET", "/threads/"+taken, nil, nil)
	}
	// It is made once, whoever asks again.
	body := obj{"thread_id": taken, "metadata": obj{"graph_id": "echo"}, "supersteps": steps, "if_exists": "do_nothing"}
	for range 2 {
		require.Len(t, mia.thread(body).Values.Messages, 3)
	}
	require.Len(t, mia.history(taken, nil), 2)
	delete(body, "if_exists")
	mia.want(http.StatusConflict, "POST", "/threads", body, nil)
}

// TestThePageShowsTheBranchThatAClientMade: a page of the thread follows the line
// that the API made active.
func TestThePageShowsTheBranchThatAClientMade(t *testing.T) {
	t.Parallel()
	mia, _, _ := newClients(t, testweb.Options{})
	browser := mia.s.SignIn("mia@acme.test")
	a := mia.s.Post(browser, "/threads", url.Values{"message": {"one"}, "assistant_id": {"echo"}})
	thread := strings.TrimPrefix(a.Path, "/threads/")
	mia.s.WaitIdle(browser, thread)
	all := mia.history(thread, nil)
	raw, err := json.Marshal(all[1].Checkpoint)
	require.NoError(t, err)
	mia.want(http.StatusOK, "POST", "/threads/"+thread+"/state", obj{"checkpoint": json.RawMessage(raw), "as_node": "echo",
		"values": obj{"messages": []any{obj{"type": "ai", "content": "written by hand"}}}}, nil)
	require.Equal(t, []string{"one", "written by hand"}, conversation(mia.s.Page(browser, "/threads/"+thread)))
}
