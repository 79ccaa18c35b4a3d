package run_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/internal/id"
)

// named gives a worker a name, one run at a time, and no renewal.
func (b *bundle) named(name string) func(*run.Options) {
	return func(o *run.Options) {
		o.Runs, o.Renew = 1, time.Hour
		o.Arrive = func(ctx context.Context, _ string) (run.Presence, error) { return b.db.Arrive(ctx, name) }
	}
}

// dropLeases lets every lease run out at once.
func (b *bundle) dropLeases(t *testing.T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "set role heddle_system")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "update thread_heads set lease_until = now() - interval '1 ms' where run_id is not null")
	require.NoError(t, err)
}

// story is what was told of attempts, without the times; those are checked.
func story(t *testing.T, attempts []agents.Attempt) (out []string) {
	t.Helper()
	var last time.Time
	for _, a := range attempts {
		require.False(t, a.BeganAt.IsZero())
		require.False(t, a.EndedAt.Before(a.BeganAt), "%+v", a)
		require.False(t, a.BeganAt.Before(last), "%+v", a)
		require.WithinDuration(t, time.Now(), a.EndedAt, time.Minute)
		last = a.BeganAt
		out = append(out, fmt.Sprintf("%d on %s: %s", a.Attempt, a.Worker, a.Why))
	}
	return out
}

// toldAs requires that the run's last envelope says of it what its row says.
func (b *bundle) toldAs(t *testing.T, r agents.Run) {
	t.Helper()
	all := b.log(t, r.Thread)
	last := all[len(all)-1]
	require.Equal(t, event.RunError, last.Type)
	var d event.RunErrorData
	require.NoError(t, last.Decode(&d))
	require.Equal(t, r.Error.Code, d.Code)
	require.Equal(t, r.Error.Message, d.Message)
	require.Len(t, d.Attempts, len(r.Error.Attempts))
	for i, a := range r.Error.Attempts {
		got, err := json.Marshal(d.Attempts[i])
		require.NoError(t, err)
		want, err := json.Marshal(map[string]any{"attempt": a.Attempt, "beganAt": a.BeganAt, "endedAt": a.EndedAt, "worker": a.Worker, "why": a.Why})
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(got))
	}
}

func TestARunThatLosesItsWorkerThreeTimesEndsWithTheStory(t *testing.T) {
	t.Parallel()
	g := newGate()
	b := setup(t, g.graph(t))
	defer func() {
		for attempt := 1; attempt <= 3; attempt++ {
			close(g.door(attempt))
		}
	}()
	thread := agents.ThreadID(id.New())
	r := b.submit(t, thread, "gate", "hello")
	b.worker(t, b.named("first"))
	require.Equal(t, 1, <-g.entered)
	b.cutWorkers(t)
	b.worker(t, b.named("second")) // lives, but does not renew
	require.Equal(t, 2, <-g.entered)
	b.worker(t, b.named("third"))
	require.Equal(t, 3, <-g.entered)
	b.cutWorkers(t)
	b.worker(t, nil)
	ended := b.wait(t, r)
	require.Equal(t, agents.RunFailed, ended.Status)
	require.Equal(t, "attempts_exhausted", ended.Error.Code)
	require.Contains(t, ended.Error.Message, "tried 3 times")
	require.Equal(t, []string{"1 on first: process_gone", "2 on second: lease_expired", "3 on third: process_gone"}, story(t, ended.Error.Attempts))
	b.toldAs(t, ended)
	b.hub.mu.Lock()
	defer b.hub.mu.Unlock()
	require.Positive(t, b.hub.rechecks, "what a dead worker may not have published is looked for")
}

func TestTheLastOfSeveralAttemptsIsPartOfTheStory(t *testing.T) {
	t.Parallel()
	for end, why := range map[string]agents.AttemptEnd{"panics": agents.AttemptPanic, "stays": agents.AttemptTimeout, "fails": agents.AttemptFailed} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			entered := make(chan int, 16)
			falls, err := graph.New("falls").Node("falls", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
				entered <- task.Attempt
				if task.Attempt == 3 {
					switch end {
					case "panics":
						panic("no way on")
					case "fails":
						return graph.Command{}, errors.New("boom")
					}
				}
				<-ctx.Done()
				return graph.Command{}, context.Cause(ctx)
			}).Edge(graph.Start, "falls").Edge("falls", graph.End).Compile()
			require.NoError(t, err)
			b := setup(t, falls)
			b.worker(t, func(o *run.Options) {
				b.named("only")(o)
				o.Runs, o.Lease = 10, time.Hour
				o.RunTimeout = 4 * time.Second // of each attempt
			})
			r := b.submit(t, agents.ThreadID(id.New()), "falls", "hello")
			for attempt := 1; attempt <= 3; attempt++ {
				require.Equal(t, attempt, <-entered)
				if attempt < 3 {
					b.dropLeases(t)
				}
			}
			ended := b.wait(t, r)
			require.Equal(t, []string{"1 on only: lease_expired", "2 on only: lease_expired", "3 on only: " + string(why)}, story(t, ended.Error.Attempts))
			b.toldAs(t, ended)
		})
	}
}

// TestAStepThatCommitsBeginsTheCountAnew: four workers are lost, but never three at
// one step; then three are, and only they are told of.
func TestAStepThatCommitsBeginsTheCountAnew(t *testing.T) {
	t.Parallel()
	for end, want := range map[string][]string{
		"goes on":    nil,
		"fails":      {"3 on only: lease_expired", "4 on only: lease_expired", "5 on only: failed"},
		"lost again": {"3 on only: lease_expired", "4 on only: lease_expired", "5 on only: lease_expired"},
	} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			entered := make(chan string, 16)
			node := func(name string, from int) graph.Node {
				return func(ctx context.Context, task *graph.Task) (graph.Command, error) {
					entered <- fmt.Sprint(name, task.Attempt)
					if task.Attempt < from {
						<-ctx.Done()
						return graph.Command{}, context.Cause(ctx)
					}
					if name == "b" && end == "fails" {
						return graph.Command{}, errors.New("boom")
					}
					return graph.Command{}, nil
				}
			}
			last := 5
			if end == "lost again" {
				last = 6
			}
			two, err := graph.New("two").Node("a", node("a", 3)).Node("b", node("b", last)).
				Edge(graph.Start, "a").Edge("a", "b").Edge("b", graph.End).Compile()
			require.NoError(t, err)
			b := setup(t, two)
			b.worker(t, func(o *run.Options) {
				b.named("only")(o)
				o.Runs, o.Lease = 10, time.Hour
			})
			r := b.submit(t, agents.ThreadID(id.New()), "two", "hello")
			for _, at := range []string{"a1", "a2", "a3", "b3", "b4", "b5"} {
				require.Equal(t, at, <-entered)
				if at != "a3" && (at != "b5" || end == "lost again") {
					b.dropLeases(t)
				}
			}
			ended := b.wait(t, r)
			if want == nil {
				require.Equal(t, agents.RunSuccess, ended.Status)
				require.Zero(t, ended.Failures)
				return
			}
			require.Equal(t, agents.RunFailed, ended.Status)
			require.Equal(t, want, story(t, ended.Error.Attempts))
			b.toldAs(t, ended)
		})
	}
}
