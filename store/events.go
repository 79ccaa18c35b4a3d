package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

type headRow struct {
	Seq   int64
	Epoch string
}

const sqlHead = `select seq, epoch::text as epoch from thread_heads where org_id = @org and thread_id = @thread`

const sqlLogAfter = `select seq, from_seq as "from", run_id, type, body, pack from events
	where org_id = @org and thread_id = @thread and seq > @after order by seq limit @limit`

// maxLogPage bounds one read of the log.
const maxLogPage = 2000

// Log reads a thread's log after a number, oldest first, and the log's head at
// that moment. The scope must be able to read the thread.
func (db *DB) Log(ctx context.Context, scope auth.Scope, thread agents.ThreadID, after int64, limit int) ([]agents.LogRow, agents.Position, error) {
	if _, err := db.Thread(ctx, scope, thread); err != nil {
		return nil, agents.Position{}, err
	}
	if limit < 1 || limit > maxLogPage {
		limit = maxLogPage
	}
	var rows []agents.LogRow
	var head agents.Position
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var err error
		rows, head, err = db.readLog(ctx, tx, string(scope.Org), thread, after, limit)
		return err
	})
	return rows, head, err
}

// readLog reads head and rows in one transaction. The head is read first: rows
// that arrive in between are beyond it and are dropped, so that what is
// returned never runs ahead of the head it is returned with.
func (db *DB) readLog(ctx context.Context, tx pgx.Tx, org string, thread agents.ThreadID, after int64, limit int) ([]agents.LogRow, agents.Position, error) {
	args := named{"org": org, "thread": string(thread), "after": after, "limit": limit}
	head, err := pgxOne[headRow](ctx, tx, sqlHead, args)
	if err != nil {
		return nil, agents.Position{}, fmt.Errorf("reading a log's head: %w", translate(err))
	}
	rows, err := db.logAfter(ctx, tx, args)
	if err != nil {
		return nil, agents.Position{}, err
	}
	for len(rows) > 0 && rows[len(rows)-1].Seq > head.Seq {
		rows = rows[:len(rows)-1]
	}
	return rows, agents.Position{Seq: head.Seq, Epoch: head.Epoch}, nil
}

// logAfter reads the log after a number, at most as many envelopes as the
// arguments say: as many mean that there may be more.
func (db *DB) logAfter(ctx context.Context, tx pgx.Tx, args named) ([]agents.LogRow, error) {
	found, err := pgxMany[logRow](ctx, tx, sqlLogAfter, args)
	if err != nil {
		return nil, fmt.Errorf("reading a log: %w", err)
	}
	limit := args["limit"].(int)
	var out []agents.LogRow
	for _, r := range found {
		if len(out) >= limit {
			break
		}
		some, err := db.packs.unfold(r, args["thread"].(string), args["after"].(int64))
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out[:min(len(out), limit)], nil
}

// sqlAppend numbers and appends events to one thread's log without a token, in
// a transaction that holds the thread's head.
const sqlAppend = `with head as (
	update thread_heads set seq = seq + @events
	where org_id = @org and thread_id = @thread
	returning seq - @events as base, epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, pack)
	select @org::uuid, @thread::uuid, head.base + @events, head.base + 1, @run::uuid, @pack::bytea from head where @events > 0
)
select base, epoch::text as epoch from head`

// appendEvents appends news about a thread that no attempt holds a token for: a
// queued message, a decision, a new title.
func (db *DB) appendEvents(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID, run agents.RunID, events []event.Envelope) (agents.Appended, error) {
	pack, err := db.packed(thread, run, events)
	if err != nil {
		return agents.Appended{}, err
	}
	args := named{"org": string(scope.Org), "thread": string(thread), "run": nil, "events": len(events), "pack": pack}
	if run != "" {
		args["run"] = string(run)
	}
	out, err := pgxOne[agents.Appended](ctx, tx, sqlAppend, args)
	if err != nil {
		return agents.Appended{}, fmt.Errorf("appending to a log: %w", translate(err))
	}
	return out, nil
}
