package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/store"
)

// Two steps that are committed at once are, to the last field, the two that are
// committed one after the other: with others, by themselves where the thread is
// locked, and where one of them keeps what those before it changed.
func TestTwoStepsAtOnceAreTwoSteps(t *testing.T) {
	b := setup(t)
	other, err := store.Open(t.Context(), store.Options{URL: b.url, MaxConns: 2})
	require.NoError(t, err)
	defer other.Close()
	locked := connect(t, b.url, "")
	type written struct {
		Seq         int64
		Log         []string
		Checkpoints []agents.Checkpoint
		Messages    []agents.Message
		Run         agents.Run
	}
	same := cmp.Options{
		cmpopts.IgnoreTypes(time.Time{}, agents.LineID(""), agents.RunID(""), agents.ThreadID("")), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(agents.Checkpoint{}, "ID"), cmpopts.IgnoreFields(agents.Run{}, "Position", "Input", "Token"),
	}
	for _, c := range []struct {
		name   string
		before int // steps that the thread has already
		finish *agents.Finish
		lock   bool
	}{
		{"the first two, and the run goes on", 0, nil, false},
		{"the first two, and the run ends", 0, &agents.Finish{Status: agents.RunSuccess}, false},
		{"later ones", 7, &agents.Finish{Status: agents.RunFailed, Error: &agents.RunError{Code: "x", Message: "y"}}, false},
		{"while somebody has the thread locked", 3, &agents.Finish{Status: agents.RunSuccess}, true},
		{"the second keeps what changed", 49, &agents.Finish{Status: agents.RunSuccess}, false},
		{"the first keeps what changed", 50, nil, false},
	} {
		var got [2]written
		for i, atOnce := range []bool{false, true} {
			thread := b.thread(t, b.mia, agents.VisibilityPrivate)
			lease, _ := b.start(t, b.mia, thread.ID)
			for n := range c.before {
				_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, n, agents.MessageID(fmt.Sprint("before", n))), nil)
				require.NoError(t, err, c.name)
			}
			first := text(thread.Line, c.before, "first", envelope(thread.ID, "a"), envelope(thread.ID, "b"))
			first.Source, first.Next = agents.SourceInput, []agents.Due{{Node: "agent"}}
			first.Manifest = &agents.Manifest{Graph: "echo"}
			second := text(thread.Line, c.before+1, "second", envelope(thread.ID, "c"))
			second.Deltas = map[string][]agents.Delta{"plan": {{Op: agents.DeltaMerge, Value: json.RawMessage(`{"z":1}`)}}}
			done := make(chan struct{})
			if c.lock {
				_, err := locked.Exec(t.Context(), "begin")
				require.NoError(t, err)
				_, err = locked.Exec(t.Context(), "select 1 from thread_heads where thread_id = $1 for update", string(thread.ID))
				require.NoError(t, err)
				watch := connect(t, b.url, "")
				go func() {
					defer close(done)
					for waits := 0; waits == 0; {
						_ = watch.QueryRow(t.Context(), "select count(*) from pg_locks where not granted").Scan(&waits)
					}
					_, _ = locked.Exec(t.Context(), "commit")
				}()
			} else {
				close(done)
			}
			if atOnce {
				stepped, finished, err := b.db.CommitSteps(t.Context(), b.mia, lease, []agents.Step{first, second}, c.finish)
				require.NoError(t, err, c.name)
				require.EqualValues(t, 1, stepped.Base, c.name)
				if c.finish != nil {
					require.EqualValues(t, 4, finished.Base, c.name)
				}
			} else {
				_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, first, nil)
				require.NoError(t, err, c.name)
				_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, second, c.finish)
				require.NoError(t, err, c.name)
			}
			<-done
			w := &got[i]
			rows, head, err := b.db.Log(t.Context(), b.mia, thread.ID, 0, 100)
			require.NoError(t, err)
			w.Seq = head.Seq
			for _, r := range rows {
				w.Log = append(w.Log, fmt.Sprint(r.Seq, r.From))
			}
			w.Checkpoints, err = other.Checkpoints(t.Context(), b.mia, thread.ID, 100)
			require.NoError(t, err)
			read, err := other.State(t.Context(), b.mia, thread.ID)
			require.NoError(t, err)
			require.EqualValues(t, c.before+1, read.Step, c.name)
			w.Messages = read.Messages
			kept, err := b.db.State(t.Context(), b.mia, thread.ID)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(read, kept, cmpopts.IgnoreFields(agents.Checkpoint{}, "Rollup")), c.name)
			w.Run, err = b.db.Run(t.Context(), b.mia, thread.ID, lease.Run)
			require.NoError(t, err)
			_, _, err = b.db.CommitSteps(t.Context(), b.mia, lease, []agents.Step{first, second}, c.finish)
			require.ErrorIs(t, err, agents.ErrFenced, "steps that are there already: %s", c.name)
		}
		require.Len(t, got[1].Checkpoints, c.before+2, c.name)
		require.Empty(t, cmp.Diff(got[0], got[1], same), c.name)
	}
}
