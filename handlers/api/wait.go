package api

import (
	"bufio"
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// waitBeat is how often a waiting call sends a newline: proxies and clients know that
// it lives, and a caller who is gone is noticed, so that its run can end.
const waitBeat = time.Second

// waitLimit bounds one waiting call; the run itself goes on (LG-56).
const waitLimit = time.Hour

// valuesLimit bounds the reading of what a run has come to.
const valuesLimit = 30 * time.Second

// WaitRun is POST /threads/:thread/runs/wait: the answer comes when the run has
// ended.
func (a *API) WaitRun(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	return a.submitAndWait(c, thread)
}

// submitAndWait submits a run and answers with its values. The waiting begins before
// the run does, so that its end can't be missed and need not be looked for. Without a
// thread the run is stateless.
func (a *API) submitAndWait(c *fiber.Ctx, thread agents.ThreadID) error {
	scope := middleware.Scope(c)
	read, thread, stateless, err := a.asked(c, thread)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), waitLimit)
	waiting, err := a.runs.Await(ctx, scope, thread)
	if err != nil {
		stop()
		return err
	}
	made, err := a.place(c.UserContext(), scope, thread, stateless, read)
	if err != nil {
		waiting.Stop()
		stop()
		return err
	}
	w := waiter{api: a, scope: scope, run: made, cancel: read.cancels(true), discard: stateless && read.temporary()}
	w.ended = func() (agents.Run, error) {
		defer stop()
		defer waiting.Stop()
		return waiting.Ended(ctx, scope, made)
	}
	w.stop = stop
	return w.answer(c, locationOf(made, stateless))
}

// JoinRun is GET /threads/:thread/runs/:run/join: the values of a run that was begun
// elsewhere, at once if it is over. Whoever leaves does not end it.
func (a *API) JoinRun(c *fiber.Ctx) error {
	if err := a.staying(); err != nil {
		return err
	}
	scope, thread := middleware.Scope(c), threadParam(c)
	r, err := a.threads.Run(c.UserContext(), scope, thread, agents.RunID(param(c, "run")))
	if err != nil {
		return err
	}
	// Its values are what was said.
	if err := a.opened(c.UserContext(), scope, thread); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), waitLimit)
	w := waiter{api: a, scope: scope, run: r, stop: stop}
	w.ended = func() (agents.Run, error) {
		defer stop()
		if r.Status.Ended() || r.Status == agents.RunWaiting {
			return r, nil
		}
		return a.runs.Wait(ctx, scope, thread, r.ID)
	}
	return w.answer(c, locationOf(r, false))
}

// waiter waits for a run and answers with its values. It may outlive the handler, so it
// holds copies only.
type waiter struct {
	api   *API
	scope auth.Scope
	run   agents.Run
	// cancel ends the run when the caller is gone, discard its thread at the end.
	cancel, discard bool
	// ended waits for the end; stop makes it return at once.
	ended func() (agents.Run, error)
	stop  func()
}

// ending is what came of the waiting.
type ending struct {
	run agents.Run
	err error
}

// answer waits for the run. An end within the first beat is a plain answer; after
// that the answer is under way, newline by newline, while the run goes on.
func (w waiter) answer(c *fiber.Ctx, location string) error {
	c.Set(fiber.HeaderContentLocation, location)
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	ends := make(chan ending, 1)
	go func() {
		r, err := w.ended()
		ends <- ending{r, err}
	}()
	beat := time.NewTimer(waitBeat)
	defer beat.Stop()
	if values, over := w.next(ends, beat.C); over {
		c.Context().Response.SetBodyRaw(values)
		return nil
	}
	c.Context().SetBodyStreamWriter(func(out *bufio.Writer) { w.write(out, ends) })
	return nil
}

// write sends newlines until there is an answer.
func (w waiter) write(out *bufio.Writer, ends <-chan ending) {
	beat := time.NewTicker(waitBeat)
	defer beat.Stop()
	for {
		// The first is due already.
		if _, err := out.WriteString("\n"); err != nil || out.Flush() != nil {
			w.gone()
			w.stop()
			<-ends
			return
		}
		if values, over := w.next(ends, beat.C); over {
			if _, err := out.Write(values); err == nil {
				_ = out.Flush() // the caller is gone: nobody is left to tell
			}
			return
		}
	}
}

// next gives the answer once there is one; false at the next beat.
func (w waiter) next(ends <-chan ending, beat <-chan time.Time) ([]byte, bool) {
	select {
	case <-w.api.waiting.ctx.Done():
		w.stop()
		if end := <-ends; end.err == nil { // it ended at the same moment
			return w.values(context.Background(), end.run), true
		}
		return movedValues(), true
	case end := <-ends:
		return w.outcome(end), true
	case <-beat:
		return nil, false
	}
}

// outcome is the answer to an end.
func (w waiter) outcome(end ending) []byte {
	ctx := context.Background()
	if fault.Is(end.err, fault.KindNotFound) {
		return errorValues("rolled_back", "The run is gone: newer input rolled it back, or its thread was deleted.")
	}
	if end.err != nil {
		w.api.log.WarnContext(ctx, "a waiting call ended without its run", "run_id", w.run.ID, "err", end.err)
		return errorValues("unavailable", fault.Public(end.err))
	}
	values := w.values(ctx, end.run)
	if w.discard {
		w.api.runs.Discard(end.run)
	}
	return values
}

// gone cancels the run of a caller that hung up, unless it asked otherwise.
func (w waiter) gone() {
	if w.cancel {
		w.api.cancelling(w.scope, w.run)()
	}
}

// values is what a waiting call answers: the thread's values, or why not.
func (w waiter) values(ctx context.Context, r agents.Run) []byte {
	if r.Status == agents.RunFailed || r.Status == agents.RunTimeout {
		failure := agents.RunError{Code: "error", Message: "The run failed."}
		if r.Error != nil {
			failure = *r.Error
		}
		return errorValues(failure.Code, failure.Message)
	}
	ctx, stop := context.WithTimeout(ctx, valuesLimit)
	defer stop()
	state, err := w.api.threads.EndState(ctx, w.scope, r)
	if err != nil {
		return errorValues("unavailable", fault.Public(err))
	}
	values, err := valuesJSON(state)
	if err != nil {
		w.api.log.WarnContext(ctx, "a run's values could not be written", "run_id", r.ID, "err", err)
		return errorValues("internal", "The values could not be written as JSON.")
	}
	return values
}

// errorValues is the form a failed run has inside a 200 answer; the SDK turns
// it into an exception.
func errorValues(code, message string) []byte {
	return append(append([]byte(`{"__error__":`), errorData(code, message)...), '}')
}
