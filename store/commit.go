package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// sqlStepCommit writes a step if, and only if, the lease's token still holds:
// every part hangs on the fenced update of the head, so an old attempt changes
// no row at all. The checkpoint's event_seq is the number of the step's last
// event: the state contains all that the log says up to there.
const sqlStepCommit = `with head as (
	update thread_heads set seq = seq + @events
	where org_id = @org and thread_id = @thread and token = @token and run_id is not distinct from @holder::uuid
		and exists (select 1 from lines l
			where l.org_id = @org and l.id = @line and l.thread_id = @thread and l.step = @step - 1)
	returning seq, seq - @events as base, epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, pack)
	select @org::uuid, @thread::uuid, head.base + @events, head.base + 1, @run::uuid, @pack::bytea from head where @events > 0
), written as (
	insert into messages (org_id, thread_id, id, revision, role, text, author_id, rest, run_id)
	select @org::uuid, @thread::uuid, m.id, m.revision, m.role, m.text, m.author, m.rest, @run::uuid
	from head, json_to_recordset(@messages::json) as m(id text, revision bigint, role text, text text, author uuid, rest json)
	on conflict do nothing returning id
), stepped as (
	update lines set step = @step from head
	where lines.org_id = @org and lines.id = @line and lines.step = @step - 1
	returning lines.id
), checkpointed as (
	insert into checkpoints (org_id, line_id, step, run_id, source, ops, deltas, snapshot, rollup, next, wrote, interrupts, metadata, event_seq)
	select @org::uuid, @line::uuid, @step::int, @run::uuid, @source::text, @ops::json, @deltas::json, @snapshot::json,
		@rollup::json, @next::json, @wrote::json, @interrupts::json, @metadata::json, head.seq
	from head, stepped
	returning step
), reset as (
	update runs set failures = 0, lost = null, manifest = coalesce(@manifest::json, manifest), updated_at = now() from head
	where runs.org_id = @org and runs.id = @run and (runs.failures > 0 or @manifest::json is not null)
)
select head.base, head.epoch::text as epoch, now() as at, (select count(*) from written)::int as written from head, checkpointed`

// sqlRunFinish ends a run under its token and frees the thread; the thread is
// busy still if another run is in line. A finish that comes with a step names
// its checkpoint: where the step was refused, the run must not end.
const sqlRunFinish = `with head as (
	update thread_heads set seq = seq + @events, run_id = null, worker_id = null, lease_until = null
	where org_id = @org and thread_id = @thread and token = @token and run_id = @run
		and (@step::int is null or exists (select 1 from checkpoints c
			where c.org_id = @org and c.line_id = @line and c.step = @step and ` + madeNow + `))
	returning seq - @events as base, epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, pack)
	select @org::uuid, @thread::uuid, head.base + @events, head.base + 1, @run::uuid, @pack::bytea from head where @events > 0
), ended as (
	update runs set status = @status::text, error = @error::jsonb, updated_at = now(),
		ended_at = case when @status::text <> 'waiting' then now() end from head
	where runs.org_id = @org and runs.id = @run
), freed as (
	update threads t set updated_at = now(), status = case
		when @status::text <> 'waiting' and ` + someoneWaits + ` then 'busy'
		else @thread_status::text end
	from head where t.org_id = @org and t.id = @thread
)
select head.base, head.epoch::text as epoch, now() as at, 0 as written from head`

// someoneWaits holds for a thread t with a run in line. The offset lets it be looked
// for among the thread's open runs, and not along the whole queue, which the planner
// takes for short.
const someoneWaits = `exists (select 1 from (select r.status from runs r where r.org_id = t.org_id and r.thread_id = t.id
	and r.status in ('pending', 'running', 'waiting') offset 0) r where r.status = 'pending')`

// madeNow holds for the checkpoint that this transaction made: one that stood
// there before shows that the step was refused.
const madeNow = `c.xmin = pg_current_xact_id()::xid`

// CommitStep writes one super-step and, when finish is given, the run's end in
// the same transaction. agents.ErrFenced means the lease is gone and nothing was
// written.
func (db *DB) CommitStep(ctx context.Context, scope auth.Scope, lease agents.Lease, step agents.Step, finish *agents.Finish) (stepped, finished agents.Appended, err error) {
	if err := checkScope(scope); err != nil {
		return stepped, finished, err
	}
	args, err := db.stepArgs(scope, lease, step)
	if err != nil {
		return stepped, finished, err
	}
	var end named
	if finish != nil {
		if end, err = db.finishArgs(scope, lease, *finish); err != nil {
			return stepped, finished, err
		}
		end["line"], end["step"] = args["line"], args["step"]
	}
	if plain(step, finish) {
		e := &entry{args: args, end: end, messages: args["messages"].([]messageForm)}
		if err := db.steps.write(ctx, scope.Org, e); err != nil {
			return stepped, finished, err
		}
		if e.at != nil {
			db.keepStep(stateKey{scope.Org, lease.Thread}, e)
			return e.at.appended(), agents.Appended{Base: e.at.Base + int64(len(step.Events)), Epoch: e.at.Epoch}, nil
		}
	}
	if rolledUp(step) {
		rows, err := many[changedRow](ctx, db, scope, "reading what to roll up", sqlChangesSince, args)
		if err != nil {
			return stepped, finished, err
		}
		if args["rollup"], err = rollup(rows, step); err != nil {
			return stepped, finished, err
		}
	}
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	batch.Queue(sqlStepCommit, args)
	queuePending(&batch, args, step)
	if len(step.Reviews) > 0 {
		batch.Queue(sqlReviewsInsert, named{"org": args["org"], "thread": args["thread"], "line": args["line"],
			"run": args["run"], "step": args["step"], "reviews": requestForms(step.Reviews)})
	}
	if finish != nil {
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
	for range pendingStatements(step) {
		if _, err := results.Exec(); err != nil {
			return stepped, finished, fmt.Errorf("keeping results of a step: %w", translate(err))
		}
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
	if err := checkScope(scope); err != nil {
		return agents.Appended{}, err
	}
	args, err := db.finishArgs(scope, lease, finish)
	if err != nil {
		return agents.Appended{}, err
	}
	args["holder"] = args["run"]
	e := &entry{args: args, end: args}
	if err := db.steps.write(ctx, scope.Org, e); err != nil {
		return agents.Appended{}, err
	}
	if e.at != nil {
		return e.at.appended(), nil
	}
	rows, err := many[writtenRow](ctx, db, scope, "finishing a run", sqlRunFinish, args)
	if err != nil {
		return agents.Appended{}, err
	}
	if len(rows) == 0 {
		return agents.Appended{}, agents.ErrFenced
	}
	return rows[0].appended(), nil
}

// plain reports whether a step, and the end that comes with it, has nothing that is
// written beside them.
func plain(step agents.Step, finish *agents.Finish) bool {
	return !rolledUp(step) && !step.Clear && len(step.Pending) == 0 && len(step.Reviews) == 0 && (finish == nil || len(finish.Events) == 0)
}

func readAppended(results pgx.BatchResults) (agents.Appended, error) {
	rows, _ := results.Query()
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[writtenRow])
	if err != nil {
		return agents.Appended{}, translate(err)
	}
	if len(all) == 0 {
		return agents.Appended{}, agents.ErrFenced
	}
	return all[0].appended(), nil
}

func (db *DB) stepArgs(scope auth.Scope, lease agents.Lease, step agents.Step) (named, error) {
	run := step.Run
	if run == "" {
		run = lease.Run
	}
	pack, err := db.packed(lease.Thread, run, step.Events)
	if err != nil {
		return nil, err
	}
	messages, err := messageForms(step.Messages)
	if err != nil {
		return nil, err
	}
	args := named{
		"org": string(scope.Org), "thread": string(lease.Thread), "run": orNull(string(run)), "holder": orNull(string(lease.Run)),
		"token": lease.Token, "events": len(step.Events), "pack": pack, "messages": messages, "line": string(step.Line), "step": step.Step,
		"source": string(step.Source), "ops": opsOrNone(step.Ops), "rollup": nil, "metadata": orNoObject(step.Metadata),
		"since_steps": agents.RollupEvery,
	}
	for _, c := range []struct {
		name string
		some bool
		of   any
	}{
		{"deltas", len(step.Deltas) > 0, step.Deltas}, {"snapshot", step.Snapshot != nil, step.Snapshot}, {"manifest", step.Manifest != nil, step.Manifest},
		{"next", len(step.Next) > 0, step.Next}, {"wrote", len(wroteBy(step)) > 0, wroteBy(step)}, {"interrupts", len(step.Interrupts) > 0, step.Interrupts},
	} {
		if !c.some {
			args[c.name] = nil
			continue
		}
		text, err := json.Marshal(c.of)
		if err != nil {
			return nil, fmt.Errorf("writing %s of step %d as JSON: %w", c.name, step.Step, err)
		}
		args[c.name] = json.RawMessage(text)
	}
	return args, nil
}

// wroteBy gives what has to be stored of who wrote what: of a step with one task
// it follows from the step before.
func wroteBy(step agents.Step) []agents.Wrote {
	if len(step.Wrote) == 1 {
		return nil
	}
	return step.Wrote
}

// rolledUp reports whether a step keeps the changes of those before it.
func rolledUp(step agents.Step) bool {
	return step.Step > 0 && step.Step%agents.RollupEvery == 0 && len(step.NS) == 0 && step.Snapshot == nil
}

// sqlChangesSince reads what a line's steps changed since the last rollup. That
// no other writer adds to them is for the commit to see.
const sqlChangesSince = `select c.ops, c.deltas from checkpoints c
	where c.org_id = @org and c.line_id = @line and c.step > @step::int - @since_steps::int and c.step < @step order by c.step`

type changedRow struct {
	Ops    []byte
	Deltas map[string][]agents.Delta
}

func rollup(rows []changedRow, step agents.Step) (agents.Rollup, error) {
	var out agents.Rollup
	for _, r := range rows {
		var ops []agents.Op
		if len(r.Ops) > 0 {
			var err error
			if ops, err = agents.DecodeOps(r.Ops); err != nil {
				return out, fmt.Errorf("reading what to roll up: %w", err)
			}
		}
		out.Add(ops, r.Deltas)
	}
	out.Add(step.Ops, step.Deltas)
	return out, nil
}

func opsOrNone(ops []agents.Op) any {
	if len(ops) == 0 {
		return nil
	}
	return agents.EncodeOps(ops)
}

// queuePending keeps what a paused step knows, and takes away what an earlier one
// did; nothing where the step has nothing to do with either.
func queuePending(batch *pgx.Batch, args named, step agents.Step) {
	if step.Clear {
		batch.Queue(sqlPendingClear, args)
	}
	if len(step.Pending) > 0 {
		put := named{"org": args["org"], "thread": args["thread"], "token": args["token"], "line": args["line"],
			"step": args["step"], "pending": pendingForms(step.Pending)}
		batch.Queue(sqlPendingPut, put)
	}
}

func pendingStatements(step agents.Step) int {
	n := 0
	if step.Clear {
		n++
	}
	if len(step.Pending) > 0 {
		n++
	}
	return n
}

func (db *DB) finishArgs(scope auth.Scope, lease agents.Lease, f agents.Finish) (named, error) {
	pack, err := db.packed(lease.Thread, lease.Run, f.Events)
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
	args := named{
		"org": string(scope.Org), "thread": string(lease.Thread), "run": string(lease.Run), "token": lease.Token,
		"events": len(f.Events), "pack": pack, "status": string(f.Status), "error": nil,
		"thread_status": string(status), "line": nil, "step": nil,
	}
	if f.Error != nil {
		text, err := json.Marshal(f.Error)
		if err != nil {
			return nil, fmt.Errorf("writing a run's error as JSON: %w", err)
		}
		args["error"] = json.RawMessage(text)
	}
	return args, nil
}

// packed makes one row of a thread's events, nil of none.
func (db *DB) packed(thread agents.ThreadID, run agents.RunID, envelopes []event.Envelope) ([]byte, error) {
	if len(envelopes) == 0 {
		return nil, nil
	}
	bodies := make([]string, len(envelopes))
	for i, e := range envelopes {
		body, err := e.Body()
		if err != nil {
			return nil, err
		}
		bodies[i] = string(body)
	}
	return db.packs.pack(string(thread), string(run), bodies)
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
