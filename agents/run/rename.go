package run

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// Rename gives a thread a title and tells watchers, so that open pages show it.
// The title it has already changes nothing.
func (s *Service) Rename(ctx context.Context, scope auth.Scope, thread agents.ThreadID, title string) error {
	changed := event.Envelope{
		Type: event.Custom, Time: s.clock.Now(), ThreadID: string(thread),
		Data: event.NewCustom(event.ThreadChanged, event.ThreadValue{Title: title}),
	}
	at, err := s.queue.RenameThread(ctx, scope, thread, title, changed)
	if err != nil || at.Seq == 0 {
		return err
	}
	s.tell(ctx, scope, thread, at, changed)
	return nil
}
