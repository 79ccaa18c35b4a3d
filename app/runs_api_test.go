package app_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// client is a program that speaks the API with a key.
type client struct {
	t   *testing.T
	s   *testweb.Site
	key string
}

type madeRun struct {
	ID        string         `json:"run_id"`
	Thread    string         `json:"thread_id"`
	Assistant string         `json:"assistant_id"`
	Status    string         `json:"status"`
	Strategy  string         `json:"multitask_strategy"`
	Reason    string         `json:"cancel_reason"`
	Kwargs    map[string]any `json:"kwargs"`
	Metadata  map[string]any `json:"metadata"`
	CreatedAt time.Time      `json:"created_at"`
	UpdatedAt time.Time      `json:"updated_at"`
}

// call expects a status and reads the answer, if into is not nil.
func (c client) call(status int, method, path string, body, into any) testweb.Answer {
	c.t.Helper()
	a := c.s.API(c.key, method, "/api"+path, body)
	require.Equal(c.t, status, a.Status, "%s %s: %s", method, path, a.Body)
	if into != nil {
		a.JSON(c.t, into)
	}
	return a
}

func (c client) thread() string {
	c.t.Helper()
	var made struct {
		ID string `json:"thread_id"`
	}
	c.call(http.StatusOK, "POST", "/threads", map[string]any{}, &made)
	return made.ID
}

func (c client) run(thread, path string) madeRun {
	c.t.Helper()
	var r madeRun
	c.call(http.StatusOK, "GET", "/threads/"+thread+"/runs/"+path, nil, &r)
	return r
}

// body is a run that brings one message.
func body(assistant, text string, more map[string]any) map[string]any {
	out := map[string]any{"assistant_id": assistant, "input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": text}}}}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// said lists the messages of a waiting call's answer.
func said(t *testing.T, a testweb.Answer) []string {
	t.Helper()
	var v struct {
		Messages []struct {
			Content any `json:"content"`
		} `json:"messages"`
	}
	a.JSON(t, &v)
	var out []string
	for _, m := range v.Messages {
		out = append(out, fmt.Sprint(m.Content))
	}
	return out
}

func TestRunsOfAThreadAreListedAndDeleted(t *testing.T) {
	t.Parallel()
	a := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{a.graph(t)}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	runs := "/threads/" + thread + "/runs"
	for i := range 3 {
		require.Len(t, said(t, c.call(200, "POST", runs+"/wait", body("echo", fmt.Sprint("n", i), map[string]any{"metadata": map[string]any{"n": i}}), nil)), 2+2*i)
	}
	var open madeRun
	located := c.call(200, "POST", runs, body("answers", "open", nil), &open)
	require.Equal(t, runs+"/"+open.ID, located.Header.Get("Content-Location"))

	var all []madeRun
	listed := c.call(200, "GET", runs, nil, &all)
	require.Len(t, all, 4)
	require.Equal(t, open.ID, all[0].ID, "the newest comes first")
	require.Equal(t, "4", listed.Header.Get("X-Pagination-Total"))
	require.Empty(t, listed.Header.Get("X-Pagination-Next"))
	for i, r := range all[1:] {
		require.Equal(t, "success", r.Status)
		require.InDelta(t, 2-i, r.Metadata["n"], 0)
		require.Equal(t, "echo", r.Kwargs["assistant_id"])
		require.Equal(t, "enqueue", r.Strategy)
		_, isID := id.Canonical(r.Assistant)
		require.True(t, isID)
	}
	var page []madeRun
	listed = c.call(200, "GET", runs+"?limit=2&offset=1", nil, &page)
	require.Equal(t, []string{all[1].ID, all[2].ID}, []string{page[0].ID, page[1].ID})
	require.Equal(t, "3", listed.Header.Get("X-Pagination-Next"))
	var some []map[string]any
	c.call(200, "GET", runs+"?status=success&select=run_id&select=status", nil, &some)
	require.Len(t, some, 3)
	require.Equal(t, map[string]any{"run_id": all[1].ID, "status": "success"}, some[0])
	c.call(422, "GET", runs+"?status=done", nil, nil)
	c.call(422, "GET", runs+"?limit=0", nil, nil)
	c.call(404, "GET", "/threads/"+id.New()+"/runs", nil, nil)
	c.call(404, "GET", "/threads/x/runs", nil, nil)

	refused := c.call(409, "DELETE", runs+"/"+open.ID, nil, nil)
	require.Contains(t, refused.Body, "Cancel it first")
	c.call(204, "DELETE", runs+"/"+all[3].ID, nil, nil)
	c.call(404, "DELETE", runs+"/"+all[3].ID, nil, nil)
	c.call(404, "GET", runs+"/"+all[3].ID, nil, nil)
	require.Equal(t, []string{"human: n0", "ai: echo: n0"}, stateOf(t, s.Site, c.key, thread).texts()[:2], "what it said stays")

	// max reads nothing of it, and neither does another organisation.
	for _, other := range []client{{t, s.Site, s.Key("acme", "max@acme.test")}, {t, s.Site, s.Key("globex", "gia@globex.test")}} {
		other.call(404, "GET", runs, nil, nil)
		other.call(404, "GET", runs+"/"+open.ID+"/join", nil, nil)
		other.call(404, "DELETE", runs+"/"+all[1].ID, nil, nil)
		other.call(404, "POST", runs+"/"+open.ID+"/cancel?action=rollback", nil, nil)
		other.call(404, "POST", "/runs/cancel", map[string]any{"thread_id": thread, "run_ids": []string{open.ID}}, nil)
		other.call(204, "POST", "/runs/cancel", map[string]any{"status": "all"}, nil)
	}
	require.Contains(t, []string{"pending", "running"}, c.run(thread, open.ID).Status)
	close(a.of("open"))
	require.Equal(t, "about open", last(said(t, c.call(200, "GET", runs+"/"+open.ID+"/join", nil, nil))))
	require.Equal(t, "about open", last(said(t, c.call(200, "GET", runs+"/"+open.ID+"/join", nil, nil))), "at once when it is over")
}

// column reads texts of the database across organisations.
func column(t *testing.T, s *testweb.Server, sql string, args ...any) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "set role heddle_system")
	require.NoError(t, err)
	rows, _ := conn.Query(t.Context(), sql, args...) // its error comes back from CollectRows
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return out
}

func last(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

func TestRunsAreCancelledOneByOneAndTogether(t *testing.T) {
	t.Parallel()
	a := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{a.graph(t)}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	begin := func(thread, text string) madeRun {
		var r madeRun
		c.call(200, "POST", "/threads/"+thread+"/runs", body("answers", text, nil), &r)
		return r
	}
	running := func(r madeRun) {
		asked := r.Kwargs["input"].(map[string]any)["messages"].([]any)[0].(map[string]any)["content"].(string)
		s.Eventually("it runs", func() bool { return slices.Contains(stateOf(t, s.Site, c.key, r.Thread).texts(), "human: "+asked) })
		require.Equal(t, "running", c.run(r.Thread, r.ID).Status)
	}

	// interrupt: what was said stays, with the reason; a second time changes nothing.
	thread := c.thread()
	first := begin(thread, "first")
	running(first)
	at := "/threads/" + thread + "/runs/" + first.ID
	c.call(422, "POST", at+"/cancel?action=drop", nil, nil)
	for _, reason := range []string{"%ff", "a%00b", strings.Repeat("x", 501)} {
		require.Contains(t, c.call(422, "POST", at+"/cancel?reason="+reason, nil, nil).Body, "reason: must be")
	}
	c.call(204, "POST", at+"/cancel?wait=1&reason=no%20need", nil, nil)
	cancelled := c.run(thread, first.ID)
	require.Equal(t, "interrupted", cancelled.Status)
	require.Equal(t, "no need", cancelled.Reason)
	c.call(204, "POST", at+"/cancel", nil, nil)
	require.Equal(t, "human: first", stateOf(t, s.Site, c.key, thread).texts()[0])
	c.call(409, "POST", at+"/cancel?action=rollback", nil, nil)

	// rollback: nothing of the run is left, neither of one that runs nor of one in line.
	second, third := begin(thread, "second"), begin(thread, "third")
	running(second)
	before := stateOf(t, s.Site, c.key, thread).texts()
	require.Contains(t, before, "human: second")
	c.call(204, "POST", "/threads/"+thread+"/runs/"+third.ID+"/cancel?action=rollback", nil, nil)
	c.call(404, "GET", "/threads/"+thread+"/runs/"+third.ID, nil, nil)
	require.Equal(t, "running", c.run(thread, second.ID).Status, "what runs is not touched")
	c.call(204, "POST", "/threads/"+thread+"/runs/"+second.ID+"/cancel?action=rollback&wait=1", nil, nil)
	c.call(404, "GET", "/threads/"+thread+"/runs/"+second.ID, nil, nil)
	require.NotContains(t, stateOf(t, s.Site, c.key, thread).texts(), "human: second")
	require.NotContains(t, conversation(s.Page(s.SignIn("mia@acme.test"), "/threads/"+thread)), "second")
	var th struct{ Status string }
	c.call(200, "GET", "/threads/"+thread, nil, &th)
	require.Equal(t, "idle", th.Status)
	close(a.of("after"))
	require.Equal(t, "about after", last(said(t, c.call(200, "POST", "/threads/"+thread+"/runs/wait", body("answers", "after", nil), nil))))

	// Many at once: by their ids, and by their status.
	fourth, fifth := begin(thread, "fourth"), begin(thread, "fifth")
	c.call(404, "POST", "/runs/cancel", map[string]any{"thread_id": thread, "run_ids": []string{fourth.ID, id.New()}}, nil)
	require.NotEqual(t, "interrupted", c.run(thread, fourth.ID).Status, "none is cancelled where one is not there")
	c.call(204, "POST", "/runs/cancel", map[string]any{"thread_id": thread, "run_ids": []string{fourth.ID, fifth.ID, first.ID}}, nil)
	for _, r := range []madeRun{fourth, fifth} {
		s.Eventually("it has ended", func() bool { return c.run(thread, r.ID).Status == "interrupted" })
	}
	other := c.thread()
	sixth, seventh, eighth := begin(thread, "sixth"), begin(thread, "seventh"), begin(other, "eighth")
	running(sixth)
	running(eighth)
	c.call(204, "POST", "/runs/cancel", map[string]any{"status": "pending"}, nil)
	require.Equal(t, "interrupted", c.run(thread, seventh.ID).Status)
	require.Equal(t, "running", c.run(thread, sixth.ID).Status)
	c.call(204, "POST", "/runs/cancel?action=rollback", map[string]any{"status": "all"}, nil)
	c.call(404, "GET", "/threads/"+thread+"/runs/"+sixth.ID, nil, nil)
	c.call(404, "GET", "/threads/"+other+"/runs/"+eighth.ID, nil, nil)
	for _, wrong := range []map[string]any{{}, {"status": "over"}, {"thread_id": thread}, {"run_ids": []string{sixth.ID}}, {"status": "all", "thread_id": thread}} {
		c.call(422, "POST", "/runs/cancel", wrong, nil)
	}
}

func TestARunWithoutAThreadLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	a := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{a.graph(t)}})
	mia := s.SignIn("mia@acme.test")
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	threadOf := func(answer testweb.Answer) string {
		run, ok := strings.CutPrefix(answer.Header.Get("Content-Location"), "/runs/")
		require.True(t, ok, answer.Header)
		runs := column(t, s, `select thread_id::text from runs where id = $1`, run)
		if len(runs) == 0 {
			return ""
		}
		return runs[0]
	}

	answer := c.call(200, "POST", "/runs/wait", body("echo", "hello", nil), nil)
	require.Equal(t, []string{"hello", "echo: hello"}, said(t, answer))
	s.Eventually("its thread is gone", func() bool { return threadOf(answer) == "" })
	kept := c.call(200, "POST", "/runs/wait", body("echo", "keep me", map[string]any{"on_completion": "keep"}), nil)
	require.Equal(t, []string{"human: keep me", "ai: echo: keep me"}, stateOf(t, s.Site, c.key, threadOf(kept)).texts())
	failed := c.call(200, "POST", "/runs/wait", body("failing", "hello", nil), nil)
	require.Contains(t, failed.Body, `"__error__"`)
	asks := c.call(200, "POST", "/runs/wait", body("approval", "please", nil), nil)
	require.Contains(t, asks.Body, `"__interrupt__"`)
	for _, over := range []testweb.Answer{failed, asks} {
		s.Eventually("its thread is gone", func() bool { return threadOf(over) == "" })
	}

	// In the background: nobody's page lists it, its run is found, and the sweep takes it.
	var r madeRun
	made := c.call(200, "POST", "/runs", body("answers", "unlisted words", map[string]any{"on_completion": "delete"}), &r)
	require.Equal(t, "/runs/"+r.ID, made.Header.Get("Content-Location"))
	s.Eventually("it runs", func() bool { return c.run(r.Thread, r.ID).Status == "running" })
	page := s.Get(mia, "/threads")
	require.NotContains(t, page.Body, "unlisted words")
	require.Contains(t, page.Body, "keep me")
	gone, err := s.App.Database().DiscardLeft(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Zero(t, gone, "it runs")
	close(a.of("unlisted words"))
	require.Equal(t, "about unlisted words", last(said(t, c.call(200, "GET", "/threads/"+r.Thread+"/runs/"+r.ID+"/join", nil, nil))))
	gone, err = s.App.Database().DiscardLeft(t.Context(), time.Hour, 10)
	require.NoError(t, err)
	require.Zero(t, gone, "it is over, but not for long")
	gone, err = s.App.Database().DiscardLeft(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, gone)
	c.call(404, "GET", "/threads/"+r.Thread, nil, nil)

	c.call(422, "POST", "/runs", map[string]any{"assistant_id": "echo"}, nil)
	c.call(422, "POST", "/runs", map[string]any{"assistant_id": "echo", "command": map[string]any{"resume": 1}}, nil)
	c.call(404, "POST", "/runs", body("nobody", "x", nil), nil)
	c.call(404, "POST", "/runs/wait", body("echo", "x", map[string]any{"checkpoint_id": id.New()}), nil)
}

func TestABatchIsMadeWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	var all []madeRun
	c.call(200, "POST", "/runs/batch", []any{body("echo", "a", map[string]any{"on_completion": "keep"}), body("echo", "b", map[string]any{"on_completion": "keep"})}, &all)
	require.Len(t, all, 2)
	for i, r := range all {
		require.Equal(t, []string{"a", "b"}[i], said(t, c.call(200, "GET", "/threads/"+r.Thread+"/runs/"+r.ID+"/join", nil, nil))[0])
	}
	for want, wrong := range map[string]any{
		"must hold 1 to 100 runs": []any{}, "must be a list of runs": map[string]any{},
		"[1].assistant_id: is required": []any{body("echo", "c", nil), map[string]any{}},
	} {
		require.Contains(t, c.call(422, "POST", "/runs/batch", wrong, nil).Body, want)
	}
	c.call(404, "POST", "/runs/batch", []any{body("slow", "d", nil), body("nobody", "e", nil)}, nil)
	require.Empty(t, column(t, s, `select id::text from runs where status in ('pending', 'running') and cancel_requested_at is null`), "nothing of it goes on")
}

func TestARunBeginsWhenItIsDueAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	var later madeRun
	c.call(200, "POST", "/threads/"+thread+"/runs", body("echo", "later", map[string]any{"after_seconds": 2}), &later)
	require.Equal(t, []string{"now", "echo: now"}, said(t, c.call(200, "POST", "/threads/"+thread+"/runs/wait", body("echo", "now", nil), nil)))
	require.Equal(t, "pending", c.run(thread, later.ID).Status)
	require.Equal(t, []string{"now", "echo: now", "later", "echo: later"}, said(t, c.call(200, "GET", "/threads/"+thread+"/runs/"+later.ID+"/join", nil, nil)))
	r, err := s.App.Database().Run(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread), agents.RunID(later.ID))
	require.NoError(t, err)
	require.GreaterOrEqual(t, r.StartedAt.Sub(r.CreatedAt), 2*time.Second)
	require.Less(t, r.StartedAt.Sub(r.RunAfter), 700*time.Millisecond, "it is not the poll that finds it")
	for _, wrong := range []any{-1, 1e9, "soon"} {
		require.Contains(t, c.call(422, "POST", "/threads/"+thread+"/runs", body("echo", "x", map[string]any{"after_seconds": wrong}), nil).Body, "after_seconds")
	}
}

func TestTheFieldsOfARunAreCheckedAndKept(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	thread := c.thread()
	for name, w := range map[string]struct {
		more map[string]any
		want string
	}{
		"webhook":     {map[string]any{"webhook": "ftp://x"}, "webhook: must be an http or https address"},
		"webhook2":    {map[string]any{"webhook": "https://x.test/" + strings.Repeat("x", 2000)}, "webhook: must be at most 2000 characters"},
		"completion":  {map[string]any{"on_completion": "forget"}, "on_completion: must be delete or keep"},
		"disconnect":  {map[string]any{"on_disconnect": "x"}, "on_disconnect: must be cancel or continue"},
		"exists":      {map[string]any{"if_not_exists": "x"}, "if_not_exists: must be reject or create"},
		"durability":  {map[string]any{"durability": "x"}, "durability: must be sync, async or exit"},
		"strategy":    {map[string]any{"multitask_strategy": "x"}, "multitask_strategy: must be one of"},
		"recursion":   {map[string]any{"config": map[string]any{"recursion_limit": 0}}, "config.recursion_limit: must be at least 1"},
		"recursion2":  {map[string]any{"config": map[string]any{"recursion_limit": 10001}}, "config.recursion_limit: must be between 1 and 10000"},
		"subgraph":    {map[string]any{"checkpoint": map[string]any{"checkpoint_id": id.New(), "checkpoint_ns": "a:b"}}, "checkpoint.checkpoint_ns"},
		"interrupt":   {map[string]any{"interrupt_before": []string{"nowhere"}}, "interrupt_before"},
		"goto":        {map[string]any{"command": map[string]any{"goto": 3}}, "command.goto: must be the name of a node"},
		"nowhere":     {map[string]any{"command": map[string]any{"goto": "nowhere"}}, "command.goto"},
		"update":      {map[string]any{"command": map[string]any{"update": 3, "goto": "echo"}}, "command.update: must be an object of channels"},
		"updateNone":  {map[string]any{"command": map[string]any{"update": map[string]any{"nothing": 1}, "goto": "echo"}}, "command.update.nothing"},
		"input":       {map[string]any{"input": 3}, "input: must be an object of channels, or messages"},
		"noMessages":  {map[string]any{"input": map[string]any{"other": 1}}, "input.messages: must hold at least one message"},
		"messages":    {map[string]any{"input": map[string]any{"messages": 3}}, "input.messages: must be a list of messages"},
		"nothingLeft": {map[string]any{"input": nil}, "input: is required: the thread has nothing to go on with"},
	} {
		require.Contains(t, c.call(422, "POST", "/threads/"+thread+"/runs", body("echo", "x", w.more), nil).Body, w.want, name)
		if name != "nothingLeft" && name != "nowhere" && name != "updateNone" {
			require.Contains(t, c.call(422, "POST", "/runs/wait", body("echo", "x", w.more), nil).Body, w.want, name)
		}
	}
	c.call(404, "POST", "/threads/"+thread+"/runs", body("echo", "x", map[string]any{"checkpoint_id": id.New()}), nil)

	harmless := map[string]any{"webhook": nil, "on_completion": "keep", "on_disconnect": "continue", "durability": "sync", "checkpoint_during": false,
		"feedback_keys": []string{"stars"}, "langsmith_tracer": map[string]any{"project_name": "x"}, "strictResume": true, "stream_resumable": true,
		"stream_mode": []string{"values"}, "stream_subgraphs": true, "after_seconds": 0, "if_not_exists": "create", "unknown": 1,
		"interrupt_before": []string{}, "interrupt_after": nil, "checkpoint": nil, "command": nil,
		"config": map[string]any{"tags": []string{"a"}, "recursion_limit": 7, "configurable": map[string]any{"mine": 1, "user_id": "somebody else"}}}
	var r madeRun
	c.call(200, "POST", "/threads/"+id.New()+"/runs", body("echo", "x", harmless), &r)
	require.Equal(t, map[string]any{"tags": []any{"a"}, "recursion_limit": 7.0, "configurable": map[string]any{"mine": 1.0}}, r.Kwargs["config"])
	run, err := s.App.Database().Run(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(r.Thread), agents.RunID(r.ID))
	require.NoError(t, err)
	require.Equal(t, 7, run.Input.RecursionLimit)
	require.Len(t, run.Input.Context, 1)
	var hooked madeRun
	c.call(200, "POST", "/threads/"+thread+"/runs", body("echo", "x", map[string]any{"webhook": "https://hooks.test/x"}), &hooked)
	require.Equal(t, []string{"https://hooks.test/x"}, column(t, s, `select webhook from runs where id = $1`, hooked.ID))
}
