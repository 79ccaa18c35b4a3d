package run_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/internal/id"
)

func (b *bundle) cancel(t *testing.T, r agents.Run) agents.Run {
	t.Helper()
	out, err := b.service.Cancel(t.Context(), b.scope, r.Thread, r.ID, "stopped by mia")
	require.NoError(t, err)
	return out
}

// cancelledOnce requires that the thread's log tells once that the run is over.
func (b *bundle) cancelledOnce(t *testing.T, r agents.Run) {
	t.Helper()
	stored, err := b.db.Run(t.Context(), b.scope, r.Thread, r.ID)
	require.NoError(t, err)
	require.Equal(t, agents.RunCancelled, stored.Status)
	require.Equal(t, "stopped by mia", stored.CancelReason)
	require.False(t, stored.EndedAt.IsZero())
	require.Nil(t, stored.Error)
	ends := 0
	for _, e := range b.log(t, r.Thread) {
		name, value := e.CustomName()
		switch {
		case e.RunID != string(r.ID):
		case e.Type == event.RunFinished:
			var d event.RunFinishedData
			require.NoError(t, e.Decode(&d))
			if d.Outcome == event.OutcomeInterrupt {
				continue // it waits
			}
			require.Equal(t, event.OutcomeCancelled, d.Outcome)
			require.Equal(t, "stopped by mia", d.Reason)
			ends++
		case name == event.MessageUnqueued:
			var d event.UnqueuedValue
			require.NoError(t, json.Unmarshal(value, &d))
			ends++
		case e.Type == event.RunError:
			require.Fail(t, "it failed", string(e.Data))
		}
	}
	require.Equal(t, 1, ends)
}

func (b *bundle) idle(t *testing.T, thread agents.ThreadID) {
	t.Helper()
	found, err := b.db.Thread(t.Context(), b.scope, thread)
	require.NoError(t, err)
	require.Equal(t, agents.ThreadIdle, found.Status)
}

// lostOn leaves a run with a worker that does nothing any more: it neither renews
// nor looks for others, and has no place for another run.
func (b *bundle) lostOn(t *testing.T, g *gate) agents.Run {
	t.Helper()
	b.worker(t, func(o *run.Options) {
		b.named("lost")(o)
		o.Lease, o.Sweep = time.Hour, time.Hour
	})
	t.Cleanup(func() { g.release(1) })
	r := b.submit(t, agents.ThreadID(id.New()), "gate", "hello")
	require.Equal(t, 1, <-g.entered)
	require.Eventually(t, func() bool { return containsText(b.hub.payloads(), "part of attempt 1") }, 10*time.Second, 5*time.Millisecond)
	return r
}

// kept requires that what was said stays, and that the zombie adds nothing.
func (b *bundle) kept(t *testing.T, g *gate, r agents.Run) {
	t.Helper()
	want := []string{"user: hello", "assistant: part of attempt 1"}
	require.Equal(t, want, b.texts(t, r.Thread))
	before := len(b.log(t, r.Thread))
	g.release(1)
	// The thread goes on, so the zombie had its chance.
	b.worker(t, nil)
	next := b.wait(t, b.submit(t, r.Thread, "echo", "next"))
	require.Equal(t, agents.RunSuccess, next.Status)
	require.Equal(t, append(want, "user: next", "assistant: echo: next"), b.texts(t, r.Thread))
	for _, e := range b.log(t, r.Thread)[before:] {
		require.NotEqual(t, string(r.ID), e.RunID)
	}
	b.cancelledOnce(t, r)
}

func TestCancelInEveryState(t *testing.T) {
	t.Parallel()
	t.Run("Pending", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		r := b.submit(t, agents.ThreadID(id.New()), "echo", "hello")
		require.Equal(t, agents.RunCancelled, b.cancel(t, r).Status)
		b.cancelledOnce(t, r)
		b.idle(t, r.Thread)
		require.Empty(t, b.texts(t, r.Thread))
	})
	t.Run("Running", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.worker(t, nil)
		r := b.submit(t, agents.ThreadID(id.New()), "slow", "go")
		require.Eventually(t, func() bool { return strings.Contains(strings.Join(b.hub.payloads(), ""), "token1") }, 10*time.Second, 5*time.Millisecond)
		require.Equal(t, agents.RunRunning, b.cancel(t, r).Status, "its worker lives and ends it")
		require.Equal(t, agents.RunCancelled, b.wait(t, r).Status)
		b.cancelledOnce(t, r)
		b.idle(t, r.Thread)
	})
	t.Run("RunningOnADeadNode", func(t *testing.T) {
		t.Parallel()
		g := newGate()
		b := setup(t, g.graph(t))
		r := b.lostOn(t, g)
		b.cutWorkers(t)
		// PostgreSQL frees the lock when the session has ended.
		require.Eventually(t, func() bool { return b.cancel(t, r).Status == agents.RunCancelled }, 5*time.Second, 5*time.Millisecond)
		b.cancelledOnce(t, r)
		b.idle(t, r.Thread)
		b.kept(t, g, r)
	})
	t.Run("RunningOnANodeThatDoesNotRenew", func(t *testing.T) {
		t.Parallel()
		g := newGate()
		b := setup(t, g.graph(t))
		r := b.lostOn(t, g)
		b.dropLeases(t)
		require.Equal(t, agents.RunCancelled, b.cancel(t, r).Status)
		b.cancelledOnce(t, r)
		b.kept(t, g, r)
	})
	t.Run("RunningOnANodeThatIsFoundDeadLater", func(t *testing.T) {
		t.Parallel()
		g, full := newGate(), newGate()
		b := setup(t, g.graph(t), full.named(t, "full"))
		r := b.lostOn(t, g)
		require.Equal(t, agents.RunRunning, b.cancel(t, r).Status, "nobody can know yet")
		b.worker(t, func(o *run.Options) { o.Runs = 1 })
		b.submit(t, agents.ThreadID(id.New()), "full", "hello")
		t.Cleanup(func() { full.release(1) })
		require.Equal(t, 1, <-full.entered) // the sweeper has no place for a run
		b.cut(t, "lost")
		require.Equal(t, agents.RunCancelled, b.wait(t, r).Status)
		b.cancelledOnce(t, r)
		full.release(1)
		b.kept(t, g, r)
	})
	t.Run("InLineAgainAfterItsNodeDied", func(t *testing.T) {
		t.Parallel()
		g := newGate()
		b := setup(t, g.graph(t))
		r := b.lostOn(t, g)
		b.dropLeases(t)
		taken, err := b.db.TakeOver(t.Context())
		require.NoError(t, err)
		require.Equal(t, agents.TakenOver{Runs: 1}, taken)
		require.Equal(t, agents.RunCancelled, b.cancel(t, r).Status)
		b.cancelledOnce(t, r)
		b.kept(t, g, r)
	})
	t.Run("Waiting", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		_, stop := b.worker(t, nil)
		r := b.wait(t, b.submit(t, agents.ThreadID(id.New()), "approval", "please"))
		require.Equal(t, agents.RunWaiting, r.Status)
		stop() // nobody is left to end it
		require.Equal(t, agents.RunCancelled, b.cancel(t, r).Status)
		b.cancelledOnce(t, r)
		b.idle(t, r.Thread)
		texts := b.texts(t, r.Thread)
		require.Contains(t, texts[len(texts)-1], "tool: Cancelled", "no call stays without a result")
	})
	t.Run("QueuedBehind", func(t *testing.T) {
		t.Parallel()
		g := newGate()
		b := setup(t, g.graph(t))
		b.worker(t, nil)
		first := b.submit(t, agents.ThreadID(id.New()), "gate", "hello")
		require.Equal(t, 1, <-g.entered)
		behind := b.submit(t, first.Thread, "echo", "behind")
		require.Equal(t, agents.RunCancelled, b.cancel(t, behind).Status)
		b.cancelledOnce(t, behind)
		g.release(1)
		require.Equal(t, agents.RunSuccess, b.wait(t, first).Status)
		require.Equal(t, []string{"user: hello", "assistant: part of attempt 1"}, b.texts(t, first.Thread))
	})
	t.Run("Ended", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.worker(t, nil)
		r := b.wait(t, b.submit(t, agents.ThreadID(id.New()), "echo", "hello"))
		before := b.log(t, r.Thread)
		require.Equal(t, agents.RunSuccess, b.cancel(t, r).Status)
		require.Equal(t, before, b.log(t, r.Thread))
		stored, err := b.db.Run(t.Context(), b.scope, r.Thread, r.ID)
		require.NoError(t, err)
		require.False(t, stored.CancelRequested)
	})
	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		r := b.submit(t, agents.ThreadID(id.New()), "echo", "hello")
		b.cancel(t, r)
		require.Equal(t, agents.RunCancelled, b.cancel(t, r).Status)
		b.cancelledOnce(t, r)
	})
}

// TestNewInputDisplacesARunOfADeadNodeAtOnce: the strategy interrupt waits for the
// end of what it displaces, which nobody but us would write.
func TestNewInputDisplacesARunOfADeadNodeAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate()
	b := setup(t, g.graph(t))
	r := b.lostOn(t, g)
	b.dropLeases(t)
	next, err := b.service.Submit(t.Context(), b.scope, run.Request{Thread: r.Thread, Assistant: "echo", Strategy: agents.StrategyInterrupt,
		Input: b.service.Text(b.scope, "next")})
	require.NoError(t, err)
	stored, err := b.db.Run(t.Context(), b.scope, r.Thread, r.ID)
	require.NoError(t, err)
	require.Equal(t, agents.RunCancelled, stored.Status)
	require.Equal(t, agents.ReasonDisplaced, stored.CancelReason)
	g.release(1)
	b.worker(t, nil)
	require.Equal(t, agents.RunSuccess, b.wait(t, next).Status)
	require.Equal(t, []string{"user: hello", "assistant: part of attempt 1", "user: next", "assistant: echo: next"}, b.texts(t, r.Thread))
}

func TestOfManyWhoCancelARunOfADeadNodeOneEndsIt(t *testing.T) {
	t.Parallel()
	g := newGate()
	b := setup(t, g.graph(t))
	r := b.lostOn(t, g)
	b.dropLeases(t)
	b.worker(t, nil) // and a sweeper takes part
	done := make(chan error, 10)
	for range cap(done) {
		go func() {
			_, err := b.service.Cancel(context.Background(), b.scope, r.Thread, r.ID, "stopped by mia")
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Equal(t, agents.RunCancelled, b.wait(t, r).Status)
	b.cancelledOnce(t, r)
	b.kept(t, g, r)
}
