package middleware

import (
	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/auth"
)

// Needs lets who holds permission p pass. It stands at a route's registration,
// behind what finds out who asks: a key whose scopes don't cover the route is
// refused before anything is looked for. What services and store check by
// themselves stays.
func Needs(p auth.Permission) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := Scope(c).Require(p); err != nil {
			return err
		}
		return c.Next()
	}
}
