package run

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/internal/fault"
)

// settle ends a run that was cancelled or failed: what the answer already said
// is kept, every unanswered tool call gets a synthetic result (so that the next
// model call is valid), and the run gets its end, all in one transaction.
func (a *attempt) settle(ctx context.Context, cause error) error {
	view, err := a.w.o.Store.View(ctx, a.scope, a.claim.Run.Thread)
	if err != nil {
		return err
	}
	t, err := transcriptOf(view)
	if err != nil {
		return err
	}
	a.line, a.step = view.State.Line, view.State.Step
	for _, r := range view.Open {
		if r.ID == a.claim.Run.ID {
			a.claim.Run.CancelReason = r.CancelReason // given after the run was claimed
		}
	}
	if errors.Is(cause, errCancelled) && a.claim.Run.CancelReason == agents.ReasonDisplaced {
		kept, err := a.keepInput(ctx, view.State)
		if err != nil {
			return err
		}
		if kept {
			return a.settle(ctx, cause)
		}
	}
	finish := a.ending(cause)
	left := t.Unfinished(a.claim.Run.ID)
	var open []agents.ToolCall
	for _, c := range left.Calls {
		if c.ResultID == "" {
			open = append(open, agents.ToolCall{ID: c.ID, Name: c.Name})
		}
	}
	known, err := outcomesOf(ctx, a.w.o.Store, a.scope, a.claim.Run.Thread, a.line, a.lease.Token, open)
	if err != nil {
		return err
	}
	messages, closing := a.keep(left, known)
	if len(messages) == 0 {
		a.slot.Ending()
		at, err := a.w.o.Store.FinishRun(ctx, a.scope, a.lease, finish)
		if err != nil {
			return err
		}
		a.publish(ctx, at.Appended, finish.Events)
		a.ended(ctx, at)
		return nil
	}
	state, changes, err := graph.ApplyMessages(graph.NewState(view.State.Messages, view.State.Values), a.line, a.step+1, graph.AddMessages(messages...))
	if err != nil {
		return err
	}
	a.out = newEmitter(a.claim, a.w.o, a.beginAlone, func(error) {})
	defer a.out.close() //nolint:errcheck // nothing is emitted any more
	c := graph.Commit{Line: a.line, Step: a.step + 1, Changes: changes, State: state}
	if head := view.State.Head; finish.Status != agents.RunCancelled && head != nil && head.Run == a.claim.Run.ID {
		// What was due stays due, so that somebody may try again from here; what the
		// failed attempt said is taken back then.
		c.Next, c.Pending, c.Metadata = head.Next, view.State.Pending, failedNote
	}
	a.kept.Store(true)
	return a.commit(ctx, agents.SourceLoop, c, closing, &finish)
}

// keepInput commits what a run brings that ends for newer input before it has begun:
// what a person said stays, whoever came first. It reports whether there was anything
// to commit.
func (a *attempt) keepInput(ctx context.Context, loaded agents.State) (bool, error) {
	r := a.claim.Run
	if r.Input.Resume != nil || r.Input.Checkpoint != "" || loaded.Head != nil && loaded.Head.Run == r.ID {
		return false, nil
	}
	var err error
	if a.assistant, err = a.w.o.Store.AssistantVersion(ctx, a.scope, r.Assistant, r.AssistantVersion); err != nil {
		return false, err
	}
	g, ok := a.w.o.Graphs.Graph(a.assistant.Graph)
	if !ok {
		return false, nil
	}
	a.out = newEmitter(a.claim, a.w.o, a.beginAlone, func(error) {})
	defer a.out.close() //nolint:errcheck // nothing is emitted
	if _, err = a.begin(ctx, g, loaded, beginning{}); err == nil {
		err = a.out.flush(ctx)
	}
	if errors.As(err, new(*graph.InputError)) {
		a.logger.WarnContext(ctx, "input of a displaced run does not fit its graph any more", "err", err)
		return false, nil
	}
	return err == nil, err
}

// failedNote marks the step that keeps what a failed run said.
var failedNote = json.RawMessage(`{"failed":true}`)

// leftovers makes the writes that take back what a failed run said, for whoever
// tries again.
func leftovers(head *agents.Checkpoint) []graph.Write {
	if head == nil || string(head.Metadata) != string(failedNote) {
		return nil
	}
	var out []graph.Write
	for _, op := range head.Ops {
		if op.Kind == agents.OpAppend {
			out = append(out, graph.RemoveMessage(op.ID))
		}
	}
	return out
}

// ending says how the run ends, to the database and to watchers.
func (a *attempt) ending(cause error) agents.Finish {
	if errors.Is(cause, errCancelled) {
		return agents.Finish{
			Status: agents.RunCancelled,
			Events: []event.Envelope{a.finished(event.OutcomeCancelled, a.claim.Run.CancelReason)},
		}
	}
	status, failure := agents.RunFailed, runError(cause)
	failure.Attempts = a.tried(cause, failure)
	if failure.Code == "timeout" {
		status = agents.RunTimeout
	}
	a.logger.Error("run failed", "err", cause, "code", failure.Code)
	return agents.Finish{Status: status, Error: &failure, Events: []event.Envelope{
		a.envelope(event.RunError, event.Data(event.RunErrorData{Message: failure.Message, Code: failure.Code, Node: failure.Node,
			Attempts: told(failure.Attempts)})),
	}}
}

// tried lists the attempts at the step that failed: those whose workers were lost,
// and this one, if it executed anything. One that was alone has no story.
func (a *attempt) tried(cause error, failure agents.RunError) []agents.Attempt {
	r := a.claim.Run
	if len(r.Lost) == 0 || a.stepped.Load() {
		return nil
	}
	out := slices.Clone(r.Lost)
	if errors.As(cause, new(*exhaustedError)) {
		return out
	}
	last := agents.Attempt{Attempt: r.Attempt, BeganAt: r.ClaimedAt, EndedAt: a.w.o.Clock.Now().UTC(), Worker: a.claim.Worker, Why: agents.AttemptFailed}
	switch {
	case errors.As(cause, new(*graph.PanicError)):
		last.Why = agents.AttemptPanic
	case failure.Code == "timeout":
		last.Why = agents.AttemptTimeout
	}
	return append(out, last)
}

// told gives attempts the form of the log.
func told(attempts []agents.Attempt) []event.AttemptData {
	var out []event.AttemptData
	for _, a := range attempts {
		out = append(out, event.AttemptData{Attempt: a.Attempt, BeganAt: a.BeganAt, EndedAt: a.EndedAt, Worker: a.Worker, Why: string(a.Why)})
	}
	return out
}

// runError gives a failure its public face.
func runError(err error) agents.RunError {
	out := agents.RunError{Code: "node_failed", Message: "The assistant could not finish this answer."}
	var node *graph.NodeError
	if errors.As(err, &node) {
		out.Node = node.Node
	}
	code, limit := graph.LimitOf(err)
	var failure *graph.Failure
	var exhausted *exhaustedError
	var public *fault.Error
	switch {
	case errors.Is(err, errTimeout):
		out.Code, out.Message = "timeout", "The run took longer than its time limit and was stopped."
	case errors.As(err, &exhausted):
		out.Code, out.Message = "attempts_exhausted", exhausted.Error()
	case limit != nil:
		out.Code, out.Message = code, limit.Error()
	case errors.As(err, &failure):
		out.Message = failure.Error()
	case errors.As(err, &public) && public.Kind != fault.KindInternal:
		out.Code, out.Message = public.Code, public.Public
	}
	return out
}

// keep turns what an attempt left beyond its last checkpoint into messages.
func (a *attempt) keep(left transcript.Unfinished, known map[string]agents.Journal) ([]agents.Message, []event.Envelope) {
	var messages []agents.Message
	var events []event.Envelope
	now := a.w.o.Clock.Now()
	for _, e := range left.Entries {
		m := agents.Message{
			ID: e.ID, Role: agents.RoleAssistant, Text: e.Text, Status: agents.MessageStopped, Model: e.Model,
			Usage: e.Usage, Run: a.claim.Run.ID, CreatedAt: e.CreatedAt,
		}
		if e.State == transcript.EntryComplete && e.Text != "" {
			m.Status = agents.MessageComplete
		}
		if e.State == transcript.EntryStreaming && e.Text != "" {
			events = append(events, a.envelope(event.TextMessageEnd, event.Data(event.TextEndData{MessageID: string(e.ID), Stopped: true})))
		}
		for _, c := range e.Calls {
			if json.Valid([]byte(c.Args)) {
				m.ToolCalls = append(m.ToolCalls, agents.ToolCall{ID: c.ID, Name: c.Name, Args: json.RawMessage(c.Args)})
			}
		}
		if m.Text != "" || len(m.ToolCalls) > 0 {
			messages = append(messages, m)
		}
	}
	for _, c := range left.Calls {
		whole := json.Valid([]byte(c.Args))
		if c.State == transcript.CallWriting {
			events = append(events, a.envelope(event.ToolCallEnd, event.Data(event.ToolEndData{ToolCallID: c.ID, Broken: !whole})))
		}
		if !whole {
			continue // the model was still writing it: it never became a call
		}
		m := agents.Message{
			ID: c.ResultID, Role: agents.RoleTool, Name: c.Name, ToolCallID: c.ID, Text: c.Result, Summary: c.Summary,
			Data: c.Data, DurationMS: c.DurationMS, Run: a.claim.Run.ID, CreatedAt: now,
		}
		if c.State != transcript.CallDone {
			m.Status = agents.MessageFailed
		}
		if c.ResultID == "" {
			m = closed(c.ID, c.Name, known, a.claim.Run.ID, now)
			events = append(events, a.envelope(event.ToolCallResult, event.Data(resultOf(m))))
		}
		messages = append(messages, m)
	}
	return messages, events
}
