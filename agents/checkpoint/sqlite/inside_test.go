package sqlite

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

// TestNoStatementReadsAWholeTable looks at the plan of every statement that a
// use of all methods prepared.
func TestNoStatementReadsAWholeTable(t *testing.T) {
	t.Parallel()
	c, err := Open(t.Context(), Options{Path: Memory})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	lease, err := c.Acquire(t.Context(), "t")
	require.NoError(t, err)
	s, err := c.State(t.Context(), "t", "")
	require.NoError(t, err)
	for n := range 60 {
		m := agents.Message{ID: agents.MessageID(fmt.Sprint(n))}
		require.NoError(t, c.Commit(t.Context(), lease, agents.Step{Line: s.Line, Step: n, Messages: []agents.Message{m},
			Ops: []agents.Op{{Kind: agents.OpAppend, ID: m.ID}}, Pending: []agents.Pending{{Task: 0}}}))
	}
	_, err = c.SubLine(t.Context(), lease, agents.SubLine{Line: "sub", NS: []string{"n:0"}, Parent: s.Line, ParentStep: 59})
	require.NoError(t, err)
	_, err = c.SubLine(t.Context(), lease, agents.SubLine{Line: "sub"})
	require.NoError(t, err)
	require.NoError(t, c.Pend(t.Context(), lease, agents.PendingWrites{Line: s.Line, Step: 59}))
	_, err = c.Fork(t.Context(), lease, agents.CheckpointID(s.Line, 55))
	require.NoError(t, err)
	_, err = c.History(t.Context(), "t", agents.HistoryQuery{Limit: 2, Before: agents.CheckpointID(s.Line, 50)})
	require.NoError(t, err)
	_, err = c.Prune(t.Context(), "t", 20)
	require.NoError(t, err)
	require.NoError(t, c.Copy(t.Context(), "t", "u"))
	require.NoError(t, c.Delete(t.Context(), "u"))

	one := <-c.writer.slots
	defer func() { c.writer.slots <- one }()
	seen := 0
	for sql := range one.prepared {
		if sql == sqlVersion || strings.HasPrefix(sql, "pragma") || sql == sqlNextToken {
			continue // no table of ours, or one of one row
		}
		plan, _, err := one.db.Prepare("explain query plan " + sql)
		require.NoError(t, err, "%s", sql)
		for plan.Step() {
			detail := plan.ColumnText(3)
			if table, ok := strings.CutPrefix(detail, "SCAN "); ok {
				require.Regexp(t, `^((w|o|l) VIRTUAL TABLE|\(subquery)`, table, "%s\n%s", sql, detail)
			}
		}
		require.NoError(t, plan.Close())
		seen++
	}
	require.Greater(t, seen, 30)
}

// begun opens a database in memory with a thread "t".
func begun(t *testing.T) (*Checkpointer, agents.Lease, agents.LineID) {
	t.Helper()
	c, err := Open(t.Context(), Options{Path: Memory})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	lease, err := c.Acquire(t.Context(), "t")
	require.NoError(t, err)
	s, err := c.State(t.Context(), "t", "")
	require.NoError(t, err)
	return c, lease, s.Line
}

// list gives the first column of a query as numbers.
func list(t *testing.T, c *Checkpointer, sql string) (out []int) {
	t.Helper()
	require.NoError(t, c.read(t.Context(), "looking", func(tx *conn) error {
		return tx.each(sql, nil, func(r row) error {
			out = append(out, r.ColumnInt(0))
			return nil
		})
	}))
	return out
}

func TestPruningRemovesFormsOfMessagesThatNothingNames(t *testing.T) {
	t.Parallel()
	c, lease, line := begun(t)
	for n := range 20 {
		m := agents.Message{ID: "m", Revision: int64(n)}
		step := agents.Step{Line: line, Step: n, Messages: []agents.Message{m}, Ops: []agents.Op{{Kind: agents.OpAppend, ID: m.ID, Rev: m.Revision}}}
		switch n {
		case 0:
			step.Messages = append(step.Messages, agents.Message{ID: "other"})
			step.Ops = append(step.Ops, agents.Op{Kind: agents.OpAppend, ID: "other"})
		case 5, 18: // the second time there is none
			step.Ops = append(step.Ops, agents.Op{Kind: agents.OpRemove, ID: "other"})
		}
		require.NoError(t, c.Commit(t.Context(), lease, step))
	}
	removed, err := c.Prune(t.Context(), "t", 3)
	require.NoError(t, err)
	require.Equal(t, 17, removed)
	require.Equal(t, []int{16, 17, 18, 19}, list(t, c, "select revision from messages order by revision"),
		"of the steps that are left, and of the state before them")
}

func TestADeletedThreadLeavesNoRow(t *testing.T) {
	t.Parallel()
	c, lease, line := begun(t)
	require.NoError(t, c.Commit(t.Context(), lease, agents.Step{Line: line, Messages: []agents.Message{{ID: "m"}}, Pending: []agents.Pending{{Task: 0}}}))
	_, err := c.SubLine(t.Context(), lease, agents.SubLine{Line: "sub", NS: []string{"n:0"}, Parent: line})
	require.NoError(t, err)
	require.NoError(t, c.Delete(t.Context(), "t"))
	require.Equal(t, []int{0}, list(t, c, `select (select count(*) from threads) + (select count(*) from lines) + (select count(*) from checkpoints)
		+ (select count(*) from messages) + (select count(*) from pending)`))
}

func TestTheLineOfASubgraphIsNeitherTheThreadsOwnNorWithoutAParent(t *testing.T) {
	t.Parallel()
	c, lease, line := begun(t)
	_, err := c.SubLine(t.Context(), lease, agents.SubLine{Line: line, NS: []string{"n:0"}, Parent: line})
	require.ErrorIs(t, err, agents.ErrFenced)
	_, err = c.SubLine(t.Context(), lease, agents.SubLine{Line: "sub", NS: []string{"n:0"}, Parent: "absent"})
	require.ErrorIs(t, err, agents.ErrCheckpointNotFound)
}

func TestAStepThatNeedsASnapshotIsRefusedWithoutOne(t *testing.T) {
	t.Parallel()
	c, lease, line := begun(t)
	for n := range agents.SnapshotEvery {
		require.NoError(t, c.Commit(t.Context(), lease, agents.Step{Line: line, Step: n}))
	}
	require.ErrorContains(t, c.Commit(t.Context(), lease, agents.Step{Line: line, Step: agents.SnapshotEvery}), "must come with a snapshot")
	require.NoError(t, c.Commit(t.Context(), lease, agents.Step{Line: line, Step: agents.SnapshotEvery, Snapshot: &agents.Snapshot{}}))
}
