package api

import (
	"bufio"
	"context"
	"encoding/json"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// heartbeat is how often a waiting call sends a newline, so that proxies and
// clients know it lives (agentserver 4).
const heartbeat = 5 * time.Second

// waitLimit bounds one waiting call; the run itself goes on (LG-56).
const waitLimit = time.Hour

// WaitRun is POST /threads/:thread/runs/wait: the answer comes when the run has
// ended.
func (a *API) WaitRun(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	made, in, err := a.submit(c, thread)
	if err != nil {
		return err
	}
	scope := middleware.Scope(c)
	c.Set("Content-Location", location(made))
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	w := waiter{api: a, scope: scope, run: made, cancel: in.OnDisconnect != "continue"}
	c.Context().SetBodyStreamWriter(w.write)
	return nil
}

// waiter sends newlines until the run has ended, then its values. It outlives
// the handler, so it holds copies only.
type waiter struct {
	api    *API
	scope  auth.Scope
	run    agents.Run
	cancel bool
}

func (w waiter) write(out *bufio.Writer) {
	ctx, stop := context.WithTimeout(context.Background(), waitLimit)
	defer stop()
	type result struct {
		run agents.Run
		err error
	}
	ended := make(chan result, 1)
	go func() {
		r, err := w.api.runs.Wait(ctx, w.scope, w.run.Thread, w.run.ID)
		ended <- result{r, err}
	}()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case done := <-ended:
			if fault.Is(done.err, fault.KindNotFound) {
				w.send(out, errorValues("rolled_back", "The run is gone: newer input rolled it back, or its thread was deleted."))
				return
			}
			if done.err != nil {
				w.api.log.WarnContext(ctx, "a waiting call ended without its run", "run_id", w.run.ID, "err", done.err)
				w.send(out, errorValues("unavailable", fault.Public(done.err)))
				return
			}
			w.send(out, w.values(ctx, done.run))
			return
		case <-beat.C:
			if _, err := out.WriteString("\n"); err != nil || out.Flush() != nil {
				w.gone(ctx)
				stop()
				<-ended
				return
			}
		}
	}
}

// gone cancels the run of a caller that hung up, unless it asked otherwise.
func (w waiter) gone(ctx context.Context) {
	if !w.cancel {
		return
	}
	if _, err := w.api.runs.Cancel(ctx, w.scope, w.run.Thread, w.run.ID, "caller disconnected"); err != nil {
		w.api.log.WarnContext(ctx, "run of a caller that hung up could not be cancelled", "run_id", w.run.ID, "err", err)
	}
}

// values is what a waiting call answers: the thread's values, or why not.
func (w waiter) values(ctx context.Context, r agents.Run) any {
	if r.Status == agents.RunFailed || r.Status == agents.RunTimeout {
		failure := agents.RunError{Code: "error", Message: "The run failed."}
		if r.Error != nil {
			failure = *r.Error
		}
		return errorValues(failure.Code, failure.Message)
	}
	state, err := w.api.threads.State(ctx, w.scope, r.Thread)
	if err != nil {
		return errorValues("unavailable", fault.Public(err))
	}
	values := presentValues(state)
	if open := presentInterrupts(state.Head); len(open) > 0 {
		values["__interrupt__"] = open
	}
	return values
}

// errorValues is the form a failed run has inside a 200 answer; the SDK turns
// it into an exception.
func errorValues(code, message string) any {
	return fiber.Map{"__error__": fiber.Map{"error": code, "message": message}}
}

func (w waiter) send(out *bufio.Writer, values any) {
	body, err := json.Marshal(values)
	if err != nil {
		body = []byte(`{"__error__":{"error":"internal","message":"The values could not be written as JSON."}}`)
	}
	if _, err := out.Write(body); err == nil {
		_ = out.Flush() // the caller is gone: nobody is left to tell
	}
}
