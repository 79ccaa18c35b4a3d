package handlers

import (
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/chat"
)

// Withdraw is POST /threads/:thread/queue/:run/withdraw.
func (t *Threads) Withdraw(c *fiber.Ctx) error {
	thread, r := queuedRun(c)
	if _, err := t.runs.Cancel(c.UserContext(), middleware.Scope(c), thread, r, "withdrawn"); err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

// EditQueued is POST /threads/:thread/queue/:run/edit: a message that waits gets
// another text. One that is refused comes back as it was typed.
func (t *Threads) EditQueued(c *fiber.Ctx) error {
	thread, r := queuedRun(c)
	text := strings.ReplaceAll(utils.CopyString(c.FormValue(chat.QueuedField(string(r)))), "\r\n", "\n")
	err := t.runs.EditQueued(c.UserContext(), middleware.Scope(c), thread, r, text)
	if err != nil && comesBack(c, err) {
		return t.show(c, middleware.Status(fault.KindOf(err)), "", nil, func(th *chat.Thread) {
			for i := range th.Queue {
				if q := &th.Queue[i]; q.RunID == string(r) {
					q.Edited, q.Error = text, sentences(fault.FieldsOf(err))["message"]
				}
			}
		})
	}
	if err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

// SendNow is POST /threads/:thread/queue/:run/now: a message that waits goes
// first, and what runs is stopped for it.
func (t *Threads) SendNow(c *fiber.Ctx) error {
	thread, r := queuedRun(c)
	if err := t.runs.SendNow(c.UserContext(), middleware.Scope(c), thread, r); err != nil {
		return err
	}
	return done(c, "/threads/"+string(thread))
}

func queuedRun(c *fiber.Ctx) (agents.ThreadID, agents.RunID) {
	return threadParam(c), agents.RunID(utils.CopyString(c.Params("run")))
}
