package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// TakeBack removes an open run with what it brought and did, as the strategy
// rollback does; the scope must be able to write to the thread. What of it executes
// can write nothing more, and is to be told. A conflict says that it is over.
// withdrawn builds the event of a run that only stood in line.
func (db *DB) TakeBack(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, d agents.Displacing,
	withdrawn func(agents.Run) (event.Envelope, error)) (agents.Cancelled, error) {
	var out agents.Cancelled
	err := db.withRun(ctx, scope, thread, run, func(tx pgx.Tx, r agents.Run) error {
		out.Run = r
		args := named{"org": string(scope.Org), "thread": string(thread), "run": string(r.ID)}
		var err error
		switch {
		case r.Status.Ended():
			return fault.Conflict("The run is over and can't be taken back any more.").WithCode("run_over")
		case r.Fresh():
			var e event.Envelope
			if e, err = withdrawn(r); err == nil {
				out.Told = []event.Envelope{e}
				_, err = tx.Exec(ctx, sqlRunRemove, args)
			}
		default:
			out.Told, err = db.rollBack(ctx, tx, scope, r, d)
		}
		if err != nil {
			return fmt.Errorf("removing a run: %w", translate(err))
		}
		if _, err := tx.Exec(ctx, sqlThreadSettle, args); err != nil {
			return fmt.Errorf("settling a thread: %w", translate(err))
		}
		if out.ToldAt, err = db.appendEvents(ctx, tx, scope, thread, r.ID, out.Told); err != nil {
			return err
		}
		if !r.Fresh() {
			_, err = tx.Exec(ctx, sqlWentBack, args)
		}
		return translate(err)
	})
	if err != nil {
		return agents.Cancelled{}, fmt.Errorf("taking a run back: %w", err)
	}
	return out, nil
}

// DeleteRun removes the record of a run that is over; what it said stays. The scope
// must be able to write to the thread. A conflict says that it is open.
func (db *DB) DeleteRun(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) error {
	err := db.withRun(ctx, scope, thread, run, func(tx pgx.Tx, r agents.Run) error {
		if !r.Status.Ended() {
			return fault.Conflict("The run is not over, or waits for an answer. Cancel it first, with action=rollback if nothing of it is to stay.").WithCode("run_open")
		}
		_, err := tx.Exec(ctx, sqlRunRemove, named{"org": string(scope.Org), "run": string(run)})
		return translate(err)
	})
	if err != nil {
		return fmt.Errorf("deleting a run: %w", err)
	}
	return nil
}

// withRun locks a thread the scope may write to and one of its runs.
func (db *DB) withRun(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, do func(pgx.Tx, agents.Run) error) error {
	if err := scope.Require(auth.PermRun); err != nil {
		return err
	}
	if !id.Valid(string(run)) {
		return fault.NotFound("Run")
	}
	return db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		row, err := pgxOne[runRow](ctx, tx, sqlRunLock, named{"org": string(scope.Org), "id": string(run), "thread": string(thread)})
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("Run")
		}
		if err != nil {
			return fmt.Errorf("locking a run: %w", translate(err))
		}
		return do(tx, row.run())
	})
}
