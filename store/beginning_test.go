package store_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
)

// stepAt are the places that a history lists.
func (b *bundle) stepAt(t *testing.T, thread agents.ThreadID, q agents.HistoryQuery) (out []string) {
	t.Helper()
	q.Beginnings = true
	if q.Limit == 0 {
		q.Limit = 100
	}
	all, err := b.db.History(t.Context(), b.mia, thread, q)
	require.NoError(t, err)
	for _, s := range all {
		require.Equal(t, s.Head.ID, agents.CheckpointID(s.Line, s.Step))
		out = append(out, s.Head.ID)
	}
	return out
}

func TestALineBeginsAnewBeforeTheFirstStep(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	start := agents.CheckpointID(thread.Line, agents.BeforeFirst)
	require.Empty(t, b.stepAt(t, thread.ID, agents.HistoryQuery{}), "nothing happened yet")
	_, err := b.db.StateAt(t.Context(), b.mia, thread.ID, start)
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
	lease, _ := b.start(t, b.mia, thread.ID)
	trunk := b.history(t, lease, thread.Line, 0, 1, nil, naive{values: map[string]json.RawMessage{}})
	state := b.requireState(t, thread.ID, trunk[0], 0)
	require.Equal(t, start, state.Parent.ID, "kept by the node that wrote it, it is read")
	b.history(t, lease, thread.Line, 1, 1, state.Refs(), trunk[0])
	at := func(line agents.LineID, step int) string { return agents.CheckpointID(line, step) }
	first := []string{at(thread.Line, 1), at(thread.Line, 0), start}
	require.Equal(t, first, b.stepAt(t, thread.ID, agents.HistoryQuery{}))
	plain, err := b.db.History(t.Context(), b.mia, thread.ID, agents.HistoryQuery{Limit: 100})
	require.NoError(t, err)
	require.Len(t, plain, 2, "who does not ask for it does not get it")
	for n := 1; n <= 3; n++ {
		require.Equal(t, first[:n], b.stepAt(t, thread.ID, agents.HistoryQuery{Limit: n}))
	}
	require.Equal(t, first[2:], b.stepAt(t, thread.ID, agents.HistoryQuery{Before: first[1]}))
	require.Empty(t, b.stepAt(t, thread.ID, agents.HistoryQuery{Before: start}))
	require.Equal(t, first[2:], b.stepAt(t, thread.ID, agents.HistoryQuery{Only: start}))
	require.Equal(t, first[2:], b.stepAt(t, thread.ID, agents.HistoryQuery{Metadata: json.RawMessage(`{"source": "input"}`)}))
	begun, err := b.db.StateAt(t.Context(), b.mia, thread.ID, start)
	require.NoError(t, err)
	require.Empty(t, begun.Messages)
	require.Empty(t, begun.Values)
	require.Nil(t, begun.Parent)
	older, err := b.db.Older(t.Context(), b.mia, thread.ID, start)
	require.NoError(t, err)
	require.False(t, older, "the run that began there goes on")

	line, err := b.db.Fork(t.Context(), b.mia, lease, start)
	require.NoError(t, err)
	state = b.requireState(t, thread.ID, naive{values: map[string]json.RawMessage{}}, -1)
	require.Nil(t, state.Head)
	require.Equal(t, start, state.Parent.ID)
	require.Equal(t, first, b.stepAt(t, thread.ID, agents.HistoryQuery{}), "the line has no step yet")
	_, err = b.db.StateAt(t.Context(), b.mia, thread.ID, at(line, agents.BeforeFirst))
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound, "it begins where the other one does")
	branch := b.history(t, lease, line, 0, 1, nil, naive{values: map[string]json.RawMessage{}})
	state = b.requireState(t, thread.ID, branch[0], 0)
	require.Equal(t, start, state.Parent.ID)
	b.history(t, lease, line, 1, 1, state.Refs(), branch[0])
	all := append([]string{at(line, 1), at(line, 0)}, first...)
	for n := 1; n <= len(all); n++ {
		require.Equal(t, all[:n], b.stepAt(t, thread.ID, agents.HistoryQuery{Limit: n}))
		require.Equal(t, len(all)-n, len(b.stepAt(t, thread.ID, agents.HistoryQuery{Before: all[n-1]})))
	}
	states, err := b.db.History(t.Context(), b.mia, thread.ID, agents.HistoryQuery{Limit: 100, Beginnings: true, Followed: true})
	require.NoError(t, err)
	require.Equal(t, []string{start, start}, []string{states[1].Parent.ID, states[3].Parent.ID})
	require.Equal(t, states[3].Head.ID, agents.CheckpointID(states[4].Followed.Line, states[4].Followed.Step))
	require.Equal(t, states[3].Messages, states[4].Followed.Messages, "what came first")
	one, err := b.db.StateOfStep(t.Context(), b.mia, thread.ID, line, 0, "")
	require.NoError(t, err)
	require.Equal(t, start, one.Parent.ID)

	// What begins anew from the branch stands where that stands, and one from its first
	// step knows it.
	third, err := b.db.Fork(t.Context(), b.mia, lease, at(line, 0))
	require.NoError(t, err)
	state = b.requireState(t, thread.ID, branch[0], 0)
	require.Equal(t, third, state.Line)
	require.Equal(t, start, state.Parent.ID)
	copied := agents.ThreadID(id.New())
	_, err = b.db.FinishRun(t.Context(), b.mia, lease, agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	require.NoError(t, b.db.CopyThread(t.Context(), b.mia, thread.ID, copied))
	require.Len(t, b.stepAt(t, copied, agents.HistoryQuery{}), len(all))
}

func TestABeginningGoesWithTheFirstStep(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	b.history(t, lease, thread.Line, 0, 120, nil, naive{values: map[string]json.RawMessage{}})
	start := agents.CheckpointID(thread.Line, agents.BeforeFirst)
	// A branch from there keeps the line that it leaves, as any branch does.
	line, err := b.db.Fork(t.Context(), b.mia, lease, start)
	require.NoError(t, err)
	b.history(t, lease, line, 0, 3, nil, naive{values: map[string]json.RawMessage{}})
	gone, err := b.db.PruneThread(t.Context(), b.mia, thread.ID, 1)
	require.NoError(t, err)
	require.Zero(t, gone)
	require.Len(t, b.stepAt(t, thread.ID, agents.HistoryQuery{Limit: 1000}), 124)

	other := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ = b.start(t, b.mia, other.ID)
	b.history(t, lease, other.Line, 0, 120, nil, naive{values: map[string]json.RawMessage{}})
	gone, err = b.db.PruneThread(t.Context(), b.mia, other.ID, 1)
	require.NoError(t, err)
	require.Equal(t, 100, gone)
	require.Len(t, b.stepAt(t, other.ID, agents.HistoryQuery{Limit: 1000}), 20, "its first step is gone, and so is what was before")
	start = agents.CheckpointID(other.Line, agents.BeforeFirst)
	_, err = b.db.StateAt(t.Context(), b.mia, other.ID, start)
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
	_, err = b.db.Older(t.Context(), b.mia, other.ID, start)
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
	_, err = b.db.Fork(t.Context(), b.mia, lease, start)
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
}
