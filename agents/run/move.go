package run

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// Move lets a thread go on with another version of its assistant and tells
// watchers. The version it has already changes nothing.
func (s *Service) Move(ctx context.Context, scope auth.Scope, thread agents.ThreadID, version int) error {
	done, err := s.queue.MoveThread(ctx, scope, thread, version, func(t agents.Thread, a agents.Assistant) (event.Envelope, error) {
		return event.Envelope{
			Type: event.Custom, Time: s.clock.Now(), ThreadID: string(t.ID),
			Data: event.NewCustom(event.ThreadChanged, event.ThreadValue{Title: t.Title, Assistant: a.Name, Version: a.Version}),
		}, nil
	})
	if err != nil || done.Position.Seq == 0 {
		return err
	}
	s.tell(ctx, scope, thread, done.Position, done.Event)
	return nil
}
