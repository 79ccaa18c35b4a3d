package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

type deliveryRow struct {
	OrgID     string
	ID        string
	RunID     string
	ThreadID  string
	URL       string
	Status    string
	Attempts  int
	DueAt     time.Time
	Answer    *int
	Failure   string
	CreatedAt time.Time
	SettledAt *time.Time
}

const deliveryColumns = `d.org_id, d.id, d.run_id, d.thread_id, d.url, d.status, d.attempts, d.due_at, d.answer,
	coalesce(d.failure, '') as failure, d.created_at, d.settled_at`

func (r deliveryRow) delivery() agents.Delivery {
	out := agents.Delivery{ID: agents.DeliveryID(r.ID), Org: auth.OrgID(r.OrgID), Run: agents.RunID(r.RunID), Thread: agents.ThreadID(r.ThreadID),
		URL: r.URL, Status: agents.DeliveryStatus(r.Status), Attempts: r.Attempts, DueAt: r.DueAt.UTC(), Failure: r.Failure,
		CreatedAt: r.CreatedAt.UTC(), SettledAt: timeOrZero(r.SettledAt)}
	if r.Answer != nil {
		out.Answer = *r.Answer
	}
	return out
}

const sqlDeliveries = `select ` + deliveryColumns + ` from webhook_deliveries d
	where d.org_id = @org and (@status::text = '' or d.status = @status)
	order by d.created_at desc, d.id limit @limit offset @offset`

const sqlDeliveriesCount = `select count(*)::int as n from webhook_deliveries d
	where d.org_id = @org and (@status::text = '' or d.status = @status)`

// Deliveries lists what webhooks of the organisation are told, the newest first,
// and says how many there are in all; an empty status means any.
func (db *DB) Deliveries(ctx context.Context, scope auth.Scope, status agents.DeliveryStatus, limit, offset int) (found []agents.Delivery, total int, err error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return nil, 0, err
	}
	type countRow struct{ N int }
	var rows []deliveryRow
	var counts []countRow
	args := named{"org": string(scope.Org), "status": string(status), "limit": limit, "offset": offset}
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var read pgx.Batch
		collect(&read, &rows, sqlDeliveries, args)
		collect(&read, &counts, sqlDeliveriesCount, args)
		return tx.SendBatch(ctx, &read).Close()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("listing deliveries: %w", translate(err))
	}
	out := make([]agents.Delivery, len(rows))
	for i, r := range rows {
		out[i] = r.delivery()
	}
	return out, counts[0].N, nil
}

// sqlDeliveryRequeue takes the claim away from an attempt under way: what comes of
// it is not noted.
const sqlDeliveryRequeue = `update webhook_deliveries d set status = 'pending', attempts = 0, claim = null, due_at = now(), failure = null,
		answer = null, settled_at = null
	where d.org_id = @org and d.id = @id returning ` + deliveryColumns

// RequeueDelivery lets a delivery be attempted again from the beginning, whatever
// came of it; its id and what it sends stay.
func (db *DB) RequeueDelivery(ctx context.Context, scope auth.Scope, delivery agents.DeliveryID) (agents.Delivery, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return agents.Delivery{}, err
	}
	if !id.Valid(string(delivery)) {
		return agents.Delivery{}, fault.NotFound("Delivery")
	}
	var out agents.Delivery
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		rows, err := pgxMany[deliveryRow](ctx, tx, sqlDeliveryRequeue, named{"org": string(scope.Org), "id": string(delivery)})
		if err != nil {
			return translate(err)
		}
		if len(rows) == 0 {
			return fault.NotFound("Delivery")
		}
		out = rows[0].delivery()
		return appendAudit(tx, scope, auth.AuditEntry{Action: "webhook.requeued", ObjectKind: "webhook_delivery", ObjectID: string(out.ID),
			ObjectName: out.URL, After: auditDetail(map[string]any{"run_id": out.Run})})
	})
	if err != nil {
		return agents.Delivery{}, fmt.Errorf("putting a delivery back in line: %w", err)
	}
	return out, nil
}

type secretRow struct {
	ID        string
	Sealed    []byte
	CreatedAt time.Time
	EndsAt    *time.Time
}

func (r secretRow) secret() agents.SealedSecret {
	return agents.SealedSecret{ID: r.ID, Sealed: r.Sealed, CreatedAt: r.CreatedAt.UTC(), EndsAt: timeOrZero(r.EndsAt)}
}

const secretColumns = `s.id::text, s.sealed, s.created_at, s.ends_at`

const sqlWebhookSecrets = `select ` + secretColumns + ` from webhook_secrets s
	where s.org_id = @org and (s.ends_at is null or s.ends_at > now()) order by s.ends_at desc nulls first`

// WebhookSecrets reads the secrets that sign the organisation's webhooks, the
// newest first, and records that somebody did.
func (db *DB) WebhookSecrets(ctx context.Context, scope auth.Scope) ([]agents.SealedSecret, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return nil, err
	}
	var out []agents.SealedSecret
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var err error
		if out, err = webhookSecrets(ctx, tx, scope); err != nil || len(out) == 0 {
			return err
		}
		return appendAudit(tx, scope, secretEntry("webhook.secret_read", out[0]))
	})
	if err != nil {
		return nil, fmt.Errorf("reading the secrets of webhooks: %w", err)
	}
	return out, nil
}

func webhookSecrets(ctx context.Context, tx pgx.Tx, scope auth.Scope) ([]agents.SealedSecret, error) {
	rows, err := pgxMany[secretRow](ctx, tx, sqlWebhookSecrets, named{"org": string(scope.Org)})
	if err != nil {
		return nil, translate(err)
	}
	out := make([]agents.SealedSecret, len(rows))
	for i, r := range rows {
		out[i] = r.secret()
	}
	return out, nil
}

func secretEntry(action string, s agents.SealedSecret) auth.AuditEntry {
	return auth.AuditEntry{Action: action, ObjectKind: "webhook_secret", ObjectID: s.ID}
}

// sqlWebhookSecretEnd lets the newest sign on for a while, and takes away those
// whose time is over.
const sqlWebhookSecretEnd = `with over as (
	delete from webhook_secrets where org_id = @org and ends_at <= now()
)
update webhook_secrets set ends_at = now() + @overlap::interval where org_id = @org and ends_at is null`

const sqlWebhookSecretAdd = `insert into webhook_secrets as s (org_id, id, sealed, created_by) values (@org, @id, @sealed, @user)
	returning ` + secretColumns

// AddWebhookSecret makes a secret the newest; the one before signs beside it for as
// long as overlap. It gives all that sign now.
func (db *DB) AddWebhookSecret(ctx context.Context, scope auth.Scope, s agents.SealedSecret, overlap time.Duration) ([]agents.SealedSecret, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return nil, err
	}
	var out []agents.SealedSecret
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := named{"org": string(scope.Org), "user": string(scope.User), "id": s.ID, "sealed": s.Sealed, "overlap": overlap}
		if _, err := tx.Exec(ctx, sqlWebhookSecretEnd, args); err != nil {
			return translate(err)
		}
		if _, err := pgxMany[secretRow](ctx, tx, sqlWebhookSecretAdd, args); err != nil {
			if violates(err, codeUniqueViolation, "webhook_secrets_newest") {
				return fault.Conflict("Somebody else made a secret at the same moment.").WithCause(err)
			}
			return translate(err)
		}
		var err error
		if out, err = webhookSecrets(ctx, tx, scope); err != nil {
			return err
		}
		return appendAudit(tx, scope, secretEntry("webhook.secret_made", s))
	})
	if err != nil {
		return nil, fmt.Errorf("making a secret for webhooks: %w", err)
	}
	return out, nil
}
