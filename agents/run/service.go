package run

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
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
	TakeBack(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID, d agents.Displacing,
		withdrawn func(agents.Run) (event.Envelope, error)) (agents.Cancelled, error)
	// History lists states of a thread.
	History(ctx context.Context, scope auth.Scope, thread agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error)
	Older(ctx context.Context, scope auth.Scope, thread agents.ThreadID, checkpoint string) (bool, error)
	OpenRuns(ctx context.Context, scope auth.Scope, thread agents.ThreadID) ([]agents.Run, error)
	Run(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (agents.Run, error)
	Assistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, error)
	// KnownAssistant is Assistant as this node last read it.
	KnownAssistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, bool)
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
	Watch(ctx context.Context, org auth.OrgID, thread agents.ThreadID) (<-chan End, func(), error)
}

// End says that a run of a thread has ended or waits for an answer, and how. Without
// a run it says that some may have: the database knows which.
type End struct {
	Run    agents.RunID
	Status agents.RunStatus
}

// EndOf reads what an envelope says of a run's end: some is false where it says
// nothing of that. Only an end that needs no more than its name to be understood
// comes with the run.
func EndOf(e event.Envelope) (end End, some bool) {
	name, _ := e.CustomName()
	switch {
	case e.Type == event.RunError, name == event.MessageUnqueued:
		return End{}, true
	case e.Type != event.RunFinished:
		return End{}, false
	}
	var d event.RunFinishedData
	if err := e.Decode(&d); err != nil {
		return End{}, true
	}
	switch d.Outcome {
	case event.OutcomeSuccess:
		return End{agents.RunID(d.RunID), agents.RunSuccess}, true
	case event.OutcomeInterrupt:
		return End{agents.RunID(d.RunID), agents.RunWaiting}, true
	default:
		return End{}, true
	}
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
	discard *Discarder
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
	Ender Ender
	// Discard removes threads of runs that need none; without it the sweep does.
	Discard *Discarder
	Clock   clock.Clock
	Logger  *slog.Logger
	// Strategy is what new input does to a busy thread where neither the request
	// nor the assistant says; enqueue by default (C-01).
	Strategy agents.Strategy
}

// NewService makes the service.
func NewService(p Parts) *Service {
	return &Service{queue: p.Queue, publish: p.Publish, signals: p.Signals, watch: p.Watch, tools: p.Tools, graphs: p.Graphs, ender: p.Ender, discard: p.Discard,
		clock: p.Clock, logger: p.Logger, strategy: cmp.Or(p.Strategy, agents.StrategyEnqueue)}
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
