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
				require.Regexp(t, `^(w|o|l) VIRTUAL TABLE`, table, "%s\n%s", sql, detail)
			}
		}
		require.NoError(t, plan.Close())
		seen++
	}
	require.Greater(t, seen, 30)
}

func TestPruningRemovesFormsOfMessagesThatNothingNames(t *testing.T) {
	t.Parallel()
	c, err := Open(t.Context(), Options{Path: Memory})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	lease, err := c.Acquire(t.Context(), "t")
	require.NoError(t, err)
	s, err := c.State(t.Context(), "t", "")
	require.NoError(t, err)
	for n := range 20 {
		ref := agents.Ref{ID: "m", Rev: int64(n)}
		require.NoError(t, c.Commit(t.Context(), lease, agents.Step{Line: s.Line, Step: n, Messages: []agents.Message{{ID: ref.ID, Revision: ref.Rev}},
			Ops: []agents.Op{{Kind: agents.OpAppend, ID: ref.ID, Rev: ref.Rev}}}))
	}
	removed, err := c.Prune(t.Context(), "t", 3)
	require.NoError(t, err)
	require.Equal(t, 17, removed)
	var left []int
	require.NoError(t, c.read(t.Context(), "counting", func(tx *conn) error {
		return tx.each("select revision from messages order by revision", nil, func(r row) error {
			left = append(left, r.ColumnInt(0))
			return nil
		})
	}))
	require.Equal(t, []int{16, 17, 18, 19}, left, "of the steps that are left, and of the state before them")
}
