package handlers

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	"github.com/a-h/templ"
	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/api"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/static"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/problem"
)

// Memberships lists the organisations of a person.
type Memberships interface {
	Memberships(ctx context.Context, scope auth.Scope) ([]auth.Membership, error)
}

// ReviewCounter counts the requests for review that a scope may see.
type ReviewCounter interface {
	ReviewCount(ctx context.Context, scope auth.Scope) (agents.ReviewCount, error)
}

// Frame fills what every page has around it, once for all pages.
type Frame struct {
	who     *middleware.Identity
	members Memberships
	reviews ReviewCounter
	assets  *static.Assets
	log     *slog.Logger
}

// NewFrame makes the frame.
func NewFrame(who *middleware.Identity, members Memberships, reviews ReviewCounter, assets *static.Assets, log *slog.Logger) *Frame {
	return &Frame{who: who, members: members, reviews: reviews, assets: assets, log: log}
}

// page fills the frame for whoever asks; a stranger gets an empty one.
func (f *Frame) page(c *fiber.Ctx, title string) layout.Page {
	p := layout.Page{Title: title, Nonce: middleware.Nonce(c), Assets: f.assets, Theme: themeCookie(c)}
	in, ok := middleware.SignedIn(c)
	if !ok {
		return p
	}
	p.CSRF = f.who.CSRFToken(c)
	p.Theme = layout.Theme(in.User.Theme)
	p.LetterKeysOff = !in.User.LetterKeys
	p.Org = layout.Org{ID: string(in.Org.ID), Name: in.Org.Name}
	p.User = layout.User{ID: string(in.User.ID), Name: in.User.Called(), Email: in.User.Email, Role: string(in.Role)}
	memberships, err := f.members.Memberships(c.UserContext(), in.Scope())
	if err != nil {
		// The page itself is fine: only switching is not offered.
		f.log.WarnContext(c.UserContext(), "memberships could not be read", "request_id", middleware.RequestIDOf(c), "err", err)
	}
	for _, m := range memberships {
		p.Orgs = append(p.Orgs, layout.Org{ID: string(m.Org.ID), Name: m.Org.Name})
	}
	p.Nav = rooms(c.Path(), in.Scope(), f.openReviews(c, in.Scope()))
	return p
}

// openReviews counts what waits for the scope's reviewer; without the count the
// page is as good.
func (f *Frame) openReviews(c *fiber.Ctx, scope auth.Scope) int {
	if !scope.Can(auth.PermReview) {
		return 0
	}
	count, err := f.reviews.ReviewCount(c.UserContext(), scope)
	if err != nil {
		f.log.WarnContext(c.UserContext(), "reviews could not be counted", "request_id", middleware.RequestIDOf(c), "err", err)
	}
	return count.Open
}

// rooms are the product's rooms that the scope may enter; open is how many
// requests for review wait.
func rooms(path string, scope auth.Scope, open int) []layout.NavItem {
	nav := []layout.NavItem{{Label: "Chat", Icon: "thread", Href: "/", Active: path == "/" || strings.HasPrefix(path, "/threads")}}
	if scope.Can(auth.PermReview) {
		nav = append(nav, layout.NavItem{Label: "Review", Icon: "review", Href: "/reviews", Active: strings.HasPrefix(path, "/reviews"),
			CountID: layout.ReviewCount, Count: layout.CountText(open)})
	}
	if len(adminNav(scope, "").Rooms) > 0 {
		nav = append(nav, layout.NavItem{Label: "Admin", Icon: "admin", Href: "/admin", Active: strings.HasPrefix(path, "/admin")})
	}
	return nav
}

// themeCookieName is the cookie by which pages before signing in know the
// colours; behind it the person's own row counts.
const themeCookieName = "heddle_theme"

func themeCookie(c *fiber.Ctx) layout.Theme {
	return layout.Theme(strings.Clone(c.Cookies(themeCookieName)))
}

// html renders a component into a buffer first: a page that can't be rendered
// is an error, never half a page.
func html(c *fiber.Ctx, status int, component templ.Component) error {
	var b bytes.Buffer
	if err := component.Render(c.UserContext(), &b); err != nil {
		return err
	}
	c.Type("html", "utf-8")
	return c.Status(status).Send(b.Bytes())
}

// wantsJSON reports whether the answer goes to a script rather than a reader.
func wantsJSON(c *fiber.Ctx) bool {
	return strings.Contains(c.Get(fiber.HeaderAccept), fiber.MIMEApplicationJSON)
}

// Fail is the server's one error handler: the API gets its form, our scripts
// get JSON, readers get a page. What is no plain refusal is logged here, once.
func (f *Frame) Fail(c *fiber.Ctx, err error) error {
	if e, ok := err.(*fiber.Error); ok { // Fiber's own: no such route, body too large …
		err = fiberFault(e)
	}
	status := middleware.Status(fault.KindOf(err))
	middleware.RetryAfter(c, err)
	if status >= fiber.StatusInternalServerError {
		f.log.ErrorContext(c.UserContext(), "request failed", "request_id", middleware.RequestIDOf(c),
			"method", c.Method(), "route", c.Route().Path, "err", err)
	}
	switch {
	case OfAPI(c):
		return api.Fail(c, err)
	case wantsJSON(c):
		body := fiber.Map{"detail": fault.Public(err), "code": fault.Code(err)}
		if fields := fault.FieldsOf(err); fields != nil {
			body["fields"] = fields
		}
		return c.Status(status).JSON(body)
	default:
		p := f.page(c, "")
		shown := f.problem(c, status, err)
		p.Title = shown.Title
		if _, ok := middleware.SignedIn(c); !ok {
			return html(c, status, problem.BarePage(p, shown))
		}
		return html(c, status, problem.Page(p, shown))
	}
}

// OfAPI reports whether a request is for the API, whose failures are JSON. Fiber
// takes letters of either case.
func OfAPI(c *fiber.Ctx) bool {
	path := strings.ToLower(c.Path())
	return path == "/api" || strings.HasPrefix(path, "/api/")
}

// problem says a failure in words for readers.
func (f *Frame) problem(c *fiber.Ctx, status int, err error) problem.Problem {
	text := fault.Public(err)
	switch status {
	case fiber.StatusNotFound:
		return problem.NotFound()
	case fiber.StatusUnauthorized:
		return problem.Problem{Status: status, Title: "Sign in first", Text: text,
			Actions: []problem.Action{{Label: "Sign in", Href: "/auth/login"}}}
	case fiber.StatusForbidden:
		return problem.Forbidden(text)
	case fiber.StatusConflict:
		if fault.Code(err) == auth.CodeOrgSwitched {
			in, _ := middleware.SignedIn(c)
			return problem.Switched(in.Org.Name)
		}
		return problem.Conflict(text)
	case fiber.StatusTooManyRequests:
		return problem.Problem{Status: status, Title: "That was too often", Text: text,
			Safe: "Nothing was changed.", Actions: []problem.Action{{Label: "Go to your threads", Href: "/"}}}
	case fiber.StatusServiceUnavailable:
		return problem.Maintenance(text)
	case fiber.StatusInternalServerError:
		return problem.Internal(middleware.RequestIDOf(c))
	default:
		out := problem.Invalid(text)
		out.Status = status
		return out
	}
}

func fiberFault(e *fiber.Error) error {
	switch e.Code {
	case fiber.StatusNotFound, fiber.StatusMethodNotAllowed:
		return fault.NotFound("Page").WithCause(e)
	case fiber.StatusRequestEntityTooLarge:
		return fault.New(fault.KindTooLarge, "The request is larger than this server takes.").WithCause(e)
	case fiber.StatusRequestHeaderFieldsTooLarge:
		return fault.New(fault.KindTooLarge, "The request's headers are larger than this server takes.").WithCause(e)
	case fiber.StatusUpgradeRequired, fiber.StatusBadRequest, fiber.StatusUnprocessableEntity, fiber.StatusRequestTimeout:
		return fault.Invalid("request", "is not one this address takes").WithCause(e)
	default:
		return e
	}
}
