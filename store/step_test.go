package store_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
)

// A step is read as it was, whatever was read before it and is kept; the newest
// state stays the newest.
func TestTheStateOfAStepIsAsItWas(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	const steps = 110
	all := b.history(t, lease, thread.Line, 0, steps, nil, naive{values: map[string]json.RawMessage{}})
	at := func(step int) {
		t.Helper()
		state, err := b.db.StateOfStep(t.Context(), b.mia, thread.ID, thread.Line, step, "")
		require.NoError(t, err)
		var texts []string
		for _, m := range state.Messages {
			texts = append(texts, m.Text)
		}
		require.Empty(t, cmp.Diff(all[step].texts, texts), step)
		require.Equal(t, string(all[step].values["count"]), string(state.Values["count"]))
		require.Equal(t, step, state.Head.Step)
	}
	for _, step := range []int{0, 1, 48, 49, 50, 51, 99, 100, 101} { // the kept state grows with each
		at(step)
	}
	b.requireState(t, thread.ID, all[steps-1], steps-1)
	for _, step := range []int{steps - 1, 3, 75, 0} { // what is kept is newer
		at(step)
	}
	b.requireState(t, thread.ID, all[steps-1], steps-1)
	for _, absent := range []struct {
		line agents.LineID
		step int
	}{{thread.Line, steps}, {thread.Line, -1}, {agents.LineID(id.New()), 0}, {"", 0}} {
		_, err := b.db.StateOfStep(t.Context(), b.mia, thread.ID, absent.line, absent.step, "")
		require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
	}
	first, err := b.db.RunFirst(t.Context(), b.mia, thread.ID, lease.Run)
	require.NoError(t, err)
	require.Equal(t, int64(1), first)
	first, err = b.db.RunFirst(t.Context(), b.mia, thread.ID, agents.RunID(id.New()))
	require.NoError(t, err)
	require.Zero(t, first)
}
