package review

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

// Ledger remembers, for each call of a line, what people decided and whether
// it was handed to its tool. A fork is another line: there, nothing is decided.
type Ledger interface {
	// CallRecords gives what is known of calls; absent ids are unknown calls.
	CallRecords(ctx context.Context, scope auth.Scope, line agents.LineID, calls []string) (map[string]agents.CallRecord, error)
	// ReserveCalls notes that the calls of a step may run, before any of them is
	// handed to its tool. It is fenced: agents.ErrFenced means another attempt owns
	// the thread, or has seen to one of the calls.
	ReserveCalls(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, calls []agents.Reservation) error
	// SendCall notes that a reserved call is being handed to its tool; it is fenced too.
	SendCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call agents.ToolCall, round int) error
	// ConfirmCall keeps what came of a call that was sent: its result, or, with
	// nil, that nobody knows.
	ConfirmCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call string, round int, result *agents.Message) error
}

// Blank is a ledger that knows nothing and keeps nothing, for trials whose
// tools do nothing.
type Blank struct{}

// CallRecords implements [Ledger].
func (Blank) CallRecords(context.Context, auth.Scope, agents.LineID, []string) (map[string]agents.CallRecord, error) {
	return nil, nil
}

// ReserveCalls implements [Ledger].
func (Blank) ReserveCalls(context.Context, auth.Scope, agents.Lease, agents.LineID, []agents.Reservation) error {
	return nil
}

// SendCall implements [Ledger].
func (Blank) SendCall(context.Context, auth.Scope, agents.Lease, agents.LineID, agents.ToolCall, int) error {
	return nil
}

// ConfirmCall implements [Ledger].
func (Blank) ConfirmCall(context.Context, auth.Scope, agents.Lease, agents.LineID, string, int, *agents.Message) error {
	return nil
}

// Planned is what is to happen with one call once all of its step are decided.
type Planned struct {
	// Call has the arguments that run: the reviewer's, if edited.
	Call agents.ToolCall
	// Edited says that they differ from what the model wrote.
	Edited bool
	// Done is a result that is there already; nothing runs.
	Done *agents.Message
	// Refused or Answered is a result that a person or policy gave instead of
	// the tool; nothing runs.
	Refused, Answered string
	// Journal says that the call has an effect and goes through the journal.
	Journal bool
	Round   int
}

// Runs reports whether the call goes to its tool.
func (p Planned) Runs() bool { return p.Done == nil && p.Refused == "" && p.Answered == "" }

// Plan is a step's calls in their order, or what has to be asked first.
type Plan struct {
	Calls []Planned
	// Ask are the requests that people must decide before anything runs, and
	// Actions the same for clients.
	Ask     []agents.Review
	Actions []Action
}

// Asker says for whom and where a step asks.
type Asker struct {
	Scope     auth.Scope
	Thread    agents.ThreadID
	Line      agents.LineID
	Run       agents.RunID
	Assistant agents.Assistant
	Now       time.Time
	NewID     func() string
}

// Make decides about every call of a step before any of them runs, in the order
// permission, arguments, person: what is not allowed or does not fit never
// bothers a reviewer, and the dispatcher refuses it.
func Make(ctx context.Context, ledger Ledger, tools *tool.Registry, allowed []string, a Asker, calls []agents.ToolCall) (Plan, error) {
	verdicts := make([]Verdict, len(calls))
	specs := make([]tool.Spec, len(calls))
	var ids []string
	for i, call := range calls {
		t, known := tools.Get(call.Name)
		if !known || !slices.Contains(allowed, call.Name) || t.Check(call.Args) != nil {
			continue
		}
		specs[i] = t.Spec()
		verdicts[i] = Judge(specs[i], a.Assistant.Config.Policies, a.Scope.Role, call.Args)
		if verdicts[i].Needed || specs[i].Effect != tool.EffectRead {
			ids = append(ids, call.ID)
		}
	}
	var records map[string]agents.CallRecord
	if len(ids) > 0 {
		var err error
		if records, err = ledger.CallRecords(ctx, a.Scope, a.Line, ids); err != nil {
			return Plan{}, fmt.Errorf("reading what was decided: %w", err)
		}
	}
	var plan Plan
	for i, call := range calls {
		p := Planned{Call: call}
		if slices.Contains(ids, call.ID) {
			p = a.plan(&plan, specs[i], verdicts[i], call, records[call.ID])
		}
		plan.Calls = append(plan.Calls, p)
	}
	return plan, nil
}

// plan decides about one call with an effect or a policy.
func (a Asker) plan(plan *Plan, spec tool.Spec, v Verdict, call agents.ToolCall, rec agents.CallRecord) Planned {
	p := Planned{Call: call, Journal: spec.Effect != tool.EffectRead || v.Needed}
	j, r := rec.Journal, rec.Review
	switch {
	case j != nil && j.Status == agents.JournalConfirmed:
		p.Done = j.Result
		return p
	case j != nil && (j.Status == agents.JournalReserved || spec.Idempotent || spec.Effect == tool.EffectRead):
		p.Round = j.Round // it never reached its tool, or may reach it again
	case j != nil:
		// It was handed to its tool and nobody knows what came of it.
		p.Round = j.Round + 1
		v.Needed, v.Rule, v.Due = true, "unknown outcome", DefaultDue
		v.Allowed = []agents.DecisionKind{agents.Approve, agents.Respond, agents.Reject}
		v.Reason = "The server was cut off while this call ran, and nobody knows whether it took effect. Find out, then approve to run it again, answer with what happened, or reject to leave it."
	}
	if !v.Needed {
		return p
	}
	if r == nil || r.Round != p.Round || r.Status == agents.ReviewVoid || r.Status == agents.ReviewOpen || !covers(r, call.Args) {
		a.ask(plan, spec, v, call, r, p.Round)
		return p
	}
	switch r.Status {
	case agents.ReviewApproved:
	case agents.ReviewEdited:
		p.Edited = !bytes.Equal(stored(call.Args), r.FinalArgs)
		p.Call.Args = r.FinalArgs
	case agents.ReviewAnswered:
		p.Answered = r.Text
	case agents.ReviewRejected:
		p.Refused = "A reviewer rejected this call"
		if r.Text != "" {
			p.Refused += ": " + r.Text
		} else {
			p.Refused += " and gave no reason."
		}
	case agents.ReviewExpired:
		p.Refused = "Nobody decided about this call in time, so it was denied."
	default:
		p.Refused = "The person who asked withdrew this call."
	}
	return p
}

// covers reports whether a decision is about exactly these bytes: what was
// shown, or what the reviewer made of it.
func covers(r *agents.Review, args json.RawMessage) bool {
	args = stored(args)
	return bytes.Equal(r.Args, args) || r.Status == agents.ReviewEdited && bytes.Equal(r.FinalArgs, args)
}

// stored gives arguments the bytes that they have once stored: a call that was
// not stored yet has those of its model.
func stored(args json.RawMessage) json.RawMessage {
	out, err := json.Marshal(args)
	if err != nil {
		return args // not JSON: no request is ever made of it
	}
	return out
}

// ask adds a request; one that is open already keeps its id.
func (a Asker) ask(plan *Plan, spec tool.Spec, v Verdict, call agents.ToolCall, old *agents.Review, round int) {
	r := agents.Review{
		ID: agents.ReviewID(a.NewID()), Org: a.Scope.Org, Thread: a.Thread, Line: a.Line, Run: a.Run, CallID: call.ID, Round: round,
		Requester: a.Scope.User, Assistant: a.Assistant.ID, AssistantVersion: a.Assistant.Version, Tool: call.Name, Args: stored(call.Args),
		Allowed: v.Allowed, Reason: v.Reason, Rule: v.Rule, Effect: string(spec.Effect), Status: agents.ReviewOpen,
		CreatedAt: a.Now, DueAt: a.Now.Add(v.Due),
	}
	if old != nil && old.Status == agents.ReviewOpen && old.Round == round && covers(old, call.Args) {
		r.ID, r.CreatedAt, r.DueAt = old.ID, old.CreatedAt, old.DueAt
	}
	plan.Ask = append(plan.Ask, r)
	plan.Actions = append(plan.Actions, Action{
		Name: call.Name, Args: call.Args, Allowed: v.Allowed, Schema: spec.Schema, Description: v.Reason})
}
