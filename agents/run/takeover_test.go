package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// gate is a graph whose node says "part of attempt N", then waits for its
// attempt to be let go. It does not look at its context: it is the zombie that
// goes on although its lease is gone.
type gate struct {
	mu      sync.Mutex
	entered chan int
	free    map[int]chan struct{}
}

func newGate() *gate { return &gate{entered: make(chan int, 16), free: map[int]chan struct{}{}} }

func (g *gate) door(attempt int) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free[attempt] == nil {
		g.free[attempt] = make(chan struct{})
	}
	return g.free[attempt]
}

// release lets an attempt go, once.
func (g *gate) release(attempt int) {
	door := g.door(attempt)
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-door:
	default:
		close(door)
	}
}

func (g *gate) graph(t *testing.T) *graph.Graph { return g.named(t, "gate") }

func (g *gate) named(t *testing.T, name string) *graph.Graph {
	t.Helper()
	compiled, err := graph.New(name).Node("gate", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		message := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: fmt.Sprintf("part of attempt %d", task.Attempt)}
		task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(message.ID), Role: "assistant"})
		task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(message.ID), Delta: message.Text})
		g.entered <- task.Attempt
		<-g.door(task.Attempt)
		task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(message.ID)})
		return graph.Command{Update: []graph.Write{graph.AddMessage(message)}}, nil
	}).Edge(graph.Start, "gate").Edge("gate", graph.End).Compile()
	require.NoError(t, err)
	return compiled
}

// cutWorkers ends the connections that hold the workers' advisory locks, as a
// kill -9 of their processes would.
func (b *bundle) cutWorkers(t *testing.T) { b.cut(t, "") }

// cut ends the connection of the workers whose names begin so.
func (b *bundle) cut(t *testing.T, name string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
		where application_name like 'heddle worker ' || $1 || '%' and datname = current_database()`, name)
	require.NoError(t, err)
}

func TestARunOfALostWorkerGoesOnOnceAndItsZombieWritesNothing(t *testing.T) {
	t.Parallel()
	g := newGate()
	b := setup(t, g.graph(t))
	// The first worker never notices that its presence is gone: no renewal.
	b.worker(t, func(o *run.Options) { o.Renew, o.Sweep, o.Poll = time.Hour, time.Hour, 50*time.Millisecond })
	thread := agents.ThreadID(id.New())
	r := b.submit(t, thread, "gate", "hello")
	require.Equal(t, 1, <-g.entered)
	require.Eventually(t, func() bool { return containsText(b.hub.payloads(), "part of attempt 1") }, 10*time.Second, 5*time.Millisecond)
	b.cutWorkers(t)
	b.worker(t, nil)
	require.Equal(t, 2, <-g.entered)
	close(g.door(1)) // the zombie goes on and must change nothing
	close(g.door(2))
	ended := b.wait(t, r)
	require.Equal(t, agents.RunSuccess, ended.Status)
	require.Equal(t, []string{"user: hello", "assistant: part of attempt 2"}, b.texts(t, thread))

	var broken, discarded []string
	for _, e := range b.log(t, thread) {
		name, value := e.CustomName()
		if name == event.RunContinued {
			var v event.ContinuedValue
			require.NoError(t, json.Unmarshal(value, &v))
			require.Equal(t, 2, v.Attempt)
			discarded = v.Discarded
		}
		if e.Type == event.TextMessageEnd {
			var d event.TextEndData
			require.NoError(t, e.Decode(&d))
			if d.Broken {
				broken = append(broken, d.MessageID)
			} else {
				require.Equal(t, 2, e.Attempt, "only the second attempt ends its message")
			}
		}
	}
	require.Len(t, discarded, 1)
	require.Equal(t, discarded, broken)
}

func TestAWorkerThatTakesItsOwnRunBackEndsTheAttemptThatLostIt(t *testing.T) {
	t.Parallel()
	entered, ended, free := make(chan int, 16), make(chan error, 16), make(chan struct{})
	waits, err := graph.New("waits").Node("waits", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		entered <- task.Attempt
		if task.Attempt == 1 {
			select {
			case <-ctx.Done():
				ended <- context.Cause(ctx)
			case <-free:
			}
		}
		return graph.Command{}, context.Cause(ctx)
	}).Edge(graph.Start, "waits").Edge("waits", graph.End).Compile()
	require.NoError(t, err)
	b := setup(t, waits)
	// It never notices that its presence is gone, but looks for lost runs.
	b.worker(t, func(o *run.Options) { o.Renew, o.Sweep, o.Poll = time.Hour, 20*time.Millisecond, 20*time.Millisecond })
	t.Cleanup(func() { close(free) })
	r := b.submit(t, agents.ThreadID(id.New()), "waits", "hello")
	require.Equal(t, 1, <-entered)
	b.cutWorkers(t)
	require.Equal(t, 2, <-entered)
	select {
	case cause := <-ended:
		require.ErrorIs(t, cause, agents.ErrFenced)
	case <-time.After(10 * time.Second):
		require.Fail(t, "the first attempt goes on")
	}
	require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
}

func containsText(payloads []string, text string) bool {
	for _, p := range payloads {
		var e struct {
			Data event.TextContentData `json:"data"`
		}
		if json.Unmarshal([]byte(p), &e) == nil && e.Data.Delta == text {
			return true
		}
	}
	return false
}

func TestDrainHandsARunBackAtAStepBoundary(t *testing.T) {
	t.Parallel()
	entered, free := make(chan string, 4), make(chan struct{})
	step := func(name string) graph.Node {
		return func(_ context.Context, task *graph.Task) (graph.Command, error) {
			entered <- name
			<-free
			return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{
				ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: name})}}, nil
		}
	}
	two, err := graph.New("two").Node("a", step("a")).Node("b", step("b")).
		Edge(graph.Start, "a").Edge("a", "b").Edge("b", graph.End).Compile()
	require.NoError(t, err)
	b := setup(t, two)
	w, stop := b.worker(t, nil)
	thread := agents.ThreadID(id.New())
	r := b.submit(t, thread, "two", "x")
	require.Equal(t, "a", <-entered)
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	require.Eventually(t, w.Draining, 10*time.Second, 5*time.Millisecond)
	other := b.submit(t, agents.ThreadID(id.New()), "echo", "later")
	close(free)
	<-stopped
	after, err := b.db.Run(t.Context(), b.scope, thread, r.ID)
	require.NoError(t, err)
	require.Equal(t, agents.RunPending, after.Status)
	require.Zero(t, after.Failures, "a hand-over is no failure")
	b.worker(t, nil)
	require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
	require.Equal(t, []string{"user: x", "assistant: a", "assistant: b"}, b.texts(t, thread))
	require.Equal(t, agents.RunSuccess, b.wait(t, other).Status)
}

// lateStore answers that a run's end is written once the worker has renewed twice,
// and so has seen that it holds the run no longer.
type lateStore struct {
	run.Store
	mu      sync.Mutex
	ended   bool
	renewed int
	seen    chan struct{}
}

func (s *lateStore) CommitSteps(ctx context.Context, scope auth.Scope, lease agents.Lease, steps []agents.Step, finish *agents.Finish) (stepped agents.Appended, finished agents.Finished, err error) {
	stepped, finished, err = s.Store.CommitSteps(ctx, scope, lease, steps, finish)
	if finish == nil || err != nil {
		return stepped, finished, err
	}
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	<-s.seen
	return stepped, finished, ctx.Err()
}

func (s *lateStore) Renew(ctx context.Context, worker agents.WorkerID, runs []agents.RunID, lease time.Duration) ([]agents.Held, error) {
	held, err := s.Store.Renew(ctx, worker, runs, lease)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended && err == nil && len(held) == 0 {
		if s.renewed++; s.renewed == 2 {
			close(s.seen)
		}
	}
	return held, err
}

func TestAnEndThatIsWrittenIsToldAlthoughARenewalSeesItFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	late := &lateStore{Store: b.db, seen: make(chan struct{})}
	b.worker(t, func(o *run.Options) { o.Store, o.Renew = late, 20*time.Millisecond })
	r := b.submit(t, agents.ThreadID(id.New()), "echo", "hello")
	require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
	require.Eventually(t, func() bool {
		return len(b.hub.payloads()) == len(b.log(t, r.Thread))
	}, 10*time.Second, 5*time.Millisecond, "all of the log was published")
}
