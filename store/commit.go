package store

import (
	"cmp"
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
select head.base, head.epoch::text as epoch, now() as at, (select count(*) from written)::int as written,
	false as next from head, checkpointed`

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
		when @status::text <> 'waiting' and ` + waitsOnThread + ` then 'busy'
		else @thread_status::text end
	from head where t.org_id = @org and t.id = @thread
)
select head.base, head.epoch::text as epoch, now() as at, 0 as written, ` + waitsInOrg + ` as next from head`

// waitsOnThread holds for a thread t with a run in line. The offset lets it be looked
// for among the thread's open runs, and not along the whole queue, which the planner
// takes for short.
const waitsOnThread = `exists (select 1 from (select r.status from runs r where r.org_id = t.org_id and r.thread_id = t.id
	and r.status in ('pending', 'running', 'waiting') offset 0) r where r.status = 'pending')`

// waitsInOrg holds where a run of the organisation is in line, on whatever thread:
// an end makes room for it where bounds held it back.
const waitsInOrg = `exists (select from runs where org_id = @org and status = 'pending')`

// madeNow holds for the checkpoint that this transaction made: one that stood
// there before shows that the step was refused.
const madeNow = `c.xmin = pg_current_xact_id()::xid`

// CommitStep is [DB.CommitSteps] of one step.
func (db *DB) CommitStep(ctx context.Context, scope auth.Scope, lease agents.Lease, step agents.Step, finish *agents.Finish) (stepped agents.Appended, finished agents.Finished, err error) {
	return db.CommitSteps(ctx, scope, lease, []agents.Step{step}, finish)
}

// CommitSteps writes one super-step, or two that follow each other on one line, and,
// when finish is given, the run's end, all in one transaction. agents.ErrFenced means
// that the lease is gone and nothing was written. The events of the steps are
// numbered one after the other.
func (db *DB) CommitSteps(ctx context.Context, scope auth.Scope, lease agents.Lease, steps []agents.Step, finish *agents.Finish) (stepped agents.Appended, finished agents.Finished, err error) {
	if err := checkScope(scope); err != nil {
		return stepped, finished, err
	}
	all := make([]named, len(steps))
	for i, step := range steps {
		if all[i], err = stepArgs(scope, lease, step); err != nil {
			return stepped, finished, err
		}
	}
	var end named
	if finish != nil {
		if end, err = db.finishArgs(scope, lease, *finish); err != nil {
			return stepped, finished, err
		}
		last := all[len(all)-1]
		end["line"], end["step"] = last["line"], last["step"]
	}
	if plain(steps, finish) {
		e := &entry{steps: all, end: end}
		events := eventsOf(steps)
		if e.pack, err = db.packed(lease.Thread, runOf(steps[len(steps)-1], lease), events); err != nil {
			return stepped, finished, err
		}
		if err := db.steps.write(ctx, scope.Org, e); err != nil {
			return stepped, finished, err
		}
		if e.at != nil {
			db.keepSteps(stateKey{scope.Org, lease.Thread}, e)
			finished = e.at.finished()
			finished.Base += int64(len(events))
			return e.at.appended(), finished, nil
		}
	}
	e := &entry{steps: all, end: end}
	stepped, finished, err = db.commitByItself(ctx, scope, lease, steps, e, finish)
	if err == nil && e.at != nil {
		db.keepSteps(stateKey{scope.Org, lease.Thread}, e)
	}
	return stepped, finished, err
}

func eventsOf(steps []agents.Step) []event.Envelope {
	if len(steps) == 1 {
		return steps[0].Events
	}
	var all []event.Envelope
	for _, s := range steps {
		all = append(all, s.Events...)
	}
	return all
}

// commitByItself writes steps that have more to write than rows of their own, or that
// could not be written together with others. It notes in e where they begin, if their
// rows say all that a reader finds.
func (db *DB) commitByItself(ctx context.Context, scope auth.Scope, lease agents.Lease, steps []agents.Step, e *entry, finish *agents.Finish,
) (stepped agents.Appended, finished agents.Finished, err error) {
	all, whole := e.steps, true
	var first *writtenRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	batch.Queue(sqlHeadLock, all[0]) // what follows sees who has got in line
	for i, step := range steps {
		args := all[i]
		if args["pack"], err = db.packed(lease.Thread, runOf(step, lease), step.Events); err != nil {
			return stepped, finished, err
		}
		if rolledUp(step) {
			rows, err := many[changedRow](ctx, db, scope, "reading what to roll up", sqlChangesSince, args)
			if err != nil {
				return stepped, finished, err
			}
			if args["rollup"], err = rollup(rows, steps[:i+1]); err != nil {
				return stepped, finished, err
			}
		}
		batch.Queue(sqlStepCommit, args)
		queuePending(&batch, args, step)
		if len(step.Reviews) > 0 {
			batch.Queue(sqlReviewsInsert, named{"org": args["org"], "thread": args["thread"], "line": args["line"],
				"run": args["run"], "step": args["step"], "reviews": requestForms(step.Reviews)})
		}
	}
	if finish != nil {
		batch.Queue(sqlRunFinish, e.end)
	}
	results := db.app.SendBatch(ctx, &batch)
	defer results.Close()
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return stepped, finished, fmt.Errorf("committing a step: %w", translate(err))
		}
	}
	for i, step := range steps {
		at, err := readWritten(results)
		if err != nil {
			return stepped, finished, fmt.Errorf("committing step %d: %w", step.Step, err)
		}
		if i == 0 {
			first, stepped = &at, at.appended()
		} else {
			first.Written += at.Written
		}
		whole = whole && len(step.Pending) == 0 && len(step.NS) == 0
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
	}
	if finish != nil {
		at, err := readWritten(results)
		if err != nil {
			return stepped, finished, fmt.Errorf("finishing a run: %w", err)
		}
		finished = at.finished()
	}
	if err := results.Close(); err != nil {
		return stepped, finished, fmt.Errorf("committing step %d: %w", steps[len(steps)-1].Step, err)
	}
	if whole {
		e.at = first
	}
	return stepped, finished, nil
}

// FinishRun ends a run without a further step.
func (db *DB) FinishRun(ctx context.Context, scope auth.Scope, lease agents.Lease, finish agents.Finish) (agents.Finished, error) {
	if err := checkScope(scope); err != nil {
		return agents.Finished{}, err
	}
	args, err := db.finishArgs(scope, lease, finish)
	if err != nil {
		return agents.Finished{}, err
	}
	args["holder"] = args["run"]
	e := &entry{end: args, pack: args["pack"].([]byte)}
	if err := db.steps.write(ctx, scope.Org, e); err != nil {
		return agents.Finished{}, err
	}
	if e.at != nil {
		return e.at.finished(), nil
	}
	var rows []writtenRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	queueFinish(&batch, &rows, args)
	if err := db.app.SendBatch(ctx, &batch).Close(); err != nil {
		return agents.Finished{}, fmt.Errorf("finishing a run: %w", translate(err))
	}
	if len(rows) == 0 {
		return agents.Finished{}, agents.ErrFenced
	}
	return rows[0].finished(), nil
}

// queueFinish ends a run by a statement of its own. With the head locked before, it
// sees who has got in line.
func queueFinish(batch *pgx.Batch, rows *[]writtenRow, args named) {
	batch.Queue(sqlHeadLock, args)
	collect(batch, rows, sqlRunFinish, args)
}

// plain reports whether steps, and the end that comes with them, have nothing that is
// written beside them.
func plain(steps []agents.Step, finish *agents.Finish) bool {
	for _, s := range steps {
		if rolledUp(s) || s.Clear || len(s.Pending) > 0 || len(s.Reviews) > 0 {
			return false
		}
	}
	return finish == nil || len(finish.Events) == 0
}

func readWritten(results pgx.BatchResults) (writtenRow, error) {
	rows, _ := results.Query()
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[writtenRow])
	if err != nil {
		return writtenRow{}, translate(err)
	}
	if len(all) == 0 {
		return writtenRow{}, agents.ErrFenced
	}
	return all[0], nil
}

// runOf says which run made a step.
func runOf(step agents.Step, lease agents.Lease) agents.RunID { return cmp.Or(step.Run, lease.Run) }

// stepArgs are the arguments of sqlStepCommit, but for the pack of its events.
func stepArgs(scope auth.Scope, lease agents.Lease, step agents.Step) (named, error) {
	messages, err := messageForms(step.Messages)
	if err != nil {
		return nil, err
	}
	args := named{
		"org": string(scope.Org), "thread": string(lease.Thread), "run": orNull(string(runOf(step, lease))), "holder": orNull(string(lease.Run)),
		"token": lease.Token, "events": len(step.Events), "messages": messages, "line": string(step.Line), "step": step.Step,
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

// rollup folds what is stored of the steps since the last one with the new ones.
func rollup(rows []changedRow, steps []agents.Step) (agents.Rollup, error) {
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
	for _, s := range steps {
		out.Add(s.Ops, s.Deltas)
	}
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
