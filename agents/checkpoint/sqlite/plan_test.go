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
