// Package review holds the rules by which tool calls wait for people: which
// calls, for what reason, what a reviewer may say, and in which words clients
// show and answer it. It performs no I/O and knows no storage: graphs ask a
// [Ledger], agents/run takes decisions.
//
// Invariants: a policy that can't be judged means a person decides; a decision
// counts only for the bytes that were shown; nothing with an effect runs before
// every call of a step is decided.
//
// agents/prebuilt, agents/run and handlers import it; it imports the domain and
// agents/tool.
package review

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

// DefaultDue is how long a request stays open; nobody's decision by then means no.
const DefaultDue = agents.DefaultDueMinutes * time.Minute

// Verdict is what policy says about one call.
type Verdict struct {
	// Needed calls wait for a person.
	Needed bool
	// Rule names the policy, Reason says it to people.
	Rule, Reason string
	Allowed      []agents.DecisionKind
	Due          time.Duration
}

// Judge applies an assistant's policy to a call of one tool for a person of some
// role; without a policy the tool's own review counts. Whether the person may
// use the tool at all is asked before, see [agents.AssistantConfig.Usable].
func Judge(spec tool.Spec, policies []agents.ToolPolicy, role auth.Role, args json.RawMessage) Verdict {
	at := slices.IndexFunc(policies, func(p agents.ToolPolicy) bool { return p.Tool == spec.Name })
	if at < 0 {
		return own(spec)
	}
	return apply(spec, policies[at], role, args)
}

// own is the policy a tool brings along.
func own(spec tool.Spec) Verdict {
	if spec.Review == tool.ReviewNever {
		return Verdict{}
	}
	return Verdict{
		Needed: true, Rule: "default", Reason: kinds(spec.Effect) + " wait for a reviewer unless the assistant's policy says otherwise.",
		Allowed: agents.Decisions(), Due: DefaultDue,
	}
}

func kinds(e tool.Effect) string {
	switch e {
	case tool.EffectOutbound:
		return "Calls that reach outside"
	case tool.EffectDestructive:
		return "Calls that can't be taken back"
	case tool.EffectWrite:
		return "Calls that change something"
	default:
		return "Calls of this tool"
	}
}

func apply(spec tool.Spec, p agents.ToolPolicy, role auth.Role, args json.RawMessage) Verdict {
	v := Verdict{Rule: p.Tool + ": " + p.Review, Due: DefaultDue, Allowed: allowed(p.Decisions)}
	if p.DueMinutes > 0 {
		v.Due = time.Duration(p.DueMinutes) * time.Minute
	}
	if slices.Contains(p.ExemptRoles, role) {
		return Verdict{Rule: v.Rule + ", not for " + string(role)}
	}
	switch p.Review {
	case agents.ReviewNever:
	case agents.ReviewAlways:
		v.Needed, v.Reason = true, "This assistant's policy wants a reviewer for every call of "+spec.Title+"."
	case agents.ReviewWhen:
		holds, why, err := all(p.When, args)
		if err != nil {
			v.Needed, v.Reason = true, "The policy's condition could not be judged, so a person decides."
		} else if holds {
			v.Needed, v.Reason = true, fmt.Sprintf("This assistant's policy wants a reviewer when %s.", why)
		}
	default:
		v.Needed, v.Reason = true, "The policy's word "+p.Review+" is unknown, so a person decides."
	}
	return v
}

func allowed(some []agents.DecisionKind) []agents.DecisionKind {
	if len(some) == 0 {
		return agents.Decisions()
	}
	return slices.DeleteFunc(agents.Decisions(), func(k agents.DecisionKind) bool { return !slices.Contains(some, k) })
}
