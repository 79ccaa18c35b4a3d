package middleware

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/internal/fault"
)

// Recover turns a panic of a handler into an internal fault. The panic's text
// and stack go to the log; the fault's public face is the one fixed sentence.
func Recover(log *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) (err error) {
		defer func() {
			r := recover()
			if r == nil {
				return
			}
			cause := fmt.Errorf("panic: %v", r)
			log.ErrorContext(c.UserContext(), "a handler panicked",
				"request_id", RequestIDOf(c), "err", cause, "stack", string(debug.Stack()))
			err = fault.New(fault.KindInternal, "A handler broke.").WithCause(cause)
		}()
		return c.Next()
	}
}

// Status gives the HTTP status of a failure's kind.
func Status(kind fault.Kind) int {
	switch kind {
	case fault.KindInvalid:
		return fiber.StatusUnprocessableEntity
	case fault.KindUnauthenticated:
		return fiber.StatusUnauthorized
	case fault.KindForbidden:
		return fiber.StatusForbidden
	case fault.KindNotFound:
		return fiber.StatusNotFound
	case fault.KindConflict:
		return fiber.StatusConflict
	case fault.KindTooLarge:
		return fiber.StatusRequestEntityTooLarge
	case fault.KindLimited:
		return fiber.StatusTooManyRequests
	case fault.KindUnavailable:
		return fiber.StatusServiceUnavailable
	default:
		return fiber.StatusInternalServerError
	}
}
