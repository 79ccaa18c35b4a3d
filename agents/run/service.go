package run

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// Queue is what the service needs of the database.
type Queue interface {
	Submit(ctx context.Context, scope auth.Scope, s agents.Submission) (agents.Submitted, error)
	EditQueued(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID,
		edit func(agents.RunInput) (agents.RunInput, error), told func(agents.Run) (event.Envelope, error)) (agents.Submitted, error)
	SendNow(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, d agents.Displacing,
		told func(agents.Run) (event.Envelope, error)) (agents.Submitted, error)
	CancelRun(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, reason string,
		ended func(agents.Run) (event.Envelope, error), withdrawn func(agents.Review, agents.RunID) (event.Envelope, error)) (agents.Cancelled, error)
	RenameThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, title string, changed event.Envelope) (agents.Position, error)
	MoveThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, version int,
		moved func(agents.Thread, agents.Assistant) (event.Envelope, error)) (agents.Moved, error)
	StateAt(ctx context.Context, scope auth.Scope, thread agents.ThreadID, checkpoint string) (agents.State, error)
	OpenRuns(ctx context.Context, scope auth.Scope, thread agents.ThreadID) ([]agents.Run, error)
	Run(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (agents.Run, error)
	Assistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, error)
	Decisions
}

// Watcher tells when a run of a thread may have ended. It misses no end, whatever
// was lost on the way: what was published is in the log, and a watcher that may
// have missed something compares with it, after an outage of Redis once.
type Watcher interface {
	// Watch returns a channel that receives after each end of a run on the
	// thread (merged if the reader is slow), after the thread is gone, and after
	// whatever leaves open if there was one; and a function that ends it. The
	// channel is closed when this process hears of nothing any more.
	Watch(ctx context.Context, org auth.OrgID, thread agents.ThreadID) (<-chan struct{}, func(), error)
}

// Service accepts, cancels and awaits runs for pages, sockets and the API.
type Service struct {
	queue   Queue
	publish Publisher
	signals Signals
	watch   Watcher
	tools   *tool.Registry
	graphs  Graphs
	ender   Ender
	clock   clock.Clock
	logger  *slog.Logger
	// strategy is what new input does where neither it nor the assistant says.
	strategy agents.Strategy
}

// Parts are what the service works with.
type Parts struct {
	Queue   Queue
	Publish Publisher
	Signals Signals
	Watch   Watcher
	// Tools check the arguments that reviewers edit, Graphs say what follows a
	// node in whose name a state is changed.
	Tools  *tool.Registry
	Graphs Graphs
	// Ender ends cancelled runs that nobody executes; without it a worker does when
	// it claims them.
	Ender  Ender
	Clock  clock.Clock
	Logger *slog.Logger
	// Strategy is what new input does to a busy thread where neither the request
	// nor the assistant says; enqueue by default (C-01).
	Strategy agents.Strategy
}

// NewService makes the service.
func NewService(p Parts) *Service {
	return &Service{queue: p.Queue, publish: p.Publish, signals: p.Signals, watch: p.Watch, tools: p.Tools, graphs: p.Graphs, ender: p.Ender,
		clock: p.Clock, logger: p.Logger, strategy: cmp.Or(p.Strategy, agents.StrategyEnqueue)}
}

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
	// Supersede ends a run that waits for an answer, instead of waiting behind it.
	Supersede bool
}

// Text is the input of one human message.
func (s *Service) Text(scope auth.Scope, text string) agents.RunInput {
	return agents.RunInput{Messages: []agents.Message{{
		ID: agents.MessageID(id.New()), Role: agents.RoleUser, Text: text, Author: string(scope.User), CreatedAt: s.clock.Now(),
	}}}
}

// Submit places a run in its thread's line and tells watchers and workers.
func (s *Service) Submit(ctx context.Context, scope auth.Scope, r Request) (agents.Run, error) {
	assistant, err := s.queue.Assistant(ctx, scope, r.Assistant)
	if err != nil {
		return agents.Run{}, err
	}
	if err := s.fits(assistant, r.Input); err != nil {
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
		Run: run, Thread: r.Thread, Assistant: assistant, Strategy: r.Strategy, Input: r.Input, Request: r.Raw,
		Metadata: r.Metadata, Create: r.Create, Title: title, Supersede: r.Supersede,
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

// fits checks a run's context and breakpoints against the graph it will run on.
func (s *Service) fits(a agents.Assistant, in agents.RunInput) error {
	g, ok := s.graphs.Graph(a.Graph)
	if !ok {
		return nil // whoever executes it says so
	}
	if in.Resume == nil {
		if err := g.CheckContext(a.ContextOf(in.Context)); err != nil {
			return err
		}
	}
	b := in.Break
	if b == nil {
		return nil
	}
	if err := g.Breakable("interrupt_before", b.Before); err != nil {
		return err
	}
	return g.Breakable("interrupt_after", b.After)
}

// tell publishes one appended envelope.
func (s *Service) tell(ctx context.Context, scope auth.Scope, thread agents.ThreadID, at agents.Position, e event.Envelope) {
	s.tellAll(ctx, scope, thread, agents.Appended{Base: at.Seq - 1, Epoch: at.Epoch}, []event.Envelope{e})
}

// tellAll publishes appended envelopes.
func (s *Service) tellAll(ctx context.Context, scope auth.Scope, thread agents.ThreadID, at agents.Appended, events []event.Envelope) {
	if len(events) == 0 {
		return
	}
	logged, err := Render(scope, thread, at, events)
	if err != nil {
		s.logger.ErrorContext(ctx, "envelopes could not be rendered", "thread_id", thread, "err", err)
		return
	}
	s.publish.PublishLogged(ctx, logged)
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

// Wait returns the run once it has ended or waits for an answer. It asks the
// database once, and again whenever it is woken; there is no clock in it. It
// returns the context's error when that comes first; the run goes on. A run
// that was rolled back meanwhile is not found.
func (s *Service) Wait(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (agents.Run, error) {
	changed, stop, err := s.watch.Watch(ctx, scope.Org, thread)
	if err != nil {
		return agents.Run{}, err
	}
	defer stop()
	for {
		r, err := s.queue.Run(ctx, scope, thread, run)
		if err != nil {
			return agents.Run{}, err
		}
		if r.Status.Ended() || r.Status == agents.RunWaiting {
			return r, nil
		}
		select {
		case _, open := <-changed:
			if !open {
				return r, fault.Unavailable("The server is stopping.", nil)
			}
		case <-ctx.Done():
			return r, context.Cause(ctx)
		}
	}
}
