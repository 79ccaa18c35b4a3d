package channel

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/realtime/socket"
)

// Threads reads threads.
type Threads interface {
	Thread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.Thread, error)
	View(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.View, error)
	// Opened notes in the audit log that somebody reads a thread by the right to
	// read any.
	Opened(ctx context.Context, scope auth.Scope, thread agents.Thread, now time.Time) error
}

// Runs accepts and cancels runs.
type Runs interface {
	Submit(ctx context.Context, scope auth.Scope, r run.Request) (agents.Run, error)
	Cancel(ctx context.Context, scope auth.Scope, thread agents.ThreadID, id agents.RunID, reason string) (agents.Run, error)
	CancelCurrent(ctx context.Context, scope auth.Scope, thread agents.ThreadID, reason string) error
	Text(scope auth.Scope, text string) agents.RunInput
}

// ProjectorFunc makes the projector of a thread's page for one reader's scope;
// what it renders must not depend on the reader.
type ProjectorFunc func(scope auth.Scope, thread agents.ThreadID) realtime.Projector

// Thread is the channel of the topics thread:<id>.
type Thread struct {
	threads   Threads
	runs      Runs
	projector ProjectorFunc
}

// NewThread makes the channel.
func NewThread(threads Threads, runs Runs, projector ProjectorFunc) *Thread {
	return &Thread{threads: threads, runs: runs, projector: projector}
}

// Join implements socket.Channel: whoever may read the thread may watch it.
func (t *Thread) Join(ctx context.Context, id socket.Identity, topic string, payload json.RawMessage) (socket.Joined, error) {
	joined, err := socket.ParseJoin(payload)
	if err != nil {
		return socket.Joined{}, err
	}
	scope := scopeOf(id)
	thread, err := t.threads.Thread(ctx, scope, agents.ThreadID(strings.TrimPrefix(topic, "thread:")))
	if err != nil {
		return socket.Joined{}, err
	}
	if err := t.threads.Opened(ctx, scope, thread, time.Now().UTC()); err != nil {
		return socket.Joined{}, err
	}
	joined.HubTopic = ThreadTopic(scope.Org, thread.ID)
	joined.State = thread.ID
	if joined.Format == socket.FormatHTML {
		joined.ProjectionName = "html:" + scope.Locale
		joined.Projector = func() realtime.Projector { return t.projector(scope, thread.ID) }
	}
	return joined, nil
}

// Handle implements socket.Channel. Pushes: "send" {"text", "assistant_id"?,
// "multitask_strategy"?} answers {"run_id"}; "cancel" {"run_id"?} stops that
// run, or the current one.
func (t *Thread) Handle(ctx context.Context, m socket.Member, event string, payload json.RawMessage) (any, error) {
	scope := scopeOf(m.Identity)
	id, _ := m.State.(agents.ThreadID)
	thread, err := t.threads.Thread(ctx, scope, id)
	if err != nil {
		return nil, err
	}
	switch event {
	case "send":
		return t.send(ctx, scope, thread, payload)
	case "cancel":
		return nil, t.cancel(ctx, scope, thread, payload)
	default:
		return nil, fault.Invalid("event", "must be send or cancel")
	}
}

// Leave implements socket.Channel; a watcher leaves nothing behind.
func (t *Thread) Leave(context.Context, socket.Member) {}

func (t *Thread) send(ctx context.Context, scope auth.Scope, thread agents.Thread, payload json.RawMessage) (any, error) {
	var in struct {
		Text      *string `json:"text"`
		Assistant string  `json:"assistant_id"`
		Strategy  string  `json:"multitask_strategy"`
	}
	if err := decode(payload, &in); err != nil {
		return nil, err
	}
	if in.Text == nil {
		return nil, fault.Invalid("text", "must be a string")
	}
	if err := agents.ValidateText("text", *in.Text); err != nil {
		return nil, err
	}
	strategy, err := agents.ParseStrategy("multitask_strategy", in.Strategy)
	if err != nil {
		return nil, err
	}
	if in.Assistant == "" {
		in.Assistant = string(thread.Assistant)
	}
	if in.Assistant == "" {
		return nil, fault.Invalid("assistant_id", "is required for a thread's first message")
	}
	r, err := t.runs.Submit(ctx, scope, run.Request{
		Thread: thread.ID, Assistant: in.Assistant, Strategy: strategy, Input: t.runs.Text(scope, *in.Text)})
	if err != nil {
		return nil, err
	}
	return map[string]any{"run_id": r.ID}, nil
}

// decode reads a push, whose fields are all strings; the fault names the one
// that isn't.
func decode(payload json.RawMessage, into any) error {
	err := json.Unmarshal(payload, into)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field != "":
		return fault.Invalid(wrong.Field, "must be a string")
	default:
		return fault.Invalid("payload", "must be an object")
	}
}

func (t *Thread) cancel(ctx context.Context, scope auth.Scope, thread agents.Thread, payload json.RawMessage) error {
	var in struct {
		Run agents.RunID `json:"run_id"`
	}
	if err := decode(payload, &in); err != nil {
		return err
	}
	if in.Run == "" {
		return t.runs.CancelCurrent(ctx, scope, thread.ID, "stopped by a person")
	}
	_, err := t.runs.Cancel(ctx, scope, thread.ID, in.Run, "stopped by a person")
	return err
}
