// Package middleware holds what stands before every handler: the request's id,
// the security headers, recovery, who asks, and the defence against forged
// posts.
//
// Invariants: a handler learns who asks from [Scope] alone; a request that
// carries an API key is judged by the key alone, whatever cookies it has; what
// outlives a request is copied, because Fiber's strings are views of buffers
// that the next request overwrites.
//
// Order: RequestID, Headers, Recover, ClientAddress, then per group one of Page
// or API, then what limits or repeats a route.
// handlers and app import it.
package middleware

import (
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/internal/id"
)

// Locals are read by name, as strings: typed keys do not survive the upgrade
// to a socket.
const (
	localRequestID = "heddle.request_id"
	localNonce     = "heddle.nonce"
	localSignedIn  = "heddle.signed_in"
	localScope     = "heddle.scope"
	localAddress   = "heddle.address"
	localSecret    = "heddle.secret"
)

// RequestID names the request and says the name in X-Request-Id. A name from
// outside counts only when it is a UUID and a trusted proxy sent it. Ours tell
// when the request came, but not how many there were.
func RequestID(c *fiber.Ctx) error {
	name, ok := "", false
	if c.IsProxyTrusted() && c.App().Config().EnableTrustedProxyCheck {
		name, ok = id.Canonical(utils.CopyString(c.Get(fiber.HeaderXRequestID)))
	}
	if !ok {
		name = id.New()
	}
	c.Locals(localRequestID, name)
	c.Set(fiber.HeaderXRequestID, name)
	return c.Next()
}

// RequestIDOf gives the request's name.
func RequestIDOf(c *fiber.Ctx) string {
	name, _ := c.Locals(localRequestID).(string)
	return name
}
