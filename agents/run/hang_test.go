package run_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
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
