package prebuilt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/internal/failpoint"
	"github.com/heddle/heddle/internal/id"
)

// callsAtOnce bounds how many calls of one step run side by side.
const callsAtOnce = 8

// confirmLimit bounds writing down what a call gave after its run was stopped.
const confirmLimit = 5 * time.Second

// allowed are the tools of an assistant that the person may use.
func allowed(t *graph.Task) []string { return t.Assistant.Config.Usable(t.Scope.Role) }

// tools decides about every call of the model's last message, pauses while a
// person has to, and only then runs them side by side. The results stand in the
// order of the calls.
func (c chat) tools(ctx context.Context, t *graph.Task) (graph.Command, error) {
	last, ok := t.State.Last()
	if !ok || len(last.ToolCalls) == 0 {
		return graph.Command{}, nil
	}
	made, _, err := toolCalls.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	allowed, beyond := withinLimit(last.ToolCalls, int(made), t.Assistant.Config.MaxToolCalls)
	plan, err := c.plan(ctx, t, allowed)
	if err != nil {
		return graph.Command{}, err
	}
	if len(plan.Ask) > 0 {
		return graph.Command{}, t.Review(review.PayloadOf(plan.Actions), plan.Ask)
	}
	results, err := c.carryOut(ctx, t, plan.Calls)
	if err != nil {
		return graph.Command{}, err
	}
	if slices.ContainsFunc(results, func(r outcome) bool { return r.unknown }) {
		// What answered is in the journal; what did not is asked about.
		if plan, err = c.plan(ctx, t, allowed); err != nil {
			return graph.Command{}, err
		}
		return graph.Command{}, t.Review(review.PayloadOf(plan.Actions), plan.Ask)
	}
	var update []graph.Write
	if revised, changed := withEdits(last, plan.Calls); changed {
		update = append(update, graph.AddMessage(revised))
	}
	for _, r := range results {
		update = append(update, graph.AddMessage(r.message))
	}
	for _, call := range beyond {
		p := review.Planned{Call: call}
		refused := tool.Refusal(fmt.Sprintf("This run may make %d tool calls and has made them. Answer with what you have.", t.Assistant.Config.MaxToolCalls), "Not run")
		update = append(update, graph.AddMessage(result(t, p, t.Clock.Now(), refused)))
	}
	update = append(update, toolCalls.Put(float64(len(allowed))))
	return graph.Command{Update: update}, nil
}

// withinLimit parts calls into those that a run may still make and the others;
// a limit of 0 is none.
func withinLimit(calls []agents.ToolCall, made, limit int) (allowed, beyond []agents.ToolCall) {
	if limit == 0 {
		return calls, nil
	}
	n := max(0, min(len(calls), limit-made))
	return calls[:n], calls[n:]
}

func (c chat) plan(ctx context.Context, t *graph.Task, calls []agents.ToolCall) (review.Plan, error) {
	return review.Make(ctx, c.o.Ledger, c.o.Tools, allowed(t), review.Asker{
		Scope: t.Scope, Thread: t.Thread, Line: t.Line, Run: t.Run, Assistant: t.Assistant, Now: t.Clock.Now(), NewID: t.NewID,
	}, calls)
}

// withEdits gives the model's message as a new revision with the arguments that
// reviewers put in place of its own, so that the model reads what was done.
func withEdits(m agents.Message, calls []review.Planned) (agents.Message, bool) {
	changed := false
	m.ToolCalls = slices.Clone(m.ToolCalls)
	for i, p := range calls {
		if p.Edited {
			m.ToolCalls[i].Args, changed = p.Call.Args, true
		}
	}
	return m, changed
}

// outcome is what came of one call.
type outcome struct {
	message agents.Message
	// unknown says that nobody knows whether it took effect: message is empty.
	unknown bool
}

func (c chat) carryOut(ctx context.Context, t *graph.Task, calls []review.Planned) ([]outcome, error) {
	if err := c.reserve(ctx, t, calls); err != nil {
		return nil, err
	}
	results := make([]outcome, len(calls))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(callsAtOnce)
	for i, p := range calls {
		group.Go(func() error {
			var err error
			results[i], err = c.one(groupCtx, t, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return results, nil
}

// reserve notes which calls with an effect are about to run, all at once: of those
// that were never sent, whoever finds the run cut off knows that nothing happened.
func (c chat) reserve(ctx context.Context, t *graph.Task, calls []review.Planned) error {
	var reserved []agents.Reservation
	for _, p := range calls {
		if p.Journal && p.Runs() {
			reserved = append(reserved, agents.Reservation{Call: p.Call, Round: p.Round})
		}
	}
	if len(reserved) == 0 {
		return nil
	}
	if err := c.o.Ledger.ReserveCalls(ctx, t.Scope, leaseOf(t), t.Line, reserved); err != nil {
		return fmt.Errorf("noting which tools are to be called: %w", err)
	}
	return nil
}

func leaseOf(t *graph.Task) agents.Lease {
	return agents.Lease{Thread: t.Thread, Run: t.Run, Token: t.Token}
}

// one carries out a planned call. A call with an effect is noted before its tool
// gets it and confirmed after, so that no attempt runs it twice.
func (c chat) one(ctx context.Context, t *graph.Task, p review.Planned) (outcome, error) {
	began := t.Clock.Now()
	switch {
	case p.Done != nil:
		tell(t, *p.Done)
		return outcome{message: *p.Done}, nil
	case p.Refused != "":
		return outcome{message: result(t, p, began, tool.Refusal(p.Refused, "Not run"))}, nil
	case p.Answered != "":
		return outcome{message: result(t, p, began, tool.Text(p.Answered, "Answered by a person"))}, nil
	}
	lease := leaseOf(t)
	failpoint.Reach(failpoint.BeforeJournal, p.Call.Name)
	if p.Journal {
		if err := c.o.Ledger.SendCall(ctx, t.Scope, lease, t.Line, p.Call, p.Round); err != nil {
			return outcome{}, fmt.Errorf("noting that %s is called: %w", p.Call.Name, err)
		}
	}
	cfg := t.Assistant.Config.Defaults()
	limits := tool.Limits{Allowed: allowed(t), Timeout: time.Duration(cfg.ToolTimeoutSeconds) * time.Second}
	got, err := c.o.Call.Call(ctx, limits, tool.Invocation{
		Scope: t.Scope, UserName: t.UserName, AssistantID: string(t.Assistant.ID), GraphID: t.Assistant.Graph, TaskID: t.ID,
		StartedAt: t.StartedAt, ThreadID: string(t.Thread), RunID: string(t.Run), Node: t.Node,
		Step: t.Step, Attempt: t.Attempt, CallID: p.Call.ID, IdempotencyKey: idempotencyKey(t, p.Call), Clock: t.Clock,
	}, p.Call.Name, p.Call.Args)
	failpoint.Reach(failpoint.AfterTool, p.Call.Name)
	if err != nil {
		return outcome{}, err
	}
	var m *agents.Message
	if !got.Unknown {
		made := message(t, p, began, got)
		m = &made
	}
	if p.Journal {
		if err := c.confirm(ctx, t, lease, p, m); err != nil {
			return outcome{}, err
		}
	}
	if m == nil {
		return outcome{unknown: true}, nil
	}
	tell(t, *m)
	return outcome{message: *m}, nil
}

// idempotencyKey is the same for every attempt at a call on its line.
func idempotencyKey(t *graph.Task, call agents.ToolCall) string {
	return string(t.Line) + ":" + call.ID
}

// confirm writes down what was done even when the run has just been stopped.
func (c chat) confirm(ctx context.Context, t *graph.Task, lease agents.Lease, p review.Planned, m *agents.Message) error {
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), confirmLimit)
	defer cancel()
	if err := c.o.Ledger.ConfirmCall(keep, t.Scope, lease, t.Line, p.Call.ID, p.Round, m); err != nil {
		return fmt.Errorf("writing down what %s gave: %w", p.Call.Name, err)
	}
	return nil
}

// result makes and tells a result that no tool gave.
func result(t *graph.Task, p review.Planned, began time.Time, r tool.Result) agents.Message {
	m := message(t, p, began, r)
	tell(t, m)
	return m
}

// message is a call's result as the thread keeps it. Its id follows from the
// call, so that an attempt that runs it again says nothing new.
func message(t *graph.Task, p review.Planned, began time.Time, r tool.Result) agents.Message {
	now := t.Clock.Now()
	m := agents.Message{
		ID: agents.MessageID(id.Named(id.GraphNamespace, idempotencyKey(t, p.Call))), Role: agents.RoleTool, Name: p.Call.Name,
		ToolCallID: p.Call.ID, Text: r.Content, Summary: r.Title, Data: r.Data, Run: t.Run,
		DurationMS: now.Sub(began).Milliseconds(), CreatedAt: now,
	}
	if r.Failed {
		m.Status = agents.MessageFailed
	}
	return m
}

// tell tells watchers of a result.
func tell(t *graph.Task, m agents.Message) {
	t.Emit(event.ToolCallResult, event.ToolResultData{
		MessageID: string(m.ID), ToolCallID: m.ToolCallID, Name: m.Name, Content: m.Text, Role: string(agents.RoleTool),
		Summary: m.Summary, Failed: m.Status == agents.MessageFailed, Data: m.Data, DurationMS: m.DurationMS,
	})
}

var errNoLedger = errors.New("the chat graph needs a ledger of decisions")
