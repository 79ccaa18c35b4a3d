package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// sqlRollbackFrom finds where a run began on its thread's active line, and what
// that line stands on.
const sqlRollbackFrom = `select l.id, l.parent_line, l.parent_step, min(c.step) as first,
		exists (select 1 from checkpoints b where b.org_id = @org and b.line_id = l.id and b.step < min(c.step)) as older,
		exists (select 1 from lines f where f.org_id = @org and f.parent_line = l.id and f.ns is null and (f.parent_step >= min(c.step) or min(c.step) = 0)) as forked
	from threads t join lines l on l.org_id = t.org_id and l.id = t.line_id
	join checkpoints c on c.org_id = l.org_id and c.line_id = l.id and c.run_id = @run
	where t.org_id = @org and t.id = @thread
	group by l.org_id, l.id`

// sqlRollbackLine begins a line where the run began, and makes it the active one.
const sqlRollbackLine = `with made as (
	insert into lines (org_id, id, thread_id, parent_line, parent_step, step)
	values (@org, @new, @thread, @parent::uuid, @parent_step::int, coalesce(@parent_step::int, -1)) returning id
)
update threads t set line_id = made.id from made where t.org_id = @org and t.id = @thread`

// sqlRollbackSteps removes the run's steps from the line that is left, and the
// lines of subgraphs that hang on them.
const (
	sqlRollbackSubLines = `delete from lines where org_id = @org and parent_line = @line and ns is not null`
	sqlRollbackSteps    = `delete from checkpoints where org_id = @org and line_id = @line and step >= @first`
	sqlRollbackHead     = `update lines set step = @first::int - 1, abandoned_at = now() where org_id = @org and id = @line`
	sqlRollbackPending  = `delete from pending_writes where org_id = @org and line_id = @line`
	// sqlRollbackMessages removes what the run said and was told.
	sqlRollbackMessages = `delete from messages where org_id = @org and thread_id = @thread and run_id = @run`
	sqlRollbackEmpty    = `delete from lines where org_id = @org and id = @line`
)

// sqlBranchLeft finds the line of its own that a run began, if the thread is on it.
const sqlBranchLeft = `select l.id::text as id,
		exists (select 1 from lines f where f.org_id = @org and f.parent_line = l.id and f.ns is null) as forked
	from threads t join lines l on l.org_id = t.org_id and l.id = t.line_id
	where t.org_id = @org and t.id = @thread and t.line_id <> @base
		and exists (select 1 from lines b where b.org_id = @org and b.id = @base and b.thread_id = @thread)`

const sqlBranchLeave = `update threads t set line_id = @base where t.org_id = @org and t.id = @thread`

type branchRow struct {
	ID     string
	Forked bool
}

const sqlRunRemove = `delete from runs where org_id = @org and id = @run`

type rollbackRow struct {
	ID         string
	ParentLine *string
	ParentStep *int
	First      int
	Older      bool
	Forked     bool
}

// rollBack takes a run back: its steps, its messages and its row go, the thread
// stands where it stood before, and whoever executes the run can write nothing
// more. What tools have done and what reviewers decided stays on record. It gives
// the events that tell of it. The caller holds the thread's head.
func (db *DB) rollBack(ctx context.Context, tx pgx.Tx, scope auth.Scope, r agents.Run, d agents.Displacing) ([]event.Envelope, error) {
	told, err := closeAll(ctx, tx, scope, r.Thread, agents.ReviewWithdrawn, d.Withdrawn)
	if err != nil {
		return nil, err
	}
	args := named{"org": string(scope.Org), "thread": string(r.Thread), "run": string(r.ID)}
	if _, err := pgxScalar[int64](ctx, tx, sqlHeadTake, args); err != nil {
		return nil, fmt.Errorf("taking a thread's lease: %w", err)
	}
	from, err := pgxOne[rollbackRow](ctx, tx, sqlRollbackFrom, args)
	switch {
	case r.BaseLine != "":
		if err := leaveBranch(ctx, tx, args, r.BaseLine); err != nil {
			return nil, err
		}
	case errors.Is(err, pgx.ErrNoRows): // it has committed nothing
	case err != nil:
		return nil, fmt.Errorf("finding where a run began: %w", translate(err))
	default:
		if err := abandon(ctx, tx, args, from); err != nil {
			return nil, err
		}
	}
	if _, err := tx.Exec(ctx, sqlRunRemove, args); err != nil {
		return nil, fmt.Errorf("removing a run: %w", translate(err))
	}
	r.CancelReason = agents.ReasonRolledBack
	gone, err := d.RolledBack(r)
	return append(told, gone...), err
}

// leaveBranch gives the thread back the line that it had before the run began one of
// its own at an older checkpoint; that one goes, unless a fork stands on it.
func leaveBranch(ctx context.Context, tx pgx.Tx, args named, base agents.LineID) error {
	args["base"] = string(base)
	left, err := pgxMany[branchRow](ctx, tx, sqlBranchLeft, args)
	if err != nil {
		return fmt.Errorf("finding a run's own line: %w", err)
	}
	if len(left) == 0 {
		return nil // it stands on the other one still
	}
	args["line"] = left[0].ID
	var batch pgx.Batch
	batch.Queue(sqlBranchLeave, args)
	if !left[0].Forked {
		batch.Queue(sqlRollbackSubLines, args)
		batch.Queue(sqlRollbackMessages, args)
		batch.Queue(sqlRollbackEmpty, args)
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("leaving a run's own line: %w", translate(err))
	}
	return nil
}

// abandon leaves the thread's line for a new one that ends where the run began. A
// line whose steps are used by a fork keeps them.
func abandon(ctx context.Context, tx pgx.Tx, args named, from rollbackRow) error {
	args["line"], args["first"], args["new"] = from.ID, from.First, id.New()
	args["parent"], args["parent_step"] = from.ParentLine, from.ParentStep
	if from.Older {
		args["parent"], args["parent_step"] = from.ID, from.First-1
	}
	var batch pgx.Batch
	batch.Queue(sqlRollbackLine, args)
	batch.Queue(sqlRollbackPending, args)
	if !from.Forked {
		batch.Queue(sqlRollbackSubLines, args)
		batch.Queue(sqlRollbackSteps, args)
		batch.Queue(sqlRollbackMessages, args)
		if from.Older {
			batch.Queue(sqlRollbackHead, args)
		} else {
			batch.Queue(sqlRollbackEmpty, args)
		}
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("taking a run's steps back: %w", translate(err))
	}
	return nil
}
