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
	where r.org_id = @org and r.thread_id = @thread and r.status in ('success', 'error', 'timeout', 'cancelled')
	order by r.position desc limit 1`

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
		row, err := pgxOne[threadRow](ctx, tx, sqlThreadByID, readerArgs(scope, pgx.NamedArgs{"id": string(thread)}))
		if errors.Is(err, pgx.ErrNoRows) {
			return threadNotFound()
		}
		if err != nil {
			return fmt.Errorf("reading a thread: %w", err)
		}
		v.Thread = row.thread()
		return viewInside(ctx, tx, scope, &v)
	})
	if err != nil {
		return agents.View{}, fmt.Errorf("viewing a thread: %w", err)
	}
	return v, nil
}

func viewInside(ctx context.Context, tx pgx.Tx, scope auth.Scope, v *agents.View) error {
	var err error
	if v.State, err = loadState(ctx, tx, scope, v.Thread.ID, v.Thread.Line); err != nil {
		return err
	}
	var after int64
	if v.State.Head != nil {
		after = v.State.Head.EventSeq
	}
	for {
		rows, head, err := readLog(ctx, tx, string(scope.Org), v.Thread.ID, after, maxLogPage)
		if err != nil {
			return err
		}
		v.Head, v.Tail = head, append(v.Tail, rows...)
		if len(rows) < maxLogPage {
			break
		}
		after = rows[len(rows)-1].Seq
	}
	v.Base = agents.Position{Epoch: v.Head.Epoch}
	if v.State.Head != nil {
		v.Base.Seq = v.State.Head.EventSeq
	}
	args := readerArgs(scope, pgx.NamedArgs{"thread": string(v.Thread.ID)})
	found, _ := tx.Query(ctx, sqlRunsOpen, args)
	open, err := pgx.CollectRows(found, pgx.RowToStructByName[runRow])
	if err != nil {
		return fmt.Errorf("reading a thread's open runs: %w", err)
	}
	for _, r := range open {
		v.Open = append(v.Open, r.run())
	}
	found, _ = tx.Query(ctx, sqlRunLatest, args)
	latest, err := pgx.CollectRows(found, pgx.RowToStructByName[runRow])
	if err != nil {
		return fmt.Errorf("reading a thread's latest run: %w", err)
	}
	if len(latest) > 0 {
		r := latest[0].run()
		v.Latest = &r
	}
	return nil
}
