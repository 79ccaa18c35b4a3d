package store

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// MaxCheckpoints is the most checkpoints that one call reads.
const MaxCheckpoints = 100

// sqlCheckpointsNewest goes back from the active line's head; where the line
// forked, its parent's checkpoints follow from there.
const sqlCheckpointsNewest = `with recursive lineage as (
		select l.id, l.step as upto, l.parent_line, l.parent_step, 1 as depth
		from threads t join lines l on l.org_id = t.org_id and l.id = t.line_id
		where t.id = @thread and ` + threadReadable + `
	union all
		select p.id, least(l.upto, l.parent_step), p.parent_line, p.parent_step, l.depth + 1
		from lineage l join lines p on p.org_id = @org and p.id = l.parent_line
		where l.depth < @lineage
	)
	select ` + checkpointColumns + ` from lineage l cross join lateral (select * from checkpoints
		where org_id = @org and line_id = l.id and step <= l.upto order by step desc limit @limit) c
	order by l.depth, c.step desc limit @limit`

// Checkpoints reads the newest checkpoints of a thread's active line, newest
// first, at most limit. The scope must be able to read the thread.
func (db *DB) Checkpoints(ctx context.Context, scope auth.Scope, thread agents.ThreadID, limit int) ([]agents.Checkpoint, error) {
	if limit < 1 || limit > MaxCheckpoints {
		return nil, fault.Invalid("limit", "must be from 1 to 100")
	}
	if !id.Valid(string(thread)) {
		return nil, threadNotFound()
	}
	rows, err := many[checkpointRow](ctx, db, scope, "reading a thread's checkpoints", sqlCheckpointsNewest,
		readerArgs(scope, named{"thread": string(thread), "limit": limit, "lineage": maxLineage}))
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 { // a fresh thread, or none
		_, err := db.Thread(ctx, scope, thread)
		return nil, err
	}
	out := make([]agents.Checkpoint, len(rows))
	for i, r := range rows {
		if out[i], err = r.checkpoint(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
