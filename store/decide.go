package store

import (
	"bytes"
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

const sqlReviewThreads = `select distinct v.thread_id from reviews v where v.id = any(@ids::uuid[]) and ` + reviewVisible

const sqlHeadLock = `select seq, epoch::text as epoch from thread_heads where org_id = @org and thread_id = @thread for update`

const sqlReviewsLock = `select ` + reviewColumns + ` from reviews v where v.id = any(@ids::uuid[]) and ` + reviewVisible + `
	order by v.id for update`

// sqlReviewDecide is the one way by which a request ends. Its condition makes
// that happen once, and only for the arguments that were shown.
const sqlReviewDecide = `update reviews set status = @status, decided_by = @by, decided_at = now(), final_args = @args,
		decision_text = @text, claimed_by = null, claimed_until = null
	where org_id = @org and id = @id and status = 'open' and args_hash = @shown`

const sqlReviewsOpenOfRun = `select count(*) from reviews where org_id = @org and run_id = @run and status = 'open'`

// ToldFunc builds the event that tells of a decided request; resumed is the run
// that goes on, on the last of them.
type ToldFunc = func(r agents.Review, resumed agents.RunID) (event.Envelope, error)

// Decide takes decisions on requests of one thread: all of them or, if one
// can't be taken, none. When no request of the paused run is open any more, the
// run that goes on is placed in the same transaction.
//
// A conflict fault says who was faster, who holds the request, or that the
// arguments are not those that were shown; a forbidden one names the rule.
func (db *DB) Decide(ctx context.Context, scope auth.Scope, decisions []agents.Decision, told ToldFunc) (agents.Decided, error) {
	ids := make([]string, len(decisions))
	for i, d := range decisions {
		if ids[i] = string(d.Review); !id.Valid(ids[i]) {
			return agents.Decided{}, fault.NotFound("Review")
		}
	}
	names, err := db.Names(ctx, scope)
	if err != nil {
		return agents.Decided{}, err
	}
	var out agents.Decided
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		reviews, err := lockReviews(ctx, tx, scope, ids)
		if err != nil {
			return err
		}
		org, err := pgxOne[orgRulesRow](ctx, tx, sqlOrgRules, named{"org": string(scope.Org)})
		if err != nil {
			return fmt.Errorf("reading an organisation's rules: %w", translate(err))
		}
		rules, err := org.settings()
		if err != nil {
			return err
		}
		for _, d := range decisions {
			r := reviews[d.Review]
			if err := mayDecide(scope, *r, &d, rules.RequiresFourEyes(), names); err != nil {
				return err
			}
			r.Status, r.DecidedBy, r.Text, r.FinalArgs = d.Kind.Status(), scope.User, d.Text, d.Args
			if err := closeReview(ctx, tx, scope, r, shownHash(d, *r)); err != nil {
				return err
			}
			out.Reviews = append(out.Reviews, *r)
		}
		return db.goOn(ctx, tx, scope, &out, told)
	})
	if err != nil {
		return agents.Decided{}, fmt.Errorf("deciding: %w", err)
	}
	return out, nil
}

// lockReviews locks first the head of the requests' thread, as everyone does who
// changes a thread, then the requests.
func lockReviews(ctx context.Context, tx pgx.Tx, scope auth.Scope, ids []string) (map[agents.ReviewID]*agents.Review, error) {
	args := reviewArgs(scope, named{"ids": ids})
	rows, _ := tx.Query(ctx, sqlReviewThreads, args)
	threads, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("finding the thread of a review: %w", translate(err))
	}
	switch len(threads) {
	case 0:
		return nil, fault.NotFound("Review")
	case 1:
	default:
		return nil, fault.Invalid("reviews", "must belong to one thread")
	}
	if _, err := pgxOne[headRow](ctx, tx, sqlHeadLock, named{"org": string(scope.Org), "thread": threads[0]}); err != nil {
		return nil, fmt.Errorf("locking a thread: %w", translate(err))
	}
	rows, _ = tx.Query(ctx, sqlReviewsLock, args)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[reviewRow])
	if err != nil {
		return nil, fmt.Errorf("locking reviews: %w", translate(err))
	}
	out := make(map[agents.ReviewID]*agents.Review, len(found))
	for _, row := range found {
		r := row.review()
		out[r.ID] = &r
	}
	for _, wanted := range ids {
		if out[agents.ReviewID(wanted)] == nil {
			return nil, fault.NotFound("Review")
		}
	}
	return out, nil
}

// mayDecide is the one place where it is judged who may say what (design:
// "Two kinds of interrupt"). A rejection by whoever asked is a withdrawal.
func mayDecide(scope auth.Scope, r agents.Review, d *agents.Decision, fourEyes bool, names map[auth.UserID]string) error {
	own := r.Requester == scope.User
	if own && (d.Kind == agents.Reject || d.Kind == agents.Withdraw) {
		if err := scope.Require(auth.PermRun); err != nil {
			return err
		}
		d.Kind = agents.Withdraw
	} else {
		if own && fourEyes {
			return fault.Forbidden("Four eyes: you asked for this call, so somebody else has to decide. You can withdraw it.").WithCode(CodeFourEyes)
		}
		if err := scope.Require(auth.PermReview); err != nil {
			return err
		}
		if d.Kind == agents.Withdraw {
			return fault.Forbidden("Only whoever asked can withdraw a request; reject it instead.")
		}
	}
	if r.Status != agents.ReviewOpen {
		return alreadyDecided(r, names)
	}
	if d.Kind == agents.Withdraw {
		return nil
	}
	if r.HeldBy(scope.User, time.Now()) {
		return heldBy(r, names)
	}
	if !r.Allows(d.Kind) {
		return fault.Invalid("decision", "must be one of those that the policy allows for this call")
	}
	if d.Shown != nil && !bytes.Equal(d.Shown, agents.HashArgs(r.Args)) {
		return agents.ErrArgsChanged
	}
	return nil
}

// shownHash is what binds the decision: what the person saw or, for a client
// that can't say, what stands there under the lock.
func shownHash(d agents.Decision, r agents.Review) []byte {
	if d.Shown != nil && d.Kind != agents.Withdraw {
		return d.Shown
	}
	return agents.HashArgs(r.Args)
}

// closeReview ends one open request and records it.
func closeReview(ctx context.Context, tx pgx.Tx, scope auth.Scope, r *agents.Review, shown []byte) error {
	args := named{"org": string(scope.Org), "id": string(r.ID), "status": string(r.Status), "by": orNull(string(r.DecidedBy)),
		"args": jsonOrNull(r.FinalArgs), "text": r.Text, "shown": shown}
	done, err := tx.Exec(ctx, sqlReviewDecide, args)
	if err != nil {
		return fmt.Errorf("closing a review: %w", translate(err))
	}
	if done.RowsAffected() != 1 {
		return agents.ErrArgsChanged
	}
	r.DecidedAt = time.Now().UTC()
	after := map[string]any{"status": r.Status}
	if r.Text != "" {
		after["text"] = r.Text
	}
	if r.FinalArgs != nil {
		after["arguments"] = r.FinalArgs
	}
	entry := auth.AuditEntry{Action: "review." + string(r.Status), ObjectKind: "review", ObjectID: string(r.ID), ObjectName: r.Tool,
		Rule: r.Rule, Before: auditDetail(map[string]any{"arguments": r.Args}), After: auditDetail(after)}
	if r.DecidedBy == "" {
		entry.Via = auth.ViaSystem
	}
	return appendAudit(tx, scope, entry)
}

// goOn places the run that goes on once nothing of the paused one is undecided,
// and appends what tells of the decisions.
func (db *DB) goOn(ctx context.Context, tx pgx.Tx, scope auth.Scope, out *agents.Decided, told ToldFunc) error {
	last := out.Reviews[len(out.Reviews)-1]
	out.Thread = last.Thread
	open, err := pgxScalar[int](ctx, tx, sqlReviewsOpenOfRun, named{"org": string(scope.Org), "run": string(last.Run)})
	if err != nil {
		return fmt.Errorf("counting open reviews: %w", err)
	}
	if open == 0 {
		resumed, err := resumeRun(ctx, tx, scope, last.Thread, resumption{of: last.Run})
		if err != nil {
			return err
		}
		out.Resumed = resumed.ID
	}
	for i, r := range out.Reviews {
		resumed := agents.RunID("")
		if i == len(out.Reviews)-1 {
			resumed = out.Resumed
		}
		e, err := told(r, resumed)
		if err != nil {
			return err
		}
		out.Events = append(out.Events, e)
	}
	out.Appended, err = db.appendEvents(ctx, tx, scope, last.Thread, last.Run, out.Events)
	return err
}

// ExpireReview ends a request whose time is over. It runs under the scope of
// whoever asked; one that was decided in the meantime is left as it is.
func (db *DB) ExpireReview(ctx context.Context, scope auth.Scope, review agents.ReviewID, told ToldFunc) (agents.Decided, error) {
	var out agents.Decided
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		reviews, err := lockReviews(ctx, tx, scope, []string{string(review)})
		if err != nil {
			return err
		}
		r := reviews[review]
		if r.Status != agents.ReviewOpen || time.Now().Before(r.DueAt) {
			return nil
		}
		r.Status = agents.ReviewExpired
		if err := closeReview(ctx, tx, scope, r, agents.HashArgs(r.Args)); err != nil {
			return err
		}
		out.Reviews = []agents.Review{*r}
		return db.goOn(ctx, tx, scope, &out, told)
	})
	if err != nil {
		return agents.Decided{}, fmt.Errorf("letting a review run out: %w", err)
	}
	return out, nil
}

// pgxScalar reads one value inside a transaction.
func pgxScalar[T any](ctx context.Context, tx pgx.Tx, sql string, args named) (T, error) {
	rows, _ := tx.Query(ctx, sql, args)
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
}

const sqlRunWaiting = `select ` + runColumns + ` from runs r where r.org_id = @org and r.thread_id = @thread and r.status = 'waiting' for update`

const sqlPauses = `select c.interrupts from threads t join lines l on l.org_id = t.org_id and l.id = t.line_id
	join checkpoints c on c.org_id = l.org_id and c.line_id = l.id and c.step = l.step
	where t.org_id = @org and t.id = @thread`

// sqlRunResume ends the paused run, which waited and now succeeded, and puts the
// run that goes on into its place in the line, for the same person.
const sqlRunResume = `with waited as (
	update runs set status = 'success', ended_at = updated_at, updated_at = now()
	where org_id = @org and id = @of and status = 'waiting' returning *
)
insert into runs as r (org_id, id, thread_id, position, assistant_id, assistant_version, user_id, key_id, strategy, input, request, metadata, webhook)
overriding system value
select w.org_id, @id, w.thread_id, w.position, w.assistant_id, w.assistant_version, coalesce(@user::uuid, w.user_id),
	case when @user::uuid is null then w.key_id else @key::uuid end, w.strategy,
	case when w.input ? 'context' then jsonb_build_object('context', w.input -> 'context') else '{}' end || @input::jsonb, @request, @metadata, coalesce(@webhook, w.webhook)
from waited w
returning ` + runColumns

const sqlThreadStatus = `update threads set status = @status, updated_at = now() where org_id = @org and id = @thread`

// resumption says how a run goes on from a pause.
type resumption struct {
	of      agents.RunID
	id      agents.RunID
	pauses  []agents.Interrupt // nil means those that stand in the checkpoint
	jump    []string
	sends   []agents.Due
	brings  agents.RunInput
	request json.RawMessage
	meta    json.RawMessage
	webhook string
	// anew makes the scope's person the one the run acts for.
	anew bool
}

// resumeRun places the run that goes on from a pause; the caller holds the
// thread's head.
func resumeRun(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID, r resumption) (agents.Run, error) {
	org := string(scope.Org)
	if r.pauses == nil {
		var err error
		if r.pauses, err = pausesOf(ctx, tx, scope, thread); err != nil {
			return agents.Run{}, err
		}
	}
	if r.id == "" {
		r.id = agents.RunID(id.New())
	}
	input := r.brings
	input.Resume = &agents.Resume{Interrupts: r.pauses, Goto: r.jump, Sends: r.sends, Of: r.of}
	args := named{"org": org, "of": string(r.of), "id": string(r.id), "input": input, "request": orObject(r.request),
		"metadata": orObject(r.meta), "user": nil, "key": nil, "webhook": orNull(r.webhook)}
	if r.anew {
		args["user"], args["key"] = string(scope.User), orNull(string(scope.Key))
	}
	row, err := pgxOne[runRow](ctx, tx, sqlRunResume, args)
	if errors.Is(err, pgx.ErrNoRows) {
		return agents.Run{}, agents.ErrNotInterrupted
	}
	if err != nil {
		return agents.Run{}, fmt.Errorf("placing the run that goes on: %w", translate(err))
	}
	if _, err := tx.Exec(ctx, sqlThreadStatus, named{"org": org, "thread": string(thread), "status": string(agents.ThreadBusy)}); err != nil {
		return agents.Run{}, fmt.Errorf("marking a thread busy: %w", err)
	}
	return row.run(), nil
}

func pausesOf(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID) ([]agents.Interrupt, error) {
	pauses, err := pgxScalar[[]agents.Interrupt](ctx, tx, sqlPauses, named{"org": string(scope.Org), "thread": string(thread)})
	if err != nil {
		return nil, fmt.Errorf("reading a thread's pauses: %w", translate(err))
	}
	return pauses, nil
}
