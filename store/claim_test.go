package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// TestEachRunIsClaimedOnceInItsThreadsOrder lets eight claimers of two nodes
// share 200 runs of 50 threads. A claimer finishes what it claimed, so that the
// next run of the thread becomes free while others look for work.
func TestEachRunIsClaimedOnceInItsThreadsOrder(t *testing.T) {
	b := setup(t)
	const threads, runs = 50, 200
	var ids []agents.ThreadID
	for range threads {
		ids = append(ids, b.thread(t, b.mia, agents.VisibilityPrivate).ID)
	}
	want := map[agents.ThreadID][]agents.RunID{}
	for i := range runs {
		thread := ids[i*7%threads]
		want[thread] = append(want[thread], b.submit(t, b.mia, thread).ID)
	}
	nodes := []*store.DB{b.db, open(t, b.url)}
	var mu sync.Mutex
	got := map[agents.ThreadID][]agents.RunID{}
	active := map[agents.ThreadID]agents.RunID{}
	claims := 0
	group, ctx := errgroup.WithContext(t.Context())
	for g := range 8 {
		worker := agents.WorkerID(id.New())
		group.Go(func() error {
			for {
				mu.Lock()
				done := claims == runs
				mu.Unlock()
				if done {
					return nil
				}
				claimed, err := nodes[g%2].Claim(ctx, worker, 1+g, time.Minute)
				if err != nil {
					return err
				}
				mu.Lock()
				for _, c := range claimed {
					if other, busy := active[c.Run.Thread]; busy {
						mu.Unlock()
						return fmt.Errorf("runs %s and %s are active on one thread", other, c.Run.ID)
					}
					active[c.Run.Thread] = c.Run.ID
					got[c.Run.Thread] = append(got[c.Run.Thread], c.Run.ID)
					claims++
				}
				mu.Unlock()
				for _, c := range claimed {
					// Whoever claims the next run does so after this commit, but may
					// look at active before we do: so it is cleared first.
					mu.Lock()
					delete(active, c.Run.Thread)
					mu.Unlock()
					lease := agents.Lease{Thread: c.Run.Thread, Run: c.Run.ID, Token: c.Run.Token}
					if _, err := nodes[g%2].FinishRun(ctx, b.mia, lease, agents.Finish{Status: agents.RunSuccess}); err != nil {
						return err
					}
				}
			}
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, want, got)
	conn := b.inOrg(t, b.mia)
	require.Equal(t, runs, scan[int](t, conn, "select count(*) from runs where status = 'success' and attempt = 1"))
	require.Equal(t, threads, scan[int](t, conn, "select count(*) from threads where status = 'idle'"))
	require.Equal(t, threads, scan[int](t, conn, "select count(*) from thread_heads where run_id is null"))
	require.Zero(t, scan[int](t, conn, `select count(*) from runs a join runs b on b.thread_id = a.thread_id and b.position > a.position and b.token <= a.token`),
		"each claim has a token that is greater than those before")
}

func TestWaitingRunKeepsLaterOnesInLine(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	b.submit(t, b.mia, thread.ID)
	_, err := b.db.FinishRun(t.Context(), b.mia, lease, agents.Finish{Status: agents.RunWaiting})
	require.NoError(t, err)
	claimed, err := b.db.Claim(t.Context(), agents.WorkerID(id.New()), 10, time.Minute)
	require.NoError(t, err)
	require.Empty(t, claimed)
}

// TestThreadStaysInterruptedWhenAQueuedRunIsWithdrawn: the open interrupt is
// still what the thread waits for.
func TestThreadStaysInterruptedWhenAQueuedRunIsWithdrawn(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	_, err := b.db.FinishRun(t.Context(), b.mia, lease, agents.Finish{Status: agents.RunWaiting})
	require.NoError(t, err)
	waiting, err := b.db.Run(t.Context(), b.mia, thread.ID, lease.Run)
	require.NoError(t, err)
	require.Zero(t, waiting.EndedAt, "it waits, it has not ended")
	queued := b.submit(t, b.mia, thread.ID)
	_, err = b.db.CancelRun(t.Context(), b.mia, thread.ID, queued.ID, "withdrawn", cancelled, withdrawn)
	require.NoError(t, err)
	got, err := b.db.Thread(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, agents.ThreadInterrupted, got.Status)
}

func TestRunsOfADeadProcessAreTakenOverAtOnce(t *testing.T) {
	b := setup(t)
	dead, err := b.db.Arrive(t.Context(), "dead")
	require.NoError(t, err)
	living, err := b.db.Arrive(t.Context(), "living")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, living.Leave(context.Background())) })
	thread := func(worker agents.WorkerID) agents.Run {
		run := b.submit(t, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID)
		claimed, err := b.db.Claim(t.Context(), worker, 1, time.Hour)
		require.NoError(t, err)
		require.Len(t, claimed, 1)
		require.Equal(t, run.ID, claimed[0].Run.ID)
		return claimed[0].Run
	}
	lost, kept := thread(dead.Worker()), thread(living.Worker())
	n, err := b.db.TakeOver(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "both processes live")

	// The server ends the session as it does when a process is killed.
	owner := connect(t, b.url, "")
	require.True(t, scan[bool](t, owner, `select pg_terminate_backend(pid, 5000) from pg_stat_activity
		where application_name = 'heddle worker dead' and datname = current_database()`))
	require.Error(t, dead.Alive(t.Context()))
	require.NoError(t, living.Alive(t.Context()))
	n, err = b.db.TakeOver(t.Context())
	require.NoError(t, err)
	require.Equal(t, agents.TakenOver{Workers: 1, Runs: 1}, n)
	run, err := b.db.Run(t.Context(), b.mia, lost.Thread, lost.ID)
	require.NoError(t, err)
	require.Equal(t, agents.RunPending, run.Status)
	require.Equal(t, 1, run.Failures)
	run, err = b.db.Run(t.Context(), b.mia, kept.Thread, kept.ID)
	require.NoError(t, err)
	require.Equal(t, agents.RunRunning, run.Status)
	require.Equal(t, []string{"living"}, collect[string](t, connect(t, b.url, "heddle_system"), "select name from workers"))
}

func TestExpiredLeaseIsTakenOverByOneSweeper(t *testing.T) {
	b := setup(t)
	lease, worker := b.start(t, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID)
	_, err := b.db.Renew(t.Context(), worker, []agents.RunID{lease.Run}, -time.Second)
	require.NoError(t, err)
	var total, mu = 0, sync.Mutex{}
	var group errgroup.Group
	for range 6 {
		group.Go(func() error {
			n, err := b.db.TakeOver(t.Context())
			mu.Lock()
			defer mu.Unlock()
			total += n.Runs
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, 1, total)
}

func TestRenewExtendsOnlyTheRunsItNames(t *testing.T) {
	b := setup(t)
	worker := agents.WorkerID(id.New())
	var runs []agents.Run
	for range 3 {
		b.submit(t, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID)
	}
	claimed, err := b.db.Claim(t.Context(), worker, 3, 100*time.Millisecond)
	require.NoError(t, err)
	for _, c := range claimed {
		runs = append(runs, c.Run)
	}
	require.Len(t, runs, 3)
	held, err := b.db.Renew(t.Context(), worker, []agents.RunID{runs[0].ID, runs[2].ID}, 90*time.Minute)
	require.NoError(t, err)
	require.ElementsMatch(t, []agents.Held{{Run: runs[0].ID, Token: runs[0].Token}, {Run: runs[2].ID, Token: runs[2].Token}}, held)
	require.Equal(t, []string{string(runs[1].Thread)}, collect[string](t, connect(t, b.url, "heddle_system"),
		"select thread_id::text from thread_heads where lease_until < now() + interval '89 minutes'"))
	held, err = b.db.Renew(t.Context(), agents.WorkerID(id.New()), []agents.RunID{runs[0].ID}, time.Hour)
	require.NoError(t, err)
	require.Empty(t, held, "somebody else's run")

	_, err = b.db.CancelRun(t.Context(), b.mia, runs[0].Thread, runs[0].ID, "stopped", nil, withdrawn)
	require.NoError(t, err)
	held, err = b.db.Renew(t.Context(), worker, []agents.RunID{runs[0].ID}, time.Hour)
	require.NoError(t, err)
	require.True(t, held[0].CancelRequested)
}

func TestHandBackIsNoFailureAndComesFirstInLine(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	later := b.submit(t, b.mia, thread.ID)
	require.NoError(t, b.db.HandBack(t.Context(), b.mia.Org, lease))
	require.ErrorIs(t, b.db.HandBack(t.Context(), b.mia.Org, lease), agents.ErrFenced)
	claimed, err := b.db.Claim(t.Context(), agents.WorkerID(id.New()), 5, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	require.Equal(t, lease.Run, claimed[0].Run.ID)
	require.NotEqual(t, later.ID, claimed[0].Run.ID)
	require.Zero(t, claimed[0].Run.Failures)
	require.Equal(t, 2, claimed[0].Run.Attempt)
	require.Greater(t, claimed[0].Run.Token, lease.Token)
	require.Equal(t, b.mia.Role, claimed[0].Role)
}

// TestFailuresStartAgainWhenAStepCommits: three attempts at the same step.
func TestFailuresStartAgainWhenAStepCommits(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, worker := b.start(t, b.mia, thread.ID)
	again := func() {
		_, err := b.db.Renew(t.Context(), worker, []agents.RunID{lease.Run}, -time.Second)
		require.NoError(t, err)
		_, err = b.db.TakeOver(t.Context())
		require.NoError(t, err)
		claimed, err := b.db.Claim(t.Context(), worker, 1, time.Minute)
		require.NoError(t, err)
		lease.Token = claimed[0].Run.Token
	}
	again()
	again()
	run, err := b.db.Run(t.Context(), b.mia, thread.ID, lease.Run)
	require.NoError(t, err)
	require.Equal(t, 2, run.Failures)
	_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m0"), nil)
	require.NoError(t, err)
	run, err = b.db.Run(t.Context(), b.mia, thread.ID, lease.Run)
	require.NoError(t, err)
	require.Zero(t, run.Failures)
	require.Equal(t, 3, run.Attempt)
}

// A claim that a crash of the database took away is as if it had never been; whoever
// made it has a token that fits nobody else's.
func TestAClaimThatWasLostLeavesNoTokenBehind(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	run := b.submit(t, b.mia, thread.ID)
	owner := connect(t, b.url, "")
	before := scan[int64](t, owner, "select token from thread_heads where thread_id = $1", string(thread.ID))
	claim := func() agents.Lease {
		claimed, err := b.db.Claim(t.Context(), agents.WorkerID(id.New()), 1, time.Minute)
		require.NoError(t, err)
		require.Len(t, claimed, 1)
		require.Equal(t, run.ID, claimed[0].Run.ID)
		return agents.Lease{Thread: thread.ID, Run: run.ID, Token: claimed[0].Run.Token}
	}
	lost := claim()
	for _, sql := range []string{ // what a crash before the commit was on the disk leaves
		fmt.Sprintf("update thread_heads set token = %d, run_id = null, worker_id = null, lease_until = null where thread_id = '%s'", before, thread.ID),
		fmt.Sprintf("update runs set status = 'pending', token = null, attempt = 0, started_at = null, claimed_at = null where id = '%s'", run.ID),
	} {
		_, err := owner.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lost, text(thread.Line, 0, "late"), nil)
	require.ErrorIs(t, err, agents.ErrFenced, "before anybody else has claimed it")
	next := claim()
	require.Greater(t, next.Token, lost.Token)
	_, _, err = b.db.CommitStep(t.Context(), b.mia, lost, text(thread.Line, 0, "late"), nil)
	require.ErrorIs(t, err, agents.ErrFenced)
	_, _, err = b.db.CommitStep(t.Context(), b.mia, next, text(thread.Line, 0, "in time"), nil)
	require.NoError(t, err)
}
