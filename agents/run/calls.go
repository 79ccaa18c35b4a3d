package run

import (
	"context"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// What the model reads of a call that nobody will answer any more (LG-15): no
// model takes a thread in which one is unanswered.
const (
	// cancelledResult is for a call that never reached its tool, or whose tool only
	// looks.
	cancelledResult = "Cancelled: the run was stopped before this tool finished."
	// unknownResult is for a call with an effect that was handed to its tool.
	unknownResult = "The run was stopped while this tool was running, and nobody knows whether it took effect. Find out before calling it again."
)

// Outcomes is where a call's end can be found.
type Outcomes interface {
	// Outcomes says what the journal has of calls on a line and the lines of its
	// subgraphs; those that were never reserved are absent. What a token up to the
	// given one sent without an answer becomes unknown for good; 0 changes nothing.
	Outcomes(ctx context.Context, scope auth.Scope, thread agents.ThreadID, line agents.LineID, token int64, calls []string) (map[string]agents.Journal, error)
}

// unanswered lists the calls of a thread that have no result.
func unanswered(messages []agents.Message) []agents.ToolCall {
	answered := map[string]bool{}
	for i := range messages {
		if m := &messages[i]; m.Role == agents.RoleTool {
			answered[m.ToolCallID] = true
		}
	}
	var out []agents.ToolCall
	for i := range messages {
		for _, c := range messages[i].ToolCalls {
			if !answered[c.ID] {
				out = append(out, c)
			}
		}
	}
	return out
}

// outcomesOf asks the journal about calls; no calls, no question.
func outcomesOf(ctx context.Context, from Outcomes, scope auth.Scope, thread agents.ThreadID, line agents.LineID, token int64, calls []agents.ToolCall) (map[string]agents.Journal, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	ids := make([]string, len(calls))
	for i, c := range calls {
		ids[i] = c.ID
	}
	return from.Outcomes(ctx, scope, thread, line, token, ids)
}

// closed makes the result of a call that nobody will answer: what its tool gave, if
// that is known.
func closed(call, name string, known map[string]agents.Journal, run agents.RunID, now time.Time) agents.Message {
	m := agents.Message{ID: agents.MessageID(id.New()), Role: agents.RoleTool, Name: name, ToolCallID: call, Text: cancelledResult,
		Summary: "Stopped", Status: agents.MessageFailed, Run: run, CreatedAt: now}
	switch j := known[call]; {
	case j.Status == agents.JournalConfirmed && j.Result != nil:
		return *j.Result
	case j.Status == agents.JournalSent || j.Status == agents.JournalUnknown:
		m.Text, m.Summary = unknownResult, "Outcome unknown"
	}
	return m
}

// resultOf tells watchers of a result that closed made.
func resultOf(m agents.Message) event.ToolResultData {
	return event.ToolResultData{MessageID: string(m.ID), ToolCallID: m.ToolCallID, Name: m.Name, Content: m.Text, Role: string(agents.RoleTool),
		Summary: m.Summary, Failed: m.Status == agents.MessageFailed, Data: m.Data, DurationMS: m.DurationMS}
}
