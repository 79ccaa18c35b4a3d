package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

const sqlRunLatest = `select ` + runColumns + ` from runs r
	where r.org_id = @org and r.thread_id = @thread and r.status in ('success', 'error', 'timeout', 'cancelled') and r.attempt > 0
	order by r.position desc, r.created_at desc limit 1`

// View reads a thread, its state, its open runs and the log beyond the state's
// checkpoint as of one moment. The scope must be able to read the thread.
func (db *DB) View(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.View, error) {
	if !id.Valid(string(thread)) {
		return agents.View{}, threadNotFound()
	}
	if err := checkScope(scope); err != nil {
		return agents.View{}, err
	}
	var v agents.View
	begin := "begin isolation level repeatable read read only; select set_config('heddle.org', '" + string(scope.Org) + "', true)"
	err := pgx.BeginTxFunc(ctx, db.app, pgx.TxOptions{BeginQuery: begin}, func(tx pgx.Tx) error {
		row, err := pgxOne[threadRow](ctx, tx, sqlThreadByID, readerArgs(scope, named{"id": string(thread)}))
		if errors.Is(err, pgx.ErrNoRows) {
			return threadNotFound()
		}
		if err != nil {
			return fmt.Errorf("reading a thread: %w", err)
		}
		v.Thread = row.thread()
		return db.viewInside(ctx, tx, scope, &v)
	})
	if err != nil {
		return agents.View{}, fmt.Errorf("viewing a thread: %w", err)
	}
	return v, nil
}

const sqlViewHead = `select seq, epoch::text as epoch, state_seq from thread_heads where org_id = @org and thread_id = @thread`

type viewHeadRow struct {
	Seq      int64
	Epoch    string
	StateSeq int64
}

// sqlWentBack notes that the thread's state is an older one now: what the log has
// said so far beyond its step is of what was left. The caller holds the head.
const sqlWentBack = `update thread_heads set state_seq = seq where org_id = @org and thread_id = @thread`

// viewInside reads what hangs on the thread in two round trips: first what needs
// only its id and line, then what the line's head points to.
func (db *DB) viewInside(ctx context.Context, tx pgx.Tx, scope auth.Scope, v *agents.View) error {
	load := stateLoad{org: string(scope.Org), thread: string(v.Thread.ID), line: string(v.Thread.Line)}
	var heads []viewHeadRow
	var open, latest []runRow
	var reviews []reviewRow
	args := readerArgs(scope, named{"thread": load.thread})
	var first pgx.Batch
	load.queueLine(&first)
	collect(&first, &heads, sqlViewHead, args)
	collect(&first, &open, sqlRunsOpen, args)
	collect(&first, &latest, sqlRunLatest, args)
	collect(&first, &reviews, sqlReviewsOfThread, named{"org": string(scope.Org), "thread": load.thread})
	if err := tx.SendBatch(ctx, &first).Close(); err != nil {
		return fmt.Errorf("reading a thread's line, log and runs: %w", translate(err))
	}
	if len(heads) != 1 {
		return fmt.Errorf("reading a log's head: %w", translate(pgx.ErrNoRows))
	}
	if err := load.fold(ctx, inside(tx)); err != nil {
		return err
	}
	v.Head = agents.Position{Seq: heads[0].Seq, Epoch: heads[0].Epoch}
	v.Base = agents.Position{Epoch: v.Head.Epoch, Seq: heads[0].StateSeq}
	if load.state.Head != nil {
		v.Base.Seq = max(v.Base.Seq, load.state.Head.EventSeq)
	}
	var err error
	v.Tail, err = db.logAfter(ctx, tx, named{
		"org": load.org, "thread": load.thread, "after": v.Base.Seq, "limit": maxLogPage})
	if err != nil {
		return err
	}
	if err := load.bodies(ctx, inside(tx)); err != nil {
		return err
	}
	v.State = load.state
	v.Reviews = reviewsOf(reviews)
	for _, r := range open {
		v.Open = append(v.Open, r.run())
	}
	if len(latest) > 0 {
		r := latest[0].run()
		v.Latest = &r
	}
	return db.restOfTail(ctx, tx, load.org, v)
}

// restOfTail reads on where the log beyond the checkpoint has more than a page.
func (db *DB) restOfTail(ctx context.Context, tx pgx.Tx, org string, v *agents.View) error {
	for page := len(v.Tail); page == maxLogPage; {
		rows, _, err := db.readLog(ctx, tx, org, v.Thread.ID, v.Tail[len(v.Tail)-1].Seq, maxLogPage)
		if err != nil {
			return err
		}
		v.Tail, page = append(v.Tail, rows...), len(rows)
	}
	return nil
}
