package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

const sqlPending = `select p.step, p.task, p.line, p.result from pending_writes p
	where p.org_id = @org and p.line_id = @line order by p.task`

type pendingRow struct {
	Step   int
	Task   int
	Line   *string
	Result *agents.Result
}

// pendingOf gives what is known of the tasks due at a step; what stands there for
// another one is left over.
func pendingOf(rows []pendingRow, step int) []agents.Pending {
	var out []agents.Pending
	for _, r := range rows {
		if r.Step == step {
			p := agents.Pending{Task: r.Task, Result: r.Result}
			if r.Line != nil {
				p.Line = agents.LineID(*r.Line)
			}
			out = append(out, p)
		}
	}
	return out
}

// sqlPendingPut keeps results under the token of the attempt that made them, if
// the line still stands where they were made.
const sqlPendingPut = `insert into pending_writes as p (org_id, line_id, step, task, line, result)
	select @org::uuid, @line::uuid, @step::int, w.task, w.line, w.result
	from json_to_recordset(@pending::json) as w(task int, line uuid, result json)
	where exists (select 1 from thread_heads h join lines l on l.org_id = h.org_id and l.thread_id = h.thread_id
		where h.org_id = @org and h.thread_id = @thread and h.token = @token and l.id = @line and l.step = @step)
	on conflict (line_id, task) do update set step = excluded.step, line = excluded.line, result = excluded.result`

// Pend keeps results of a step that is not complete. agents.ErrFenced means that
// the lease is gone, or the step is complete by now.
func (db *DB) Pend(ctx context.Context, scope auth.Scope, lease agents.Lease, w agents.PendingWrites) error {
	if len(w.Pending) == 0 {
		return nil
	}
	n, err := db.exec(ctx, scope, "keeping results of a step", sqlPendingPut, named{
		"org": string(scope.Org), "thread": string(lease.Thread), "token": lease.Token, "line": string(w.Line), "step": w.Step,
		"pending": pendingForms(w.Pending)})
	if err == nil && n == 0 {
		return agents.ErrFenced
	}
	return err
}

// pendingForm is a result as sqlPendingPut reads it.
type pendingForm struct {
	Task   int            `json:"task"`
	Line   *agents.LineID `json:"line"`
	Result *agents.Result `json:"result"`
}

func pendingForms(all []agents.Pending) []pendingForm {
	out := make([]pendingForm, len(all))
	for i, p := range all {
		out[i] = pendingForm{Task: p.Task, Result: p.Result}
		if p.Line != "" {
			out[i].Line = &p.Line
		}
	}
	return out
}

// sqlPendingClear takes away what the step that is committed now has merged.
const sqlPendingClear = `delete from pending_writes where org_id = @org and line_id = @line and step < @step`

// sqlSubLine makes the line of a task's subgraph, if the attempt holds the thread.
const sqlSubLine = `insert into lines (org_id, id, thread_id, parent_line, parent_step, step, ns)
	select @org::uuid, @line::uuid, @thread::uuid, @parent::uuid, @parent_step::int, @parent_step::int, @ns::text[]
	where exists (select 1 from thread_heads where org_id = @org and thread_id = @thread and token = @token)
	on conflict (org_id, id) do nothing`

const sqlSubLineRead = `select l.step, l.ns from lines l
	where l.org_id = @org and l.id = @line and l.thread_id = @thread and l.ns is not null
		and exists (select 1 from thread_heads where org_id = @org and thread_id = @thread and token = @token)`

const sqlSubLineSteps = `select ` + checkpointColumns + ` from checkpoints c where c.org_id = @org and c.line_id = @line order by c.step`

type subLineRow struct {
	Step int
	NS   []string
}

// SubLine gives what is stored of the line of a task's subgraph, making it if it
// is new: Step, Head, Pending and Own. agents.ErrFenced means that the lease is
// gone.
func (db *DB) SubLine(ctx context.Context, scope auth.Scope, lease agents.Lease, sub agents.SubLine) (agents.State, error) {
	out := agents.State{Line: sub.Line}
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := named{
			"org": string(scope.Org), "thread": string(lease.Thread), "token": lease.Token, "line": string(sub.Line), "ns": sub.NS,
			"parent": string(sub.Parent), "parent_step": sub.ParentStep}
		if _, err := tx.Exec(ctx, sqlSubLine, args); err != nil {
			return fmt.Errorf("making a line: %w", translate(err))
		}
		line, err := pgxOne[subLineRow](ctx, tx, sqlSubLineRead, args)
		if errors.Is(err, pgx.ErrNoRows) {
			return agents.ErrFenced
		}
		if err != nil {
			return fmt.Errorf("reading a line: %w", translate(err))
		}
		out.Step = line.Step
		var rows []checkpointRow
		var pending []pendingRow
		var batch pgx.Batch
		collect(&batch, &rows, sqlSubLineSteps, args)
		collect(&batch, &pending, sqlPending, args)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("reading a line's steps: %w", translate(err))
		}
		out.Pending = pendingOf(pending, out.Step)
		out.Own, err = ownChanges(ctx, tx, args, rows)
		if len(rows) > 0 {
			head, headErr := rows[len(rows)-1].checkpoint()
			out.Head, err = &head, errors.Join(err, headErr)
		}
		return err
	})
	if err != nil {
		return agents.State{}, fmt.Errorf("reading a subgraph's line: %w", err)
	}
	return out, nil
}

// ownChanges gives all that a line's steps changed, with the bodies of messages.
func ownChanges(ctx context.Context, tx pgx.Tx, args named, rows []checkpointRow) ([]agents.Change, error) {
	var refs []agents.Ref
	steps := make([]agents.Checkpoint, len(rows))
	for i, r := range rows {
		var err error
		if steps[i], err = r.changes(); err != nil {
			return nil, err
		}
		for _, op := range steps[i].Ops {
			if op.Kind != agents.OpRemove {
				refs = append(refs, agents.Ref{ID: op.ID, Rev: op.Rev})
			}
		}
	}
	messages, err := loadMessages(ctx, inside(tx), args["org"].(string), args["thread"].(string), refs, nil)
	if err != nil {
		return nil, err
	}
	var out []agents.Change
	for _, r := range steps {
		out = append(out, agents.ChangesOf(r.Ops, r.Deltas, &messages)...)
	}
	return out, nil
}

// orNone gives nil for what is empty: the column is null then.
func orNoObject(raw json.RawMessage) any {
	if len(raw) == 0 || string(raw) == "{}" {
		return nil
	}
	return raw
}
