package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// sqlRunCancelWaiting gives a run that waits for a person back to the workers,
// who end it: what was said stays, and unanswered calls get a result.
const sqlRunCancelWaiting = `update runs set status = 'pending', cancel_requested_at = now(), cancel_reason = @reason, updated_at = now()
	where org_id = @org and id = @id and status = 'waiting'`

// cancelWaiting withdraws the requests of a run that waits, and lets a worker
// end it. The caller holds the thread's head.
func (db *DB) cancelWaiting(ctx context.Context, tx pgx.Tx, scope auth.Scope, args named, out *agents.Cancelled, told ToldFunc) error {
	thread := out.Run.Thread
	var err error
	if out.Told, err = closeAll(ctx, tx, scope, thread, agents.ReviewWithdrawn, told); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlRunCancelWaiting, args); err != nil {
		return fmt.Errorf("cancelling a waiting run: %w", err)
	}
	if _, err := tx.Exec(ctx, sqlThreadSettle, args); err != nil {
		return fmt.Errorf("settling a thread: %w", err)
	}
	out.Run.CancelRequested, out.Run.Status = true, agents.RunPending
	if len(out.Told) > 0 {
		out.ToldAt, err = db.appendEvents(ctx, tx, scope, thread, out.Run.ID, out.Told)
	}
	return err
}

// leaveBehind ends a run that waits, because something else came in its place,
// and gives the event that tells of it.
func leaveBehind(ctx context.Context, tx pgx.Tx, scope auth.Scope, waiting agents.Run, reason string, told func(agents.Run) (event.Envelope, error)) (event.Envelope, error) {
	waiting.CancelReason = reason
	if _, err := tx.Exec(ctx, sqlRunSupersede, named{"org": string(scope.Org), "id": string(waiting.ID), "reason": reason}); err != nil {
		return event.Envelope{}, fmt.Errorf("ending a run that waited: %w", err)
	}
	return told(waiting)
}

const sqlRunSupersede = `update runs set status = 'cancelled', cancel_reason = @reason, ended_at = now(), updated_at = now()
	where org_id = @org and id = @id and status = 'waiting'`

// supersede ends the run that waits on the thread, if one does, because new
// input goes on at once; that run's beginning gives unanswered calls a result.
func (db *DB) supersede(ctx context.Context, tx pgx.Tx, scope auth.Scope, s agents.Submission, out *agents.Submitted) (bool, error) {
	waiting, err := waitingRun(ctx, tx, scope, s.Thread)
	if errors.Is(err, agents.ErrNotInterrupted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if out.Told, err = endWaiting(ctx, tx, scope, waiting, s.Displacing); err != nil {
		return false, err
	}
	out.ToldAt, err = db.appendEvents(ctx, tx, scope, s.Thread, waiting.ID, out.Told)
	return true, err
}
