package store_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

func stepsOf(checkpoints []agents.Checkpoint) (out []int) {
	for _, c := range checkpoints {
		out = append(out, c.Step)
	}
	return out
}

func TestCheckpointsGoBackFromTheHeadAndThroughForks(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	none, err := b.db.Checkpoints(t.Context(), b.mia, thread.ID, 20)
	require.NoError(t, err)
	require.Empty(t, none, "a fresh thread has none")

	lease, _ := b.start(t, b.mia, thread.ID)
	trunk := b.history(t, lease, thread.Line, 0, 12, nil, naive{values: map[string]json.RawMessage{}})
	got, err := b.db.Checkpoints(t.Context(), b.mia, thread.ID, 3)
	require.NoError(t, err)
	require.Equal(t, []int{11, 10, 9}, stepsOf(got))
	require.Equal(t, agents.DueNodes("agent"), got[0].Next)
	require.Equal(t, agents.SourceLoop, got[0].Source)
	require.Equal(t, thread.Line, got[0].Line)
	require.Len(t, got[1].Ops, 2, "step 10 appends a message and revises one")
	require.Equal(t, agents.DeltaAdd, got[0].Deltas["count"][0].Op)

	// A line that forks at step 8 goes on there, and one that forks from it at
	// step 5, below its own first, shows nothing of what lies between.
	conn := b.inOrg(t, b.mia)
	fork := func(parent agents.LineID, step int) agents.LineID {
		line := agents.LineID(id.New())
		_, err := conn.Exec(t.Context(), `insert into lines (org_id, id, thread_id, parent_line, parent_step, step) values ($1, $2, $3, $4, $5, $5)`,
			string(b.mia.Org), string(line), string(thread.ID), string(parent), step)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `update threads set line_id = $2 where id = $1`, string(thread.ID), string(line))
		require.NoError(t, err)
		return line
	}
	line := fork(thread.Line, 8)
	state := b.requireState(t, thread.ID, trunk[8], 8)
	b.history(t, lease, line, 9, 2, state.Refs(), trunk[8])
	got, err = b.db.Checkpoints(t.Context(), b.mia, thread.ID, 4)
	require.NoError(t, err)
	require.Equal(t, []int{10, 9, 8, 7}, stepsOf(got))
	require.Equal(t, []agents.LineID{line, line, thread.Line, thread.Line}, []agents.LineID{got[0].Line, got[1].Line, got[2].Line, got[3].Line})
	fork(line, 5)
	got, err = b.db.Checkpoints(t.Context(), b.mia, thread.ID, store.MaxCheckpoints)
	require.NoError(t, err)
	require.Equal(t, []int{5, 4, 3, 2, 1, 0}, stepsOf(got))
}

func TestCheckpointsAreForReadersOfTheThreadOnly(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	b.history(t, lease, thread.Line, 0, 2, nil, naive{values: map[string]json.RawMessage{}})
	_, err := b.db.Checkpoints(t.Context(), b.max, thread.ID, 20)
	require.True(t, fault.Is(err, fault.KindNotFound), "a fellow member: %v", err)
	_, err = b.db.Checkpoints(t.Context(), b.mia, "x", 20)
	require.True(t, fault.Is(err, fault.KindNotFound), "%v", err)
	for _, limit := range []int{0, store.MaxCheckpoints + 1} {
		_, err = b.db.Checkpoints(t.Context(), b.mia, thread.ID, limit)
		require.True(t, fault.Is(err, fault.KindInvalid), "%v", err)
	}
}
