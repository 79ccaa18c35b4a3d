package api

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// maxBatch bounds how many runs one call begins.
const maxBatch = 100

// CreateStateless is POST /runs: a run on a thread of its own, which goes when it is
// over, unless on_completion keeps it.
func (a *API) CreateStateless(c *fiber.Ctx) error {
	made, _, err := a.submit(c, "")
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentLocation, locationOf(made, true))
	return c.JSON(presentRun(made))
}

// WaitStateless is POST /runs/wait.
func (a *API) WaitStateless(c *fiber.Ctx) error { return a.submitAndWait(c, "") }

// CreateBatch is POST /runs/batch: several runs without threads, all or none.
func (a *API) CreateBatch(c *fiber.Ctx) error {
	var bodies []json.RawMessage
	if json.Unmarshal(c.Body(), &bodies) != nil {
		return fault.Invalid("body", "must be a list of runs")
	}
	if n := len(bodies); n < 1 || n > maxBatch {
		return fault.Invalid("body", "must hold 1 to "+strconv.Itoa(maxBatch)+" runs")
	}
	scope := middleware.Scope(c)
	all := make([]wanted, len(bodies))
	for i, body := range bodies {
		var err error
		if all[i], err = a.read(body, scope); err != nil {
			return within(i, err)
		}
	}
	out := make([]fiber.Map, 0, len(all))
	var made []agents.RunKey
	for i, w := range all {
		r, err := a.place(c.UserContext(), scope, agents.ThreadID(id.New()), true, w)
		if err != nil {
			// Nothing of a refused batch goes on.
			if undo := a.cancelSome(c.UserContext(), scope, made, "interrupt", "its batch was refused"); undo != nil {
				a.log.WarnContext(c.UserContext(), "runs of a refused batch could not all be cancelled", "err", undo)
			}
			return within(i, err)
		}
		made = append(made, agents.RunKey{Org: scope.Org, Thread: r.Thread, Run: r.ID})
		out = append(out, presentRun(r))
	}
	return c.JSON(out)
}

// within names the run of a batch whose field is wrong.
func within(i int, err error) error {
	fields := fault.FieldsOf(err)
	if fields == nil {
		return err
	}
	out := make(map[string]string, len(fields))
	for field, rule := range fields {
		out[fmt.Sprintf("[%d].%s", i, field)] = rule
	}
	return fault.InvalidFields(out).WithCause(err)
}
