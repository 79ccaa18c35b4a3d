package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// sqlStepCommit writes a step if, and only if, the lease's token still holds:
// every part hangs on the fenced update of the head, so an old attempt changes
// no row at all. The checkpoint's event_seq is the number of the step's last
// event: the state contains all that the log says up to there.
const sqlStepCommit = `with head as (
	update thread_heads set seq = seq + cardinality(@event_bodies::text[])
	where org_id = @org and thread_id = @thread and token = @token and run_id is not distinct from @holder::uuid
		and exists (select 1 from lines l
			where l.org_id = @org and l.id = @line and l.thread_id = @thread and l.step = @step - 1)
	returning seq, seq - cardinality(@event_bodies::text[]) as base, epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, type, body)
	select @org::uuid, @thread::uuid, head.base + e.ord, head.base + e.ord, @run::uuid, e.type, e.body
	from head, unnest(@event_types::text[], @event_bodies::text[]) with ordinality as e(type, body, ord)
), written as (
	insert into messages (org_id, thread_id, id, revision, role, body, run_id)
	select @org::uuid, @thread::uuid, m.id, m.revision, m.role, m.body, @run::uuid
	from head, json_to_recordset(@messages::json) as m(id text, revision int, role text, body json)
	on conflict do nothing
), stepped as (
	update lines set step = @step from head
	where lines.org_id = @org and lines.id = @line and lines.step = @step - 1
	returning lines.id
), checkpointed as (
	insert into checkpoints (org_id, line_id, step, id, thread_id, run_id, source, ops, deltas, snapshot, next, interrupts, metadata, event_seq)
	select @org::uuid, @line::uuid, @step::int, @checkpoint::uuid, @thread::uuid, @run::uuid, @source::text, @ops::jsonb, @deltas::jsonb, @snapshot::jsonb, @next::jsonb, @interrupts::jsonb, @metadata::jsonb, head.seq
	from head, stepped
	returning id
), reset as (
	update runs set failures = 0, updated_at = now() from head
	where runs.org_id = @org and runs.id = @run and runs.failures > 0
)
select head.base, head.epoch::text as epoch from head, checkpointed`

// sqlRunFinish ends a run under its token and frees the thread; the thread is
// busy still if another run is in line. A finish that comes with a step names
// its checkpoint: where the step was refused, the run must not end.
const sqlRunFinish = `with head as (
	update thread_heads set seq = seq + cardinality(@event_bodies::text[]), run_id = null, worker_id = null, lease_until = null
	where org_id = @org and thread_id = @thread and token = @token and run_id = @run
		and (@checkpoint::uuid is null or exists (select 1 from checkpoints c where c.org_id = @org and c.id = @checkpoint))
	returning seq - cardinality(@event_bodies::text[]) as base, epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, type, body)
	select @org::uuid, @thread::uuid, head.base + e.ord, head.base + e.ord, @run::uuid, e.type, e.body
	from head, unnest(@event_types::text[], @event_bodies::text[]) with ordinality as e(type, body, ord)
), ended as (
	update runs set status = @status::text, error = @error::jsonb, updated_at = now(),
		ended_at = case when @status::text <> 'waiting' then now() end from head
	where runs.org_id = @org and runs.id = @run
), freed as (
	update threads t set updated_at = now(), status = case
		when @status::text <> 'waiting' and exists (select 1 from runs r
			where r.org_id = t.org_id and r.thread_id = t.id and r.status = 'pending') then 'busy'
		else @thread_status::text end
	from head where t.org_id = @org and t.id = @thread
)
select head.base, head.epoch::text as epoch from head`

// CommitStep writes one super-step and, when finish is given, the run's end in
// the same transaction. agents.ErrFenced means the lease is gone and nothing was
// written.
func (db *DB) CommitStep(ctx context.Context, scope auth.Scope, lease agents.Lease, step agents.Step, finish *agents.Finish) (stepped, finished agents.Appended, err error) {
	if err := checkScope(scope); err != nil {
		return stepped, finished, err
	}
	args, err := stepArgs(scope, lease, step)
	if err != nil {
		return stepped, finished, err
	}
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	batch.Queue(sqlStepCommit, args)
	if len(step.Reviews) > 0 {
		batch.Queue(sqlReviewsInsert, pgx.NamedArgs{"org": args["org"], "thread": args["thread"], "line": args["line"],
			"run": args["run"], "checkpoint": args["checkpoint"], "reviews": requestForms(step.Reviews)})
	}
	if finish != nil {
		end, err := finishArgs(scope, lease, *finish)
		if err != nil {
			return stepped, finished, err
		}
		end["checkpoint"] = args["checkpoint"]
		batch.Queue(sqlRunFinish, end)
	}
	results := db.app.SendBatch(ctx, &batch)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return stepped, finished, fmt.Errorf("committing a step: %w", translate(err))
	}
	if stepped, err = readAppended(results); err != nil {
		return stepped, finished, fmt.Errorf("committing step %d: %w", step.Step, err)
	}
	if len(step.Reviews) > 0 {
		if _, err := results.Exec(); err != nil {
			return stepped, finished, fmt.Errorf("writing requests for review: %w", translate(err))
		}
	}
	if finish != nil {
		if finished, err = readAppended(results); err != nil {
			return stepped, finished, fmt.Errorf("finishing a run: %w", err)
		}
	}
	if err := results.Close(); err != nil {
		return stepped, finished, fmt.Errorf("committing step %d: %w", step.Step, err)
	}
	return stepped, finished, nil
}

// FinishRun ends a run without a further step.
func (db *DB) FinishRun(ctx context.Context, scope auth.Scope, lease agents.Lease, finish agents.Finish) (agents.Appended, error) {
	args, err := finishArgs(scope, lease, finish)
	if err != nil {
		return agents.Appended{}, err
	}
	rows, err := many[agents.Appended](ctx, db, scope, "finishing a run", sqlRunFinish, args)
	if err != nil {
		return agents.Appended{}, err
	}
	if len(rows) == 0 {
		return agents.Appended{}, agents.ErrFenced
	}
	return rows[0], nil
}

func readAppended(results pgx.BatchResults) (agents.Appended, error) {
	rows, _ := results.Query()
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[agents.Appended])
	if err != nil {
		return agents.Appended{}, translate(err)
	}
	if len(all) == 0 {
		return agents.Appended{}, agents.ErrFenced
	}
	return all[0], nil
}

func stepArgs(scope auth.Scope, lease agents.Lease, step agents.Step) (pgx.NamedArgs, error) {
	types, bodies, err := renderEvents(step.Events)
	if err != nil {
		return nil, err
	}
	type stored struct {
		ID       agents.MessageID   `json:"id"`
		Revision int                `json:"revision"`
		Role     agents.MessageRole `json:"role"`
		Body     agents.Message     `json:"body"`
	}
	messages := make([]stored, len(step.Messages))
	for i, m := range step.Messages {
		messages[i] = stored{ID: m.ID, Revision: m.Revision, Role: m.Role, Body: m}
	}
	metadata := step.Metadata
	if metadata == nil {
		metadata = json.RawMessage(`{}`)
	}
	return pgx.NamedArgs{
		"org": string(scope.Org), "thread": string(lease.Thread), "run": string(lease.Run), "holder": string(lease.Run),
		"token": lease.Token, "event_types": types, "event_bodies": bodies, "messages": messages, "line": string(step.Line), "step": step.Step,
		"checkpoint": id.New(), "source": string(step.Source), "ops": orEmpty(step.Ops), "deltas": orEmptyMap(step.Deltas),
		"snapshot": step.Snapshot, "next": orEmpty(step.Next),
		"interrupts": orEmpty(step.Interrupts), "metadata": metadata,
	}, nil
}

func finishArgs(scope auth.Scope, lease agents.Lease, f agents.Finish) (pgx.NamedArgs, error) {
	types, bodies, err := renderEvents(f.Events)
	if err != nil {
		return nil, err
	}
	status := agents.ThreadIdle
	switch f.Status {
	case agents.RunFailed, agents.RunTimeout:
		status = agents.ThreadError
	case agents.RunWaiting:
		status = agents.ThreadInterrupted
	default:
	}
	return pgx.NamedArgs{
		"org": string(scope.Org), "thread": string(lease.Thread), "run": string(lease.Run), "token": lease.Token,
		"event_types": types, "event_bodies": bodies, "status": string(f.Status), "error": f.Error,
		"thread_status": string(status), "checkpoint": nil,
	}, nil
}

func renderEvents(envelopes []event.Envelope) (types, bodies []string, err error) {
	types, bodies = make([]string, len(envelopes)), make([]string, len(envelopes))
	for i, e := range envelopes {
		body, err := e.Body()
		if err != nil {
			return nil, nil, err
		}
		types[i], bodies[i] = string(e.Type), string(body)
	}
	return types, bodies, nil
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func orEmptyMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
