package api

import (
	"maps"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/internal/fault"
)

// Unrouted answers what no route of the API took: 405 with the methods that the
// address has, else 404. It stands behind all of them.
func Unrouted(routes []fiber.Route) fiber.Handler {
	known := slices.DeleteFunc(slices.Clone(routes), func(r fiber.Route) bool { return !strings.HasPrefix(r.Path, "/api/") })
	return func(c *fiber.Ctx) error {
		methods := map[string]bool{}
		for _, r := range known {
			if fiber.RoutePatternMatch(c.Path(), r.Path) {
				methods[r.Method] = true
			}
		}
		if len(methods) == 0 {
			return fault.NotFound("Address")
		}
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		c.Set(fiber.HeaderAllow, allowed)
		return c.Status(fiber.StatusMethodNotAllowed).JSON(fiber.Map{"detail": "This address takes " + allowed + " only."})
	}
}
