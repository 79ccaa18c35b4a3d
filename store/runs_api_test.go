package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

func TestARunThatBeginsLaterStandsInNobodysWay(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	claim := func() []agents.Claimed {
		claimed, err := b.db.Claim(ctx, agents.WorkerID(id.New()), 10, time.Minute)
		require.NoError(t, err)
		return claimed
	}
	for _, joins := range []bool{false, true} { // placed alone, and behind another
		s := b.submission(thread.ID)
		s.After, s.Webhook = time.Hour, "https://hooks.test/x"
		out, err := b.db.Submit(ctx, b.mia, s)
		require.NoError(t, err)
		require.Empty(t, claim(), "joins: %v", joins)
		require.WithinDuration(t, out.Run.CreatedAt.Add(time.Hour), out.Run.RunAfter, time.Second)
		read, err := b.db.Run(ctx, b.mia, thread.ID, out.Run.ID)
		require.NoError(t, err)
		require.Equal(t, out.Run.RunAfter, read.RunAfter)
		require.Equal(t, "https://hooks.test/x", read.Webhook)
	}
	_, some, err := b.db.DueWithin(ctx, time.Minute)
	require.NoError(t, err)
	require.False(t, some)
	after, some, err := b.db.DueWithin(ctx, 2*time.Hour)
	require.NoError(t, err)
	require.True(t, some)
	require.InDelta(t, time.Hour, after, float64(time.Minute))
	s := b.submission(thread.ID)
	s.Strategy = agents.StrategyReject // nothing of the thread is busy yet
	s.Queued = func(ahead int, _ bool) (event.Envelope, error) {
		require.Zero(t, ahead)
		return envelope(thread.ID, "queued"), nil
	}
	out, err := b.db.Submit(ctx, b.mia, s)
	require.NoError(t, err)
	now := out.Run
	claimed := claim()
	require.Len(t, claimed, 1)
	require.Equal(t, now.ID, claimed[0].Run.ID)
}

func TestOnlyTemporaryThreadsWhoseRunsAreOverAreDiscarded(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	place := func(temporary bool) agents.Lease {
		s := b.submission(agents.ThreadID(id.New()))
		s.Create = &agents.NewThread{ID: s.Thread, Temporary: temporary}
		out, err := b.db.Submit(ctx, b.mia, s)
		require.NoError(t, err)
		claimed, err := b.db.Claim(ctx, agents.WorkerID(id.New()), 1, time.Minute)
		require.NoError(t, err)
		require.Equal(t, out.Run.ID, claimed[0].Run.ID)
		return agents.Lease{Thread: s.Thread, Run: out.Run.ID, Token: claimed[0].Run.Token}
	}
	going, over, ordinary := place(true), place(true), place(false)
	for _, l := range []agents.Lease{over, ordinary} {
		_, err := b.db.FinishRun(ctx, b.mia, l, agents.Finish{Status: agents.RunSuccess})
		require.NoError(t, err)
	}
	listed, err := b.db.Threads(ctx, b.mia, agents.ThreadQuery{})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Equal(t, ordinary.Thread, listed[0].ID)
	var all []agents.RunKey
	for _, l := range []agents.Lease{going, over, ordinary} {
		all = append(all, agents.RunKey{Org: b.mia.Org, Thread: l.Thread, Run: l.Run})
	}
	// The other organisation has a thread of the same name, which is not meant.
	_, err = b.db.CreateThread(ctx, b.gia, agents.NewThread{ID: over.Thread, Temporary: true})
	require.NoError(t, err)
	gone, err := b.db.DiscardThreads(ctx, all)
	require.NoError(t, err)
	require.Equal(t, 1, gone)
	_, err = b.db.Thread(ctx, b.mia, over.Thread)
	requireKind(t, fault.KindNotFound, err)
	_, err = b.db.Thread(ctx, b.gia, over.Thread)
	require.NoError(t, err)
	for _, l := range []agents.Lease{going, ordinary} {
		_, err = b.db.Thread(ctx, b.mia, l.Thread)
		require.NoError(t, err)
	}
	gone, err = b.db.DiscardLeft(ctx, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, gone, "the other organisation's, where nothing goes on")
}

func TestWhatIsTakenBackWritesNothingMore(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	first, _ := b.start(t, b.mia, thread.ID)
	_, _, err := b.db.CommitStep(ctx, b.mia, first, text(thread.Line, 0, "m0", envelope(thread.ID, "stepped")), &agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	at := agents.CheckpointID(thread.Line, 0)
	older := func(checkpoint string) bool {
		is, err := b.db.Older(ctx, b.mia, thread.ID, checkpoint)
		require.NoError(t, err)
		return is
	}
	require.False(t, older(at), "it is the newest")
	lease, _ := b.start(t, b.mia, thread.ID)
	_, _, err = b.db.CommitStep(ctx, b.mia, lease, text(thread.Line, 1, "m1"), nil)
	require.NoError(t, err)
	require.False(t, older(at), "what follows is of a run that goes on")
	require.False(t, older(agents.CheckpointID(thread.Line, 1)))
	_, err = b.db.Older(ctx, b.mia, thread.ID, agents.CheckpointID(thread.Line, 2))
	requireKind(t, fault.KindNotFound, err)
	requireKind(t, fault.KindConflict, b.db.DeleteRun(ctx, b.mia, thread.ID, lease.Run))

	_, err = b.db.FinishRun(ctx, b.mia, lease, agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	require.True(t, older(at), "what follows is of a run that is over")

	// Another goes on at the older one, on a line of its own, and is taken back there.
	lease, _ = b.start(t, b.mia, thread.ID)
	fork, err := b.db.Fork(ctx, b.mia, lease, at)
	require.NoError(t, err)
	run, err := b.db.Run(ctx, b.mia, thread.ID, lease.Run)
	require.NoError(t, err)
	require.Equal(t, thread.Line, run.BaseLine)
	require.True(t, older(agents.CheckpointID(thread.Line, 1)), "it is on the line that was left")
	_, _, err = b.db.CommitStep(ctx, b.mia, lease, text(fork, 1, "m2"), nil)
	require.NoError(t, err)
	taken, err := b.db.TakeBack(ctx, b.mia, thread.ID, lease.Run, b.submission(thread.ID).Displacing, cancelled)
	require.NoError(t, err)
	require.Len(t, taken.Told, 2)
	now, err := b.db.Thread(ctx, b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, thread.Line, now.Line)
	require.Equal(t, agents.ThreadIdle, now.Status)
	_, _, err = b.db.CommitStep(ctx, b.mia, lease, text(fork, 2, "m3"), nil)
	require.ErrorIs(t, err, agents.ErrFenced)
	view, err := b.db.View(ctx, b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, view.Head, view.Base, "nothing of it is folded into what is shown")
	require.Empty(t, view.Tail)
	_, err = b.db.TakeBack(ctx, b.mia, thread.ID, first.Run, agents.Displacing{}, cancelled)
	requireKind(t, fault.KindConflict, err)
	require.NoError(t, b.db.DeleteRun(ctx, b.mia, thread.ID, first.Run))

	// One that only stands in line goes without touching what executes.
	lease, _ = b.start(t, b.mia, thread.ID)
	waits := b.submit(t, b.mia, thread.ID)
	told := func(agents.Run) (event.Envelope, error) { return envelope(thread.ID, "withdrawn"), nil }
	_, err = b.db.TakeBack(ctx, b.mia, thread.ID, waits.ID, agents.Displacing{}, told)
	require.NoError(t, err)
	state, err := b.db.State(ctx, b.mia, thread.ID)
	require.NoError(t, err)
	_, _, err = b.db.CommitStep(ctx, b.mia, lease, text(state.Line, state.Step+1, "m4"), nil)
	require.NoError(t, err)
}
