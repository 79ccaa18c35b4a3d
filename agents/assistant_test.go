package agents_test

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

func temperature(t float64) agents.AssistantConfig { return agents.AssistantConfig{Temperature: &t} }

func TestRangesOfAnAssistantNameTheFieldTheyRefuse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config agents.AssistantConfig
		broken string
	}{
		"nothing set":           {agents.AssistantConfig{}, ""},
		"temperature 0":         {temperature(0), ""},
		"temperature 2":         {temperature(2), ""},
		"temperature -0.01":     {temperature(-0.01), "temperature"},
		"temperature 2.01":      {temperature(2.01), "temperature"},
		"temperature NaN":       {temperature(math.NaN()), "temperature"},
		"max_tokens 100":        {agents.AssistantConfig{MaxTokens: 100}, ""},
		"max_tokens 10000":      {agents.AssistantConfig{MaxTokens: 10_000}, ""},
		"max_tokens 99":         {agents.AssistantConfig{MaxTokens: 99}, "max_tokens"},
		"max_tokens 10001":      {agents.AssistantConfig{MaxTokens: 10_001}, "max_tokens"},
		"max_tokens -1":         {agents.AssistantConfig{MaxTokens: -1}, "max_tokens"},
		"recursion_limit 500":   {agents.AssistantConfig{RecursionLimit: 500}, ""},
		"recursion_limit 501":   {agents.AssistantConfig{RecursionLimit: 501}, "recursion_limit"},
		"tool_timeout 600":      {agents.AssistantConfig{ToolTimeoutSeconds: 600}, ""},
		"tool_timeout 601":      {agents.AssistantConfig{ToolTimeoutSeconds: 601}, "tool_timeout"},
		"retention 3650":        {agents.AssistantConfig{MemoryRetentionDays: 3650}, ""},
		"retention 3651":        {agents.AssistantConfig{MemoryRetentionDays: 3651}, "memory_retention_days"},
		"max_memory_items":      {agents.AssistantConfig{MaxMemoryItems: 100_001}, "max_memory_items"},
		"prompt 20000":          {agents.AssistantConfig{Prompt: strings.Repeat("ü", 20_000)}, ""},
		"prompt 20001":          {agents.AssistantConfig{Prompt: strings.Repeat("ü", 20_001)}, "prompt"},
		"prompt with NUL":       {agents.AssistantConfig{Prompt: "a\x00b"}, "prompt"},
		"personality not UTF-8": {agents.AssistantConfig{Personality: "\xff"}, "personality"},
		"seven starters":        {agents.AssistantConfig{Starters: make([]string, 7)}, "starters"},
		"a tool twice":          {agents.AssistantConfig{Tools: []string{"search", "search"}}, "tools"},
	} {
		err := c.config.Validate()
		if c.broken == "" {
			require.NoError(t, err, name)
			continue
		}
		require.True(t, fault.Is(err, fault.KindInvalid), name)
		require.Len(t, fault.FieldsOf(err), 1, name)
		require.Contains(t, fault.FieldsOf(err), c.broken, name)
	}
}

func TestEveryBrokenFieldIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	a := agents.Assistant{Name: " ", Description: strings.Repeat("x", 501), Config: temperature(3)}
	a.Config.MaxTokens = 1
	require.Equal(t, []string{"description", "graph", "max_tokens", "name", "temperature"}, keys(fault.FieldsOf(a.Validate())))
}

func TestDefaultsAreThoseOfTheRequirements(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(agents.AssistantConfig{}.Defaults())
	require.NoError(t, err)
	require.JSONEq(t, `{"model":"mock","assistant_role":"helpful","temperature":0.7,"max_tokens":2000,"recursion_limit":25,
		"enable_tools":true,"enable_memory":true,"tool_timeout":30,"memory_retention_days":90,"max_memory_items":1000,
		"content_filter":true,"pii_detection":true,"max_model_calls":10,"on_limit":"end"}`, string(got))
	zero := agents.AssistantConfig{Temperature: new(float64), EnableTools: new(bool)}.Defaults()
	require.Zero(t, *zero.Temperature, "0 is a temperature")
	require.False(t, *zero.EnableTools)
}

func TestWhatIsHiddenFromARoleIsWhatItMayNotCall(t *testing.T) {
	t.Parallel()
	off := new(bool)
	c := agents.AssistantConfig{Tools: []string{"search", "remember", "recall", "refund"},
		Policies: []agents.ToolPolicy{{Tool: "refund", Review: "always", Roles: []auth.Role{auth.RoleAdmin}}}}
	require.Equal(t, []string{"search", "remember", "recall"}, c.Usable(auth.RoleMember))
	require.Equal(t, []string{"search", "remember", "recall", "refund"}, c.Usable(auth.RoleAdmin))
	require.Empty(t, c.Usable("root"), "an unknown role may use nothing")
	c.EnableMemory = off
	require.Equal(t, []string{"search", "refund"}, c.Usable(auth.RoleAdmin))
	c.EnableTools = off
	require.Empty(t, c.Usable(auth.RoleAdmin))
	require.Len(t, c.Tools, 4, "the list itself is untouched")
}

func TestWordsOfTheConfigurationJoinThePrompt(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Be brief.", agents.AssistantConfig{Prompt: "Be brief."}.Defaults().System())
	require.Equal(t, "Be brief.\n\nYour personality: calm\n\nThe style of your answers: lists",
		agents.AssistantConfig{Prompt: "Be brief.", Personality: "calm", ResponseStyle: "lists"}.Defaults().System())
	require.Empty(t, agents.AssistantConfig{}.Defaults().System())
}

func TestPoliciesNameTheRuleTheyBreak(t *testing.T) {
	t.Parallel()
	when := func(path, op, value string) agents.ToolPolicy {
		return agents.ToolPolicy{Tool: "pay", Review: "when", When: []agents.Condition{{Path: path, Op: op, Value: json.RawMessage(value)}}}
	}
	many := make([]agents.Condition, 21)
	for i := range many {
		many[i] = agents.Condition{Path: "a", Op: "exists"}
	}
	for name, c := range map[string]struct {
		policy agents.ToolPolicy
		broken string
	}{
		"never":                 {agents.ToolPolicy{Tool: "pay", Review: "never"}, ""},
		"all set":               {agents.ToolPolicy{Tool: "pay", Review: "always", Roles: auth.Roles(), Decisions: agents.Decisions(), DueMinutes: 43_200}, ""},
		"no tool":               {agents.ToolPolicy{Review: "never"}, "tool"},
		"unknown review":        {agents.ToolPolicy{Tool: "pay", Review: "sometimes"}, "review"},
		"when nothing":          {agents.ToolPolicy{Tool: "pay", Review: "when"}, "review"},
		"always with condition": {agents.ToolPolicy{Tool: "pay", Review: "always", When: many[:1]}, "review"},
		"20 conditions":         {agents.ToolPolicy{Tool: "pay", Review: "when", When: many[:20]}, ""},
		"21 conditions":         {agents.ToolPolicy{Tool: "pay", Review: "when", When: many}, "when"},
		"unknown role":          {agents.ToolPolicy{Tool: "pay", Review: "never", Roles: []auth.Role{"root"}}, "roles"},
		"a decision twice":      {agents.ToolPolicy{Tool: "pay", Review: "never", Decisions: []agents.DecisionKind{"edit", "edit"}}, "decisions"},
		"due too late":          {agents.ToolPolicy{Tool: "pay", Review: "never", DueMinutes: 43_201}, "due_minutes"},
		"due before":            {agents.ToolPolicy{Tool: "pay", Review: "never", DueMinutes: -1}, "due_minutes"},
		"exists":                {when("to.0.address", "exists", ""), ""},
		"exists with a value":   {when("a", "exists", `1`), "when[0].value"},
		"no path":               {when("", "exists", ""), "when[0].path"},
		"path with a hole":      {when("a..b", "exists", ""), "when[0].path"},
		"path with a space":     {when("a b", "exists", ""), "when[0].path"},
		"path too deep":         {when("a.b.c.d.e.f.g.h.i.j.k", "exists", ""), "when[0].path"},
		"unknown op":            {when("a", "like", `1`), "when[0].op"},
		"equals null":           {when("a", "equals", `null`), ""},
		"equals nothing":        {when("a", "equals", ``), "when[0].value"},
		"equals no JSON":        {when("a", "equals", `{`), "when[0].value"},
		"value too long":        {when("a", "equals", `"`+strings.Repeat("x", 2000)+`"`), "when[0].value"},
		"greater 1":             {when("a", "greater", `1`), ""},
		"greater text":          {when("a", "greater", `"1"`), "when[0].value"},
		"contains text":         {when("a", "contains", `"x"`), ""},
		"contains a number":     {when("a", "contains", `1`), "when[0].value"},
		"matches":               {when("a", "matches", `"^a+$"`), ""},
		"matches no RE2":        {when("a", "matches", `"(?=a)"`), "when[0].value"},
		"matches too long":      {when("a", "matches", `"`+strings.Repeat("x", 501)+`"`), "when[0].value"},
		"in":                    {when("a", "in", `["x",1,null,true]`), ""},
		"in a text":             {when("a", "in", `"x"`), "when[0].value"},
		"not in nothing":        {when("a", "not_in", `[]`), "when[0].value"},
		"in lists":              {when("a", "in", `[[1]]`), "when[0].value"},
	} {
		err := agents.AssistantConfig{Policies: []agents.ToolPolicy{c.policy}}.Validate()
		if c.broken == "" {
			require.NoError(t, err, name)
			continue
		}
		require.Equal(t, []string{"policies[0]." + c.broken}, keys(fault.FieldsOf(err)), name)
	}
	twice := agents.ToolPolicy{Tool: "pay", Review: "never"}
	require.Contains(t, fault.FieldsOf(agents.AssistantConfig{Policies: []agents.ToolPolicy{twice, twice}}.Validate()), "policies[1].tool")
	require.Contains(t, fault.FieldsOf(agents.AssistantConfig{Policies: make([]agents.ToolPolicy, 51)}.Validate()), "policies")
}

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
