package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

const sqlCheckpointsNewest = `select c.id, c.line_id, c.step, c.run_id, c.source, c.ops, c.deltas, null::jsonb as snapshot, c.next,
		c.interrupts, c.metadata, c.event_seq, c.created_at, null::text as parent_line, null::int as parent_step
	from checkpoints c where c.org_id = @org and c.line_id = @line order by c.step desc limit @limit`

// Checkpoints lists the newest steps of a thread's active line, newest first and
// without snapshots; at most 100. The scope must be able to read the thread.
func (db *DB) Checkpoints(ctx context.Context, scope auth.Scope, thread agents.ThreadID, limit int) ([]agents.Checkpoint, error) {
	t, err := db.Thread(ctx, scope, thread)
	if err != nil {
		return nil, err
	}
	rows, err := many[checkpointRow](ctx, db, scope, "listing checkpoints", sqlCheckpointsNewest, pgx.NamedArgs{
		"org": string(scope.Org), "line": string(t.Line), "limit": min(max(limit, 1), 100)})
	if err != nil {
		return nil, err
	}
	out := make([]agents.Checkpoint, len(rows))
	for i, r := range rows {
		out[i] = r.checkpoint()
	}
	return out, nil
}
