package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
)

// Whoever ends a run wakes nobody unless a run is in line, so an end must know of every
// run that was placed before it: on its thread, or held back by a bound on another.
func TestAnEndTellsWhetherARunIsInLine(t *testing.T) {
	b := setup(t)
	success := agents.Finish{Status: agents.RunSuccess}
	for _, waits := range []string{"", "here", "elsewhere"} {
		for name, end := range map[string]func(agents.Lease, agents.LineID) (agents.Finished, error){
			"with a step": func(l agents.Lease, line agents.LineID) (agents.Finished, error) {
				_, finished, err := b.db.CommitStep(t.Context(), b.mia, l, text(line, 0, agents.MessageID(id.New())), &success)
				return finished, err
			},
			"with a step that is written by itself": func(l agents.Lease, line agents.LineID) (agents.Finished, error) {
				step := text(line, 0, agents.MessageID(id.New()))
				step.Clear = true
				_, finished, err := b.db.CommitStep(t.Context(), b.mia, l, step, &success)
				return finished, err
			},
			"without": func(l agents.Lease, _ agents.LineID) (agents.Finished, error) {
				return b.db.FinishRun(t.Context(), b.mia, l, success)
			},
			"to wait": func(l agents.Lease, _ agents.LineID) (agents.Finished, error) {
				return b.db.FinishRun(t.Context(), b.mia, l, agents.Finish{Status: agents.RunWaiting})
			},
		} {
			thread := b.thread(t, b.mia, agents.VisibilityPrivate)
			lease, _ := b.start(t, b.mia, thread.ID)
			var next agents.Run
			switch waits {
			case "here":
				next = b.submit(t, b.mia, thread.ID)
			case "elsewhere":
				next = b.submit(t, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID)
			}
			b.submit(t, b.gia, b.thread(t, b.gia, agents.VisibilityPrivate).ID) // another organisation's
			finished, err := end(lease, thread.Line)
			require.NoError(t, err, name)
			require.Equal(t, waits != "", finished.Next, "%s %s", name, waits)
			if waits != "" {
				_, err := b.db.CancelRun(t.Context(), b.mia, next.Thread, next.ID, "stopped", cancelled, withdrawn)
				require.NoError(t, err)
			}
		}
	}
}

// The run gets in line while its thread's head is locked, after the end has begun:
// what the end's statement saw at its start is not what it decides by.
func TestAnEndSeesWhoGotInLineWhileItWaited(t *testing.T) {
	b := setup(t)
	for _, together := range []bool{false, true} {
		thread := b.thread(t, b.mia, agents.VisibilityPrivate)
		lease, _ := b.start(t, b.mia, thread.ID)
		other := connect(t, b.url, "")
		_, err := other.Exec(t.Context(), "begin")
		require.NoError(t, err)
		_, err = other.Exec(t.Context(), "update thread_heads set seq = seq + 1 where thread_id = $1", string(thread.ID))
		require.NoError(t, err)
		_, err = other.Exec(t.Context(), `insert into runs (org_id, id, thread_id, assistant_id, assistant_version, user_id, input)
			select org_id, gen_random_uuid(), thread_id, assistant_id, assistant_version, user_id, '{}' from runs where id = $1`, string(lease.Run))
		require.NoError(t, err)
		type ended struct {
			agents.Finished
			error
		}
		ends := make(chan ended, 1)
		go func() {
			if !together {
				finished, err := b.db.FinishRun(t.Context(), b.mia, lease, agents.Finish{Status: agents.RunSuccess})
				ends <- ended{finished, err}
				return
			}
			_, finished, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, agents.MessageID(id.New())), &agents.Finish{Status: agents.RunSuccess})
			ends <- ended{finished, err}
		}()
		watch := connect(t, b.url, "")
		require.Eventually(t, func() bool {
			return scan[int](t, watch, `select count(*) from pg_locks where not granted`) > 0
		}, 10*time.Second, time.Millisecond)
		_, err = other.Exec(t.Context(), "commit")
		require.NoError(t, err)
		end := <-ends
		require.NoError(t, end.error)
		require.True(t, end.Next)
		after, err := b.db.Thread(t.Context(), b.mia, thread.ID)
		require.NoError(t, err)
		require.Equal(t, agents.ThreadBusy, after.Status)
	}
}
