package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// Request is new input for a thread.
type Request struct {
	Thread agents.ThreadID
	// Create makes the thread if it is absent.
	Create *agents.NewThread
	// Assistant is an assistant's id or a graph's name.
	Assistant string
	Strategy  agents.Strategy
	Input     agents.RunInput
	Raw       json.RawMessage
	Metadata  json.RawMessage
	// Webhook is told of the run's end; empty for none.
	Webhook string
	// After is how long the run waits before it takes its place in line.
	After time.Duration
	// Supersede ends a run that waits for an answer, instead of waiting behind it.
	Supersede bool
}

// Text is the input of one human message.
func (s *Service) Text(scope auth.Scope, text string) agents.RunInput {
	return agents.RunInput{Messages: []agents.Message{{
		ID: agents.MessageID(id.New()), Role: agents.RoleUser, Text: text, Author: string(scope.User), CreatedAt: s.clock.Now(),
	}}}
}

// Submit places a run in its thread's line and tells watchers and workers. It begins
// with what this node knows of the assistant; whether that still holds is found out
// where the run is placed.
func (s *Service) Submit(ctx context.Context, scope auth.Scope, r Request) (agents.Run, error) {
	if known, ok := s.queue.KnownAssistant(ctx, scope, r.Assistant); ok {
		if made, err := s.submit(ctx, scope, r, known, true); !errors.Is(err, agents.ErrAssistantUnsure) {
			return made, err
		}
	}
	assistant, err := s.queue.Assistant(ctx, scope, r.Assistant)
	if err != nil {
		return agents.Run{}, err
	}
	return s.submit(ctx, scope, r, assistant, false)
}

// submit is Submit with an assistant, as it is or as it was a while ago. In doubt it
// is agents.ErrAssistantUnsure, and nothing happened.
func (s *Service) submit(ctx context.Context, scope auth.Scope, r Request, assistant agents.Assistant, unsure bool) (agents.Run, error) {
	if err := s.fits(assistant, &r.Input); err != nil {
		if unsure {
			return agents.Run{}, agents.ErrAssistantUnsure
		}
		return agents.Run{}, err
	}
	run := agents.RunID(id.New())
	for i := range r.Input.Messages {
		r.Input.Messages[i].Run = run
	}
	if r.Strategy == "" {
		r.Strategy = cmp.Or(assistant.Config.MultitaskStrategy, s.strategy)
	}
	messages, err := json.Marshal(r.Input.Messages)
	if err != nil {
		return agents.Run{}, fault.Invalid("input", "can't be stored as JSON").WithCause(err)
	}
	title := titleOf(r.Input)
	submitted, err := s.queue.Submit(ctx, scope, agents.Submission{
		Run: run, Thread: r.Thread, Assistant: assistant, Unsure: unsure, Strategy: r.Strategy, Input: r.Input, Request: r.Raw,
		Metadata: r.Metadata, Webhook: r.Webhook, After: r.After, Create: r.Create, Title: title, Supersede: r.Supersede,
		Displacing: s.displacing(),
		Pinned:     func(kept agents.Assistant) { assistant = kept },
		Queued: func(ahead int, first bool) (event.Envelope, error) {
			return event.Envelope{
				Type: event.Custom, Time: s.clock.Now(), ThreadID: string(r.Thread), RunID: string(run),
				Data: event.NewCustom(event.MessageQueued, event.QueuedValue{
					RunID: string(run), Ahead: ahead, First: first, Messages: messages, Assistant: assistant.Name, Title: title}),
			}, nil
		},
	})
	if err != nil {
		return agents.Run{}, err
	}
	s.tellOf(ctx, scope, r.Thread, submitted)
	return submitted.Run, nil
}

// maxTitle is how long a title made from a first message gets, in runes.
const maxTitle = 60

// titleOf makes a thread's first title from the first line of its first
// message, cut at a word.
func titleOf(in agents.RunInput) string {
	for _, m := range in.Messages {
		if m.Role != agents.RoleUser {
			continue
		}
		line, _, _ := strings.Cut(strings.TrimSpace(m.Text), "\n")
		line = strings.Join(strings.Fields(line), " ")
		if utf8.RuneCountInString(line) <= maxTitle {
			return line
		}
		runes := []rune(line)[:maxTitle]
		cut := string(runes)
		if at := strings.LastIndexByte(cut, ' '); at > maxTitle/2 {
			cut = cut[:at]
		}
		return cut + "…"
	}
	return ""
}
