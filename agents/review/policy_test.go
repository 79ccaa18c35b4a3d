package review_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

func TestPolicyDecidesWhoIsAsked(t *testing.T) {
	t.Parallel()
	read := tool.Spec{Name: "t", Title: "T", Effect: tool.EffectRead, Review: tool.ReviewNever}
	mail := tool.Spec{Name: "t", Title: "T", Effect: tool.EffectOutbound, Review: tool.ReviewAlways}
	some := tool.Spec{Name: "t", Title: "T", Effect: tool.EffectWrite, Review: tool.ReviewWhen}
	when := func(c ...agents.Condition) []agents.ToolPolicy {
		return []agents.ToolPolicy{{Tool: "t", Review: "when", When: c}}
	}
	big := agents.Condition{Path: "amount", Op: "greater", Value: json.RawMessage(`100`)}
	for name, c := range map[string]struct {
		spec     tool.Spec
		policies []agents.ToolPolicy
		args     string
		needed   bool
	}{
		"a tool that looks":                {read, nil, `{}`, false},
		"a tool that reaches outside":      {mail, nil, `{}`, true},
		"when without conditions":          {some, nil, `{}`, true},
		"another tool's policy":            {read, []agents.ToolPolicy{{Tool: "u", Review: "always"}}, `{}`, false},
		"always":                           {read, []agents.ToolPolicy{{Tool: "t", Review: "always"}}, `{}`, true},
		"never":                            {some, []agents.ToolPolicy{{Tool: "t", Review: "never"}}, `{}`, false},
		"not for this role":                {some, []agents.ToolPolicy{{Tool: "t", Review: "always", ExemptRoles: []auth.Role{auth.RoleMember}}}, `{}`, false},
		"for this role":                    {some, []agents.ToolPolicy{{Tool: "t", Review: "always", ExemptRoles: []auth.Role{auth.RoleAdmin}}}, `{}`, true},
		"an unknown word":                  {read, []agents.ToolPolicy{{Tool: "t", Review: "perhaps"}}, `{}`, true},
		"a condition that holds":           {some, when(big), `{"amount":100.5}`, true},
		"a condition that does not":        {some, when(big), `{"amount":100}`, false},
		"one of two":                       {some, when(big, agents.Condition{Path: "to", Op: "exists"}), `{"amount":200}`, false},
		"a condition that can't be judged": {some, when(big), `{"amount":"many"}`, true},
		"a broken pattern":                 {some, when(agents.Condition{Path: "to", Op: "matches", Value: json.RawMessage(`"("`)}), `{"to":"x"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := review.Judge(c.spec, c.policies, auth.RoleMember, json.RawMessage(c.args))
			require.Equal(t, c.needed, v.Needed, "%+v", v)
			if c.needed {
				require.NotEmpty(t, v.Reason)
				require.NotEmpty(t, v.Rule)
				require.NotEmpty(t, v.Allowed)
				require.Positive(t, v.Due)
			}
		})
	}
}

func TestConditionsCompareArguments(t *testing.T) {
	t.Parallel()
	args := json.RawMessage(`{"to":["bob@example.com","eve@example.com"],"deep":{"n":1e2,"none":null},"subject":"Ship It","yes":true}`)
	spec := tool.Spec{Name: "t", Effect: tool.EffectWrite, Review: tool.ReviewNever}
	for _, c := range []struct {
		path, op, value string
		holds           bool
	}{
		{"subject", "exists", ``, true}, {"deep.none", "exists", ``, true}, {"deep.more", "exists", ``, false},
		{"to.0", "equals", `"bob@example.com"`, true}, {"to.2", "equals", `"x"`, false}, {"to.-1", "exists", ``, false},
		{"deep.n", "equals", `100`, true}, {"deep.n", "not_equals", `100.0`, false}, {"missing", "not_equals", `1`, true},
		{"deep.n", "less", `101`, true}, {"deep.n", "greater", `100`, false}, {"yes", "equals", `true`, true},
		{"subject", "contains", `"ship"`, true}, {"to", "contains", `"eve@example.com"`, true}, {"to", "contains", `"mia"`, false},
		{"subject", "matches", `"^Ship"`, true}, {"subject", "in", `["Ship It","x"]`, true}, {"subject", "not_in", `["x"]`, true},
		{"missing", "not_in", `["x"]`, true}, {"missing", "in", `["x"]`, false}, {"missing", "greater", `1`, false},
	} {
		v := review.Judge(spec, []agents.ToolPolicy{{Tool: "t", Review: "when", When: []agents.Condition{
			{Path: c.path, Op: c.op, Value: json.RawMessage(c.value)}}}}, auth.RoleMember, args)
		require.Equal(t, c.holds, v.Needed, "%s %s %s: %s", c.path, c.op, c.value, v.Reason)
	}
}
