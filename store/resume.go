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

const sqlReviewsOpenOfThread = `select ` + reviewColumns + ` from reviews v
	where v.org_id = @org and v.thread_id = @thread and v.status = 'open' order by v.created_at, v.id`

const sqlReviewsOpenLock = sqlReviewsOpenOfThread + ` for update`

// OpenReviews lists the open requests of a thread the scope may read, in the
// order of their calls.
func (db *DB) OpenReviews(ctx context.Context, scope auth.Scope, thread agents.ThreadID) ([]agents.Review, error) {
	if _, err := db.Thread(ctx, scope, thread); err != nil {
		return nil, err
	}
	rows, err := many[reviewRow](ctx, db, scope, "listing a thread's reviews", sqlReviewsOpenOfThread,
		named{"org": string(scope.Org), "thread": string(thread)})
	if err != nil {
		return nil, err
	}
	return reviewsOf(rows), nil
}

// Resume places the run that goes on from a pause with answers to questions;
// the scope must be able to write to the thread. A conflict fault says that the
// thread waits for nothing, or for something else by now.
func (db *DB) Resume(ctx context.Context, scope auth.Scope, thread agents.ThreadID, a agents.Answering) (agents.Resumed, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return agents.Resumed{}, err
	}
	var out agents.Resumed
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		waiting, err := waitingRun(ctx, tx, scope, thread)
		if err != nil {
			return err
		}
		open, err := pausesOf(ctx, tx, scope, thread)
		if err != nil {
			return err
		}
		if len(open) != len(a.Pauses) {
			return agents.ErrNotInterrupted
		}
		for i := range open {
			if open[i].ID != a.Pauses[i].ID {
				return agents.ErrNotInterrupted
			}
		}
		if len(a.Goto)+len(a.Sends) > 0 {
			if out.Told, err = closeAll(ctx, tx, scope, thread, agents.ReviewWithdrawn, a.Withdrawn); err != nil {
				return err
			}
			if len(out.Told) > 0 {
				if out.ToldAt, err = db.appendEvents(ctx, tx, scope, thread, waiting.ID, out.Told); err != nil {
					return err
				}
			}
		}
		out.Run, err = resumeRun(ctx, tx, scope, thread, resumption{
			of: waiting.ID, id: a.Run, pauses: a.Pauses, jump: a.Goto, sends: a.Sends, brings: a.Input, request: a.Request, meta: a.Metadata, webhook: a.Webhook})
		return err
	})
	if err != nil {
		return agents.Resumed{}, fmt.Errorf("answering: %w", err)
	}
	return out, nil
}

// waitingRun locks the thread's run that waits for an answer.
func waitingRun(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID) (agents.Run, error) {
	row, err := pgxOne[runRow](ctx, tx, sqlRunWaiting, named{"org": string(scope.Org), "thread": string(thread)})
	if errors.Is(err, pgx.ErrNoRows) {
		return agents.Run{}, agents.ErrNotInterrupted
	}
	if err != nil {
		return agents.Run{}, fmt.Errorf("locking a waiting run: %w", translate(err))
	}
	return row.run(), nil
}

// closeAll ends every open request of a thread as withdrawn or void, and gives
// the events that tell of it.
func closeAll(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID, status agents.ReviewStatus, told ToldFunc) ([]event.Envelope, error) {
	rows, _ := tx.Query(ctx, sqlReviewsOpenLock, named{"org": string(scope.Org), "thread": string(thread)})
	open, err := pgx.CollectRows(rows, pgx.RowToStructByName[reviewRow])
	if err != nil {
		return nil, fmt.Errorf("locking a thread's reviews: %w", translate(err))
	}
	var out []event.Envelope
	for _, row := range open {
		r := row.review()
		r.Status, r.DecidedBy = status, scope.User
		if err := closeReview(ctx, tx, scope, &r, agents.HashArgs(r.Args)); err != nil {
			return nil, err
		}
		e, err := told(r, "")
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}
