package run_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/store"
)

func TestMain(m *testing.M) { testpg.Main(m) }

func template() testpg.Template {
	return testpg.Template{Name: "heddle", Prepare: func(ctx context.Context, url string) error {
		_, _, err := store.Migrate(ctx, url, migrations.FS, nil)
		return err
	}}
}

// bundle is one server's worth of parts on a database of its own.
type bundle struct {
	db      *store.DB
	url     string
	scope   auth.Scope
	service *run.Service
	hub     *hub
	graphs  graphs
}

type graphs map[string]*graph.Graph

func (g graphs) Graph(name string) (*graph.Graph, bool) { found, ok := g[name]; return found, ok }

// hub joins the parts inside this process, as the real one does over Redis.
type hub struct {
	mu       sync.Mutex
	logged   []run.Logged
	workers  []*run.Worker
	watchers map[chan run.End]struct{}
	rechecks int
}

func (h *hub) PublishLogged(_ context.Context, events []run.Logged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logged = append(h.logged, events...)
	for c := range h.watchers {
		select {
		case c <- run.End{}:
		default:
		}
	}
}

func (h *hub) ReviewsChanged(context.Context, auth.OrgID) {}

func (h *hub) Wake(context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.workers {
		w.Wake()
	}
}

func (h *hub) Recheck(context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rechecks++
}

func (h *hub) Stop(_ context.Context, r agents.RunID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.workers {
		w.Stop(r)
	}
}

func (h *hub) Watch(context.Context, auth.OrgID, agents.ThreadID) (<-chan run.End, func(), error) {
	c := make(chan run.End, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[c] = struct{}{}
	return c, func() { h.mu.Lock(); defer h.mu.Unlock(); delete(h.watchers, c) }, nil
}

func setup(t *testing.T, extra ...*graph.Graph) *bundle {
	t.Helper()
	ctx := t.Context()
	url := testpg.Database(t, template())
	db, err := store.Open(ctx, store.Options{URL: url})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	b := &bundle{db: db, url: url, hub: &hub{watchers: map[chan run.End]struct{}{}}, graphs: graphs{}}
	b.scope = auth.Scope{User: auth.UserID(id.New()), Org: auth.OrgID(id.New()), Role: auth.RoleMember}
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer conn.Close(ctx)
	for _, sql := range []string{
		"set role heddle_system",
		fmt.Sprintf("insert into orgs (id, slug, name) values ('%s', 'acme', 'Acme')", b.scope.Org),
		fmt.Sprintf("insert into users (id, email) values ('%s', 'mia@acme.test')", b.scope.User),
		fmt.Sprintf("insert into memberships (org_id, user_id, role) values ('%s', '%s', 'member')", b.scope.Org, b.scope.User),
	} {
		_, err := conn.Exec(ctx, sql)
		require.NoError(t, err)
	}
	dev, err := prebuilt.Development()
	require.NoError(t, err)
	for _, g := range append(dev, extra...) {
		b.graphs[g.Name()] = g
		require.NoError(t, db.EnsureAssistant(ctx, b.scope, agents.Assistant{
			ID: agents.AssistantID(id.New()), Graph: g.Name(), Name: g.Name(), IsDefault: true}))
	}
	log := run.NewLog(db, b.hub, slog.Default())
	t.Cleanup(log.Close)
	ender := run.NewWorker(run.Options{Store: db, Graphs: b.graphs, Log: log, Publish: b.hub, Signals: b.hub, Logger: slog.Default()}) // never run
	b.service = run.NewService(run.Parts{Queue: db, Publish: b.hub, Signals: b.hub, Watch: b.hub, Graphs: b.graphs, Ender: ender,
		Clock: clock.System{}, Logger: slog.Default()})
	return b
}

// worker starts a worker; the returned function stops it and waits.
func (b *bundle) worker(t *testing.T, change func(*run.Options)) (*run.Worker, func()) {
	t.Helper()
	log := run.NewLog(b.db, b.hub, slog.Default())
	o := run.Options{
		Store: b.db, Graphs: b.graphs, Log: log, Publish: b.hub, Signals: b.hub, Logger: slog.Default(),
		Arrive: func(ctx context.Context, name string) (run.Presence, error) { return b.db.Arrive(ctx, name) },
		Lease:  2 * time.Second, Renew: 300 * time.Millisecond, Sweep: 100 * time.Millisecond, Poll: 200 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	w := run.NewWorker(o)
	b.hub.mu.Lock()
	b.hub.workers = append(b.hub.workers, w)
	b.hub.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	var once sync.Once
	stop := func() { once.Do(func() { cancel(); <-done; log.Close() }) }
	t.Cleanup(stop)
	return w, stop
}

func (b *bundle) submit(t *testing.T, thread agents.ThreadID, assistant, text string) agents.Run {
	t.Helper()
	r, err := b.service.Submit(t.Context(), b.scope, run.Request{
		Thread: thread, Create: &agents.NewThread{ID: thread}, Assistant: assistant, Input: b.service.Text(b.scope, text)})
	require.NoError(t, err)
	return r
}

func (b *bundle) wait(t *testing.T, r agents.Run) agents.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := b.service.Wait(ctx, b.scope, r.Thread, r.ID)
	require.NoError(t, err, "the run is %s, attempt %d, lost %+v", out.Status, out.Attempt, out.Lost)
	return out
}

func (b *bundle) texts(t *testing.T, thread agents.ThreadID) []string {
	t.Helper()
	state, err := b.db.State(t.Context(), b.scope, thread)
	require.NoError(t, err)
	var out []string
	for _, m := range state.Messages {
		out = append(out, string(m.Role)+": "+m.Text)
	}
	return out
}

// log reads the whole log and checks that its numbers are dense.
func (b *bundle) log(t *testing.T, thread agents.ThreadID) []event.Envelope {
	t.Helper()
	rows, head, err := b.db.Log(t.Context(), b.scope, thread, 0, 0)
	require.NoError(t, err)
	var out []event.Envelope
	for i, row := range rows {
		require.Equal(t, int64(i+1), row.Seq)
		e, err := event.Parse(row.Payload(head.Epoch))
		require.NoError(t, err)
		out = append(out, e)
	}
	require.Equal(t, head.Seq, int64(len(rows)))
	return out
}

func TestARunAnswersAndItsLogIsDense(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.worker(t, nil)
	thread := agents.ThreadID(id.New())
	r := b.wait(t, b.submit(t, thread, "echo", "hello"))
	require.Equal(t, agents.RunSuccess, r.Status)
	require.Equal(t, []string{"user: hello", "assistant: echo: hello"}, b.texts(t, thread))
	var types []string
	for _, e := range b.log(t, thread) {
		types = append(types, string(e.Type))
	}
	require.Equal(t, "CUSTOM RUN_STARTED CUSTOM STEP_STARTED TEXT_MESSAGE_START TEXT_MESSAGE_CONTENT TEXT_MESSAGE_END STEP_FINISHED CUSTOM RUN_FINISHED", strings.Join(types, " "))
}

func TestQueuedMessagesAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	thread := agents.ThreadID(id.New())
	var last agents.Run
	for i := range 5 {
		last = b.submit(t, thread, "echo", fmt.Sprint(i))
	}
	b.worker(t, nil)
	b.wait(t, last)
	require.Equal(t, []string{"user: 0", "assistant: echo: 0", "user: 1", "assistant: echo: 1", "user: 2", "assistant: echo: 2",
		"user: 3", "assistant: echo: 3", "user: 4", "assistant: echo: 4"}, b.texts(t, thread))
}

func TestCancelStopsTheRunAndKeepsTheText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.worker(t, nil)
	thread := agents.ThreadID(id.New())
	r := b.submit(t, thread, "slow", "go")
	require.Eventually(t, func() bool {
		return strings.Contains(fmt.Sprint(b.hub.payloads()), "token3")
	}, 10*time.Second, 10*time.Millisecond)
	_, err := b.service.Cancel(t.Context(), b.scope, thread, r.ID, "stopped by mia")
	require.NoError(t, err)
	ended := b.wait(t, r)
	require.Equal(t, agents.RunCancelled, ended.Status)
	texts := b.texts(t, thread)
	require.Len(t, texts, 2)
	require.Contains(t, texts[1], "token3")
	require.NotContains(t, texts[1], "token19")
	last := b.log(t, thread)
	require.Contains(t, string(last[len(last)-1].Data), `"outcome":"cancelled"`)
}

func (h *hub) payloads() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]string, len(h.logged))
	for i, l := range h.logged {
		out[i] = string(l.Payload)
	}
	return out
}

func TestAFailingNodeEndsTheRunWithItsError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.worker(t, nil)
	thread := agents.ThreadID(id.New())
	r := b.wait(t, b.submit(t, thread, "failing", "x"))
	require.Equal(t, agents.RunFailed, r.Status)
	require.Equal(t, "boom", r.Error.Message)
	require.Equal(t, "failing", r.Error.Node)
}

func TestAPanicOutsideANodeEndsItsRunAlone(t *testing.T) {
	t.Parallel()
	nothing := func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, nil }
	astray, err := graph.New("astray").Node("a", nothing).Edge(graph.Start, "a").
		Branch("a", func(graph.State) ([]string, error) { panic("no way on") }, graph.End).Compile()
	require.NoError(t, err)
	b := setup(t, astray)
	b.worker(t, nil)
	lost := b.wait(t, b.submit(t, agents.ThreadID(id.New()), "astray", "x"))
	require.Equal(t, agents.RunFailed, lost.Status)
	require.NotContains(t, lost.Error.Message, "no way on", "a panic's text is for the log")
	thread := agents.ThreadID(id.New())
	require.Equal(t, agents.RunSuccess, b.wait(t, b.submit(t, thread, "echo", "still here")).Status)
}
