package middleware

import (
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/auth"
)

// SessionCookie is the cookie of signed-in browsers (control 5). The __Host-
// prefix, which no other host of the domain can plant, needs https.
type SessionCookie struct{ secure bool }

// NewSessionCookie makes the cookie for the server at baseURL.
func NewSessionCookie(baseURL string) SessionCookie {
	return SessionCookie{secure: strings.HasPrefix(baseURL, "https:")}
}

// Name is the cookie's name.
func (s SessionCookie) Name() string {
	if s.secure {
		return "__Host-heddle"
	}
	return "heddle"
}

// Secure reports whether cookies of this server go over https alone.
func (s SessionCookie) Secure() bool { return s.secure }

// Read gives the value the browser sent, "" without one.
func (s SessionCookie) Read(c *fiber.Ctx) string { return utils.CopyString(c.Cookies(s.Name())) }

// Write sets the cookie; "" clears it, with the same attributes.
func (s SessionCookie) Write(c *fiber.Ctx, value string) {
	SetCookie(c, &http.Cookie{Name: s.Name(), Value: value, Path: "/", HttpOnly: true, Secure: s.secure,
		SameSite: http.SameSiteLaxMode, MaxAge: int(auth.SessionLifetime.Seconds())})
}

// SetCookie sets a Lax cookie of net/http; an empty value clears it. fasthttp
// drops a Max-Age below one, so clearing goes by a date in the past.
func SetCookie(c *fiber.Ctx, cookie *http.Cookie) {
	out := fiber.Cookie{Name: cookie.Name, Value: cookie.Value, Path: cookie.Path, MaxAge: cookie.MaxAge,
		Secure: cookie.Secure, HTTPOnly: cookie.HttpOnly, SameSite: fiber.CookieSameSiteLaxMode}
	if cookie.Value == "" {
		out.MaxAge, out.Expires = 0, time.Unix(1, 0)
	}
	c.Cookie(&out)
}
