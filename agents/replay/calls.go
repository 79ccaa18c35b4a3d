package replay

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

// recordedTools gives again what tools gave, by the id of the call.
type recordedTools struct {
	results map[string]tool.Result
	strange *strange
}

func resultsOf(events []event.Envelope) (map[string]tool.Result, error) {
	out := map[string]tool.Result{}
	for _, e := range events {
		if e.Type != event.ToolCallResult || e.Node == "" {
			continue
		}
		var d event.ToolResultData
		if err := e.Decode(&d); err != nil {
			return nil, err
		}
		out[d.ToolCallID] = tool.Result{Content: d.Content, Title: d.Summary, Data: d.Data, Failed: d.Failed}
	}
	return out, nil
}

// registry makes a tool of each recorded spec. What a call gave is all that is
// known of it: whether a tool would have refused its arguments beyond its schema
// is part of that.
func (t recordedTools) registry(specs []Tool) (*tool.Registry, error) {
	all := make([]tool.Tool, len(specs))
	for i, s := range specs {
		made, err := tool.FromSpec(s.spec(), func(_ context.Context, inv tool.Invocation, args json.RawMessage) (tool.Result, error) {
			if r, ok := t.results[inv.CallID]; ok {
				return r, nil
			}
			return tool.Result{}, t.strange.note("%s is called with %s, and the recording has no such call", s.Name, args)
		})
		if err != nil {
			return nil, err
		}
		all[i] = made
	}
	return tool.NewRegistry(all...)
}

// ledger knows what people decided about calls, from the moment on at which they
// had.
type ledger struct {
	mu       sync.Mutex
	reviews  map[string]agents.Review
	journals map[string]agents.Journal
}

// decisions are all of a log, each with its place there.
type decisions []decision

type decision struct {
	seq    int64
	review agents.Review
}

func decisionsOf(events []event.Envelope) (decisions, error) {
	var out decisions
	args := map[string]string{}
	for _, e := range events {
		if e.Type == event.ToolCallArgs {
			var d event.ToolArgsData
			if err := e.Decode(&d); err != nil {
				return nil, err
			}
			args[d.ToolCallID] += d.Delta
		}
		name, value := e.CustomName()
		var d event.DecidedValue
		if name != event.ReviewDecided || json.Unmarshal(value, &d) != nil {
			continue
		}
		shown := json.RawMessage(args[d.ToolCallID])
		if compact, err := json.Marshal(shown); err == nil {
			shown = compact // the bytes that are stored, and that the decision is about
		}
		out = append(out, decision{e.Seq, agents.Review{ID: agents.ReviewID(d.ReviewID), CallID: d.ToolCallID,
			Status: agents.ReviewStatus(d.Status), Args: shown, FinalArgs: d.Args, Text: d.Text}})
	}
	return out, nil
}

// until puts what was decided before a place in the log into the ledger.
func (l *ledger) until(all decisions, seq int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range all {
		if d.seq < seq {
			l.reviews[d.review.CallID] = d.review
		}
	}
}

// CallRecords implements [review.Ledger].
func (l *ledger) CallRecords(_ context.Context, _ auth.Scope, _ agents.LineID, calls []string) (map[string]agents.CallRecord, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]agents.CallRecord{}
	for _, id := range calls {
		var rec agents.CallRecord
		if r, ok := l.reviews[id]; ok {
			rec.Review = &r
		}
		if j, ok := l.journals[id]; ok {
			rec.Journal = &j
		}
		out[id] = rec
	}
	return out, nil
}

// ReserveCalls implements [review.Ledger].
func (l *ledger) ReserveCalls(_ context.Context, _ auth.Scope, _ agents.Lease, _ agents.LineID, calls []agents.Reservation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range calls {
		l.journals[c.Call.ID] = agents.Journal{CallID: c.Call.ID, Round: c.Round, Status: agents.JournalReserved}
	}
	return nil
}

// SendCall implements [review.Ledger].
func (l *ledger) SendCall(_ context.Context, _ auth.Scope, _ agents.Lease, _ agents.LineID, call agents.ToolCall, round int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.journals[call.ID] = agents.Journal{CallID: call.ID, Round: round, Status: agents.JournalSent}
	return nil
}

// ConfirmCall implements [review.Ledger].
func (l *ledger) ConfirmCall(_ context.Context, _ auth.Scope, _ agents.Lease, _ agents.LineID, call string, round int, result *agents.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := agents.Journal{CallID: call, Round: round, Status: agents.JournalUnknown}
	if result != nil {
		j.Status, j.Result = agents.JournalConfirmed, result
	}
	l.journals[call] = j
	return nil
}
