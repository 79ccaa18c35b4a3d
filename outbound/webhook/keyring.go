package webhook

import (
	"context"
	"fmt"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/secret"
)

// Overlap is how long a secret signs on beside the one that follows it.
const Overlap = 24 * time.Hour

// Secrets keeps sealed secrets.
type Secrets interface {
	// FirstWebhookSecret stores an organisation's first secret and gives the one
	// that is stored then.
	FirstWebhookSecret(ctx context.Context, org auth.OrgID, s agents.SealedSecret) (agents.SealedSecret, error)
	WebhookSecrets(ctx context.Context, scope auth.Scope) ([]agents.SealedSecret, error)
	// AddWebhookSecret makes a secret the newest.
	AddWebhookSecret(ctx context.Context, scope auth.Scope, s agents.SealedSecret, overlap time.Duration) ([]agents.SealedSecret, error)
}

// Keyring holds the secrets of organisations: made when they are first needed,
// encrypted where they are stored.
type Keyring struct {
	store Secrets
	box   *secret.Box
}

// NewKeyring makes a keyring over the installation's key.
func NewKeyring(store Secrets, key []byte) (*Keyring, error) {
	box, err := secret.NewBox(key, "webhook secrets")
	if err != nil {
		return nil, fmt.Errorf("preparing the secrets of webhooks: %w", err)
	}
	return &Keyring{store: store, box: box}, nil
}

// Show gives the secrets that sign now, the newest first; it makes one where there
// is none.
func (k *Keyring) Show(ctx context.Context, scope auth.Scope) ([]agents.WebhookSecret, error) {
	found, err := k.store.WebhookSecrets(ctx, scope)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		if _, err := k.first(ctx, scope.Org); err != nil {
			return nil, err
		}
		if found, err = k.store.WebhookSecrets(ctx, scope); err != nil {
			return nil, err
		}
	}
	return k.open(scope.Org, found)
}

// Renew makes a new secret; the one before signs beside it for [Overlap].
func (k *Keyring) Renew(ctx context.Context, scope auth.Scope) ([]agents.WebhookSecret, error) {
	found, err := k.store.AddWebhookSecret(ctx, scope, k.fresh(scope.Org), Overlap)
	if err != nil {
		return nil, err
	}
	// An older one may be sealed with a key that is gone: that is a reason to renew.
	out := []agents.WebhookSecret{}
	for i, s := range found {
		opened, err := k.open(scope.Org, found[i:i+1])
		if err == nil {
			out = append(out, opened...)
		} else if s.EndsAt.IsZero() {
			return nil, err
		}
	}
	return out, nil
}

// signing opens the secrets that a delivery came with, or makes the first.
func (k *Keyring) signing(ctx context.Context, d agents.DueDelivery) ([]auth.Token, error) {
	sealed := d.Secrets
	if len(sealed) == 0 {
		first, err := k.first(ctx, d.Org)
		if err != nil {
			return nil, err
		}
		sealed = []agents.SealedSecret{first}
	}
	var out []auth.Token
	var failed error
	for i := range sealed {
		opened, err := k.open(d.Org, sealed[i:i+1])
		if err != nil {
			failed = err
			continue
		}
		out = append(out, opened[0].Secret)
	}
	if len(out) == 0 {
		return nil, failed
	}
	return out, nil
}

func (k *Keyring) first(ctx context.Context, org auth.OrgID) (agents.SealedSecret, error) {
	return k.store.FirstWebhookSecret(ctx, org, k.fresh(org))
}

func (k *Keyring) fresh(org auth.OrgID) agents.SealedSecret {
	s := agents.SealedSecret{ID: id.New()}
	s.Sealed = k.box.Seal([]byte(NewSecret().Reveal()), about(org, s.ID))
	return s
}

func (k *Keyring) open(org auth.OrgID, sealed []agents.SealedSecret) ([]agents.WebhookSecret, error) {
	out := make([]agents.WebhookSecret, len(sealed))
	for i, s := range sealed {
		text, err := k.box.Open(s.Sealed, about(org, s.ID))
		if err != nil {
			return nil, fault.Conflict("The secret that signs webhooks can’t be read with this server’s key (HEDDLE_SECRET_KEY). Make a new one.").
				WithCode("webhook_secret_unreadable").WithCause(err)
		}
		out[i] = agents.WebhookSecret{ID: s.ID, Secret: auth.Token(text), CreatedAt: s.CreatedAt, EndsAt: s.EndsAt}
	}
	return out, nil
}

func about(org auth.OrgID, secret string) string { return string(org) + "/" + secret }
