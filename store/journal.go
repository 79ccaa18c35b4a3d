package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

const sqlReviewsOfCalls = `select distinct on (v.call_id) ` + reviewColumns + ` from reviews v
	where v.org_id = @org and v.line_id = @line and v.call_id = any(@calls)
	order by v.call_id, v.round desc, v.created_at desc, v.id desc`

const sqlJournalOfCalls = `select call_id, round, status, result from tool_journal
	where org_id = @org and line_id = @line and call_id = any(@calls)`

type journalRow struct {
	CallID string
	Round  int
	Status string
	Result *agents.Message
}

func (r journalRow) journal() agents.Journal {
	return agents.Journal{CallID: r.CallID, Round: r.Round, Status: agents.JournalStatus(r.Status), Result: r.Result}
}

// CallRecords gives the newest request and the journal of calls on a line.
func (db *DB) CallRecords(ctx context.Context, scope auth.Scope, line agents.LineID, calls []string) (map[string]agents.CallRecord, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	args := named{"org": string(scope.Org), "line": string(line), "calls": calls}
	var reviews []reviewRow
	var journal []journalRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	collect(&batch, &reviews, sqlReviewsOfCalls, args)
	collect(&batch, &journal, sqlJournalOfCalls, args)
	if err := db.app.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("reading what is known of calls: %w", translate(err))
	}
	out := make(map[string]agents.CallRecord, len(reviews)+len(journal))
	for _, r := range reviews {
		review := r.review()
		out[r.CallID] = agents.CallRecord{Review: &review}
	}
	for _, j := range journal {
		rec := out[j.CallID]
		made := j.journal()
		rec.Journal = &made
		out[j.CallID] = rec
	}
	return out, nil
}

// sqlJournalReserve notes that the calls of a step may run, if the attempt still
// holds the thread: what people decided is bound here to the arguments that run.
// A call that was reserved or sent before is so again only in a later round, which
// a person approved, or by a later attempt at a call that may be repeated; one that
// is confirmed never.
const sqlJournalReserve = `with head as (
	select 1 from thread_heads where org_id = @org and thread_id = @thread and token = @token and run_id = @run for update
)
insert into tool_journal as j (org_id, line_id, call_id, thread_id, round, tool, args_hash, status, run_id, token)
select @org, @line, c.call, @thread, c.round, c.tool, c.hash, 'reserved', @run, @token
from head, unnest(@calls::text[], @rounds::int[], @tools::text[], @hashes::bytea[]) as c(call, round, tool, hash)
on conflict (org_id, line_id, call_id) do update set round = excluded.round, args_hash = excluded.args_hash, status = 'reserved',
	run_id = excluded.run_id, token = excluded.token, ended_at = null
	where j.status <> 'confirmed' and (j.round < excluded.round or j.round = excluded.round and j.token < excluded.token)`

// ReserveCalls notes that calls may run, all of them or none. agents.ErrFenced
// means that the lease is gone, or that one of them must not run (again).
func (db *DB) ReserveCalls(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, calls []agents.Reservation) error {
	n := len(calls)
	ids, rounds, tools, hashes := make([]string, n), make([]int, n), make([]string, n), make([][]byte, n)
	for i, c := range calls {
		ids[i], rounds[i], tools[i], hashes[i] = c.Call.ID, c.Round, c.Call.Name, agents.HashArgs(c.Call.Args)
	}
	return db.scoped(ctx, scope, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlJournalReserve, named{
			"org": string(scope.Org), "thread": string(lease.Thread), "run": string(lease.Run), "token": lease.Token, "line": string(line),
			"calls": ids, "rounds": rounds, "tools": tools, "hashes": hashes})
		if err != nil {
			return fmt.Errorf("reserving calls: %w", translate(err))
		}
		if tag.RowsAffected() != int64(n) {
			return agents.ErrFenced
		}
		return nil
	})
}

// sqlJournalSend notes that a reserved call is handed to its tool, with the
// arguments it was reserved with, if the attempt still holds the thread.
const sqlJournalSend = `with head as (
	select 1 from thread_heads where org_id = @org and thread_id = @thread and token = @token and run_id = @run for update
)
update tool_journal j set status = 'sent', sent_at = now() from head
where j.org_id = @org and j.line_id = @line and j.call_id = @call and j.round = @round and j.token = @token
	and j.status = 'reserved' and j.args_hash = @hash`

// SendCall notes that a call is being handed to its tool. agents.ErrFenced means
// that the lease is gone, or that the call is not reserved.
func (db *DB) SendCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call agents.ToolCall, round int) error {
	n, err := db.exec(ctx, scope, "noting a call", sqlJournalSend, named{
		"org": string(scope.Org), "thread": string(lease.Thread), "run": string(lease.Run), "token": lease.Token, "line": string(line),
		"call": call.ID, "round": round, "hash": agents.HashArgs(call.Args)})
	if err == nil && n == 0 {
		return agents.ErrFenced
	}
	return err
}

// sqlJournalConfirm keeps what came of a call. It asks for the row's token and
// not for the lease: what a tool did is true whoever holds the thread now.
const sqlJournalConfirm = `update tool_journal set status = @status, result = @result, ended_at = now()
	where org_id = @org and line_id = @line and call_id = @call and round = @round and token = @token and status = 'sent'`

// ConfirmCall keeps the result of a call that was sent, or, with nil, that
// nobody knows whether it took effect.
func (db *DB) ConfirmCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call string, round int, result *agents.Message) error {
	args := named{"org": string(scope.Org), "line": string(line), "call": call, "round": round, "token": lease.Token,
		"status": string(agents.JournalUnknown), "result": nil}
	if result != nil {
		body, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("writing a result as JSON: %w", err)
		}
		args["status"], args["result"] = string(agents.JournalConfirmed), string(body)
	}
	n, err := db.exec(ctx, scope, "confirming a call", sqlJournalConfirm, args)
	if err == nil && n == 0 {
		return agents.ErrFenced
	}
	return err
}

// sqlJournalOutcomes says what came of calls that their run will not go on with.
// What was sent and not answered is noted as unknown, unless a later attempt sent
// it. A call that is reserved again after it was sent may have taken effect before.
const sqlJournalOutcomes = `with recursive own as (
	select id from lines where org_id = @org and id = @line and thread_id = @thread
	union all
	select l.id from lines l join own on l.parent_line = own.id where l.org_id = @org and l.ns is not null
), lost as (
	update tool_journal j set status = 'unknown', ended_at = now() from own
	where j.org_id = @org and j.line_id = own.id and j.call_id = any(@calls) and j.status = 'sent' and j.token <= @token
)
select j.call_id, j.round, j.result, case
		when j.status = 'sent' or j.status = 'reserved' and j.sent_at is not null then 'unknown' else j.status end as status
from tool_journal j join own on j.line_id = own.id where j.org_id = @org and j.call_id = any(@calls)`

// Outcomes says what came of calls of a line, or of the lines of its subgraphs,
// which nobody will answer any more; calls that were never reserved are absent.
// What a token up to the given one sent without an answer becomes unknown for good;
// with 0 nothing is changed.
func (db *DB) Outcomes(ctx context.Context, scope auth.Scope, thread agents.ThreadID, line agents.LineID, token int64, calls []string) (map[string]agents.Journal, error) {
	rows, err := many[journalRow](ctx, db, scope, "reading what came of calls", sqlJournalOutcomes, named{
		"org": string(scope.Org), "thread": string(thread), "line": string(line), "token": token, "calls": calls})
	if err != nil {
		return nil, err
	}
	out := make(map[string]agents.Journal, len(rows))
	for _, r := range rows {
		out[r.CallID] = r.journal()
	}
	return out, nil
}
