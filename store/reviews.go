package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

type reviewRow struct {
	OrgID            string
	ID               string
	ThreadID         string
	LineID           string
	RunID            string
	InterruptID      string
	CallID           string
	Round            int
	RequesterID      string
	AssistantID      string
	AssistantVersion int
	Tool             string
	Args             json.RawMessage
	Allowed          []string
	Reason           string
	Rule             string
	Effect           string
	Status           string
	DecidedBy        *string
	DecidedAt        *time.Time
	FinalArgs        json.RawMessage
	DecisionText     string
	ClaimedBy        *string
	ClaimedUntil     *time.Time
	CreatedAt        time.Time
	DueAt            time.Time
}

const reviewColumns = `v.org_id, v.id, v.thread_id, v.line_id, v.run_id, v.interrupt_id, v.call_id, v.round, v.requester_id,
	v.assistant_id, v.assistant_version, v.tool, v.args, v.allowed, v.reason, v.rule, v.effect, v.status, v.decided_by,
	v.decided_at, v.final_args, v.decision_text, v.claimed_by, v.claimed_until, v.created_at, v.due_at`

func (r reviewRow) review() agents.Review {
	out := agents.Review{
		ID: agents.ReviewID(r.ID), Org: auth.OrgID(r.OrgID), Thread: agents.ThreadID(r.ThreadID), Line: agents.LineID(r.LineID),
		Run: agents.RunID(r.RunID), Interrupt: r.InterruptID, CallID: r.CallID, Round: r.Round,
		Requester: auth.UserID(r.RequesterID), Assistant: agents.AssistantID(r.AssistantID), AssistantVersion: r.AssistantVersion,
		Tool: r.Tool, Args: r.Args, Reason: r.Reason, Rule: r.Rule, Effect: r.Effect, Status: agents.ReviewStatus(r.Status),
		FinalArgs: r.FinalArgs, Text: r.DecisionText, CreatedAt: r.CreatedAt.UTC(), DueAt: r.DueAt.UTC(),
	}
	for _, k := range r.Allowed {
		out.Allowed = append(out.Allowed, agents.DecisionKind(k))
	}
	if r.DecidedBy != nil {
		out.DecidedBy = auth.UserID(*r.DecidedBy)
	}
	if r.DecidedAt != nil {
		out.DecidedAt = r.DecidedAt.UTC()
	}
	if r.ClaimedBy != nil && r.ClaimedUntil != nil {
		out.ClaimedBy, out.ClaimedUntil = auth.UserID(*r.ClaimedBy), r.ClaimedUntil.UTC()
	}
	return out
}

func reviewsOf(rows []reviewRow) []agents.Review {
	out := make([]agents.Review, len(rows))
	for i, r := range rows {
		out[i] = r.review()
	}
	return out
}

// sqlReviewsInsert writes the requests of a step, if the step was committed. One
// that is open already is asked again by another run and keeps its row.
const sqlReviewsInsert = `insert into reviews (org_id, id, thread_id, line_id, run_id, interrupt_id, call_id, round, requester_id,
		assistant_id, assistant_version, tool, args, args_hash, allowed, reason, rule, effect, created_at, due_at)
	select @org::uuid, r.id, @thread::uuid, @line::uuid, @run::uuid, r.interrupt_id, r.call_id, r.round, r.requester_id,
		r.assistant_id, r.assistant_version, r.tool, r.args, sha256(convert_to(r.args::text, 'UTF8')), r.allowed, r.reason, r.rule,
		r.effect, r.created_at, r.due_at
	from json_to_recordset(@reviews::json) as r(id uuid, interrupt_id text, call_id text, round int, requester_id uuid,
		assistant_id uuid, assistant_version int, tool text, args json, allowed text[], reason text, rule text, effect text,
		created_at timestamptz, due_at timestamptz)
	where exists (select 1 from checkpoints c where c.org_id = @org and c.line_id = @line and c.step = @step and ` + madeNow + `)
	on conflict (org_id, id) do update set run_id = excluded.run_id, interrupt_id = excluded.interrupt_id`

// requestForm is a request as sqlReviewsInsert reads it.
type requestForm struct {
	ID               agents.ReviewID       `json:"id"`
	Interrupt        string                `json:"interrupt_id"`
	CallID           string                `json:"call_id"`
	Round            int                   `json:"round"`
	Requester        auth.UserID           `json:"requester_id"`
	Assistant        agents.AssistantID    `json:"assistant_id"`
	AssistantVersion int                   `json:"assistant_version"`
	Tool             string                `json:"tool"`
	Args             json.RawMessage       `json:"args"`
	Allowed          []agents.DecisionKind `json:"allowed"`
	Reason           string                `json:"reason"`
	Rule             string                `json:"rule"`
	Effect           string                `json:"effect"`
	CreatedAt        time.Time             `json:"created_at"`
	DueAt            time.Time             `json:"due_at"`
}

func requestForms(reviews []agents.Review) []requestForm {
	out := make([]requestForm, len(reviews))
	for i, r := range reviews {
		out[i] = requestForm{r.ID, r.Interrupt, r.CallID, r.Round, r.Requester, r.Assistant, r.AssistantVersion, r.Tool, r.Args,
			r.Allowed, r.Reason, r.Rule, r.Effect, r.CreatedAt, r.DueAt}
	}
	return out
}

// reviewVisible is the rule who sees a request: reviewers see every one of
// their organisation, whoever asked sees their own.
const reviewVisible = `v.org_id = @org and (@review or v.requester_id = @user)`

func reviewArgs(scope auth.Scope, more named) named {
	args := named{"org": string(scope.Org), "user": string(scope.User), "review": scope.Can(auth.PermReview)}
	for k, v := range more {
		args[k] = v
	}
	return args
}

const sqlReviewByID = `select ` + reviewColumns + ` from reviews v where v.id = @id and ` + reviewVisible

// Review reads a request that the scope may see.
func (db *DB) Review(ctx context.Context, scope auth.Scope, review agents.ReviewID) (agents.Review, error) {
	if !id.Valid(string(review)) {
		return agents.Review{}, fault.NotFound("Review")
	}
	row, err := one[reviewRow](ctx, db, scope, "Review", "reading a review", sqlReviewByID,
		reviewArgs(scope, named{"id": string(review)}))
	if err != nil {
		return agents.Review{}, err
	}
	return row.review(), nil
}

// reviewFilter narrows a list; an empty argument narrows nothing.
const reviewFilter = reviewVisible + ` and (@tool = '' or v.tool = @tool) and (@assistant::uuid is null or v.assistant_id = @assistant)
	and (@requester::uuid is null or v.requester_id = @requester)`

const sqlReviewQueue = `select ` + reviewColumns + ` from reviews v where ` + reviewFilter + ` and v.status = 'open'
	and (not @mine or v.claimed_by = @user and v.claimed_until > now())
	and (@due::timestamptz is null or v.due_at < @due)
	and (@after_time::timestamptz is null or (v.due_at, v.id) > (@after_time, @after_id::uuid))
	order by v.due_at, v.id limit @limit`

const sqlReviewHistory = `select ` + reviewColumns + ` from reviews v where ` + reviewFilter + ` and v.status <> 'open'
	and (not @mine or v.decided_by = @user)
	and (@after_time::timestamptz is null or (v.decided_at, v.id) < (@after_time, @after_id::uuid))
	order by v.decided_at desc, v.id desc limit @limit`

// Reviews lists requests: those that wait, first due first, or the decided ones,
// newest first.
func (db *DB) Reviews(ctx context.Context, scope auth.Scope, q agents.ReviewQuery) ([]agents.Review, error) {
	if q.Limit < 1 || q.Limit > 100 {
		q.Limit = 50
	}
	args := reviewArgs(scope, named{"tool": q.Tool, "assistant": nil, "requester": nil, "mine": q.Mine, "limit": q.Limit,
		"after_time": nil, "after_id": nil})
	if id.Valid(string(q.Assistant)) {
		args["assistant"] = string(q.Assistant)
	}
	if id.Valid(string(q.Requester)) {
		args["requester"] = string(q.Requester)
	}
	if !q.AfterTime.IsZero() && id.Valid(string(q.AfterID)) {
		args["after_time"], args["after_id"] = q.AfterTime, string(q.AfterID)
	}
	sql := sqlReviewHistory
	if !q.Decided {
		sql, args["due"] = sqlReviewQueue, nil
		if !q.DueBefore.IsZero() {
			args["due"] = q.DueBefore
		}
	}
	rows, err := many[reviewRow](ctx, db, scope, "listing reviews", sql, args)
	if err != nil {
		return nil, err
	}
	return reviewsOf(rows), nil
}

// maxCounted bounds the count that stands beside the queue's name.
const maxCounted = 1000

const sqlReviewCount = `select (select count(*) from (select 1 from reviews v where ` + reviewVisible + ` and v.status = 'open' limit @most) x) as open,
	(select count(*) from reviews v where v.org_id = @org and v.status = 'open' and v.claimed_by = @user and v.claimed_until > now()) as mine`

// ReviewCount counts the open requests that the scope may see, up to 1,000.
func (db *DB) ReviewCount(ctx context.Context, scope auth.Scope) (agents.ReviewCount, error) {
	return one[agents.ReviewCount](ctx, db, scope, "Reviews", "counting reviews", sqlReviewCount, reviewArgs(scope, named{"most": maxCounted}))
}

// sqlReviewsOfThread reads the newest requests of a thread in their order.
const sqlReviewsOfThread = `select ` + reviewColumns + ` from (
		select * from reviews n where n.org_id = @org and n.thread_id = @thread order by n.created_at desc, n.id desc limit 500
	) v order by v.created_at, v.id`

const sqlReviewClaim = `update reviews v set claimed_by = @user, claimed_until = now() + @lease::interval
	where v.org_id = @org and v.id = @id and v.status = 'open'
		and (@force or v.claimed_by is null or v.claimed_by = @user or v.claimed_until < now())
	returning ` + reviewColumns

const sqlReviewRelease = `update reviews v set claimed_by = null, claimed_until = null
	where v.org_id = @org and v.id = @id and v.status = 'open' and v.claimed_by = @user`

// ClaimReview gives an open request to the scope's reviewer for
// [agents.ClaimLease]. One that somebody else holds is a conflict that names the
// holder, unless force takes it over.
func (db *DB) ClaimReview(ctx context.Context, scope auth.Scope, review agents.ReviewID, force bool) (agents.Review, error) {
	if err := scope.Require(auth.PermReview); err != nil {
		return agents.Review{}, err
	}
	if !id.Valid(string(review)) {
		return agents.Review{}, fault.NotFound("Review")
	}
	rows, err := many[reviewRow](ctx, db, scope, "claiming a review", sqlReviewClaim, named{
		"org": string(scope.Org), "user": string(scope.User), "id": string(review), "lease": agents.ClaimLease, "force": force})
	if err != nil {
		return agents.Review{}, err
	}
	if len(rows) == 1 {
		return rows[0].review(), nil
	}
	r, err := db.Review(ctx, scope, review)
	if err != nil {
		return agents.Review{}, err
	}
	names, err := db.Names(ctx, scope)
	if err != nil {
		return agents.Review{}, err
	}
	if r.Status != agents.ReviewOpen {
		return r, alreadyDecided(r, names)
	}
	return r, heldBy(r, names)
}

// ReleaseReview gives a request back that the scope holds; otherwise it changes
// nothing.
func (db *DB) ReleaseReview(ctx context.Context, scope auth.Scope, review agents.ReviewID) error {
	if err := scope.Require(auth.PermReview); err != nil {
		return err
	}
	if !id.Valid(string(review)) {
		return fault.NotFound("Review")
	}
	_, err := db.exec(ctx, scope, "releasing a review", sqlReviewRelease, named{
		"org": string(scope.Org), "user": string(scope.User), "id": string(review)})
	return err
}

// The codes of conflicts around a request.
const (
	CodeDecided  = "review_decided"
	CodeHeld     = "review_held"
	CodeFourEyes = "four_eyes"
)

func alreadyDecided(r agents.Review, names map[auth.UserID]string) error {
	who := names[r.DecidedBy]
	switch {
	case r.Status == agents.ReviewExpired:
		return fault.Conflict("Nobody decided in time: the request has run out.").WithCode(CodeDecided)
	case r.Status == agents.ReviewVoid:
		return fault.Conflict("The call changed, so this request is void. A new one was opened.").WithCode(CodeDecided)
	case who == "":
		who = "Somebody else"
	}
	return fault.Conflict(fmt.Sprintf("%s already decided: %s.", who, r.Status)).WithCode(CodeDecided)
}

func heldBy(r agents.Review, names map[auth.UserID]string) error {
	who := names[r.ClaimedBy]
	if who == "" {
		who = "Somebody else"
	}
	return fault.Conflict(who + " is working on this request. Take it over first if that is agreed.").WithCode(CodeHeld)
}
