package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

const sqlRunsInLine = `select ` + runColumns + ` from runs r
	where r.org_id = @org and r.thread_id = @thread and r.status in ('pending', 'running', 'waiting')
	order by r.position for update`

// sqlRunBehind moves a run that has not begun to the end of its thread's line.
const sqlRunBehind = `update runs set position = default where org_id = @org and id = @id`

// displace makes way for new input: what executes or waits is ended or rolled
// back, as the strategy says, and what stands in line stays there, behind the new
// run. It gives how many runs must still end before the new one begins, and those
// that stand behind it. The caller holds the thread's head.
func (db *DB) displace(ctx context.Context, tx pgx.Tx, scope auth.Scope, s agents.Submission, out *agents.Submitted) (ahead int, behind []agents.RunID, err error) {
	rows, err := pgxMany[runRow](ctx, tx, sqlRunsInLine, named{"org": string(scope.Org), "thread": string(s.Thread)})
	if err != nil {
		return 0, nil, fmt.Errorf("locking a thread's runs: %w", err)
	}
	var told []event.Envelope
	var of agents.RunID
	for _, row := range rows {
		r := row.run()
		var events []event.Envelope
		switch {
		case r.Fresh():
			behind = append(behind, r.ID)
		case s.Strategy == agents.StrategyRollback:
			events, err = db.rollBack(ctx, tx, scope, r, s.Displacing)
			out.Stop = append(out.Stop, r.ID)
		case r.Status == agents.RunWaiting:
			events, err = endWaiting(ctx, tx, scope, r, s.Displacing)
		default:
			ahead++
			out.Stop = append(out.Stop, r.ID)
			_, err = tx.Exec(ctx, sqlRunCancelRequest, named{"org": string(scope.Org), "id": string(r.ID), "reason": agents.ReasonDisplaced})
		}
		if err != nil {
			return 0, nil, fmt.Errorf("making way for new input: %w", err)
		}
		if len(events) > 0 {
			told, of = append(told, events...), r.ID
		}
	}
	if len(told) == 0 {
		return ahead, behind, nil
	}
	out.Told = told
	if out.ToldAt, err = db.appendEvents(ctx, tx, scope, s.Thread, of, told); err != nil {
		return 0, nil, err
	}
	if s.Strategy == agents.StrategyRollback {
		_, err = tx.Exec(ctx, sqlWentBack, named{"org": string(scope.Org), "thread": string(s.Thread)})
	}
	return ahead, behind, translate(err)
}

// endWaiting withdraws the requests of a run that waits and ends it; the run
// that follows gives unanswered calls a result.
func endWaiting(ctx context.Context, tx pgx.Tx, scope auth.Scope, r agents.Run, d agents.Displacing) ([]event.Envelope, error) {
	told, err := closeAll(ctx, tx, scope, r.Thread, agents.ReviewWithdrawn, d.Withdrawn)
	if err != nil {
		return nil, err
	}
	ended, err := leaveBehind(ctx, tx, scope, r, agents.ReasonDisplaced, d.Ended)
	return append(told, ended), err
}

// queueBehind moves runs to the end of their line, in their order.
func queueBehind(ctx context.Context, tx pgx.Tx, scope auth.Scope, runs []agents.RunID) error {
	if len(runs) == 0 {
		return nil
	}
	var batch pgx.Batch
	for _, r := range runs {
		batch.Queue(sqlRunBehind, named{"org": string(scope.Org), "id": string(r)})
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("moving runs behind: %w", translate(err))
	}
	return nil
}

// rejected says why a busy thread takes no new input: a run executes, or one
// waits for a decision, which it names.
func rejected(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID) error {
	open, err := pgxMany[reviewRow](ctx, tx, sqlReviewsOpenOfThread, named{"org": string(scope.Org), "thread": string(thread)})
	if err != nil {
		return fmt.Errorf("reading a thread's reviews: %w", err)
	}
	why := "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."
	for _, r := range open {
		why += fmt.Sprintf(" It waits for a decision about %s: review %s.", r.Tool, r.ID)
	}
	return fault.Conflict(why).WithCode("thread_busy")
}
