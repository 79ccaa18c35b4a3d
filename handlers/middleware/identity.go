package middleware

import (
	"context"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Recogniser tells who a cookie or an API key stands for; signin.Service is
// one. A bad one is an unauthenticated fault.
type Recogniser interface {
	Cookie(ctx context.Context, value string) (auth.SignedIn, error)
	Key(ctx context.Context, text string) (auth.Scope, error)
}

// Identity finds out who asks.
type Identity struct {
	who    Recogniser
	cookie SessionCookie
	csrf   *auth.CSRF
	origin string
}

// NewIdentity makes the middleware for the server at baseURL.
func NewIdentity(who Recogniser, csrf *auth.CSRF, baseURL string) *Identity {
	return &Identity{who: who, cookie: NewSessionCookie(baseURL), csrf: csrf, origin: origin(baseURL)}
}

// Maybe notes the session if there is one and lets everyone pass, for pages
// that anyone may see. Unsafe methods of a session need the CSRF token.
func (m *Identity) Maybe(c *fiber.Ctx) error {
	if err := m.bySession(c); err != nil && !fault.Is(err, fault.KindUnauthenticated) {
		return err
	}
	return c.Next()
}

// Page lets signed-in browsers pass. A browser that only wants to read a page
// is sent to sign in and comes back afterwards; everything else that is not
// signed in is an unauthenticated fault.
func (m *Identity) Page(c *fiber.Ctx) error {
	err := m.bySession(c)
	if fault.Is(err, fault.KindUnauthenticated) && c.Method() == fiber.MethodGet &&
		strings.Contains(c.Get(fiber.HeaderAccept), fiber.MIMETextHTML) && c.Get("HX-Request") == "" {
		return c.Redirect("/auth/login?return_to="+url.QueryEscape(c.OriginalURL()), fiber.StatusSeeOther)
	}
	if err != nil {
		return err
	}
	return c.Next()
}

// API lets API keys pass and, for our own pages, signed-in browsers. The checks
// come after it is known who asks, in their order; the first fault ends it.
func (m *Identity) API(checks ...func(*fiber.Ctx) error) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := m.byKey(c); err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(c); err != nil {
				return err
			}
		}
		return c.Next()
	}
}

// byKey notes who the API key stands for, or else the session cookie.
func (m *Identity) byKey(c *fiber.Ctx) error {
	key, given := APIKey(c)
	if !given {
		return m.bySession(c)
	}
	scope, err := m.who.Key(c.UserContext(), key)
	if err != nil {
		return err
	}
	scope.RequestID, scope.IP = RequestIDOf(c), AddressText(c)
	c.Locals(localScope, scope)
	return nil
}

// APIKey gives the API key of a request in any of its header forms, X-Api-Key
// or a bearer token, and whether there is one. Two that differ make an invalid
// one, so that no two parts of the server can read the same request in two
// ways.
func APIKey(c *fiber.Ctx) (key string, given bool) {
	header := utils.CopyString(c.Get("X-Api-Key"))
	scheme, bearer, _ := strings.Cut(utils.CopyString(c.Get(fiber.HeaderAuthorization)), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		bearer = ""
	}
	switch {
	case header != "" && bearer != "" && header != bearer:
		return "", true
	case header != "":
		return header, true
	}
	return bearer, bearer != ""
}

// bySession notes who the session cookie stands for.
func (m *Identity) bySession(c *fiber.Ctx) error {
	value := m.cookie.Read(c)
	if value == "" {
		return fault.Unauthenticated("Sign in first.")
	}
	in, err := m.who.Cookie(c.UserContext(), value)
	if err != nil {
		return err
	}
	scope := in.Scope()
	scope.RequestID, scope.IP = RequestIDOf(c), AddressText(c)
	// Who asks is known even when the request is refused: the page that says so
	// is theirs.
	c.Locals(localSignedIn, in)
	c.Locals(localScope, scope)
	err = m.checkForgery(c, scope)
	if fault.Code(err) == auth.CodeOrgSwitched {
		return fault.Conflict("You switched to " + in.Org.Name + " in this browser. Reload the page to go on.").
			WithCode(auth.CodeOrgSwitched)
	}
	return err
}

// Scope gives who asks; the zero scope, which every service refuses, when
// nobody is known.
func Scope(c *fiber.Ctx) auth.Scope {
	scope, _ := c.Locals(localScope).(auth.Scope)
	return scope
}

// SignedIn gives the session's person and organisation; ok is false for API
// keys and strangers.
func SignedIn(c *fiber.Ctx) (in auth.SignedIn, ok bool) {
	in, ok = c.Locals(localSignedIn).(auth.SignedIn)
	return in, ok
}
