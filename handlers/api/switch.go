package api

import (
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/internal/fault"
)

// yes reads a switch of the query string, the same everywhere: 1, t and true are
// yes, 0, f and false are no, in whatever letters. Absent, empty or null it is as
// otherwise says; what is none of these is a mistake, and does not pass for a no.
func yes(c *fiber.Ctx, name string, otherwise bool) (bool, error) {
	text := c.Query(name)
	if text == "" || text == "null" {
		return otherwise, nil
	}
	on, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return false, fault.Invalid(name, "must be true or false")
	}
	return on, nil
}
