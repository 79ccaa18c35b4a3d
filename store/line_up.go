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

const sqlRunInput = `update runs set input = @input, updated_at = now() where org_id = @org and id = @id`

// errBegun says that a run no longer only stands in line.
var errBegun = fault.Conflict("The assistant has begun with this message.").WithCode("run_begun")

// EditQueued changes what a run brings that stands in line, as edit says; only who
// submitted it may. A conflict says that it has begun. told builds the event.
func (db *DB) EditQueued(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID,
	edit func(agents.RunInput) (agents.RunInput, error), told func(agents.Run) (event.Envelope, error)) (agents.Submitted, error) {
	var out agents.Submitted
	err := db.inLine(ctx, scope, thread, run, func(tx pgx.Tx, r agents.Run) error {
		if r.User != scope.User {
			return fault.Forbidden("Only who wrote a message may change it.").WithCode("not_author")
		}
		var err error
		if r.Input, err = edit(r.Input); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlRunInput, named{"org": string(scope.Org), "id": string(r.ID), "input": r.Input}); err != nil {
			return fmt.Errorf("changing a run's input: %w", translate(err))
		}
		return db.tellOfLine(ctx, tx, scope, r, told, &out)
	})
	if err != nil {
		return agents.Submitted{}, fmt.Errorf("editing a queued message: %w", err)
	}
	return out, nil
}

// SendNow lets a message that stands in line go before all others: what executes
// or waits ends as with the strategy interrupt. told builds the event.
func (db *DB) SendNow(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, d agents.Displacing, told func(agents.Run) (event.Envelope, error)) (agents.Submitted, error) {
	var out agents.Submitted
	err := db.inLine(ctx, scope, thread, run, func(tx pgx.Tx, r agents.Run) error {
		_, behind, err := db.displace(ctx, tx, scope, agents.Submission{Thread: thread, Strategy: agents.StrategyInterrupt, Displacing: d}, &out)
		if err != nil {
			return err
		}
		order := []agents.RunID{r.ID}
		for _, other := range behind {
			if other != r.ID {
				order = append(order, other)
			}
		}
		if err := queueBehind(ctx, tx, scope, order); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlThreadSettle, named{"org": string(scope.Org), "id": string(r.ID), "thread": string(thread)}); err != nil {
			return fmt.Errorf("settling a thread: %w", translate(err))
		}
		return db.tellOfLine(ctx, tx, scope, r, told, &out)
	})
	if err != nil {
		return agents.Submitted{}, fmt.Errorf("sending a queued message now: %w", err)
	}
	return out, nil
}

// inLine locks a thread the scope may write to and a run that stands in its line.
func (db *DB) inLine(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, do func(pgx.Tx, agents.Run) error) error {
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
		if r := row.run(); r.Fresh() {
			return do(tx, r)
		}
		return errBegun
	})
}

// tellOfLine appends the event that tells of a change of the line.
func (db *DB) tellOfLine(ctx context.Context, tx pgx.Tx, scope auth.Scope, r agents.Run, told func(agents.Run) (event.Envelope, error), out *agents.Submitted) error {
	var err error
	if out.Queued, err = told(r); err != nil {
		return err
	}
	appended, err := db.appendEvents(ctx, tx, scope, r.Thread, r.ID, []event.Envelope{out.Queued})
	out.Run, out.Position = r, agents.Position{Seq: appended.Base + 1, Epoch: appended.Epoch}
	return err
}
