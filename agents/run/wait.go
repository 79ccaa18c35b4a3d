package run

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Waiting is somebody who waits for the end of a run on a thread.
type Waiting struct {
	s       *Service
	org     auth.OrgID
	thread  agents.ThreadID
	changed <-chan struct{}
	stop    func()
}

// Await begins to wait on a thread, which need not be there yet: an end from now on
// is not missed. So whoever submits a run after it need not look for it before it has
// ended. The caller calls [Waiting.Stop].
func (s *Service) Await(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (*Waiting, error) {
	changed, stop, err := s.watch.Watch(ctx, scope.Org, thread)
	if err != nil {
		return nil, err
	}
	return &Waiting{s: s, org: scope.Org, thread: thread, changed: changed, stop: stop}, nil
}

// Stop ends the waiting.
func (w *Waiting) Stop() { w.stop() }

// Ended returns the run, submitted after the waiting began, once it has ended or
// waits for an answer: it asks the database each time it is woken, which for a thread
// with one run is once. See [Service.Wait] for the errors.
func (w *Waiting) Ended(ctx context.Context, scope auth.Scope, run agents.RunID) (agents.Run, error) {
	for {
		select {
		case _, open := <-w.changed:
			if !open {
				return agents.Run{}, fault.Unavailable("The server is stopping.", nil)
			}
		case <-ctx.Done():
			return agents.Run{}, context.Cause(ctx)
		}
		r, err := w.s.queue.Run(ctx, scope, w.thread, run)
		if err != nil || over(r) {
			return r, err
		}
	}
}

func over(r agents.Run) bool { return r.Status.Ended() || r.Status == agents.RunWaiting }

// Wait returns the run once it has ended or waits for an answer. It asks the
// database once, and again whenever it is woken; there is no clock in it. It
// returns the context's error when that comes first; the run goes on. A run
// that was rolled back meanwhile is not found.
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
	return w.Ended(ctx, scope, run)
}
