package app

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/outbound/egress"
	"github.com/heddle/heddle/outbound/webhook"
	"github.com/heddle/heddle/store"
)

// webhooks are the API's view of what tells other servers of runs.
type webhooks struct {
	*store.DB
	client    *egress.Client
	keyring   *webhook.Keyring
	deliverer *webhook.Deliverer // nil where webhooks are switched off
}

// webhooks builds them. Receivers are reached as tools reach other servers, but
// where an answer redirects is nobody's business.
func (a *App) webhooks() (webhooks, error) {
	pace := a.o.WebhookPace
	if pace == (webhook.Pace{}) {
		pace = webhook.DefaultPace()
	}
	keyring, err := webhook.NewKeyring(a.db, a.o.SecretKey)
	if err != nil {
		return webhooks{}, err
	}
	w := webhooks{DB: a.db, keyring: keyring, client: egress.New(egress.Options{Allow: a.allowed, Timeout: pace.Timeout, NoRedirects: true})}
	if a.o.Config.Network.Webhooks.On() {
		w.deliverer = webhook.New(webhook.Options{
			Store: a.db, Client: w.client, Keyring: keyring, Compose: w.compose, Pace: pace, Poll: a.o.Config.Worker.Sweep,
			Clock: clock.System{}, Logger: a.logger("outbound"),
		})
	}
	return w, nil
}

// compose gives what a receiver is told.
func (w webhooks) compose(ctx context.Context, d agents.DueDelivery) (string, error) {
	state, err := w.StateAfter(ctx, d.Ended)
	if err != nil {
		return "", err
	}
	return api.WebhookBody(d.Ended, state)
}

// CheckWebhook implements api.Webhooks.
func (w webhooks) CheckWebhook(address string) error {
	if w.deliverer == nil {
		return fault.Invalid("webhook", "is not available: webhooks are switched off on this server (HEDDLE_WEBHOOKS)")
	}
	return webhook.Check(w.client, "webhook", address)
}

// WebhookSecrets implements api.Webhooks.
func (w webhooks) WebhookSecrets(ctx context.Context, scope auth.Scope) ([]agents.WebhookSecret, error) {
	return w.keyring.Show(ctx, scope)
}

// RenewWebhookSecret implements api.Webhooks.
func (w webhooks) RenewWebhookSecret(ctx context.Context, scope auth.Scope) ([]agents.WebhookSecret, error) {
	return w.keyring.Renew(ctx, scope)
}

// apiItems is the API's view of the store of items: what programs of a person
// keep, apart from what the product remembers about them.
type apiItems struct{ db *store.DB }

// PutItem implements api.Items.
func (a apiItems) PutItem(ctx context.Context, scope auth.Scope, item agents.Item) error {
	_, err := a.db.PutItem(ctx, scope, agents.AreaAPI, item)
	return err
}

// Item implements api.Items.
func (a apiItems) Item(ctx context.Context, scope auth.Scope, namespace []string, key string, refresh bool) (agents.Item, error) {
	if refresh {
		return a.db.RefreshItem(ctx, scope, agents.AreaAPI, namespace, key)
	}
	return a.db.Item(ctx, scope, agents.AreaAPI, namespace, key)
}

// DeleteItem implements api.Items.
func (a apiItems) DeleteItem(ctx context.Context, scope auth.Scope, namespace []string, key string) error {
	return a.db.DeleteItem(ctx, scope, agents.AreaAPI, namespace, key)
}

// FindItems implements api.Items.
func (a apiItems) FindItems(ctx context.Context, scope auth.Scope, q api.ItemSearch) ([]agents.ScoredItem, error) {
	return a.db.FindItems(ctx, scope, agents.AreaAPI, store.ItemSearch(q))
}

// Namespaces implements api.Items.
func (a apiItems) Namespaces(ctx context.Context, scope auth.Scope, q api.NamespaceQuery) ([][]string, error) {
	return a.db.Namespaces(ctx, scope, agents.AreaAPI, store.NamespaceQuery(q))
}
