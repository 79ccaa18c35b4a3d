package handlers

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

func TestAConditionReadsBackAsItIs(t *testing.T) {
	for _, c := range []struct{ op, typed, value string }{
		{"equals", "paid", `"paid"`}, {"equals", "5", `5`}, {"equals", `"5"`, `"5"`}, {"equals", "true", `true`}, {"equals", `"true"`, `"true"`},
		{"equals", "null", `null`}, {"equals", `{"a":[1]}`, `{"a":[1]}`}, {"equals", "a <b> & c", `"a <b> & c"`}, {"equals", `say "hi"`, `"say \"hi\""`},
		{"matches", `^\d+$`, `"^\\d+$"`}, {"matches", "5", `"5"`}, {"matches", "[a-z]", `"[a-z]"`}, {"contains", "null", `"null"`},
		{"greater", "2.5", `2.5`}, {"in", "a, b, 3", `["a","b",3]`}, {"in", `["a, b",1]`, `["a, b",1]`}, {"not_in", `"3", true`, `["3",true]`}, {"exists", "", ``},
	} {
		value := conditionValue(c.op, c.typed)
		require.Equal(t, c.value, string(value), "%s %s", c.op, c.typed)
		again := conditionText(agents.Condition{Op: c.op, Value: value})
		require.Equal(t, c.value, string(conditionValue(c.op, again)), "%s %s is shown as %s", c.op, c.typed, again)
	}
}

// TestAFormThatIsOnlyOpenedChangesNothing fills the form from an assistant and
// reads it back.
func TestAFormThatIsOnlyOpenedChangesNothing(t *testing.T) {
	specs := []tool.Spec{{Name: "search", Effect: tool.EffectRead, Review: tool.ReviewNever}, {Name: "mail", Effect: tool.EffectOutbound, Review: tool.ReviewAlways}}
	off := new(bool)
	zero := 0.0
	for name, a := range map[string]agents.Assistant{
		"defaults":      {Name: "A", Graph: "chat"},
		"of a provider": {Name: "A", Graph: "chat", Config: agents.AssistantConfig{Model: "openai:org/gpt:4"}},
		"of another":    {Name: "A", Graph: "chat", Config: agents.AssistantConfig{Model: "gone:gpt"}},
		"everything": {Name: "A", Description: "B", Graph: "chat", Version: 7, Config: agents.AssistantConfig{
			Model: "mock", Prompt: " two\nlines \n", Role: "clerk", Personality: "calm", ResponseStyle: "lists", Temperature: &zero, MaxTokens: 100, RecursionLimit: 3,
			MaxModelCalls: 4, MaxToolCalls: 7, OnLimit: agents.OnLimitError, MultitaskStrategy: agents.StrategyRollback,
			EnableTools: off, EnableMemory: off, Tools: []string{"search", "mail"}, ToolTimeoutSeconds: 9, Starters: []string{"x", "y"},
			Params: map[string]json.RawMessage{"pause_ms": json.RawMessage(`5`)}, WebSearch: true, MemoryRetentionDays: 3, ContentFilter: off, PIIDetection: off,
			Policies: []agents.ToolPolicy{
				{Tool: "search", Review: "when", When: []agents.Condition{{Path: "query", Op: "contains", Value: json.RawMessage(`"x"`)}, {Path: "n", Op: "in", Value: json.RawMessage(`[1,"2"]`)}, {Path: "z", Op: "exists"}},
					Roles: []auth.Role{auth.RoleAdmin}, Decisions: []agents.DecisionKind{"approve"}, DueMinutes: 5},
				{Tool: "mail", Review: "when", When: []agents.Condition{{Path: "to", Op: "equals", Value: json.RawMessage(`"null"`)}}},
			}}},
	} {
		got, broken := formOf(a, []model.Entry{{ID: "mock"}, {ID: "openai:*"}}, specs).assistant(a, specs, agents.Assistant.Validate)
		require.Empty(t, broken, name)
		require.True(t, same(a, got), "%s: %+v", name, got.Config)
		require.Equal(t, a.Config.WebSearch, got.Config.WebSearch, "what is on no form stays")
	}
}
