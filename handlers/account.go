package handlers

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/oauth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/account"
	"github.com/heddle/heddle/views/layout"
)

// People reads and changes what belongs to one person.
type People interface {
	Memberships
	Sessions(ctx context.Context, scope auth.Scope, now time.Time) ([]auth.Session, error)
	RevokeSession(ctx context.Context, scope auth.Scope, session auth.SessionID, now time.Time) error
	RevokeOtherSessions(ctx context.Context, scope auth.Scope, now time.Time) ([]auth.SessionID, error)
	SetName(ctx context.Context, scope auth.Scope, name string) error
	SetLetterKeys(ctx context.Context, scope auth.Scope, on bool) error
	SetTheme(ctx context.Context, scope auth.Scope, theme string) error
}

// Account serves the page of a person: who they are, their sessions, their
// colours, their keyboard.
type Account struct {
	frame   *Frame
	people  People
	sockets Sockets
	cookie  middleware.SessionCookie
	clock   clock.Clock
}

// NewAccount makes the handlers.
func NewAccount(frame *Frame, people People, sockets Sockets, cookie middleware.SessionCookie, clk clock.Clock) *Account {
	return &Account{frame: frame, people: people, sockets: sockets, cookie: cookie, clock: clk}
}

// Show is GET /account.
func (a *Account) Show(c *fiber.Ctx) error { return a.show(c, fiber.StatusOK, nil, nil) }

// show is the page; a refused name comes back as it was typed.
func (a *Account) show(c *fiber.Ctx, status int, typed *string, refused error) error {
	scope, now := middleware.Scope(c), a.clock.Now()
	p := a.frame.page(c, "Account")
	view := account.Profile{Name: p.User.Name, Email: p.User.Email, Theme: string(p.Theme), LetterKeysOff: p.LetterKeysOff,
		Language: languageName(scope.Locale), CSRF: p.CSRF}
	if refused != nil {
		view.Name, view.NameError = *typed, reason(refused, "name")
	}
	memberships, err := a.people.Memberships(c.UserContext(), scope)
	if err != nil {
		return err
	}
	for _, m := range memberships {
		view.Memberships = append(view.Memberships, account.Membership{
			OrgID: string(m.Org.ID), Org: m.Org.Name, Role: string(m.Role), Current: m.Org.ID == scope.Org})
	}
	sessions, err := a.people.Sessions(c.UserContext(), scope, now)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		view.Sessions = append(view.Sessions, account.Session{
			ID: string(s.ID), Device: present.Device(s.UserAgent), Where: s.IP, Started: present.Time(s.CreatedAt, now),
			Seen: present.Time(s.LastSeenAt, now), Current: s.ID == scope.Session})
	}
	return html(c, status, account.ProfilePage(p, view))
}

// languageName is what a language is called in itself.
func languageName(locale string) string {
	if locale == "en" {
		return "English"
	}
	return locale
}

// Rename is POST /account/profile with the field name: what the person wants to
// be called, 1 to 120 characters.
func (a *Account) Rename(c *fiber.Ctx) error {
	typed := utils.CopyString(c.FormValue("name"))
	err := a.people.SetName(c.UserContext(), middleware.Scope(c), strings.TrimSpace(typed))
	switch {
	case err == nil:
		return done(c, "/account")
	case wantsJSON(c) || !fault.Is(err, fault.KindInvalid):
		return err
	default:
		return a.show(c, middleware.Status(fault.KindInvalid), &typed, err)
	}
}

// Keyboard is POST /account/keyboard with the field letter_keys, on or off:
// whether shortcuts of a single key work (WCAG 2.1.4).
func (a *Account) Keyboard(c *fiber.Ctx) error {
	choice := utils.CopyString(c.FormValue("letter_keys"))
	if choice != "on" && choice != "off" {
		return fault.Invalid("letter_keys", "must be on or off")
	}
	if err := a.people.SetLetterKeys(c.UserContext(), middleware.Scope(c), choice == "on"); err != nil {
		return err
	}
	return done(c, "/account")
}

// RevokeOthers is POST /account/sessions/end-others: all sessions of the person
// but the present one end, and their sockets with them.
func (a *Account) RevokeOthers(c *fiber.Ctx) error {
	ended, err := a.people.RevokeOtherSessions(c.UserContext(), middleware.Scope(c), a.clock.Now())
	if err != nil {
		return err
	}
	for _, session := range ended {
		a.sockets.close(c, string(session), "the session was ended")
	}
	return done(c, "/account")
}

// themeCookieLife is how long a browser remembers the colours for its sign-in
// page, in seconds: a year.
const themeCookieLife = 365 * 24 * 60 * 60

// Theme is POST /account/theme with the field theme: kept with the person, and
// in a cookie for the pages before signing in.
func (a *Account) Theme(c *fiber.Ctx) error {
	theme := layout.Theme(utils.CopyString(c.FormValue("theme")))
	if !slices.Contains(layout.Themes(), theme) {
		return fault.Invalid("theme", "must be system, light or dark")
	}
	if err := a.people.SetTheme(c.UserContext(), middleware.Scope(c), string(theme)); err != nil {
		return err
	}
	middleware.SetCookie(c, &http.Cookie{Name: themeCookieName, Value: string(theme), Path: "/", HttpOnly: true,
		Secure: a.cookie.Secure(), MaxAge: themeCookieLife})
	if wantsJSON(c) {
		return c.JSON(fiber.Map{"theme": theme})
	}
	return c.Redirect(referrer(c), fiber.StatusSeeOther)
}

// referrer is the page of ours that the request came from, the account page if
// that is unknown. Only its path counts, so it leads nowhere else.
func referrer(c *fiber.Ctx) string {
	from, err := url.Parse(utils.CopyString(c.Get(fiber.HeaderReferer)))
	if err != nil || from.Host == "" || from.Host != string(c.Request().Host()) {
		return "/account"
	}
	return oauth.LocalPath(from.RequestURI())
}

// Revoke is POST /account/sessions/:id/revoke: a session of one's own ends, and
// its sockets with it. Ending the present one signs out.
func (a *Account) Revoke(c *fiber.Ctx) error {
	scope, session := middleware.Scope(c), auth.SessionID(utils.CopyString(c.Params("id")))
	if !id.Valid(string(session)) {
		return fault.NotFound("Session")
	}
	if err := a.people.RevokeSession(c.UserContext(), scope, session, a.clock.Now()); err != nil {
		return err
	}
	a.sockets.close(c, string(session), "the session was ended")
	if session == scope.Session {
		a.cookie.Write(c, "")
		return done(c, "/auth/login")
	}
	return done(c, "/account")
}
