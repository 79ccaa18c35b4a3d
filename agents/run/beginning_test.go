package run_test

import (
	"context"
	"errors"
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

// transactions counts those that made the steps of a run.
func (b *bundle) transactions(t *testing.T, r agents.Run) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), `select count(distinct xmin::text) from checkpoints where run_id = $1`, string(r.ID)).Scan(&n))
	return n
}

func TestABeginningIsWrittenWithTheStepThatFollowsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.worker(t, nil)
	together := func() bool { // on a busy machine a step may come too late
		r := b.submit(t, agents.ThreadID(id.New()), "echo", "hello")
		require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
		checkpoints, err := b.db.Checkpoints(t.Context(), b.scope, r.Thread, 10)
		require.NoError(t, err)
		require.Len(t, checkpoints, 2)
		var steps []int
		for _, e := range b.log(t, r.Thread) {
			steps = append(steps, e.Step)
		}
		require.IsNonDecreasing(t, steps)
		require.Less(t, checkpoints[1].EventSeq, checkpoints[0].EventSeq, "a step's state contains what was told before it")
		return b.transactions(t, r) == 1
	}
	for tries := 0; !together(); tries++ {
		require.Less(t, tries, 100)
	}
}

func TestABeginningDoesNotWaitForASlowNode(t *testing.T) {
	t.Parallel()
	g := newGate()
	b := setup(t, g.graph(t))
	b.worker(t, nil)
	r := b.submit(t, agents.ThreadID(id.New()), "gate", "x")
	<-g.entered
	require.Eventually(t, func() bool {
		state, err := b.db.State(t.Context(), b.scope, r.Thread)
		require.NoError(t, err)
		return state.Step == 0 && len(state.Messages) == 1
	}, 10*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		log := b.log(t, r.Thread)
		return len(log) >= 5 && log[1].Type == event.RunStarted && log[len(log)-1].Type == event.TextMessageContent
	}, 10*time.Second, 5*time.Millisecond)
	g.release(1)
	require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
	require.Equal(t, 2, b.transactions(t, r))
}

// lossyStore does not write the first beginning of a run, once its node has failed.
type lossyStore struct {
	run.Store
	failed chan struct{}
	once   sync.Once
}

var errLost = errors.New("the database is away")

func (s *lossyStore) CommitSteps(ctx context.Context, scope auth.Scope, lease agents.Lease, steps []agents.Step, finish *agents.Finish) (stepped agents.Appended, finished agents.Finished, err error) {
	s.once.Do(func() {
		<-s.failed
		err = errLost
	})
	if err != nil {
		return stepped, finished, err
	}
	return s.Store.CommitSteps(ctx, scope, lease, steps, finish)
}

// A run fails, and what it brought could not be written: it is not ended without
// that, but tried again.
func TestARunWhoseBeginningWasLostBeginsAgain(t *testing.T) {
	t.Parallel()
	failed := make(chan struct{})
	g, err := graph.New("frail").Node("node", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		if task.Attempt == 1 {
			defer close(failed)
			return graph.Command{}, graph.Fail("not yet")
		}
		return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Text: "yes"})}}, nil
	}).Edge(graph.Start, "node").Edge("node", graph.End).Compile()
	require.NoError(t, err)
	b := setup(t, g)
	b.worker(t, func(o *run.Options) { o.Store = &lossyStore{Store: o.Store, failed: failed} })
	r := b.submit(t, agents.ThreadID(id.New()), "frail", "x")
	require.Equal(t, agents.RunSuccess, b.wait(t, r).Status)
	require.Equal(t, []string{"user: x", "assistant: yes"}, b.texts(t, r.Thread))
}
