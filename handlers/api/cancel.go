package api

import (
	"context"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

const (
	// maxCancel bounds how many runs one call may name; a call that names a status is
	// carried out in pieces of this size.
	maxCancel = 100
	// maxPieces bounds the pieces: new runs may come as fast as they are cancelled.
	maxPieces = 100
	// maxReason bounds a reason, in characters.
	maxReason = 500
)

// CancelRun is POST /threads/:thread/runs/:run/cancel?wait&action&reason: 202 while
// the run comes to its end, 204 once it has. With action=rollback nothing of it is
// left.
func (a *API) CancelRun(c *fiber.Ctx) error {
	scope, thread, runID := middleware.Scope(c), threadParam(c), agents.RunID(param(c, "run"))
	action, reason, err := cancelling(c)
	if err != nil {
		return err
	}
	waits, err := yes(c, "wait", false)
	if err != nil {
		return err
	}
	if action == "rollback" {
		if err := a.runs.TakeBack(c.UserContext(), scope, thread, runID); err != nil {
			return err
		}
		return c.SendStatus(fiber.StatusNoContent)
	}
	r, err := a.runs.Cancel(c.UserContext(), scope, thread, runID, reason)
	if err != nil {
		return err
	}
	if waits && !r.Status.Ended() {
		ctx, stop := context.WithTimeout(c.UserContext(), waitLimit)
		defer stop()
		if r, err = a.runs.Wait(ctx, scope, thread, runID); err != nil {
			return err
		}
	}
	if r.Status.Ended() {
		return c.SendStatus(fiber.StatusNoContent)
	}
	return c.Status(fiber.StatusAccepted).JSON(fiber.Map{})
}

// cancelling reads how to cancel, and why.
func cancelling(c *fiber.Ctx) (action, reason string, err error) {
	action, reason = clone(c.Query("action", "interrupt")), clone(strings.TrimSpace(c.Query("reason")))
	if err := oneOf("action", action, "interrupt", "rollback"); err != nil {
		return "", "", err
	}
	switch {
	case reason == "":
		reason = "cancelled by API"
	case utf8.RuneCountInString(reason) > maxReason:
		return "", "", fault.Invalid("reason", "must be at most "+strconv.Itoa(maxReason)+" characters")
	case !utf8.ValidString(reason) || strings.ContainsRune(reason, 0):
		return "", "", fault.Invalid("reason", "must be valid UTF-8 without NUL characters")
	}
	return action, reason, nil
}

// cancelRuns is the body of POST /runs/cancel.
type cancelRuns struct {
	ThreadID string   `json:"thread_id"`
	RunIDs   []string `json:"run_ids"`
	Status   string   `json:"status"`
}

// CancelRuns is POST /runs/cancel?action: runs of a thread by their ids, or all with
// a status on the threads that the caller may write to.
func (a *API) CancelRuns(c *fiber.Ctx) error {
	action, reason, err := cancelling(c)
	if err != nil {
		return err
	}
	var in cancelRuns
	if err := decode(c, &in); err != nil {
		return err
	}
	byStatus := in.Status != ""
	if byStatus == (in.ThreadID != "" || len(in.RunIDs) > 0) {
		return fault.Invalid("body", "must hold either a status, or a thread_id with run_ids")
	}
	scope := middleware.Scope(c)
	if byStatus {
		statuses := map[string][]agents.RunStatus{
			"pending": {agents.RunPending}, "running": {agents.RunRunning}, "all": {agents.RunPending, agents.RunRunning},
		}[in.Status]
		if statuses == nil {
			return fault.Invalid("status", "must be pending, running or all")
		}
		err = a.cancelAll(c.UserContext(), scope, statuses, action, reason)
	} else {
		err = a.cancelNamed(c.UserContext(), scope, in, action, reason)
	}
	if err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// cancelNamed cancels runs of one thread; one that is not there is found before any
// is cancelled.
func (a *API) cancelNamed(ctx context.Context, scope auth.Scope, in cancelRuns, action, reason string) error {
	switch {
	case in.ThreadID == "":
		return fault.Invalid("thread_id", "is required with run_ids")
	case len(in.RunIDs) == 0:
		return fault.Invalid("run_ids", "must name at least one run")
	case len(in.RunIDs) > maxCancel:
		return fault.Invalid("run_ids", "must name at most "+strconv.Itoa(maxCancel)+" runs")
	}
	thread, ok := id.Canonical(in.ThreadID)
	if !ok {
		return fault.NotFound("Thread")
	}
	var open []agents.RunKey
	for _, name := range in.RunIDs {
		r, err := a.threads.Run(ctx, scope, agents.ThreadID(thread), agents.RunID(name))
		if err != nil {
			return err
		}
		if !r.Status.Ended() {
			open = append(open, agents.RunKey{Org: scope.Org, Thread: r.Thread, Run: r.ID})
		}
	}
	return a.cancelSome(ctx, scope, open, action, reason)
}

// cancelAll cancels in pieces what has a status now.
func (a *API) cancelAll(ctx context.Context, scope auth.Scope, statuses []agents.RunStatus, action, reason string) error {
	done := map[agents.RunID]bool{}
	for range maxPieces {
		found, err := a.recorded.RunsToCancel(ctx, scope, statuses, maxCancel)
		if err != nil {
			return err
		}
		fresh := found[:0]
		for _, k := range found {
			if !done[k.Run] {
				done[k.Run] = true
				fresh = append(fresh, k)
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		if err := a.cancelSome(ctx, scope, fresh, action, reason); err != nil {
			return err
		}
	}
	return nil
}

// cancelSome cancels runs; one that is over or gone meanwhile needs nothing.
func (a *API) cancelSome(ctx context.Context, scope auth.Scope, runs []agents.RunKey, action, reason string) error {
	for _, k := range runs {
		var err error
		if action == "rollback" {
			err = a.runs.TakeBack(ctx, scope, k.Thread, k.Run)
		} else {
			_, err = a.runs.Cancel(ctx, scope, k.Thread, k.Run, reason)
		}
		if err != nil && !fault.Is(err, fault.KindNotFound) && !fault.Is(err, fault.KindConflict) {
			return err
		}
	}
	return nil
}
