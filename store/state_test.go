package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
)

// naive is the state as a reader of all steps would fold it.
type naive struct {
	texts  []string
	values map[string]json.RawMessage
}

// history commits steps that append, replace and remove messages and change
// two channels, with a snapshot every 50 as the executor writes them, and
// returns the naive state after each step.
func (b *bundle) history(t *testing.T, lease agents.Lease, line agents.LineID, from, steps int, refs []agents.Ref, start naive) []naive {
	t.Helper()
	texts := map[agents.Ref]string{}
	for i, r := range refs {
		texts[r] = start.texts[i]
	}
	values := start.values
	var out []naive
	for n := from; n < from+steps; n++ {
		m := agents.Message{ID: agents.MessageID(fmt.Sprintf("%s-%d", line, n)), Role: agents.RoleAssistant, Text: fmt.Sprintf("text %d", n)}
		step := agents.Step{Line: line, Step: n, Source: agents.SourceLoop, Messages: []agents.Message{m},
			Ops:    []agents.Op{{Kind: agents.OpAppend, ID: m.ID}},
			Deltas: map[string][]agents.Delta{"count": {{Op: agents.DeltaAdd, Value: json.RawMessage(`1`)}}},
			Next:   agents.DueNodes("agent")}
		texts[agents.Ref{ID: m.ID}] = m.Text
		if n%7 == 3 && len(refs) > 2 { // a new revision of an older message
			old := refs[len(refs)-2]
			rev := agents.Message{ID: old.ID, Revision: old.Rev + 1, Role: agents.RoleAssistant, Text: fmt.Sprintf("revised at %d", n)}
			step.Messages = append(step.Messages, rev)
			step.Ops = append(step.Ops, agents.Op{Kind: agents.OpReplace, ID: rev.ID, Rev: rev.Revision})
			texts[agents.Ref{ID: rev.ID, Rev: rev.Revision}] = rev.Text
		}
		if n%11 == 5 && len(refs) > 3 {
			step.Ops = append(step.Ops, agents.Op{Kind: agents.OpRemove, ID: refs[1].ID})
		}
		if n%5 == 0 {
			step.Deltas["plan"] = []agents.Delta{{Op: agents.DeltaMerge, Value: json.RawMessage(fmt.Sprintf(`{"k%d":%d}`, n%3, n))}}
		}
		refs = agents.ApplyOps(refs, step.Ops)
		next := map[string]json.RawMessage{}
		for k, v := range values {
			next[k] = v
		}
		for channel, deltas := range step.Deltas {
			value, err := agents.ApplyDeltas(next[channel], deltas)
			require.NoError(t, err)
			next[channel] = value
		}
		values = next
		if n > 0 && n%agents.SnapshotEvery == 0 {
			step.Snapshot = &agents.Snapshot{Messages: refs, Values: values}
		}
		_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, step, nil)
		require.NoError(t, err)
		at := naive{values: values}
		for _, r := range refs {
			at.texts = append(at.texts, texts[r])
		}
		out = append(out, at)
	}
	return out
}

func (b *bundle) requireState(t *testing.T, thread agents.ThreadID, want naive, step int) agents.State {
	t.Helper()
	state, err := b.db.State(t.Context(), b.mia, thread)
	require.NoError(t, err)
	var texts []string
	for _, m := range state.Messages {
		texts = append(texts, m.Text)
	}
	require.Empty(t, cmp.Diff(want.texts, texts))
	got, err := json.Marshal(state.Values)
	require.NoError(t, err)
	expected, err := json.Marshal(want.values)
	require.NoError(t, err)
	require.JSONEq(t, string(expected), string(got))
	require.Equal(t, step, state.Step)
	return state
}

func TestStateEqualsTheFoldOfAllStepsAcrossSnapshots(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	b.requireState(t, thread.ID, naive{values: map[string]json.RawMessage{}}, -1)
	lease, _ := b.start(t, b.mia, thread.ID)
	const steps = 120
	line := b.history(t, lease, thread.Line, 0, 48, nil, naive{values: map[string]json.RawMessage{}})
	for n := 48; n < steps; n++ { // every load around the snapshots
		state := b.requireState(t, thread.ID, line[n-1], n-1)
		more := b.history(t, lease, thread.Line, n, 1, state.Refs(), line[n-1])
		line = append(line, more...)
	}
	state := b.requireState(t, thread.ID, line[steps-1], steps-1)
	require.Equal(t, steps-1, state.Head.Step)
	require.Equal(t, steps-2, state.Parent.Step)

	conn := b.inOrg(t, b.mia)
	require.Equal(t, 2, scan[int](t, conn, "select count(*) from checkpoints where rollup is not null"))
	size := func(from, to int) float64 {
		return scan[float64](t, conn, `select avg(pg_column_size(c.*))::float8 from checkpoints c
			where c.rollup is null and c.step between $1 and $2`, from, to)
	}
	require.InDelta(t, size(1, 40), size(80, 119), 0.1*size(1, 40), "bytes per step grow with the thread")
}

func TestForkSharesItsPrefixAndLeavesItAlone(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	trunk := b.history(t, lease, thread.Line, 0, 110, nil, naive{values: map[string]json.RawMessage{}})
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
	// At, just after and far from a snapshot, and before the first.
	for _, at := range []int{30, 50, 51, 99, 104} {
		line := fork(thread.Line, at)
		state := b.requireState(t, thread.ID, trunk[at], at)
		branch := b.history(t, lease, line, at+1, 60, state.Refs(), trunk[at])
		b.requireState(t, thread.ID, branch[59], at+60)

		twig := fork(line, at+20)
		state = b.requireState(t, thread.ID, branch[19], at+20)
		leaves := b.history(t, lease, twig, at+21, 5, state.Refs(), branch[19])
		b.requireState(t, thread.ID, leaves[4], at+25)

		// A line that stands on a fork below the fork's own first step.
		fork(line, at-5)
		b.requireState(t, thread.ID, trunk[at-5], at-5)
	}
	// One whose first own step holds the whole state has a step before it too.
	line := fork(thread.Line, 49)
	whole := text(line, 50, "whole")
	before := b.requireState(t, thread.ID, trunk[49], 49)
	whole.Snapshot = &agents.Snapshot{Messages: append(before.Refs(), agents.Ref{ID: "whole"}), Values: before.Values}
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, whole, nil)
	require.NoError(t, err)
	after := b.requireState(t, thread.ID, naive{texts: append(slices.Clone(trunk[49].texts), "text of whole"), values: trunk[49].values}, 50)
	require.Equal(t, thread.Line, after.Parent.Line)
	require.Equal(t, 49, after.Parent.Step)

	_, err = conn.Exec(t.Context(), `update threads set line_id = $2 where id = $1`, string(thread.ID), string(thread.Line))
	require.NoError(t, err)
	b.requireState(t, thread.ID, trunk[109], 109)
}

func TestCheckpointsMessagesAndEventsCannotBeRewritten(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m0"), nil)
	require.NoError(t, err)
	for _, sql := range []string{"update checkpoints set ops = '[]'", "update messages set body = '{}'", "update events set body = ''",
		"delete from events", "update assistant_versions set name = ''"} {
		_, err := b.inOrg(t, b.mia).Exec(t.Context(), sql)
		require.ErrorContains(t, err, "permission denied", sql)
	}
	// A message that is sent again keeps its first text.
	again := text(thread.Line, 1, "m0")
	again.Messages[0].Text = "changed"
	_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, again, nil)
	require.NoError(t, err)
	state, err := b.db.State(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Len(t, state.Messages, 1)
	require.Equal(t, "text of m0", state.Messages[0].Text)
}
