package handlers

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// assistantForm is what the form of an assistant says, as typed: whatever comes
// back with an error is exactly this.
type assistantForm struct {
	// text holds the fields with one value, many those with several.
	text map[string]string
	many map[string][]string
	// rows are the condition rows of each tool, spare ones included.
	rows map[string]int
}

// textFields are the fields with one value, with the setting each stands for.
var textFields = [...]string{"name", "description", "graph", "model", "model_name", "temperature", "max_tokens", "recursion_limit",
	"max_model_calls", "max_tool_calls", "on_limit", "multitask_strategy", "tool_timeout", "prompt", "assistant_role", "personality", "response_style", "enable_tools", "enable_memory", "params",
	"comment", "base", "try_message"}

// spareRows are how many empty condition rows a tool's form offers.
const spareRows = 3

// policyField names a field of a tool's policy.
func policyField(tool, field string) string { return "policy." + tool + "." + field }

func conditionField(tool string, row int, field string) string {
	return policyField(tool, "when."+strconv.Itoa(row)+"."+field)
}

// readAssistantForm reads a posted form; a field it does not have is refused.
func readAssistantForm(c *fiber.Ctx, specs []tool.Spec) (assistantForm, error) {
	form := assistantForm{text: map[string]string{}, many: map[string][]string{}, rows: map[string]int{}}
	var unknown string
	for k, v := range c.Request().PostArgs().All() {
		key, value := string(k), strings.ReplaceAll(string(v), "\r\n", "\n")
		switch {
		case key == "_csrf":
		case slices.Contains(textFields[:], key):
			form.text[key] = value
		case key == "tools", key == "starters":
			form.many[key] = append(form.many[key], value)
		case !form.readPolicy(specs, key, value):
			unknown = key
		}
	}
	if unknown != "" {
		return form, fault.Invalid(strings.ToValidUTF8(unknown[:min(len(unknown), 80)], "?"), "is not a field of this form")
	}
	return form, nil
}

func (f *assistantForm) readPolicy(specs []tool.Spec, key, value string) bool {
	for _, spec := range specs {
		field, ours := strings.CutPrefix(key, policyField(spec.Name, ""))
		if !ours {
			continue
		}
		switch parts := strings.Split(field, "."); {
		case field == "review", field == "due":
			f.text[key] = value
		case field == "roles", field == "exempt", field == "decisions":
			f.many[key] = append(f.many[key], value)
		case len(parts) == 3 && parts[0] == "when" && slices.Contains([]string{"path", "op", "value"}, parts[2]):
			row, err := strconv.Atoi(parts[1])
			if err != nil || row < 0 || row >= agents.MaxConditions+spareRows || strconv.Itoa(row) != parts[1] {
				return false
			}
			f.text[key] = value
			f.rows[spec.Name] = max(f.rows[spec.Name], row+1)
		default:
			return false
		}
		return true
	}
	return false
}

// usedRows counts a tool's condition rows up to the last in which something
// stands.
func (f assistantForm) usedRows(tool string) int {
	used := f.rows[tool]
	for used > 0 && f.text[conditionField(tool, used-1, "path")] == "" && f.text[conditionField(tool, used-1, "value")] == "" {
		used--
	}
	return used
}

// formOf fills the form from an assistant.
func formOf(a agents.Assistant, models []model.Entry, specs []tool.Spec) assistantForm {
	c := a.Config.Defaults()
	chosen, name := c.Model, ""
	for _, m := range models {
		if prefix, family := m.Prefix(); family && strings.HasPrefix(chosen, prefix) {
			chosen, name = m.ID, strings.TrimPrefix(chosen, prefix)
		}
	}
	f := assistantForm{text: map[string]string{
		"name": a.Name, "description": a.Description, "graph": a.Graph, "model": chosen, "model_name": name,
		"temperature": strconv.FormatFloat(*c.Temperature, 'g', -1, 64), "max_tokens": strconv.Itoa(c.MaxTokens),
		"recursion_limit": strconv.Itoa(c.RecursionLimit), "max_model_calls": strconv.Itoa(c.MaxModelCalls), "on_limit": c.OnLimit,
		"multitask_strategy": string(c.MultitaskStrategy),
		"tool_timeout":       strconv.Itoa(c.ToolTimeoutSeconds), "prompt": c.Prompt,
		"assistant_role": c.Role, "personality": c.Personality, "response_style": c.ResponseStyle,
		"enable_tools": onWord(*c.EnableTools), "enable_memory": onWord(*c.EnableMemory), "params": paramsText(c.Params),
		"base": strconv.Itoa(a.Version),
	}, many: map[string][]string{"tools": c.Tools, "starters": c.Starters}, rows: map[string]int{}}
	if c.MaxToolCalls > 0 {
		f.text["max_tool_calls"] = strconv.Itoa(c.MaxToolCalls)
	}
	for _, spec := range specs {
		p, ok := c.Policy(spec.Name)
		if !ok {
			p.Review = string(spec.Review)
		}
		f.text[policyField(spec.Name, "review")] = p.Review
		if p.DueMinutes > 0 {
			f.text[policyField(spec.Name, "due")] = strconv.Itoa(p.DueMinutes)
		}
		f.many[policyField(spec.Name, "roles")] = retyped[string](p.Roles)
		f.many[policyField(spec.Name, "exempt")] = retyped[string](p.ExemptRoles)
		f.many[policyField(spec.Name, "decisions")] = retyped[string](p.Decisions)
		for row, w := range p.When {
			f.text[conditionField(spec.Name, row, "path")] = w.Path
			f.text[conditionField(spec.Name, row, "op")] = w.Op
			f.text[conditionField(spec.Name, row, "value")] = conditionText(w)
		}
		f.rows[spec.Name] = len(p.When)
	}
	return f
}

// retyped gives the same words as another type.
func retyped[To, From ~string](words []From) []To {
	var out []To
	for _, w := range words {
		out = append(out, To(w))
	}
	return out
}

// onWord is the value of a ticked box; an empty one is not sent at all.
func onWord(on bool) string {
	if on {
		return "on"
	}
	return ""
}

func paramsText(params map[string]json.RawMessage) string {
	if len(params) == 0 {
		return ""
	}
	text, err := json.MarshalIndent(params, "", "  ")
	if err != nil {
		return "" // what was read from JSON renders as JSON
	}
	return string(text)
}

// base is the version the form was made from; 0 if it says none.
func (f assistantForm) base() int {
	n, err := strconv.Atoi(f.text["base"])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// assistant reads the form onto the version it was made from, of which what is
// on no form stays. check then says, by the names of the form's fields, what
// breaks a rule.
func (f assistantForm) assistant(from agents.Assistant, specs []tool.Spec, check func(agents.Assistant) error) (agents.Assistant, map[string]string) {
	broken := map[string]string{}
	a := from
	a.Name, a.Description = oneLine(f.text["name"]), strings.TrimSpace(f.text["description"])
	if a.Graph == "" {
		a.Graph = f.text["graph"]
	}
	c := &a.Config
	c.Model, c.Prompt = f.text["model"], f.text["prompt"]
	fields := map[string]string{} // of the form, by those of the domain
	if prefix, family := (model.Entry{ID: c.Model}).Prefix(); family {
		c.Model, fields["model"] = prefix+strings.TrimSpace(f.text["model_name"]), "model_name"
	}
	c.Role, c.Personality, c.ResponseStyle = oneLine(f.text["assistant_role"]), strings.TrimSpace(f.text["personality"]), strings.TrimSpace(f.text["response_style"])
	c.Temperature = f.decimal(broken, "temperature", "must be a number between 0 and 2")
	c.MaxTokens = f.whole(broken, "max_tokens", "must be a whole number between 100 and 10,000")
	c.RecursionLimit = f.whole(broken, "recursion_limit", "must be a whole number between 1 and 500")
	c.MaxModelCalls = f.whole(broken, "max_model_calls", "must be a whole number between 1 and 500")
	c.MaxToolCalls = f.whole(broken, "max_tool_calls", "must be a whole number between 1 and 1,000")
	c.OnLimit, c.MultitaskStrategy = f.text["on_limit"], agents.Strategy(f.text["multitask_strategy"])
	c.ToolTimeoutSeconds = f.whole(broken, "tool_timeout", "must be whole seconds between 1 and 600")
	on, memory := f.text["enable_tools"] != "", f.text["enable_memory"] != ""
	c.EnableTools, c.EnableMemory = &on, &memory
	c.Tools = slices.Clone(f.many["tools"])
	c.Starters = nil
	for _, s := range f.many["starters"] {
		if s = oneLine(s); s != "" {
			c.Starters = append(c.Starters, s)
		}
	}
	c.Params = nil
	if text := strings.TrimSpace(f.text["params"]); text != "" && json.Unmarshal([]byte(text), &c.Params) != nil {
		broken["params"] = "must be a JSON object"
	}
	c.Policies = nil
	for _, spec := range specs {
		f.policy(broken, fields, c, spec)
	}
	*c = c.Defaults()
	for field, rule := range fault.FieldsOf(check(a)) {
		if ours, ok := fields[field]; ok {
			field = ours
		}
		if broken[field] == "" {
			broken[field] = rule
		}
	}
	return a, broken
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (f assistantForm) decimal(broken map[string]string, field, rule string) *float64 {
	text := strings.TrimSpace(f.text[field])
	if text == "" {
		return nil
	}
	n, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64)
	if err != nil {
		broken[field] = rule
		return nil
	}
	return &n
}

// whole reads a whole number; an empty field leaves the default, and 0, which
// means that too in the domain, is refused when it is typed.
func (f assistantForm) whole(broken map[string]string, field, rule string) int {
	text := strings.TrimSpace(f.text[field])
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n == 0 {
		broken[field] = rule
	}
	return n
}

// policy reads a tool's policy; one that says no more than the tool itself is
// none.
func (f assistantForm) policy(broken, fields map[string]string, c *agents.AssistantConfig, spec tool.Spec) {
	name := spec.Name
	p := agents.ToolPolicy{
		Tool: name, Review: f.text[policyField(name, "review")],
		Roles:       retyped[auth.Role](f.many[policyField(name, "roles")]),
		ExemptRoles: retyped[auth.Role](f.many[policyField(name, "exempt")]),
		Decisions:   retyped[agents.DecisionKind](f.many[policyField(name, "decisions")]),
	}
	if p.Review == "" {
		p.Review = string(spec.Review)
	}
	p.DueMinutes = f.whole(broken, policyField(name, "due"), "must be whole minutes between 1 and 43,200")
	at := fmt.Sprintf("policies[%d]", len(c.Policies))
	for row := range f.rows[name] {
		w := agents.Condition{Path: strings.TrimSpace(f.text[conditionField(name, row, "path")]), Op: f.text[conditionField(name, row, "op")]}
		value := f.text[conditionField(name, row, "value")]
		if w.Path == "" && strings.TrimSpace(value) == "" {
			continue
		}
		w.Value = conditionValue(w.Op, value)
		for _, field := range []string{"path", "op", "value"} {
			fields[fmt.Sprintf("%s.when[%d].%s", at, len(p.When), field)] = conditionField(name, row, field)
		}
		p.When = append(p.When, w)
	}
	if p.Review == string(spec.Review) && len(p.When)+len(p.Roles)+len(p.ExemptRoles)+len(p.Decisions)+p.DueMinutes == 0 {
		return
	}
	for field, ours := range map[string]string{"tool": "review", "review": "review", "when": "review", "roles": "roles", "exempt_roles": "exempt", "decisions": "decisions", "due_minutes": "due"} {
		fields[at+"."+field] = policyField(name, ours)
	}
	c.Policies = append(c.Policies, p)
}

// conditionValue reads the value of a condition: numbers, true, false, null,
// lists and quoted text as JSON has them, other text as it stands; a list may
// also be written with commas.
func conditionValue(op, text string) json.RawMessage {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	switch op {
	case agents.OpIn, agents.OpNotIn:
		if !strings.HasPrefix(text, "[") {
			var list []json.RawMessage
			for part := range strings.SplitSeq(text, ",") {
				if one := conditionValue(agents.OpEquals, part); one != nil {
					list = append(list, one)
				}
			}
			return marshal(list)
		}
	case agents.OpMatches, agents.OpContains:
		var quoted string
		if !strings.HasPrefix(text, `"`) || json.Unmarshal([]byte(text), &quoted) != nil {
			return marshal(text)
		}
	}
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return marshal(text)
}

// conditionText is how conditionValue reads a condition's value back.
func conditionText(c agents.Condition) string {
	var text string
	if json.Unmarshal(c.Value, &text) == nil && string(c.Value) != "null" &&
		string(conditionValue(c.Op, text)) == string(c.Value) {
		return text
	}
	var list []json.RawMessage
	if (c.Op == agents.OpIn || c.Op == agents.OpNotIn) && json.Unmarshal(c.Value, &list) == nil {
		parts := make([]string, len(list))
		for i, one := range list {
			parts[i] = conditionText(agents.Condition{Op: agents.OpEquals, Value: one})
		}
		if joined := strings.Join(parts, ", "); string(conditionValue(c.Op, joined)) == string(marshal(list)) {
			return joined
		}
	}
	return string(c.Value)
}

// marshal renders what always renders: texts and lists of valid JSON.
func marshal(v any) json.RawMessage {
	raw, err := model.Encode(v)
	if err != nil {
		return nil
	}
	return raw
}
