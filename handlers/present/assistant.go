package present

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/diff"
)

// AssistantFields sets out everything a version of an assistant holds and that
// has an effect, in the order of its form.
func AssistantFields(a agents.Assistant) []admin.FieldText {
	c := a.Config.Defaults()
	on := map[bool]string{true: "on", false: "off"}
	calls := "any number"
	if c.MaxToolCalls > 0 {
		calls = fmt.Sprintf("%d in a run", c.MaxToolCalls)
	}
	return []admin.FieldText{
		{Label: "Name", Text: a.Name}, {Label: "Description", Text: a.Description}, {Label: "Graph", Text: a.Graph},
		{Label: "Model", Text: c.Model}, {Label: "Temperature", Text: strconv.FormatFloat(*c.Temperature, 'g', -1, 64)},
		{Label: "Longest answer", Text: fmt.Sprintf("%d tokens", c.MaxTokens)},
		{Label: "Longest run", Text: fmt.Sprintf("%d steps", c.RecursionLimit)},
		{Label: "Questions to the model", Text: fmt.Sprintf("%d in a run", c.MaxModelCalls)},
		{Label: "After the last question", Text: OnLimit(c.OnLimit)},
		{Label: "A message while it works", Text: Strategy(c.MultitaskStrategy)},
		{Label: "Graph settings", Text: paramLines(c.Params)}, {Label: "Context of runs", Text: paramLines(a.Context)},
		{Label: "Prompt", Text: c.Prompt}, {Label: "Role", Text: c.Role}, {Label: "Personality", Text: c.Personality},
		{Label: "Response style", Text: c.ResponseStyle},
		{Label: "Use of tools", Text: on[*c.EnableTools]}, {Label: "Tools", Text: strings.Join(c.Tools, "\n")},
		{Label: "Longest tool call", Text: fmt.Sprintf("%d seconds", c.ToolTimeoutSeconds)},
		{Label: "Tool calls", Text: calls},
		{Label: "Policies", Text: policyLines(c.Policies)},
		{Label: "Memory", Text: on[*c.EnableMemory]}, {Label: "Starters", Text: strings.Join(c.Starters, "\n")},
	}
}

// OnLimit says what happens when a run may ask its model no more.
func OnLimit(word string) string {
	if word == agents.OnLimitError {
		return "fail the run"
	}
	return "say so and end the answer"
}

// Strategy says what a message does to a thread that is busy.
func Strategy(s agents.Strategy) string {
	switch s {
	case agents.StrategyEnqueue:
		return "waits its turn"
	case agents.StrategyReject:
		return "is refused"
	case agents.StrategyInterrupt:
		return "stops the work, which stays"
	case agents.StrategyRollback:
		return "takes the work back"
	default:
		return "as the server is set"
	}
}

// AssistantDiff tells two versions apart, field by field; fields that are the
// same are left out.
func AssistantDiff(before, after agents.Assistant) []admin.FieldDiff {
	var out []admin.FieldDiff
	was := AssistantFields(before)
	for i, is := range AssistantFields(after) {
		if parts := diff.Words(was[i].Text, is.Text); diff.Changed(parts) {
			out = append(out, admin.FieldDiff{Label: is.Label, Parts: parts})
		}
	}
	return out
}

func paramLines(params map[string]json.RawMessage) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		out = append(out, name+": "+string(params[name]))
	}
	return strings.Join(out, "\n")
}

func policyLines(policies []agents.ToolPolicy) string {
	out := make([]string, len(policies))
	for i, p := range policies {
		out[i] = p.Tool + ": " + PolicyWords(p)
	}
	return strings.Join(out, "\n")
}

// PolicyWords says a policy in one line, such as "reviewed when amount is
// greater than 100; for admin, owner; due in 30 min".
func PolicyWords(p agents.ToolPolicy) string {
	var parts []string
	switch p.Review {
	case agents.ReviewAlways:
		parts = append(parts, "always reviewed")
	case agents.ReviewWhen:
		conditions := make([]string, len(p.When))
		for i, w := range p.When {
			conditions[i] = w.String()
		}
		parts = append(parts, "reviewed when "+strings.Join(conditions, " and "))
	default:
		parts = append(parts, "never reviewed")
	}
	if len(p.Roles) > 0 {
		parts = append(parts, "for "+listed(p.Roles))
	}
	if len(p.Decisions) > 0 {
		parts = append(parts, "decisions "+listed(p.Decisions))
	}
	if p.DueMinutes > 0 {
		parts = append(parts, fmt.Sprintf("due in %d min", p.DueMinutes))
	}
	return strings.Join(parts, "; ")
}

func listed[T ~string](words []T) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return strings.Join(out, ", ")
}
