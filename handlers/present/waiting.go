package present

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/ui"
)

// underReview reports whether a call waits for a reviewer.
func underReview(t *transcript.Transcript) bool {
	for _, e := range t.Entries {
		for _, c := range e.Calls {
			if c.State == transcript.CallWaiting {
				return true
			}
		}
	}
	return false
}

// Questions presents what a thread's assistant asks whoever may write.
func Questions(t *transcript.Transcript) []chat.Question {
	var out []chat.Question
	for _, q := range t.Questions {
		out = append(out, question(q))
	}
	return out
}

// ActionRequests are the calls that a question's payload asks about, in the
// words of LangGraph's clients; nil for any other payload.
func ActionRequests(value json.RawMessage) []chat.Action {
	var v struct {
		Requests []struct {
			Name        string          `json:"name"`
			Args        json.RawMessage `json:"args"`
			Description string          `json:"description"`
		} `json:"action_requests"`
	}
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	var out []chat.Action
	for _, r := range v.Requests {
		out = append(out, chat.Action{Name: r.Name, Text: r.Description, Args: setOut(string(r.Args))})
	}
	return out
}

func question(q transcript.Question) chat.Question {
	if b, ok := agents.BreakpointOf(q.Value); ok {
		return chat.Question{ID: q.ID, Break: "The run waits " + b.Where + " the node " + b.Node + "."}
	}
	out := chat.Question{ID: q.ID, Actions: ActionRequests(q.Value)}
	if len(out.Actions) == 0 && json.Unmarshal(q.Value, &out.Text) != nil {
		out.Text, out.JSON = "", setOut(string(q.Value))
	}
	return out
}

// review presents the newest request for a decision on a call.
func (p Thread) review(r *transcript.Review) chat.StepReview {
	if r == nil {
		return chat.StepReview{}
	}
	return chat.StepReview{
		ID: string(r.ID), Open: r.Status == agents.ReviewOpen, Text: Verdict(r.Status, p.Names[r.By], r.Text), Due: Until(r.DueAt, p.Now())}
}

// Verdict says in one line who decided what; by is empty if nobody did.
func Verdict(status agents.ReviewStatus, by, text string) string {
	if by == "" {
		by = "a member"
	}
	switch status {
	case agents.ReviewOpen:
		return "A reviewer decides about this call."
	case agents.ReviewApproved:
		return "Approved by " + by
	case agents.ReviewEdited:
		return "Approved with changes by " + by
	case agents.ReviewRejected:
		if text != "" {
			return "Rejected by " + by + ": " + text
		}
		return "Rejected by " + by
	case agents.ReviewAnswered:
		return "Answered by " + by + " in place of the tool"
	case agents.ReviewWithdrawn:
		return "Withdrawn by " + by
	case agents.ReviewExpired:
		return "Nobody decided in time"
	default:
		return "The call changed, so this request is void"
	}
}

// Member is what a person is called.
func Member(names map[auth.UserID]string, id auth.UserID) string {
	if name := names[id]; name != "" {
		return name
	}
	return "a former member"
}

// The times at which a request is shown as soon due.
const soon = 15 * time.Minute

// Until presents the moment by which something is due; the page's script keeps
// its words true, and the state they go with.
func Until(t, now time.Time) ui.Time {
	t = t.UTC()
	left := t.Sub(now)
	out := ui.Time{ISO: t.Format(time.RFC3339), Title: t.Format("2 January 2006, 15:04 UTC"), Until: true}
	switch {
	case left <= 0:
		out.Text, out.State = "due now", "late"
	case left < time.Minute:
		out.Text, out.State = "due in less than a minute", "soon"
	default:
		out.Text = "due in " + span(left)
		if left < soon {
			out.State = "soon"
		}
	}
	return out
}

// span is a length of time in its largest unit, rounded down.
func span(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
