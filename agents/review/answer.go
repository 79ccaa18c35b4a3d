package review

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

// answered is one decision in any of the clients' forms.
type answered struct {
	Type         string          `json:"type"`
	Message      string          `json:"message"`
	EditedAction *edited         `json:"edited_action"`
	Args         json.RawMessage `json:"args"`
}

type edited struct {
	Name   string          `json:"name"`
	Action string          `json:"action"`
	Args   json.RawMessage `json:"args"`
}

// ParseAnswer reads a client's resume value as decisions on requests, one each
// and in their order. It takes {"decisions": […]} with approve, edit, reject and
// respond (agent-chat-ui), a list with accept, edit, response and ignore
// (agent-inbox), and a single decision of either. The fault names the place.
func ParseAnswer(raw json.RawMessage, requests []agents.Review) ([]agents.Decision, error) {
	list, err := decisions(raw)
	if err != nil {
		return nil, err
	}
	if len(list) != len(requests) {
		return nil, fault.Invalid("command.resume", fmt.Sprintf("must hold %d decisions, one for each request in their order; it holds %d", len(requests), len(list)))
	}
	out := make([]agents.Decision, len(list))
	for i, a := range list {
		if out[i], err = a.decision(fmt.Sprintf("command.resume[%d]", i), requests[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func decisions(raw json.RawMessage) ([]answered, error) {
	wrong := fault.Invalid("command.resume", `must be {"decisions": […]} or a list of decisions: this interrupt is a review`)
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, wrong
	}
	if raw[0] == '[' {
		var list []answered
		if json.Unmarshal(raw, &list) != nil {
			return nil, wrong
		}
		return list, nil
	}
	var object struct {
		Decisions []answered `json:"decisions"`
		answered
	}
	if json.Unmarshal(raw, &object) != nil || raw[0] != '{' {
		return nil, wrong
	}
	if object.Decisions != nil {
		return object.Decisions, nil
	}
	if object.Type == "" {
		return nil, wrong
	}
	return []answered{object.answered}, nil
}

func (a answered) decision(field string, r agents.Review) (agents.Decision, error) {
	d := agents.Decision{Review: r.ID, Text: a.Message}
	switch a.Type {
	case "approve", "accept":
		d.Kind = agents.Approve
	case "edit":
		d.Kind = agents.Edit
		e := a.EditedAction
		if e == nil {
			e = &edited{}
			if json.Unmarshal(a.Args, e) != nil {
				return d, fault.Invalid(field+".args", "must be an object with action and args")
			}
		}
		name := e.Name
		if name == "" {
			name = e.Action
		}
		if name != "" && name != r.Tool {
			return d, fault.Invalid(field+".edited_action.name", "must stay "+r.Tool+": an edit changes arguments, not the tool")
		}
		if len(e.Args) == 0 {
			return d, fault.Invalid(field+".edited_action.args", "are required")
		}
		d.Args = e.Args
	case "reject", "ignore":
		d.Kind = agents.Reject
		if d.Text == "" {
			d.Text = text(a.Args)
		}
	case "respond", "response":
		d.Kind = agents.Respond
		if d.Text == "" {
			d.Text = text(a.Args)
		}
	default:
		return d, fault.Invalid(field+".type", "must be approve, edit, reject or respond (or accept, edit, response, ignore)")
	}
	return d, Check(field, r, d)
}

// text reads a text argument; anything else is taken as its JSON.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// Check judges a decision by what the request allows and what it must bring;
// edited arguments are checked against the tool's schema elsewhere.
func Check(field string, r agents.Review, d agents.Decision) error {
	if d.Kind != agents.Withdraw && !r.Allows(d.Kind) {
		return fault.Invalid(field, "must be one of the decisions that the policy allows here")
	}
	if !utf8.ValidString(d.Text) || utf8.RuneCountInString(d.Text) > agents.MaxReasonRunes {
		return fault.Invalid(field, fmt.Sprintf("must be text of at most %d characters", agents.MaxReasonRunes))
	}
	if d.Kind == agents.Respond && len(bytes.TrimSpace([]byte(d.Text))) == 0 {
		return fault.Invalid(field, "must not be empty: it stands in place of the tool's result")
	}
	return nil
}
