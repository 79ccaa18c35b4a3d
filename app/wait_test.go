package app_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/testredis"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/store"
)

// reader counts how often a run is read.
type reader struct {
	*store.DB
	reads atomic.Int32
	first chan struct{}
}

func (q *reader) Run(ctx context.Context, scope auth.Scope, thread agents.ThreadID, id agents.RunID) (agents.Run, error) {
	r, err := q.DB.Run(ctx, scope, thread, id)
	if q.reads.Add(1) == 1 {
		close(q.first)
	}
	return r, err
}

// far is a node that has no clock: its hub compares nothing with the log unless
// something tells it to.
type far struct {
	t    *testing.T
	db   *store.DB
	hub  *realtime.Hub
	stop func()
}

func startFar(t *testing.T, s *testweb.Server) *far {
	t.Helper()
	o, err := redis.ParseURL(s.RedisURL)
	require.NoError(t, err)
	o.ContextTimeoutEnabled = true
	client := redis.NewClient(o)
	hub := realtime.New(realtime.Options{Redis: client, Log: app.LogReader(s.App.Database()), Logger: slog.New(slog.DiscardHandler),
		CheckEvery: time.Hour, DegradedEvery: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- hub.Run(ctx) }()
	f := &far{t: t, db: s.App.Database(), hub: hub, stop: func() { cancel() }}
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, client.Close())
	})
	s.Eventually("the far node hears Redis", func() bool { return hub.State().Connected })
	return f
}

type waited struct {
	run   agents.Run
	err   error
	reads int32
}

// wait returns once the waiter has found that the run is open.
func (f *far) wait(scope auth.Scope, thread agents.ThreadID, id agents.RunID) <-chan waited {
	f.t.Helper()
	q := &reader{DB: f.db, first: make(chan struct{})}
	service := run.NewService(run.Parts{Queue: q, Watch: app.Watcher(f.hub)})
	out := make(chan waited, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		r, err := service.Wait(ctx, scope, thread, id)
		out <- waited{r, err, q.reads.Load()}
	}()
	<-q.first
	return out
}

// open begins a run whose end the test decides, and waits until it executes.
func open(s *testweb.Server, c *http.Client, scope auth.Scope) (thread string, id agents.RunID) {
	a := s.Post(c, "/threads", url.Values{"message": {"hello"}, "assistant_id": {"gate"}})
	thread = strings.TrimPrefix(a.Path, "/threads/")
	s.Eventually("the run executes", func() bool {
		runs, err := s.App.Database().OpenRuns(context.Background(), scope, threadID(thread))
		if err != nil || len(runs) != 1 || runs[0].Status != agents.RunRunning {
			return false
		}
		id = runs[0].ID
		return true
	})
	return thread, id
}

func TestWhoeverWaitsIsWokenAlthoughRedisIsKilledAtTheEnd(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	redis := testredis.Private(t)
	s := testweb.Start(t, testweb.Options{RedisURL: redis.URL(), Graphs: []*graph.Graph{gate}, Env: []string{"HEDDLE_LEASE=30s"}})
	other := testweb.Start(t, testweb.Options{RedisURL: redis.URL(), DatabaseURL: s.DatabaseURL, Graphs: []*graph.Graph{gate}, Env: []string{"HEDDLE_WORKER=off"}})
	far := startFar(t, s)
	mia, key, scope := s.SignIn("mia@acme.test"), s.Key("acme", "mia@acme.test"), s.Scope("acme", "mia@acme.test")

	// While Redis lives its word is enough.
	thread, id := open(s, mia, scope)
	there := far.wait(scope, threadID(thread), id)
	gates.write(thread, "hello")
	gates.end(thread)
	got := <-there
	require.NoError(t, got.err, "the run is %s, attempt %d", got.run.Status, got.run.Attempt)
	require.Equal(t, agents.RunSuccess, got.run.Status)
	require.Equal(t, int32(1), got.reads, "once at first; what woke it said the rest")

	thread, id = open(s, mia, scope)
	there = far.wait(scope, threadID(thread), id)
	redis.Kill()
	s.Eventually("the far node has lost Redis", func() bool { return !far.hub.State().Connected })
	// The product compares with the log while Redis is away, on the node that executes
	// nothing too.
	answer := other.API(key, http.MethodPost, "/api/threads/"+thread+"/runs/"+string(id)+"/cancel?wait=1", nil)
	require.Equal(t, http.StatusNoContent, answer.Status, answer.Body)
	select {
	case got := <-there:
		require.Fail(t, "nothing could wake it yet", "%+v", got)
	default:
	}
	// Whoever has no clock is woken when Redis is back, once.
	redis.Restart()
	got = <-there
	require.NoError(t, got.err, "the run is %s, attempt %d", got.run.Status, got.run.Attempt)
	require.Equal(t, agents.RunCancelled, got.run.Status)
	require.Equal(t, int32(2), got.reads)
}

func TestWhoeverWaitsIsToldThatTheThreadIsGoneOrTheServerStops(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{gate}})
	far := startFar(t, s)
	mia, scope := s.SignIn("mia@acme.test"), s.Scope("acme", "mia@acme.test")
	thread, id := open(s, mia, scope)
	there := far.wait(scope, threadID(thread), id)
	require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/delete", nil).Status)
	require.True(t, fault.Is((<-there).err, fault.KindNotFound))

	thread, id = open(s, mia, scope)
	there = far.wait(scope, threadID(thread), id)
	far.stop()
	got := <-there
	require.True(t, fault.Is(got.err, fault.KindUnavailable))
	require.Equal(t, int32(1), got.reads, "it asks no more")
	gates.write(thread, "hello")
	gates.end(thread)
}
