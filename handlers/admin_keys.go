package handlers

import (
	"context"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/admin"
)

// AnyKeys reads and ends the API keys of everyone.
type AnyKeys interface {
	APIKeys(ctx context.Context, scope auth.Scope, person string) ([]auth.OwnedKey, error)
	RevokeAPIKey(ctx context.Context, scope auth.Scope, key auth.KeyID, now time.Time) error
}

// AdminKeys serves the administration of an organisation's API keys.
type AdminKeys struct {
	frame   *Frame
	keys    AnyKeys
	sockets Sockets
	clock   clock.Clock
}

// NewAdminKeys makes the handlers.
func NewAdminKeys(frame *Frame, keys AnyKeys, sockets Sockets, clk clock.Clock) *AdminKeys {
	return &AdminKeys{frame: frame, keys: keys, sockets: sockets, clock: clk}
}

// List is GET /admin/keys with person as the filter.
func (k *AdminKeys) List(c *fiber.Ctx) error {
	scope, now := middleware.Scope(c), k.clock.Now()
	if err := scope.Require(auth.PermManageKeys); err != nil {
		return err
	}
	person := strings.TrimSpace(utils.CopyString(c.Query("person")))
	if utf8.RuneCountInString(person) > maxFilterText {
		return fault.Invalid("person", "must have at most 200 characters")
	}
	keys, err := k.keys.APIKeys(c.UserContext(), scope, person)
	if err != nil {
		return err
	}
	p := k.frame.page(c, "API keys of everyone")
	p.Flash = notice(c)
	view := admin.Keys{Org: p.Org.Name, Person: person, CSRF: p.CSRF, Found: counted(len(keys), "key", "keys")}
	if len(keys) == auth.KeyListLimit {
		view.Found = "the newest " + view.Found
	}
	for _, key := range keys {
		shown := admin.Key{ID: string(key.ID), Name: key.Name, Owner: key.OwnerName, Email: key.OwnerEmail, Prefix: key.Start(),
			Created: present.Time(key.CreatedAt, now), Used: timeOrNever(key.LastUsedAt, now)}
		for _, s := range key.Scopes {
			shown.Scopes = append(shown.Scopes, string(s))
		}
		if !key.ExpiresAt.IsZero() {
			shown.Expires, shown.Expired = present.Date(key.ExpiresAt), !now.Before(key.ExpiresAt)
		}
		view.Keys = append(view.Keys, shown)
	}
	return html(c, fiber.StatusOK, admin.KeysPage(p, adminNav(scope, "keys"), view))
}

// Revoke is POST /admin/keys/:id/revoke with the field person, the filter to go
// back to: the key ends, and its sockets with it.
func (k *AdminKeys) Revoke(c *fiber.Ctx) error {
	scope, key := middleware.Scope(c), auth.KeyID(utils.CopyString(c.Params("id")))
	if err := scope.Require(auth.PermManageKeys); err != nil {
		return err
	}
	if !id.Valid(string(key)) {
		return fault.NotFound("API key")
	}
	if err := k.keys.RevokeAPIKey(c.UserContext(), scope, key, k.clock.Now()); err != nil {
		return err
	}
	k.sockets.close(c, string(key), "the API key was revoked")
	back := url.Values{"done": {"revoked"}}
	if person := utils.CopyString(c.FormValue("person")); person != "" {
		back.Set("person", person)
	}
	return done(c, "/admin/keys?"+back.Encode())
}
