package run

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// Cancel ends a run: one that waits, in line or for a person, or whose worker is
// gone, is over at once, one that executes is stopped by its worker, one that ended
// stays as it is.
func (s *Service) Cancel(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, reason string) (agents.Run, error) {
	done, err := s.queue.CancelRun(ctx, scope, thread, run, reason, func(r agents.Run) (event.Envelope, error) {
		return event.Envelope{
			Type: event.Custom, Time: s.clock.Now(), ThreadID: string(thread), RunID: string(r.ID),
			Data: event.NewCustom(event.MessageUnqueued, event.UnqueuedValue{RunID: string(r.ID), Reason: reason}),
		}, nil
	}, s.decided)
	if err != nil {
		return agents.Run{}, err
	}
	s.tellAll(ctx, scope, thread, done.ToldAt, done.Told)
	switch {
	case done.Ended:
		s.tell(ctx, scope, thread, done.Position, done.Event)
		s.signals.Wake(ctx) // the next in line may be due
	case !done.Run.Status.Ended():
		if s.stop(ctx, agents.RunKey{Org: scope.Org, Thread: thread, Run: run}) {
			return s.queue.Run(ctx, scope, thread, run)
		}
		if done.Run.Status == agents.RunPending {
			s.signals.Wake(ctx) // a worker writes the end of a run that waited
		}
	}
	return done.Run, nil
}

// TakeBack ends a run as the strategy rollback does: nothing of it is left, neither
// what it brought nor what it said, and whoever executes it stops.
func (s *Service) TakeBack(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) error {
	done, err := s.queue.TakeBack(ctx, scope, thread, run, s.displacing(), func(r agents.Run) (event.Envelope, error) {
		return event.Envelope{
			Type: event.Custom, Time: s.clock.Now(), ThreadID: string(thread), RunID: string(r.ID),
			Data: event.NewCustom(event.MessageUnqueued, event.UnqueuedValue{RunID: string(r.ID), Reason: agents.ReasonTakenBack}),
		}, nil
	})
	if err != nil {
		return err
	}
	s.tellAll(ctx, scope, thread, done.ToldAt, done.Told)
	if done.Run.Status == agents.RunRunning {
		s.signals.Stop(ctx, run)
	}
	s.signals.Wake(ctx) // the next in line may be due
	return nil
}

// CancelCurrent cancels the run that executes on a thread, or the first in
// line if none does yet. A thread with no open run is left as it is.
func (s *Service) CancelCurrent(ctx context.Context, scope auth.Scope, thread agents.ThreadID, reason string) error {
	open, err := s.queue.OpenRuns(ctx, scope, thread)
	if err != nil {
		return err
	}
	if len(open) == 0 {
		return nil
	}
	_, err = s.Cancel(ctx, scope, thread, open[0].ID, reason)
	return err
}
