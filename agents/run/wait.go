package run

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Waiting is somebody who waits for the end of a run on a thread.
type Waiting struct {
	s      *Service
	thread agents.ThreadID
	ends   <-chan End
	stop   func()
}

// Await begins to wait on a thread, which need not be there yet: an end from now on
// is not missed. So a run that is submitted after it need not be looked for before
// it has ended. The caller calls [Waiting.Stop].
func (s *Service) Await(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (*Waiting, error) {
	ends, stop, err := s.watch.Watch(ctx, scope.Org, thread)
	if err != nil {
		return nil, err
	}
	return &Waiting{s: s, thread: thread, ends: ends, stop: stop}, nil
}

// Stop ends the waiting.
func (w *Waiting) Stop() { w.stop() }

// Ended returns a run that was open, or not submitted, when the waiting began, once
// it has ended or waits for an answer. Where all that is to know of the end was told,
// it is r with its status; else the database is asked. See [Service.Wait] for the
// errors.
func (w *Waiting) Ended(ctx context.Context, scope auth.Scope, r agents.Run) (agents.Run, error) {
	if over(r) {
		return r, nil // an answer that leaves others open begins no run
	}
	for {
		select {
		case end, open := <-w.ends:
			switch {
			case !open:
				return r, fault.Unavailable("The server is stopping.", nil)
			case end.Run == r.ID:
				r.Status = end.Status
				return r, nil
			case end.Run != "":
				continue
			}
		case <-ctx.Done():
			return r, context.Cause(ctx)
		}
		now, err := w.s.queue.Run(ctx, scope, w.thread, r.ID)
		if err != nil || over(now) {
			return now, err
		}
	}
}

func over(r agents.Run) bool { return r.Status.Ended() || r.Status == agents.RunWaiting }

// Wait returns the run once it has ended or waits for an answer. It asks the
// database once, and again if it is woken by what does not say enough; there is no
// clock in it. It returns the context's error when that comes first; the run goes
// on. A run that was rolled back meanwhile is not found.
func (s *Service) Wait(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (agents.Run, error) {
	w, err := s.Await(ctx, scope, thread)
	if err != nil {
		return agents.Run{}, err
	}
	defer w.Stop()
	r, err := s.queue.Run(ctx, scope, thread, run)
	if err != nil || over(r) {
		return r, err
	}
	return w.Ended(ctx, scope, r)
}
