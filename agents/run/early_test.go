package run_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// slowReader is a store whose first state takes until its reader is told to stop.
type slowReader struct {
	run.Store
	once  sync.Once
	reads chan struct{}
}

func (s *slowReader) StateOf(ctx context.Context, scope auth.Scope, c agents.Claimed) (agents.State, error) {
	wait := false
	s.once.Do(func() { wait = true })
	if wait {
		close(s.reads)
		<-ctx.Done()
		return agents.State{}, ctx.Err()
	}
	return s.Store.StateOf(ctx, scope, c)
}

// TestARunIsCancelledWhileItReadsWhatItBeginsWith: it ends then, and not when its
// lease runs out.
func TestARunIsCancelledWhileItReadsWhatItBeginsWith(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow := &slowReader{Store: b.db, reads: make(chan struct{})}
	b.worker(t, func(o *run.Options) { o.Store, o.Lease = slow, time.Hour })
	r := b.submit(t, agents.ThreadID(id.New()), "echo", "hello")
	<-slow.reads
	b.cancel(t, r)
	require.Equal(t, agents.RunCancelled, b.wait(t, r).Status)
}
