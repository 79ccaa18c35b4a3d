package middleware

import (
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// What pages of other origins may send and read (agentserver 2).
const (
	crossMethods = "GET, POST, PUT, PATCH, DELETE"
	// crossExposed has what the SDK reads: in a browser it learns a run's id
	// through Content-Location alone.
	crossExposed = "Content-Location, Location, X-Pagination-Total, X-Pagination-Next, Retry-After, " +
		"RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, X-Request-Id"
	crossMaxAge = "600"
)

// crossHeaders are the request's headers that are allowed beside any x-….
var crossHeaders = [...]string{"content-type", "authorization", "last-event-id", "prefer", "idempotency-key", "accept", "cache-control"}

// CrossOrigin lets pages of other origins call the API with a key. It never
// allows credentials: a session's cookie is worth nothing across origins.
type CrossOrigin struct{ origins []string }

// NewCrossOrigin makes the middleware for origins in the form of the header
// Origin; without any it allows nothing and says nothing.
func NewCrossOrigin(origins []string) *CrossOrigin { return &CrossOrigin{origins: origins} }

// Handle answers preflights and lets everything else pass with the headers by
// which its page may read the answer, be it a refusal.
func (x *CrossOrigin) Handle(c *fiber.Ctx) error {
	allowed := x.Announce(c)
	if c.Method() != fiber.MethodOptions || len(x.origins) == 0 || c.Get(fiber.HeaderAccessControlRequestMethod) == "" {
		return c.Next()
	}
	c.Vary(fiber.HeaderAccessControlRequestMethod, fiber.HeaderAccessControlRequestHeaders)
	if allowed {
		c.Set(fiber.HeaderAccessControlAllowMethods, crossMethods)
		c.Set(fiber.HeaderAccessControlMaxAge, crossMaxAge)
		if names := allowedHeaders(c.Get(fiber.HeaderAccessControlRequestHeaders)); names != "" {
			c.Set(fiber.HeaderAccessControlAllowHeaders, names)
		}
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// Announce sets the headers that let the page of an allowed origin read this
// answer, and reports whether it is one.
func (x *CrossOrigin) Announce(c *fiber.Ctx) bool {
	if len(x.origins) == 0 {
		return false
	}
	c.Vary(fiber.HeaderOrigin)
	at := slices.Index(x.origins, c.Get(fiber.HeaderOrigin))
	if at < 0 {
		return false
	}
	c.Set(fiber.HeaderAccessControlAllowOrigin, x.origins[at])
	c.Set(fiber.HeaderAccessControlExposeHeaders, crossExposed)
	return true
}

// allowedHeaders gives those of the asked-for names that a page may send. They
// are named again rather than with a star, which does not cover authorization.
func allowedHeaders(asked string) string {
	var out []string
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if strings.HasPrefix(name, "x-") || slices.Contains(crossHeaders[:], name) {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}
