package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

type runRow struct {
	OrgID             string
	ID                string
	ThreadID          string
	Position          int64
	AssistantID       string
	AssistantVersion  int
	UserID            string
	KeyID             *string
	Status            string
	Strategy          string
	Input             agents.RunInput
	Request           json.RawMessage
	Metadata          json.RawMessage
	Manifest          *agents.Manifest
	Attempt           int
	Failures          int
	Lost              []agents.Attempt
	ClaimedAt         *time.Time
	Token             *int64
	CancelRequestedAt *time.Time
	CancelReason      *string
	Error             *agents.RunError
	CreatedAt         time.Time
	StartedAt         *time.Time
	EndedAt           *time.Time
	UpdatedAt         time.Time
	RunAfter          time.Time
	Webhook           *string
	BaseLine          *string
}

const runColumns = `r.org_id, r.id, r.thread_id, r.position, r.assistant_id, r.assistant_version, r.user_id, r.key_id,
	r.status, r.strategy, r.input, r.request, r.metadata, r.manifest, r.attempt, r.failures, r.lost, r.claimed_at, r.token, r.cancel_requested_at,
	r.cancel_reason, r.error, r.created_at, r.started_at, r.ended_at, r.updated_at, r.run_after, r.webhook, r.base_line`

func (r runRow) run() agents.Run {
	out := agents.Run{
		ID: agents.RunID(r.ID), Org: auth.OrgID(r.OrgID), Thread: agents.ThreadID(r.ThreadID), Position: r.Position,
		Assistant: agents.AssistantID(r.AssistantID), AssistantVersion: r.AssistantVersion, User: auth.UserID(r.UserID),
		Status: agents.RunStatus(r.Status), Strategy: agents.Strategy(r.Strategy), Input: r.Input, Request: r.Request,
		Metadata: r.Metadata, Manifest: r.Manifest, Attempt: r.Attempt, Failures: r.Failures, Lost: r.Lost, CancelRequested: r.CancelRequestedAt != nil,
		Error: r.Error, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), RunAfter: r.RunAfter.UTC(),
	}
	if r.KeyID != nil {
		out.Key = auth.KeyID(*r.KeyID)
	}
	if r.Token != nil {
		out.Token = *r.Token
	}
	if r.CancelReason != nil {
		out.CancelReason = *r.CancelReason
	}
	if r.Webhook != nil {
		out.Webhook = *r.Webhook
	}
	if r.BaseLine != nil {
		out.BaseLine = agents.LineID(*r.BaseLine)
	}
	if r.ClaimedAt != nil {
		out.ClaimedAt = r.ClaimedAt.UTC()
	}
	if r.StartedAt != nil {
		out.StartedAt = r.StartedAt.UTC()
	}
	if r.EndedAt != nil {
		out.EndedAt = r.EndedAt.UTC()
	}
	return out
}

// sqlRunsAhead counts what is open on a thread and due, and what stands in line of
// the organisation and of the person.
const sqlRunsAhead = `select (select count(*) from runs r
		where r.org_id = @org and r.thread_id = @thread and r.status in ('pending', 'running', 'waiting')
			and (r.status <> 'pending' or not r.delayed or r.run_after <= now())) as ahead,
	count(*) as of_org, count(*) filter (where user_id = @user) as of_person
	from runs where org_id = @org and status = 'pending'`

// lineup says how much stands before a new run.
type lineup struct{ Ahead, OfOrg, OfPerson int }

// check refuses a run that would exceed a bound.
func (b Bounds) check(l lineup) error {
	switch {
	case l.Ahead > b.QueuedPerThread:
		return fault.Limited(fmt.Sprintf("This thread has %d messages waiting already. Wait for an answer or remove one.", l.Ahead-1)).
			WithCode("queue_full")
	case l.OfPerson >= b.QueuedPerPerson:
		return fault.Limited(fmt.Sprintf("You have %d messages waiting already, which is the limit. Wait for an answer or withdraw one.", l.OfPerson)).
			WithCode("queue_full_person")
	case l.OfOrg >= b.QueuedPerOrg:
		return fault.Limited(fmt.Sprintf("Your organisation has %d messages waiting already, which is the limit. Try again in a moment.", l.OfOrg)).
			WithCode("queue_full_org")
	default:
		return nil
	}
}

const sqlRunInsert = `insert into runs as r (org_id, id, thread_id, assistant_id, assistant_version, user_id, key_id,
		strategy, input, request, metadata, webhook, run_after, delayed)
	values (@org, @id, @thread, @assistant, @version, @user, @key, @strategy, @input, @request, @metadata, @webhook,
		now() + @after::interval, @after::interval > interval '0')
	returning ` + runColumns

// sqlThreadBusy marks the thread, pins the version of its assistant (which is
// the one it has unless the assistant is another) and writes what clients list
// threads by (agentserver 3).
const sqlThreadBusy = `update threads set status = 'busy', updated_at = now(),
		title = case when title = '' then @title else title end,
		assistant_id = @assistant::uuid, assistant_version = @version,
		metadata = metadata || jsonb_build_object('graph_id', @graph::text, 'assistant_id', (@assistant::uuid)::text)
	where org_id = @org and id = @thread`

// Submit places a run in its thread's line: one transaction checks the
// strategy, writes the run and appends the event that tells of it.
func (db *DB) Submit(ctx context.Context, scope auth.Scope, s agents.Submission) (agents.Submitted, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return agents.Submitted{}, err
	}
	if !id.Valid(string(s.Thread)) {
		return agents.Submitted{}, threadNotFound()
	}
	if placed, ok, err := db.place(ctx, scope, s); ok || err != nil {
		return placed, err
	}
	if s.Unsure {
		return agents.Submitted{}, agents.ErrAssistantUnsure
	}
	var out agents.Submitted
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if s.Create != nil {
			made, err := ensureThread(ctx, tx, scope, *s.Create)
			if err != nil {
				return err
			}
			out.Created = made
		}
		thread, line, err := lockAndCount(ctx, tx, scope, s.Thread)
		if err != nil {
			return err
		}
		ahead := line.Ahead
		var behind []agents.RunID
		switch {
		case ahead == 0:
		case s.Strategy.Displaces():
			if ahead, behind, err = db.displace(ctx, tx, scope, s, &out); err != nil {
				return err
			}
		case s.Supersede && s.Strategy == agents.StrategyEnqueue:
			done, err := db.supersede(ctx, tx, scope, s, &out)
			if err != nil {
				return err
			}
			if done {
				ahead--
			}
		}
		if s.Assistant, err = db.versionFor(ctx, tx, scope, thread, s.Assistant); err != nil {
			return err
		}
		if s.Pinned != nil {
			s.Pinned(s.Assistant)
		}
		if ahead > 0 && s.Strategy == agents.StrategyReject {
			return rejected(ctx, tx, scope, s.Thread)
		}
		line.Ahead = ahead + len(behind)
		if err := db.bounds.check(line); err != nil {
			return err
		}
		if out.Queued, err = s.Queued(ahead, len(behind) > 0); err != nil {
			return err
		}
		var appended agents.Appended
		if s.Input.Resume != nil && s.Input.Checkpoint == "" && ahead > 0 {
			return fault.Conflict("Thread is already running a task.").WithCode("thread_busy")
		}
		if out.Run, appended, err = db.placeRun(ctx, tx, scope, s, out.Queued); err != nil {
			return err
		}
		out.Position = agents.Position{Seq: appended.Base + 1, Epoch: appended.Epoch}
		return queueBehind(ctx, tx, scope, behind)
	})
	if err != nil {
		return agents.Submitted{}, fmt.Errorf("submitting a run: %w", err)
	}
	return out, nil
}

// ensureThread makes the thread unless its id is taken; whose it then is, the
// lock that follows finds out.
func ensureThread(ctx context.Context, tx pgx.Tx, scope auth.Scope, n agents.NewThread) (made bool, err error) {
	args, err := newThreadArgs(scope, n)
	if err != nil {
		return false, err
	}
	rows, _ := tx.Query(ctx, sqlThreadInsert, args)
	created, err := pgx.CollectRows(rows, pgx.RowToStructByName[threadRow])
	if err != nil {
		return false, fmt.Errorf("creating a thread: %w", err)
	}
	return len(created) > 0, nil
}

// lockAndCount locks a thread's head in one round trip with counting its open
// runs; the count is taken after the lock, with a snapshot of its own.
func lockAndCount(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID) (found agents.Thread, line lineup, err error) {
	if !id.Valid(string(thread)) {
		return agents.Thread{}, line, threadNotFound()
	}
	var locked []threadRow
	var batch pgx.Batch
	collect(&batch, &locked, sqlThreadLock, named{
		"id": string(thread), "org": string(scope.Org), "user": string(scope.User)})
	batch.Queue(sqlRunsAhead, named{"org": string(scope.Org), "thread": string(thread), "user": string(scope.User)}).
		QueryRow(func(row pgx.Row) error { return row.Scan(&line.Ahead, &line.OfOrg, &line.OfPerson) })
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return agents.Thread{}, line, fmt.Errorf("locking a thread and counting its runs: %w", err)
	}
	if len(locked) != 1 {
		return agents.Thread{}, line, threadNotFound()
	}
	return locked[0].thread(), line, nil
}

// runsAssistantKey ties a run to a version of an assistant of its organisation.
const runsAssistantKey = "runs_assistant_version"

// placeRun writes the run, marks its thread busy and appends the event that
// tells of it, in one round trip.
func (db *DB) placeRun(ctx context.Context, tx pgx.Tx, scope auth.Scope, s agents.Submission, queued event.Envelope) (agents.Run, agents.Appended, error) {
	org, thread := string(scope.Org), string(s.Thread)
	args := named{
		"org": org, "id": string(s.Run), "thread": thread, "assistant": string(s.Assistant.ID),
		"version": s.Assistant.Version, "user": string(scope.User), "key": nil, "strategy": string(s.Strategy),
		"input": s.Input, "request": orObject(s.Request), "metadata": orObject(s.Metadata), "webhook": orNull(s.Webhook), "after": s.After,
	}
	if scope.Key != "" {
		args["key"] = string(scope.Key)
	}
	pack, err := db.packed(s.Thread, s.Run, []event.Envelope{queued})
	if err != nil {
		return agents.Run{}, agents.Appended{}, err
	}
	var runs []runRow
	var appended []agents.Appended
	var batch pgx.Batch
	collect(&batch, &runs, sqlRunInsert, args)
	batch.Queue(sqlThreadBusy, named{
		"org": org, "thread": thread, "title": s.Title, "assistant": string(s.Assistant.ID),
		"version": s.Assistant.Version, "graph": s.Assistant.Graph})
	collect(&batch, &appended, sqlAppend, named{
		"org": org, "thread": thread, "run": string(s.Run), "events": 1, "pack": pack})
	err = tx.SendBatch(ctx, &batch).Close()
	switch {
	case violates(err, codeForeignKeyViolation, runsAssistantKey):
		return agents.Run{}, agents.Appended{}, fault.NotFound("Assistant").WithCause(err)
	case err != nil:
		return agents.Run{}, agents.Appended{}, fmt.Errorf("writing a run: %w", translate(err))
	case len(runs) != 1 || len(appended) != 1:
		return agents.Run{}, agents.Appended{}, fmt.Errorf("writing a run: %w", pgx.ErrNoRows)
	}
	return runs[0].run(), appended[0], nil
}

func orObject(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage(`{}`)
	}
	return raw
}

const sqlRunByID = `select ` + runColumns + ` from runs r join threads t on t.org_id = r.org_id and t.id = r.thread_id
	where r.org_id = @org and r.id = @id and r.thread_id = @thread and ` + threadReadable

// Run reads a run of a thread the scope may see.
func (db *DB) Run(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (agents.Run, error) {
	if !id.Valid(string(thread)) || !id.Valid(string(run)) {
		return agents.Run{}, fault.NotFound("Run")
	}
	row, err := one[runRow](ctx, db, scope, "Run", "reading a run", sqlRunByID,
		readerArgs(scope, named{"id": string(run), "thread": string(thread)}))
	if err != nil {
		return agents.Run{}, err
	}
	return row.run(), nil
}

const sqlRunsOpen = `select ` + runColumns + ` from runs r join threads t on t.org_id = r.org_id and t.id = r.thread_id
	where r.org_id = @org and r.thread_id = @thread and r.status in ('pending', 'running', 'waiting') and ` + threadReadable + `
	order by r.position, r.created_at`

// OpenRuns lists a thread's runs that have not ended, in their order.
func (db *DB) OpenRuns(ctx context.Context, scope auth.Scope, thread agents.ThreadID) ([]agents.Run, error) {
	if !id.Valid(string(thread)) {
		return nil, threadNotFound()
	}
	rows, err := many[runRow](ctx, db, scope, "listing a thread's open runs", sqlRunsOpen,
		readerArgs(scope, named{"thread": string(thread)}))
	if err != nil {
		return nil, err
	}
	out := make([]agents.Run, len(rows))
	for i, r := range rows {
		out[i] = r.run()
	}
	return out, nil
}

const sqlAskers = `select distinct m.user_id::text as id, m.role from runs r
	join threads t on t.org_id = r.org_id and t.id = r.thread_id
	join memberships m on m.org_id = r.org_id and m.user_id = r.user_id
	where r.org_id = @org and r.thread_id = @thread and ` + threadReadable

// Askers gives the roles that those who asked for runs of a thread have now;
// whoever left the organisation is absent.
func (db *DB) Askers(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (map[auth.UserID]auth.Role, error) {
	if !id.Valid(string(thread)) {
		return nil, threadNotFound()
	}
	type row struct{ ID, Role string }
	rows, err := many[row](ctx, db, scope, "reading who asked on a thread", sqlAskers, readerArgs(scope, named{"thread": string(thread)}))
	if err != nil {
		return nil, err
	}
	out := make(map[auth.UserID]auth.Role, len(rows))
	for _, r := range rows {
		out[auth.UserID(r.ID)] = auth.Role(r.Role)
	}
	return out, nil
}

const sqlRunLock = `select ` + runColumns + ` from runs r where r.org_id = @org and r.id = @id and r.thread_id = @thread for update`

const sqlRunCancelPending = `update runs set status = 'cancelled', cancel_requested_at = now(), cancel_reason = @reason,
		ended_at = now(), updated_at = now()
	where org_id = @org and id = @id`

const sqlRunCancelRequest = `update runs set cancel_requested_at = coalesce(cancel_requested_at, now()),
		cancel_reason = coalesce(cancel_reason, @reason), updated_at = now()
	where org_id = @org and id = @id`

const sqlThreadSettle = `update threads t set updated_at = now(), status = case
		when exists (select 1 from runs r where r.org_id = t.org_id and r.thread_id = t.id
			and r.status = 'waiting') then 'interrupted'
		when exists (select 1 from runs r where r.org_id = t.org_id and r.thread_id = t.id
			and r.status in ('pending', 'running')) then 'busy' else 'idle' end
	where t.org_id = @org and t.id = @thread`

// CancelRun ends a run that has not started and marks one that has, so that its
// worker stops it. A run that ended already is returned as it is. ended builds
// the event of the first case.
func (db *DB) CancelRun(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, reason string,
	ended func(agents.Run) (event.Envelope, error), told ToldFunc) (agents.Cancelled, error) {
	if !id.Valid(string(run)) {
		return agents.Cancelled{}, fault.NotFound("Run")
	}
	if err := scope.Require(auth.PermRun); err != nil {
		return agents.Cancelled{}, err
	}
	var out agents.Cancelled
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		args := named{"org": string(scope.Org), "id": string(run), "thread": string(thread), "reason": reason}
		row, err := pgxOne[runRow](ctx, tx, sqlRunLock, args)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.NotFound("Run")
		}
		if err != nil {
			return fmt.Errorf("locking a run: %w", err)
		}
		out.Run = row.run()
		if out.Run.Status == agents.RunWaiting {
			return db.cancelWaiting(ctx, tx, scope, args, &out, told)
		}
		if out.Run.Status != agents.RunPending || out.Run.Attempt > 0 {
			if !out.Run.Status.Ended() {
				if _, err := tx.Exec(ctx, sqlRunCancelRequest, args); err != nil {
					return fmt.Errorf("asking a run to stop: %w", err)
				}
				out.Run.CancelRequested = true
			}
			return nil
		}
		out.Ended, out.Run.Status = true, agents.RunCancelled
		if _, err := tx.Exec(ctx, sqlRunCancelPending, args); err != nil {
			return fmt.Errorf("cancelling a run: %w", err)
		}
		if _, err := tx.Exec(ctx, sqlThreadSettle, args); err != nil {
			return fmt.Errorf("settling a thread: %w", err)
		}
		if out.Event, err = ended(out.Run); err != nil {
			return err
		}
		appended, err := db.appendEvents(ctx, tx, scope, thread, run, []event.Envelope{out.Event})
		out.Position = agents.Position{Seq: appended.Base + 1, Epoch: appended.Epoch}
		return err
	})
	if err != nil {
		return agents.Cancelled{}, fmt.Errorf("cancelling a run: %w", err)
	}
	return out, nil
}
