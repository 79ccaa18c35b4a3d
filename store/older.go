package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// sqlOlder tells of a checkpoint whether it is on the thread's present history, and
// whether what came after it there is of anything but runs that still go on.
const sqlOlder = `with recursive lineage as (
		select l.id, l.step as upto, l.parent_line, l.parent_step, 1 as depth
		from threads t join lines l on l.org_id = t.org_id and l.id = t.line_id
		where t.org_id = @org and t.id = @thread
	union all
		select p.id, least(l.upto, l.parent_step), p.parent_line, p.parent_step, l.depth + 1
		from lineage l join lines p on p.org_id = @org and p.id = l.parent_line
		where l.depth < @lineage and l.id <> @line
	), at as (
		select depth from lineage where id = @line and upto >= @step
	)
	select not exists (select 1 from at) or exists (
		select 1 from at join lineage l on l.depth <= at.depth
		cross join lateral (select c.run_id from checkpoints c where c.org_id = @org and c.line_id = l.id and c.step <= l.upto
			and (l.id <> @line or c.step > @step) order by c.step limit @most) c
		left join runs r on r.org_id = @org and r.id = c.run_id and r.status in ('pending', 'running')
		where r.id is null) as older,
	exists (select 1 from checkpoints c where c.org_id = @org and c.line_id = @line and c.step = greatest(@step::int, 0)) as kept`

type olderRow struct{ Older, Kept bool }

// maxBehind is how many steps after a checkpoint are looked at to find one that is
// of no open run: more than a run may make.
const maxBehind = 10_000

// Older reports whether the thread has gone on from a checkpoint of it, other than
// by runs that are open: a run that begins there begins a line of its own. The scope
// must be able to read the thread.
func (db *DB) Older(ctx context.Context, scope auth.Scope, thread agents.ThreadID, checkpoint string) (bool, error) {
	if _, err := db.Thread(ctx, scope, thread); err != nil {
		return false, err
	}
	var found olderRow
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := named{"org": string(scope.Org), "thread": string(thread), "lineage": maxLineage, "most": maxBehind, "ns": nil}
		lines, err := pgxMany[historyLineRow](ctx, tx, sqlLinesOfThread, args)
		if err != nil {
			return fmt.Errorf("listing a thread's lines: %w", err)
		}
		line, step, err := findCheckpoint(lines, checkpoint)
		if err != nil {
			return err
		}
		args["line"], args["step"] = string(line), step
		if found, err = pgxOne[olderRow](ctx, tx, sqlOlder, args); err == nil && !found.Kept {
			return agents.ErrCheckpointNotFound
		}
		return translate(err)
	})
	if err != nil {
		return false, fmt.Errorf("finding a checkpoint: %w", err)
	}
	return found.Older, nil
}
