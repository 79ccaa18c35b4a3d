package present

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/views/review"
	"github.com/heddle/heddle/views/ui"
)

// Requests presents rows of an organisation's requests.
type Requests struct {
	Names      map[auth.UserID]string
	Assistants map[agents.AssistantID]string
	Viewer     auth.UserID
	Now        time.Time
	// Query keeps the queue's filter in the addresses.
	Query string
}

// Row presents one request in a list.
func (p Requests) Row(r agents.Review) review.Row {
	row := review.Row{
		ID: string(r.ID), Href: "/reviews/" + string(r.ID) + p.Query, Tool: r.Tool, Subject: Subject(r.Args),
		Asker: Member(p.Names, r.Requester), Assistant: p.Assistants[r.Assistant], Asked: Time(r.CreatedAt, p.Now),
	}
	if r.Status != agents.ReviewOpen {
		row.Outcome, row.Tone = Verdict(r.Status, p.Names[r.DecidedBy], r.Text), Tone(r.Status)
		row.Decided = Time(r.DecidedAt, p.Now)
		return row
	}
	row.Due = Until(r.DueAt, p.Now)
	if r.ClaimedBy != "" && p.Now.Before(r.ClaimedUntil) {
		if row.Mine = r.ClaimedBy == p.Viewer; row.Mine {
			row.Holder = "you hold it"
		} else {
			row.Holder = Member(p.Names, r.ClaimedBy) + " holds it"
		}
	}
	return row
}

// Tone is the colour that goes with how a request ended.
func Tone(s agents.ReviewStatus) ui.Tone {
	switch s {
	case agents.ReviewOpen:
		return ui.Wait
	case agents.ReviewApproved, agents.ReviewEdited, agents.ReviewAnswered:
		return ui.Good
	case agents.ReviewRejected:
		return ui.Bad
	default:
		return ui.Neutral
	}
}

// subjectRunes bounds the line by which a call is told from others.
const subjectRunes = 90

// Subject is the argument by which people tell a call from others of its tool:
// the one with a telling name, else the first text, else all of them.
func Subject(args json.RawMessage) string {
	var m map[string]any
	if json.Unmarshal(args, &m) == nil {
		for _, name := range []string{"subject", "title", "name", "query", "url", "path", "to", "action"} {
			if text, ok := m[name].(string); ok && strings.TrimSpace(text) != "" {
				return short(text)
			}
		}
	}
	return short(string(args))
}

func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > subjectRunes {
		return string(r[:subjectRunes-1]) + "…"
	}
	return text
}

// Effect says a tool's class in a word, with its colour.
func Effect(e tool.Effect) (string, ui.Tone) {
	switch e {
	case tool.EffectRead:
		return "Only reads", ui.Neutral
	case tool.EffectWrite:
		return "Changes data", ui.Info
	case tool.EffectOutbound:
		return "Reaches outside", ui.Wait
	case tool.EffectDestructive:
		return "Cannot be taken back", ui.Bad
	default:
		return "Unknown effect", ui.Bad
	}
}

// consequence says what a call will do, and whether that can be undone; a tool
// that is not on this server any more said neither.
func consequence(spec tool.Spec) (what, undo string) {
	what, undo = spec.Consequence, spec.Undo
	if what == "" {
		what = "What this call does is not known on this server."
		if spec.Effect == tool.EffectRead {
			what = "It looks something up and changes nothing."
		}
	}
	switch {
	case undo != "":
	case spec.Effect == tool.EffectRead:
		undo = "There is nothing to undo."
	default:
		undo = "Cannot be undone."
	}
	return what, undo
}

// Call fills in what is known of a request's tool. A tool that this server does
// not have any more is shown by its name and the class it had.
func Call(out *review.Request, spec tool.Spec, r agents.Review) {
	spec.Effect = tool.Effect(r.Effect)
	out.Title, out.About = spec.Title, spec.Description
	if out.Title == "" {
		out.Title = r.Tool
	}
	out.Effect, out.EffectTone = Effect(spec.Effect)
	out.What, out.Undo = consequence(spec)
}

// Clock presents a moment of this day by its time.
func Clock(t time.Time) ui.Time {
	t = t.UTC()
	return ui.Time{ISO: t.Format(time.RFC3339), Text: t.Format("15:04 UTC"), Title: t.Format("2 January 2006, 15:04 UTC")}
}
