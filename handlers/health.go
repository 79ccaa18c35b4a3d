package handlers

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
)

// Check is one thing readiness depends on.
type Check struct {
	Name string
	// Required makes the server not ready when the check fails; otherwise it is
	// only degraded: taking a node out of the balancer would help nobody.
	Required bool
	// Probe returns why the part doesn't work; it has a second.
	Probe func(ctx context.Context) error
}

// Health answers /healthz and /readyz.
type Health struct {
	checks   []Check
	draining atomic.Bool
}

// NewHealth makes the handlers.
func NewHealth(checks ...Check) *Health { return &Health{checks: checks} }

// Draining reports whether the server takes nothing new any more.
func (h *Health) Draining() bool { return h.draining.Load() }

// Drain makes the server not ready from now on.
func (h *Health) Drain() { h.draining.Store(true) }

// Live is GET /healthz: the process answers.
func (h *Health) Live(c *fiber.Ctx) error { return c.JSON(fiber.Map{"status": "ok"}) }

// probeLimit bounds each check.
const probeLimit = time.Second

// Ready is GET /readyz: 503 only for the database, migrations that are behind,
// or draining; anything else that fails is 200 with status degraded. Each check
// says its reason.
func (h *Health) Ready(c *fiber.Ctx) error {
	type result struct {
		Status string `json:"status"`
		Reason string `json:"reason,omitempty"`
	}
	status, code, checks := "ready", fiber.StatusOK, map[string]result{}
	for _, check := range h.checks {
		ctx, cancel := context.WithTimeout(c.UserContext(), probeLimit)
		err := check.Probe(ctx)
		cancel()
		switch {
		case err == nil:
			checks[check.Name] = result{Status: "ok"}
		case check.Required:
			checks[check.Name] = result{Status: "failed", Reason: err.Error()}
			status, code = "unavailable", fiber.StatusServiceUnavailable
		default:
			checks[check.Name] = result{Status: "degraded", Reason: err.Error()}
			if status == "ready" {
				status = "degraded"
			}
		}
	}
	if h.draining.Load() {
		checks["drain"] = result{Status: "failed", Reason: "the server is shutting down"}
		status, code = "draining", fiber.StatusServiceUnavailable
	}
	return c.Status(code).JSON(fiber.Map{"status": status, "checks": checks})
}
