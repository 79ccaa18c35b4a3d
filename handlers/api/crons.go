package api

import "github.com/gofiber/fiber/v2"

// NoCrons answers every call about crons: this server can't run anything on a
// schedule yet, and /info says so before anyone asks.
func (a *API) NoCrons(c *fiber.Ctx) error {
	return c.Status(fiber.StatusNotImplemented).JSON(fiber.Map{
		"detail": "This server has no crons yet: flags.crons of GET /api/info says whether it does. Start runs by POST /api/threads/{thread_id}/runs instead."})
}
