package run

import (
	"context"
	"encoding/json"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// EditQueued changes the text of a message that waits in line; only who wrote it
// may, and only until the assistant begins with it.
func (s *Service) EditQueued(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, text string) error {
	edit := func(in agents.RunInput) (agents.RunInput, error) {
		if err := agents.ValidateText("message", text); err != nil {
			return in, err
		}
		for i := len(in.Messages) - 1; i >= 0; i-- {
			if m := &in.Messages[i]; m.Role == agents.RoleUser {
				m.Text, m.Blocks = text, nil
				return in, nil
			}
		}
		return in, fault.Conflict("This run brings no message.").WithCode("no_message")
	}
	done, err := s.queue.EditQueued(ctx, scope, thread, run, edit, func(r agents.Run) (event.Envelope, error) { return s.queued(r, false) })
	if err != nil {
		return err
	}
	s.tell(ctx, scope, thread, done.Position, done.Queued)
	return nil
}

// SendNow lets a message that waits in line go before all others; what executes
// stops, and what waits for a person is withdrawn.
func (s *Service) SendNow(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) error {
	done, err := s.queue.SendNow(ctx, scope, thread, run, s.displacing(), func(r agents.Run) (event.Envelope, error) { return s.queued(r, true) })
	if err != nil {
		return err
	}
	s.tellOf(ctx, scope, thread, done)
	return nil
}

// displacing builds the events of what ends for new input.
func (s *Service) displacing() agents.Displacing {
	return agents.Displacing{Ended: s.leftBehind, Withdrawn: s.decided, RolledBack: s.rolledBack}
}

// queued tells once more of a run in line, whose text or place has changed.
func (s *Service) queued(r agents.Run, first bool) (event.Envelope, error) {
	messages, err := json.Marshal(r.Input.Messages)
	if err != nil {
		return event.Envelope{}, fault.Invalid("message", "can't be stored as JSON").WithCause(err)
	}
	return event.Envelope{Type: event.Custom, Time: s.clock.Now(), ThreadID: string(r.Thread), RunID: string(r.ID),
		Data: event.NewCustom(event.MessageQueued, event.QueuedValue{RunID: string(r.ID), First: first, Messages: messages})}, nil
}

// tellOf publishes what placing a run brought about, stops what it displaced and
// wakes the workers.
func (s *Service) tellOf(ctx context.Context, scope auth.Scope, thread agents.ThreadID, done agents.Submitted) {
	s.tellAll(ctx, scope, thread, done.ToldAt, done.Told)
	s.tell(ctx, scope, thread, done.Position, done.Queued)
	for _, displaced := range done.Stop {
		s.stop(ctx, agents.RunKey{Org: scope.Org, Thread: thread, Run: displaced})
	}
	s.signals.Wake(ctx)
}
