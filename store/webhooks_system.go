package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// endedRun is a run as the trigger of its end keeps it: its row as JSON.
type endedRun struct {
	AssistantID      string           `json:"assistant_id"`
	AssistantVersion int              `json:"assistant_version"`
	UserID           string           `json:"user_id"`
	Status           string           `json:"status"`
	Strategy         string           `json:"strategy"`
	Request          json.RawMessage  `json:"request"`
	Metadata         json.RawMessage  `json:"metadata"`
	Manifest         *agents.Manifest `json:"manifest"`
	Attempt          int              `json:"attempt"`
	CancelReason     *string          `json:"cancel_reason"`
	Error            *agents.RunError `json:"error"`
	CreatedAt        time.Time        `json:"created_at"`
	StartedAt        *time.Time       `json:"started_at"`
	EndedAt          *time.Time       `json:"ended_at"`
	UpdatedAt        time.Time        `json:"updated_at"`
}

// run is as complete as a reader of the API needs it.
func (e endedRun) run(d agents.Delivery) agents.Run {
	out := agents.Run{ID: d.Run, Org: d.Org, Thread: d.Thread, Assistant: agents.AssistantID(e.AssistantID), AssistantVersion: e.AssistantVersion,
		User: auth.UserID(e.UserID), Status: agents.RunStatus(e.Status), Strategy: agents.Strategy(e.Strategy), Request: e.Request,
		Metadata: e.Metadata, Manifest: e.Manifest, Attempt: e.Attempt, Error: e.Error, CreatedAt: e.CreatedAt.UTC(),
		StartedAt: timeOrZero(e.StartedAt), EndedAt: timeOrZero(e.EndedAt), UpdatedAt: e.UpdatedAt.UTC()}
	if e.CancelReason != nil {
		out.CancelReason = *e.CancelReason
	}
	return out
}

type dueRow struct {
	deliveryRow
	Claim   string
	Run     json.RawMessage
	Body    *string
	Secrets []secretForm
}

// secretForm is a row of webhook_secrets as JSON, its bytes in base64.
type secretForm struct {
	ID        string     `json:"id"`
	Sealed    []byte     `json:"sealed"`
	CreatedAt time.Time  `json:"created_at"`
	EndsAt    *time.Time `json:"ends_at"`
}

func (f secretForm) secret() agents.SealedSecret {
	return agents.SealedSecret{ID: f.ID, Sealed: f.Sealed, CreatedAt: f.CreatedAt.UTC(), EndsAt: timeOrZero(f.EndsAt)}
}

// webhookWindow is how far into what is due a claim looks for organisations that
// have less there.
const webhookWindow = 200

// sqlClaimDeliveries takes what is due, organisation by organisation in turn, so
// that one whose receivers hang does not stand before the others.
const sqlClaimDeliveries = `with due as materialized (
	select org_id, id, due_at from webhook_deliveries where status = 'pending' and due_at <= now()
	order by due_at limit @window
), turns as materialized (
	select org_id, id, row_number() over (partition by org_id order by due_at, id) as turn, due_at from due
), next as materialized (
	select d.org_id, d.id from turns t join webhook_deliveries d on d.org_id = t.org_id and d.id = t.id
	where d.status = 'pending' and d.due_at <= now()
	order by t.turn, t.due_at limit @limit for update of d skip locked
), claimed as (
	update webhook_deliveries d set attempts = d.attempts + 1, claim = gen_random_uuid(), due_at = now() + @lease::interval
	from next n where d.org_id = n.org_id and d.id = n.id
	returning d.*
)
select ` + deliveryColumns + `, d.claim::text as claim, d.run, d.body, coalesce((
	select jsonb_agg(jsonb_build_object('id', s.id, 'sealed', translate(encode(s.sealed, 'base64'), E'\n', ''), 'created_at', s.created_at,
			'ends_at', s.ends_at) order by s.ends_at desc nulls first)
	from webhook_secrets s where s.org_id = d.org_id and (s.ends_at is null or s.ends_at > now())), '[]') as secrets
from claimed d order by d.due_at, d.id`

// ClaimDeliveries takes at most limit deliveries whose attempt is due. Whoever has
// one has it for as long as lease, by the database's clock.
func (db *DB) ClaimDeliveries(ctx context.Context, limit int, lease time.Duration) ([]agents.DueDelivery, error) {
	rows, err := db.system.Query(ctx, sqlClaimDeliveries, named{"limit": limit, "lease": lease, "window": webhookWindow})
	if err != nil {
		return nil, fmt.Errorf("claiming deliveries: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[dueRow])
	if err != nil {
		return nil, fmt.Errorf("claiming deliveries: %w", err)
	}
	out := make([]agents.DueDelivery, len(found))
	for i, r := range found {
		var ended endedRun
		if err := json.Unmarshal(r.Run, &ended); err != nil {
			return nil, fmt.Errorf("reading the run of delivery %s: %w", r.ID, err)
		}
		out[i] = agents.DueDelivery{Delivery: r.delivery(), Claim: r.Claim}
		out[i].Ended = ended.run(out[i].Delivery)
		if r.Body != nil {
			out[i].Body = *r.Body
		}
		for _, s := range r.Secrets {
			out[i].Secrets = append(out[i].Secrets, s.secret())
		}
	}
	return out, nil
}

const sqlKeepDelivery = `update webhook_deliveries set body = @body
	where org_id = @org and id = @id and claim = @claim and body is null`

// KeepDelivery stores what is sent, so that each attempt sends the same.
// agents.ErrFenced says that somebody else has the delivery.
func (db *DB) KeepDelivery(ctx context.Context, d agents.DueDelivery, body string) error {
	return db.changeDelivery(ctx, "keeping what a delivery sends", sqlKeepDelivery, d, named{"body": body})
}

const sqlSettleDelivery = `update webhook_deliveries set status = @status, claim = null, due_at = now() + @after::interval,
		answer = @answer, failure = @failure, settled_at = case when @status <> 'pending' then now() end
	where org_id = @org and id = @id and claim = @claim`

// SettleDelivery notes what came of an attempt. agents.ErrFenced says that somebody
// else has the delivery.
func (db *DB) SettleDelivery(ctx context.Context, d agents.DueDelivery, o agents.DeliveryOutcome) error {
	args := named{"status": string(o.Status), "after": o.After, "answer": nil, "failure": orNull(o.Failure)}
	if o.Answer != 0 {
		args["answer"] = o.Answer
	}
	return db.changeDelivery(ctx, "settling a delivery", sqlSettleDelivery, d, args)
}

func (db *DB) changeDelivery(ctx context.Context, doing, sql string, d agents.DueDelivery, args named) error {
	args["org"], args["id"], args["claim"] = string(d.Org), string(d.ID), d.Claim
	done, err := db.system.Exec(ctx, sql, args)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, translate(err))
	}
	if done.RowsAffected() == 0 {
		return agents.ErrFenced
	}
	return nil
}

const sqlWebhookSecretFirst = `with made as (
	insert into webhook_secrets (org_id, id, sealed) values (@org, @id, @sealed)
	on conflict (org_id) where ends_at is null do nothing
	returning id::text, sealed, created_at, ends_at
)
select * from made`

const sqlWebhookSecretNewest = `select id::text, sealed, created_at, ends_at from webhook_secrets where org_id = @org and ends_at is null`

// FirstWebhookSecret stores an organisation's first secret and gives the one that
// is stored then: another's, if somebody was quicker.
func (db *DB) FirstWebhookSecret(ctx context.Context, org auth.OrgID, s agents.SealedSecret) (agents.SealedSecret, error) {
	args := named{"org": string(org), "id": s.ID, "sealed": s.Sealed}
	for _, sql := range []string{sqlWebhookSecretFirst, sqlWebhookSecretNewest} {
		rows, err := db.system.Query(ctx, sql, args)
		if err != nil {
			return agents.SealedSecret{}, fmt.Errorf("making a secret for webhooks: %w", err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[secretRow])
		if err != nil {
			return agents.SealedSecret{}, fmt.Errorf("making a secret for webhooks: %w", err)
		}
		if len(found) > 0 {
			return found[0].secret(), nil
		}
	}
	return agents.SealedSecret{}, fault.NotFound("Secret")
}

// sqlRunLastStep finds the newest step of a run on any line of its thread.
const sqlRunLastStep = `select l.id::text as line, c.step from lines l
	cross join lateral (select step from checkpoints where org_id = l.org_id and line_id = l.id and run_id = @run order by step desc limit 1) c
	where l.org_id = @org and l.thread_id = @thread and l.ns is null
	order by c.step desc limit 1`

type lastStepRow struct {
	Line string
	Step int
}

// StateAfter reads the state of a thread as a run that ended left it; nil where
// the run committed no step, or nothing is left of it.
func (db *DB) StateAfter(ctx context.Context, r agents.Run) (*agents.State, error) {
	rows, err := db.system.Query(ctx, sqlRunLastStep, named{"org": string(r.Org), "thread": string(r.Thread), "run": string(r.ID)})
	if err != nil {
		return nil, fmt.Errorf("finding a run's last step: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[lastStepRow])
	if err != nil {
		return nil, fmt.Errorf("finding a run's last step: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	// The organisation's own rights, in the name of whoever asked for the run and
	// for where to send it.
	scope := auth.Scope{User: r.User, Org: r.Org, Role: auth.RoleOwner}
	state, err := db.StateAt(ctx, scope, r.Thread, agents.CheckpointID(agents.LineID(found[0].Line), found[0].Step))
	switch {
	case fault.Is(err, fault.KindNotFound):
		return nil, nil // removed meanwhile
	case err != nil:
		return nil, fmt.Errorf("reading what a run left: %w", err)
	}
	return &state, nil
}
