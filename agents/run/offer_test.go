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

// counted counts what a worker tells the others.
type counted struct {
	run.Signals
	woken atomic.Int32
}

func (c *counted) Wake(context.Context) { c.woken.Add(1) }

// A worker takes the offer of a run while it claims and has a slot; when its last one
// is taken and more may wait it tells the others, once.
func TestAWorkerWithoutASlotTellsTheOthers(t *testing.T) {
	t.Parallel()
	g := newGate()
	b := setup(t, g.graph(t))
	told := &counted{Signals: b.hub}
	for range 2 {
		b.submit(t, agents.ThreadID(id.New()), "gate", "x")
	}
	w, stop := b.worker(t, func(o *run.Options) { o.Runs, o.Poll, o.Signals = 1, 50*time.Millisecond, told })
	<-g.entered
	require.Eventually(t, func() bool { return told.woken.Load() == 1 }, 10*time.Second, time.Millisecond)
	require.False(t, w.Offer(), "its slot is taken")
	g.release(1)
	<-g.entered
	require.Eventually(t, w.Offer, 10*time.Second, time.Millisecond, "the second run ends, too")
	stop()
	require.LessOrEqual(t, told.woken.Load(), int32(2), "once when it was full, and for the end of the first with the second in line")
	require.False(t, w.Offer(), "it claims nothing more")
	require.False(t, run.NewWorker(run.Options{}).Offer(), "it has not begun")
}
