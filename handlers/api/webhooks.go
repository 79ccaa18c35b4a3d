package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// Webhooks tell other servers of runs that ended.
type Webhooks interface {
	// CheckWebhook refuses an address that can't be told of runs, as far as that is
	// known beforehand.
	CheckWebhook(address string) error
	// Deliveries lists what is told, the newest first; an empty status means any.
	Deliveries(ctx context.Context, scope auth.Scope, status agents.DeliveryStatus, limit, offset int) (found []agents.Delivery, total int, err error)
	RequeueDelivery(ctx context.Context, scope auth.Scope, delivery agents.DeliveryID) (agents.Delivery, error)
	// WebhookSecrets gives what signs deliveries, the newest first.
	WebhookSecrets(ctx context.Context, scope auth.Scope) ([]agents.WebhookSecret, error)
	RenewWebhookSecret(ctx context.Context, scope auth.Scope) ([]agents.WebhookSecret, error)
}

// maxWebhookValues bounds the values that a webhook is told, in bytes of JSON.
const maxWebhookValues = 4 << 20

// reachable refuses a webhook that can't be told, as far as that is known.
func (a *API) reachable(webhook string) error {
	if webhook == "" {
		return nil
	}
	return a.webhooks.CheckWebhook(webhook)
}

// WebhookBody is what a webhook is told of a run that ended: the run, and the
// values as it left them; null where it left none, or where they are too large.
func WebhookBody(r agents.Run, state *agents.State) (string, error) {
	body := presentRun(r)
	body["error"], body["values"] = r.Error, nil
	body["run_started_at"], body["run_ended_at"] = timeOrNull(r.StartedAt), timeOrNull(endOf(r))
	if state != nil {
		values := presentValues(*state)
		if open := presentInterrupts(state.Head); len(open) > 0 {
			values["__interrupt__"] = open
		}
		raw, err := json.Marshal(values)
		if err != nil {
			return "", fmt.Errorf("writing the values of run %s as JSON: %w", r.ID, err)
		}
		if len(raw) <= maxWebhookValues {
			body["values"] = json.RawMessage(raw)
		} else {
			body["values_omitted"] = fmt.Sprintf("The values are larger than %d MiB: read the thread's state.", maxWebhookValues>>20)
		}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("writing run %s as JSON: %w", r.ID, err)
	}
	return string(raw), nil
}

// endOf is when a run ended for the API: one that waits has none of its own.
func endOf(r agents.Run) time.Time {
	if r.EndedAt.IsZero() {
		return r.UpdatedAt
	}
	return r.EndedAt
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return timestamp(t)
}

// ListDeliveries is GET /webhooks/deliveries?status=pending|delivered|dead.
func (a *API) ListDeliveries(c *fiber.Ctx) error {
	limit, offset, err := page(c)
	if err != nil {
		return err
	}
	status := agents.DeliveryStatus(strings.Clone(c.Query("status")))
	if status != "" && !status.Valid() {
		return fault.Invalid("status", "must be pending, delivered or dead")
	}
	found, total, err := a.webhooks.Deliveries(c.UserContext(), middleware.Scope(c), status, limit, offset)
	if err != nil {
		return err
	}
	paged(c, total, offset, len(found))
	out := make([]fiber.Map, len(found))
	for i, d := range found {
		out[i] = presentDelivery(d)
	}
	return c.JSON(out)
}

// RequeueDelivery is POST /webhooks/deliveries/:delivery/requeue.
func (a *API) RequeueDelivery(c *fiber.Ctx) error {
	d, err := a.webhooks.RequeueDelivery(c.UserContext(), middleware.Scope(c), agents.DeliveryID(strings.ToLower(param(c, "delivery"))))
	if err != nil {
		return err
	}
	return c.JSON(presentDelivery(d))
}

func presentDelivery(d agents.Delivery) fiber.Map {
	out := fiber.Map{"delivery_id": d.ID, "run_id": d.Run, "thread_id": d.Thread, "url": d.URL, "status": d.Status, "attempts": d.Attempts,
		"last_status": nil, "last_error": nil, "next_attempt_at": nil, "created_at": timestamp(d.CreatedAt), "settled_at": timeOrNull(d.SettledAt)}
	if d.Answer != 0 {
		out["last_status"] = d.Answer
	}
	if d.Failure != "" {
		out["last_error"] = d.Failure
	}
	if d.Status == agents.DeliveryPending {
		out["next_attempt_at"] = timestamp(d.DueAt)
	}
	return out
}

// ShowWebhookSecret is GET /webhooks/secret.
func (a *API) ShowWebhookSecret(c *fiber.Ctx) error {
	return presentSecrets(c)(a.webhooks.WebhookSecrets(c.UserContext(), middleware.Scope(c)))
}

// RenewWebhookSecret is POST /webhooks/secret/rotate.
func (a *API) RenewWebhookSecret(c *fiber.Ctx) error {
	return presentSecrets(c)(a.webhooks.RenewWebhookSecret(c.UserContext(), middleware.Scope(c)))
}

// presentSecrets shows what signs: the newest by itself, and all.
func presentSecrets(c *fiber.Ctx) func([]agents.WebhookSecret, error) error {
	return func(found []agents.WebhookSecret, err error) error {
		if err != nil {
			return err
		}
		all := make([]fiber.Map, len(found))
		for i, s := range found {
			all[i] = fiber.Map{"secret": s.Secret.Reveal(), "created_at": timestamp(s.CreatedAt), "ends_at": timeOrNull(s.EndsAt)}
		}
		middleware.KeepSecret(c)
		c.Set(fiber.HeaderCacheControl, "no-store")
		return c.JSON(fiber.Map{"secret": all[0]["secret"], "secrets": all})
	}
}
