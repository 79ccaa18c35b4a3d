package run_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// hanging is a presence whose connection is dead without saying so.
type hanging struct {
	run.Presence
	asked chan struct{}
}

func (h hanging) Alive(ctx context.Context) error {
	close(h.asked)
	<-ctx.Done()
	return ctx.Err()
}

func TestAWorkerWhoseConnectionHangsArrivesAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := make(chan struct{})
	var arrivals atomic.Int64
	b.worker(t, func(o *run.Options) {
		o.Lease = 500 * time.Millisecond
		o.Renew = 100 * time.Millisecond
		o.Arrive = func(ctx context.Context, name string) (run.Presence, error) {
			p, err := b.db.Arrive(ctx, name)
			if err != nil || arrivals.Add(1) > 1 {
				return p, err
			}
			return hanging{p, asked}, nil
		}
	})
	<-asked
	r := b.submit(t, agents.ThreadID(id.New()), "echo", "hello")
	require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
	require.EqualValues(t, 2, arrivals.Load())
}

// mute is a store that a run can't be handed back to.
type mute struct {
	run.Store
	asked chan struct{}
}

func (m mute) HandBack(ctx context.Context, _ auth.OrgID, _ agents.Lease) error {
	close(m.asked)
	<-ctx.Done()
	return ctx.Err()
}

func TestADrainDoesNotWaitForADatabaseThatIsSilent(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	long, err := graph.New("long").Node("a", func(ctx context.Context, _ *graph.Task) (graph.Command, error) {
		close(entered)
		<-ctx.Done()
		return graph.Command{}, ctx.Err()
	}).Edge(graph.Start, "a").Edge("a", graph.End).Compile()
	require.NoError(t, err)
	b := setup(t, long)
	asked := make(chan struct{})
	_, stop := b.worker(t, func(o *run.Options) {
		o.Store, o.Drain, o.SettleTimeout = mute{b.db, asked}, 100*time.Millisecond, time.Hour
	})
	b.submit(t, agents.ThreadID(id.New()), "long", "x")
	<-entered
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	<-asked
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		require.Fail(t, "the drain waits for an answer that does not come")
	}
}

func TestARunOutlivesADatabaseThatIsCutOffInsideANode(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.worker(t, nil)
	r, open := d.asked(t, "mail bob@example.com")
	var gone error = &pgconn.PgError{Code: "57P01", Message: "terminating connection due to administrator command"}
	d.sendFails.Store(&gone)
	done := d.decide(t, d.ray, open[0], agents.Approve)
	ended := d.ended(t, r.Thread, done.Resumed)
	require.Equal(t, agents.RunSuccess, ended.Status)
	require.Equal(t, 2, ended.Attempt)
	require.Len(t, d.post.letters(), 1)
}
