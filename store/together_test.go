package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// crowd is some threads of acme, each with a run that executes.
func (b *bundle) crowd(t *testing.T, n int) ([]agents.Lease, []agents.LineID) {
	t.Helper()
	leases, lines := make([]agents.Lease, n), make([]agents.LineID, n)
	for i := range n {
		thread := b.thread(t, b.mia, agents.VisibilityPrivate)
		leases[i], _ = b.start(t, b.mia, thread.ID)
		lines[i] = thread.Line
	}
	return leases, lines
}

// written counts the transactions that have changed anything.
func (b *bundle) written(t *testing.T) int64 {
	t.Helper()
	return scan[int64](t, connect(t, b.url, ""), `select pg_snapshot_xmax(pg_current_snapshot())::text::bigint`)
}

// TestWhatIsDueAtOnceIsWrittenTogether: the first commit is held up by a lock of the
// table, so that the others meet behind it; they are the same rows as written alone,
// in fewer transactions, and each attempt gets its own numbers.
func TestWhatIsDueAtOnceIsWrittenTogether(t *testing.T) {
	b := setup(t)
	const n = 20
	leases, lines := b.crowd(t, n)
	before := b.written(t)
	gate := connect(t, b.url, "")
	_, err := gate.Exec(t.Context(), "begin; lock table lines in exclusive mode")
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			step := text(lines[i], 0, agents.MessageID(id.New()), envelope(leases[i].Thread, "said"), envelope(leases[i].Thread, "more"))
			if i%2 == 0 {
				stepped, finished, err := b.db.CommitStep(t.Context(), b.mia, leases[i], step, &agents.Finish{Status: agents.RunSuccess})
				if err != nil || finished.Base != stepped.Base+2 {
					t.Errorf("a last step: %v, %v, %v", stepped, finished, err)
				}
				return
			}
			if _, _, err := b.db.CommitStep(t.Context(), b.mia, leases[i], step, nil); err != nil {
				t.Errorf("a step: %v", err)
			}
		})
	}
	require.Eventually(t, func() bool {
		return scan[int](t, gate, `select count(*) from pg_locks where not granted`) > 0
	}, 10*time.Second, 10*time.Millisecond)
	_, err = gate.Exec(t.Context(), "commit")
	require.NoError(t, err)
	wg.Wait()
	require.Less(t, b.written(t)-before, int64(n), "some of them shared a transaction")
	for i, lease := range leases {
		state, err := b.db.State(t.Context(), b.mia, lease.Thread)
		require.NoError(t, err)
		require.Equal(t, 0, state.Step)
		require.Len(t, state.Messages, 1)
		rows, head, err := b.db.Log(t.Context(), b.mia, lease.Thread, 0, 0)
		require.NoError(t, err)
		require.Len(t, rows, 3, "queued, said, more")
		require.EqualValues(t, 3, head.Seq)
		require.EqualValues(t, 3, state.Head.EventSeq)
		run, err := b.db.Run(t.Context(), b.mia, lease.Thread, lease.Run)
		require.NoError(t, err)
		thread, err := b.db.Thread(t.Context(), b.mia, lease.Thread)
		require.NoError(t, err)
		if i%2 == 0 {
			require.Equal(t, agents.RunSuccess, run.Status)
			require.False(t, run.EndedAt.IsZero())
			require.Equal(t, agents.ThreadIdle, thread.Status)
		} else {
			require.Equal(t, agents.RunRunning, run.Status)
			require.Equal(t, agents.ThreadBusy, thread.Status)
		}
	}
}

// TestOneThatIsRefusedSpoilsNoOther: among steps that meet are one of a lost lease,
// one of a thread that somebody has locked, one with text that PostgreSQL does not
// take, and one of a line that is further; each gets its own answer.
func TestOneThatIsRefusedSpoilsNoOther(t *testing.T) {
	b := setup(t)
	const n = 8
	leases, lines := b.crowd(t, n)
	locked := connect(t, b.url, "")
	_, err := locked.Exec(t.Context(), "begin")
	require.NoError(t, err)
	_, err = locked.Exec(t.Context(), "select 1 from thread_heads where thread_id = $1 for update", string(leases[1].Thread))
	require.NoError(t, err)
	errs := make([]error, n)
	step := func(i int) {
		lease, s := leases[i], text(lines[i], 0, agents.MessageID(id.New()), envelope(leases[i].Thread, "said"))
		switch i {
		case 0:
			lease.Token--
		case 2:
			s.Messages[0].Text = "a\x00b"
		case 3:
			s.Step = 7
		}
		_, _, errs[i] = b.db.CommitStep(context.WithoutCancel(t.Context()), b.mia, lease, s, nil)
	}
	for range 3 { // again and again, so that they meet in all ways; a repeated step is refused
		var wg, waits sync.WaitGroup
		waits.Go(func() { step(1) })
		for i := range n {
			if i != 1 {
				wg.Go(func() { step(i) })
			}
		}
		wg.Wait() // none of them waits for the lock
		require.ErrorIs(t, errs[0], agents.ErrFenced)
		require.True(t, fault.Is(errs[2], fault.KindInvalid), fmt.Sprint(errs[2]))
		require.ErrorIs(t, errs[3], agents.ErrFenced)
		_, _ = locked.Exec(t.Context(), "rollback")
		waits.Wait()
	}
	for i, lease := range leases {
		state, err := b.db.State(t.Context(), b.mia, lease.Thread)
		require.NoError(t, err)
		if i == 0 || i == 2 || i == 3 {
			require.Empty(t, state.Messages)
		} else {
			require.Len(t, state.Messages, 1)
		}
	}
}
