// Package handlers is the product's HTTP: it turns requests into calls of
// services and their answers into pages and JSON. It declares the small
// interfaces it needs and never imports store, pgx or redis.
package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/auth/oauth"
	"github.com/heddle/heddle/auth/signin"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// SignInFlow sends browsers to identity providers; oauth.Flow is one.
type SignInFlow interface {
	Providers() []oauth.Provider
	Cookie(value string) *http.Cookie
	Begin(ctx context.Context, provider string, s oauth.Start) (redirectURL, cookieValue string, err error)
	Finish(ctx context.Context, provider string, query url.Values, cookieValue string) (oauth.Finished, error)
}

// Door makes and ends sessions; signin.Service is one.
type Door interface {
	Enter(ctx context.Context, f oauth.Finished, b signin.Browser) (auth.SignedIn, auth.Token, error)
	Leave(ctx context.Context, scope auth.Scope) error
	Switch(ctx context.Context, scope auth.Scope, target auth.OrgID) (auth.Token, error)
}

// LoginPage is what the sign-in page shows.
type LoginPage struct {
	Links []LoginLink
	// Problem is why the last sign-in failed, "" if it did not.
	Problem string
	// Nonce is the nonce of the page's scripts and styles.
	Nonce string
	// Theme is what this browser's last person chose, "" if unknown.
	Theme string
}

// LoginLink is one way to sign in.
type LoginLink struct{ Name, Label, URL string }

// Auth serves signing in, signing out and switching organisations.
type Auth struct {
	flow    SignInFlow
	door    Door
	sockets Sockets
	cookie  middleware.SessionCookie
	page    func(LoginPage) templ.Component
	log     *slog.Logger
}

// NewAuth makes the handlers; page renders the sign-in page.
func NewAuth(flow SignInFlow, door Door, sockets Sockets, cookie middleware.SessionCookie, page func(LoginPage) templ.Component, log *slog.Logger) *Auth {
	return &Auth{flow: flow, door: door, sockets: sockets, cookie: cookie, page: page, log: log}
}

// Login is GET /auth/login: the ways to sign in. Whoever is signed in and
// brings no invitation goes straight on.
func (a *Auth) Login(c *fiber.Ctx) error {
	start := startOf(c)
	if _, ok := middleware.SignedIn(c); ok && start.Invitation == "" {
		return c.Redirect(oauth.LocalPath(start.ReturnTo), fiber.StatusSeeOther)
	}
	return a.show(c, fiber.StatusOK, start, "")
}

// Begin is GET /auth/:provider: off to the provider.
func (a *Auth) Begin(c *fiber.Ctx) error {
	to, cookie, err := a.flow.Begin(c.UserContext(), utils.CopyString(c.Params("provider")), startOf(c))
	if err != nil {
		return a.refuse(c, err)
	}
	middleware.SetCookie(c, a.flow.Cookie(cookie))
	return c.Redirect(to, fiber.StatusSeeOther)
}

// Callback is GET /auth/:provider/callback: back from the provider.
func (a *Auth) Callback(c *fiber.Ctx) error {
	pre := a.flow.Cookie("")
	value := utils.CopyString(c.Cookies(pre.Name))
	middleware.SetCookie(c, pre)
	query, err := url.ParseQuery(string(c.Request().URI().QueryString()))
	if err != nil {
		query = nil // then there is no state, and the flow refuses
	}
	done, err := a.flow.Finish(c.UserContext(), utils.CopyString(c.Params("provider")), query, value)
	if err != nil {
		return a.refuse(c, err)
	}
	_, token, err := a.door.Enter(c.UserContext(), done, signin.Browser{
		Cookie: a.cookie.Read(c), UserAgent: utils.CopyString(c.Get(fiber.HeaderUserAgent)), IP: middleware.AddressText(c),
		RequestID: middleware.RequestIDOf(c),
	})
	if err != nil {
		return a.refuse(c, err)
	}
	a.cookie.Write(c, token.Reveal())
	return c.Redirect(done.ReturnTo, fiber.StatusSeeOther)
}

// Logout is POST /auth/logout: the session ends on the server, not only in the
// browser.
func (a *Auth) Logout(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	if err := a.door.Leave(c.UserContext(), scope); err != nil {
		return err
	}
	a.sockets.close(c, string(scope.Session), "signed out")
	a.cookie.Write(c, "")
	return c.Redirect("/auth/login", fiber.StatusSeeOther)
}

// SwitchOrg is POST /account/org with the fields org_id and return_to.
func (a *Auth) SwitchOrg(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	token, err := a.door.Switch(c.UserContext(), scope, auth.OrgID(utils.CopyString(c.FormValue("org_id"))))
	if err != nil {
		return err
	}
	// A socket keeps the organisation it connected with.
	a.sockets.close(c, string(scope.Session), "the organisation was switched")
	a.cookie.Write(c, token.Reveal())
	return c.Redirect(oauth.LocalPath(c.FormValue("return_to")), fiber.StatusSeeOther)
}

// refuse shows the sign-in page with the reason. What is no plain refusal is
// logged; the page never shows more than the fault's public text.
func (a *Auth) refuse(c *fiber.Ctx, err error) error {
	kind := fault.KindOf(err)
	switch kind {
	case fault.KindNotFound:
		return err
	case fault.KindForbidden:
		a.log.InfoContext(c.UserContext(), "a sign-in was refused", "request_id", middleware.RequestIDOf(c), "err", err)
	default:
		a.log.WarnContext(c.UserContext(), "a sign-in went wrong", "request_id", middleware.RequestIDOf(c), "err", err)
	}
	return a.show(c, middleware.Status(kind), oauth.Start{}, fault.Public(err))
}

func (a *Auth) show(c *fiber.Ctx, status int, start oauth.Start, problem string) error {
	view := LoginPage{Problem: problem, Nonce: middleware.Nonce(c), Theme: string(themeCookie(c))}
	keep := url.Values{}
	if to := oauth.LocalPath(start.ReturnTo); to != "/" {
		keep.Set("return_to", to)
	}
	if start.Invitation != "" {
		keep.Set("invitation", start.Invitation.Reveal())
	}
	for _, p := range a.flow.Providers() {
		link := LoginLink{Name: p.Name, Label: p.Label, URL: "/auth/" + p.Name}
		if len(keep) > 0 {
			link.URL += "?" + keep.Encode()
		}
		view.Links = append(view.Links, link)
	}
	html, err := templ.ToGoHTML(c.UserContext(), a.page(view))
	if err != nil {
		return err
	}
	c.Type("html", "utf-8")
	return c.Status(status).SendString(string(html))
}

// startOf reads what a link to sign in may carry.
func startOf(c *fiber.Ctx) oauth.Start {
	return oauth.Start{
		ReturnTo:   utils.CopyString(c.Query("return_to")),
		LoginHint:  utils.CopyString(c.Query("login_hint")),
		Invitation: auth.Token(utils.CopyString(c.Query("invitation"))),
	}
}
