package store_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

// Two processes keep states of one thread; either must see what the other wrote.
func TestKeptStateFollowsWhatAnotherProcessCommits(t *testing.T) {
	b := setup(t)
	other := &bundle{db: open(t, b.url), url: b.url, mia: b.mia}
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	line := b.history(t, lease, thread.Line, 0, 3, nil, naive{values: map[string]json.RawMessage{}})
	for _, more := range []int{1, 2, 30, 70} { // within a snapshot, across one, far beyond
		step := len(line) - 1
		state := other.requireState(t, thread.ID, line[step], step)
		line = append(line, b.history(t, lease, thread.Line, step+1, more, state.Refs(), line[step])...)
		step = len(line) - 1
		for range 2 {
			state = other.requireState(t, thread.ID, line[step], step)
			require.Equal(t, step, state.Head.Step)
			require.Equal(t, step-1, state.Parent.Step)
		}
	}
}

func TestChangingAReturnedStateLeavesTheKeptOneAlone(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	line := b.history(t, lease, thread.Line, 0, 5, nil, naive{values: map[string]json.RawMessage{}})
	for range 3 {
		state := b.requireState(t, thread.ID, line[4], 4)
		state.Messages[0].Text = "changed"
		state.Values["count"] = json.RawMessage(`99`)
		_ = append(state.Messages[:1], agents.Message{Text: "grown"})
	}
}

func TestKeptStateOfAThreadOneMayNotReadIsNotFound(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	line := b.history(t, lease, thread.Line, 0, 2, nil, naive{values: map[string]json.RawMessage{}})
	b.requireState(t, thread.ID, line[1], 1)
	stranger := b.person(t, "elsewhere", "stranger", b.mia.Role)
	_, err := b.db.State(t.Context(), stranger, thread.ID)
	requireKind(t, fault.KindNotFound, err)
	require.NoError(t, b.db.DeleteThread(t.Context(), b.mia, thread.ID))
	_, err = b.db.State(t.Context(), b.mia, thread.ID)
	requireKind(t, fault.KindNotFound, err)
}

// A database that was set back under a running process has other steps under
// the same numbers.
func TestKeptStateThatTheLineNoLongerHoldsIsReadAnew(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	line := b.history(t, lease, thread.Line, 0, 4, nil, naive{values: map[string]json.RawMessage{}})
	before := b.requireState(t, thread.ID, line[3], 3)
	conn := b.inOrg(t, b.mia)
	_, err := conn.Exec(t.Context(), "delete from checkpoints where step >= 2")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "update lines set step = 1 where id = $1", string(thread.Line))
	require.NoError(t, err)
	b.requireState(t, thread.ID, line[1], 1)
	_, err = conn.Exec(t.Context(), "update lines set step = 1 where id = $1", string(thread.Line))
	require.NoError(t, err)
	for n := 2; n <= 3; n++ {
		_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, n, agents.MessageID([]string{"x", "y"}[n-2])), nil)
		require.NoError(t, err)
	}
	state, err := b.db.State(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, 3, state.Step)
	require.NotEqual(t, before.Head.CreatedAt, state.Head.CreatedAt)
	require.Equal(t, "text of y", state.Messages[len(state.Messages)-1].Text)
}
