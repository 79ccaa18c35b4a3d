package api

import (
	"fmt"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// CreateRun is POST /threads/:thread/runs: the run is accepted and goes on by
// itself.
func (a *API) CreateRun(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	made, _, err := a.submit(c, thread)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentLocation, locationOf(made, false))
	return c.JSON(presentRun(made))
}

// ListRuns is GET /threads/:thread/runs?limit&offset&status&select: newest first.
func (a *API) ListRuns(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	limit, offset, err := page(c)
	if err != nil {
		return err
	}
	query := agents.RunQuery{Limit: limit, Offset: offset}
	if word := c.Query("status"); word != "" {
		if query.Statuses = agents.StatusesOf(word); len(query.Statuses) == 0 {
			return fault.Invalid("status", "must be pending, running, success, error, timeout or interrupted")
		}
	}
	only, err := fields(c)
	if err != nil {
		return err
	}
	scope := middleware.Scope(c)
	// Runs carry what was asked.
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	runs, total, err := a.recorded.Runs(c.UserContext(), scope, thread, query)
	if err != nil {
		return err
	}
	items := make([]fiber.Map, len(runs))
	for i, r := range runs {
		items[i] = presentRun(r)
	}
	paged(c, total, offset, len(runs))
	return c.JSON(selected(items, only))
}

// DeleteRun is DELETE /threads/:thread/runs/:run: the record of a run that is over
// goes; what it said stays.
func (a *API) DeleteRun(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	if err := a.recorded.DeleteRun(c.UserContext(), middleware.Scope(c), thread, agents.RunID(param(c, "run"))); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// existingThread reads the route's thread; one that is no UUID can't exist.
func existingThread(c *fiber.Ctx) (agents.ThreadID, error) {
	canonical, ok := id.Canonical(param(c, "thread"))
	if !ok {
		return "", fault.NotFound("Thread")
	}
	return agents.ThreadID(canonical), nil
}

// locationOf is where a run is found; one without a thread of the caller's by itself.
func locationOf(r agents.Run, stateless bool) string {
	if stateless {
		return "/runs/" + string(r.ID)
	}
	return fmt.Sprintf("/threads/%s/runs/%s", r.Thread, r.ID)
}

// GetRun is GET /threads/:thread/runs/:run.
func (a *API) GetRun(c *fiber.Ctx) error {
	scope, thread := middleware.Scope(c), threadParam(c)
	r, err := a.threads.Run(c.UserContext(), scope, thread, agents.RunID(param(c, "run")))
	if err != nil {
		return err
	}
	// A run carries what was asked.
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	return c.JSON(presentRun(r))
}

func presentRun(r agents.Run) fiber.Map {
	out := fiber.Map{
		"run_id": r.ID, "thread_id": r.Thread, "assistant_id": r.Assistant, "created_at": timestamp(r.CreatedAt),
		"updated_at": timestamp(r.UpdatedAt), "status": r.Status.API(), "metadata": r.Metadata, "kwargs": r.Request,
		"multitask_strategy": r.Strategy,
	}
	if r.CancelReason != "" {
		out["cancel_reason"] = r.CancelReason
	}
	if r.Error != nil {
		out["error"] = r.Error
	}
	if r.Manifest != nil {
		out["manifest"] = r.Manifest
	}
	return out
}
