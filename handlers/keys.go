package handlers

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/account"
	"github.com/heddle/heddle/views/ui"
)

// APIKeys keeps API keys.
type APIKeys interface {
	OwnAPIKeys(ctx context.Context, scope auth.Scope) ([]auth.APIKey, error)
	CreateAPIKey(ctx context.Context, scope auth.Scope, k auth.APIKey) error
	RevokeAPIKey(ctx context.Context, scope auth.Scope, key auth.KeyID, now time.Time) error
}

// Keys serves a person's API keys.
type Keys struct {
	frame   *Frame
	keys    APIKeys
	sockets Sockets
	clock   clock.Clock
}

// NewKeys makes the handlers.
func NewKeys(frame *Frame, keys APIKeys, sockets Sockets, clk clock.Clock) *Keys {
	return &Keys{frame: frame, keys: keys, sockets: sockets, clock: clk}
}

// keyForm is what a form for a new key says, as typed.
type keyForm struct {
	name, expires string
	scopes        []string
}

// Show is GET /account/keys.
func (k *Keys) Show(c *fiber.Ctx) error {
	blank := keyForm{expires: days(auth.KeyDefaultLifetime), scopes: []string{string(auth.ScopeRun)}}
	return k.show(c, fiber.StatusOK, blank, account.Keys{})
}

// Create is POST /account/keys with the fields name, scopes (several) and
// expires (days, 1 to 366). The secret stands on the answering page and nowhere
// else; a refused form comes back as it was typed.
func (k *Keys) Create(c *fiber.Ctx) error {
	scope, form := middleware.Scope(c), readKeyForm(c)
	secret, err := k.create(c.UserContext(), scope, form)
	c.Set(fiber.HeaderCacheControl, "no-store")
	if err == nil {
		middleware.KeepSecret(c)
	}
	switch {
	case fault.Is(err, fault.KindInvalid) && !wantsJSON(c):
		return k.show(c, middleware.Status(fault.KindInvalid), form, account.Keys{Errors: sentences(fault.FieldsOf(err))})
	case err != nil:
		return err
	case wantsJSON(c):
		return c.Status(fiber.StatusCreated).JSON(fiber.Map{"name": strings.TrimSpace(form.name), "secret": secret.Reveal()})
	}
	blank := keyForm{expires: days(auth.KeyDefaultLifetime), scopes: []string{string(auth.ScopeRun)}}
	return k.show(c, fiber.StatusCreated, blank, account.Keys{
		Created: &account.Created{Name: strings.TrimSpace(form.name), Secret: secret.Reveal()}})
}

func readKeyForm(c *fiber.Ctx) keyForm {
	form := keyForm{name: utils.CopyString(c.FormValue("name")), expires: utils.CopyString(c.FormValue("expires"))}
	for _, s := range c.Request().PostArgs().PeekMulti("scopes") {
		form.scopes = append(form.scopes, string(auth.KeyScope(s).Current()))
	}
	return form
}

// create makes the key. All broken fields are named at once.
func (k *Keys) create(ctx context.Context, scope auth.Scope, form keyForm) (auth.Token, error) {
	broken := map[string]string{}
	var lifetime time.Duration
	if n, err := strconv.Atoi(form.expires); err == nil && n >= 1 && n <= daysOf(auth.KeyMaxLifetime) {
		lifetime = time.Duration(n) * 24 * time.Hour
	} else {
		broken["expires"] = "must be 1 to " + days(auth.KeyMaxLifetime) + " days"
	}
	offered := scope.Role.KeyScopes()
	var scopes []auth.KeyScope
	for _, s := range form.scopes {
		if !slices.Contains(offered, auth.KeyScope(s)) {
			broken["scopes"] = "must be among those offered: your role cannot use the others"
		}
		scopes = append(scopes, auth.KeyScope(s))
	}
	if len(scopes) == 0 {
		broken["scopes"] = "must hold at least one"
	}
	now := k.clock.Now()
	key, secret, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), form.name, scopes, lifetime, now)
	if err != nil && !fault.Is(err, fault.KindInvalid) {
		return "", err
	}
	for field, rule := range fault.FieldsOf(err) {
		if broken[field] == "" {
			broken[field] = rule
		}
	}
	if len(broken) > 0 {
		return "", fault.InvalidFields(broken)
	}
	return secret, k.keys.CreateAPIKey(ctx, scope, key)
}

// Revoke is POST /account/keys/:id/revoke: the key ends, and its sockets with it.
func (k *Keys) Revoke(c *fiber.Ctx) error {
	key := auth.KeyID(utils.CopyString(c.Params("id")))
	if !id.Valid(string(key)) {
		return fault.NotFound("API key")
	}
	if err := k.keys.RevokeAPIKey(c.UserContext(), middleware.Scope(c), key, k.clock.Now()); err != nil {
		return err
	}
	k.sockets.close(c, string(key), "the API key was revoked")
	return done(c, "/account/keys")
}

func (k *Keys) show(c *fiber.Ctx, status int, form keyForm, view account.Keys) error {
	scope, now := middleware.Scope(c), k.clock.Now()
	p := k.frame.page(c, "API keys")
	view.CSRF, view.Name = p.CSRF, form.name
	keys, err := k.keys.OwnAPIKeys(c.UserContext(), scope)
	if err != nil {
		return err
	}
	for _, key := range keys {
		shown := account.Key{ID: string(key.ID), Name: key.Name, Prefix: key.Start(), Created: present.Time(key.CreatedAt, now)}
		for _, s := range key.Scopes {
			shown.Scopes = append(shown.Scopes, string(s))
		}
		if !key.LastUsedAt.IsZero() {
			shown.Used = present.Time(key.LastUsedAt, now)
		}
		if !key.ExpiresAt.IsZero() {
			shown.Expires, shown.Expired = present.Date(key.ExpiresAt), !now.Before(key.ExpiresAt)
		}
		view.Keys = append(view.Keys, shown)
	}
	for _, s := range scope.Role.KeyScopes() {
		label, hint := scopeWords(s)
		view.Scopes = append(view.Scopes, account.Scope{
			Value: string(s), Label: label, Hint: hint, Checked: slices.Contains(form.scopes, string(s))})
	}
	for _, n := range []int{7, 30, 90, 180, 365} {
		value := strconv.Itoa(n)
		view.Expiries = append(view.Expiries, ui.Option{Value: value, Label: value + " days", Selected: value == form.expires})
	}
	return html(c, status, account.KeysPage(p, view))
}

// scopeWords says what a scope lets a key do.
func scopeWords(s auth.KeyScope) (label, hint string) {
	switch s {
	case auth.ScopeReview:
		return "Review", "decide on tool calls that wait for a person"
	case auth.ScopeAdmin:
		return "Administration", "assistants, members, keys and the audit log"
	case auth.ScopeRead:
		return "Read", "threads, their state and history, runs, assistants and memory"
	default:
		return "Run", "also change threads and memory, start and cancel runs"
	}
}

// sentences makes the rules of fields readable under the fields themselves.
func sentences(rules map[string]string) map[string]string {
	out := make(map[string]string, len(rules))
	for field, rule := range rules {
		out[field] = strings.ToUpper(rule[:1]) + rule[1:] + "."
	}
	return out
}

func daysOf(d time.Duration) int { return int(d / (24 * time.Hour)) }

func days(d time.Duration) string { return strconv.Itoa(daysOf(d)) }
