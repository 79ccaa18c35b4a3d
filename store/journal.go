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
		rec.Journal = &agents.Journal{
			CallID: j.CallID, Round: j.Round, Status: agents.JournalStatus(j.Status), Result: j.Result}
		out[j.CallID] = rec
	}
	return out, nil
}

// sqlJournalSend notes that a call is handed to its tool, if the attempt still
// holds the thread. A call that was sent before is sent again only in a later
// round, which a person approved, or by a later attempt at a call that may be
// repeated; one that is confirmed never.
const sqlJournalSend = `with head as (
	select 1 from thread_heads where org_id = @org and thread_id = @thread and token = @token and run_id = @run for update
)
insert into tool_journal as j (org_id, line_id, call_id, thread_id, round, tool, args_hash, status, run_id, token)
select @org, @line, @call, @thread, @round, @tool, @hash, 'sent', @run, @token from head
on conflict (org_id, line_id, call_id) do update set round = excluded.round, args_hash = excluded.args_hash, status = 'sent',
	run_id = excluded.run_id, token = excluded.token, sent_at = now(), ended_at = null
	where j.status <> 'confirmed' and (j.round < excluded.round or j.round = excluded.round and j.token < excluded.token)`

// SendCall notes that a call is being handed to its tool. agents.ErrFenced means
// that the lease is gone, or that the call must not be sent (again).
func (db *DB) SendCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call agents.ToolCall, round int) error {
	n, err := db.exec(ctx, scope, "noting a call", sqlJournalSend, named{
		"org": string(scope.Org), "thread": string(lease.Thread), "run": string(lease.Run), "token": lease.Token, "line": string(line),
		"call": call.ID, "round": round, "tool": call.Name, "hash": agents.HashArgs(call.Args)})
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
