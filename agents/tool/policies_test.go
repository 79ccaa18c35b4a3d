package tool

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

func TestOnlyToolsWithoutEffectOutsideMayGoUnreviewed(t *testing.T) {
	specs := []Spec{{Name: "look", Effect: EffectRead, Review: ReviewAlways}, {Name: "write", Effect: EffectWrite, Review: ReviewAlways},
		{Name: "mail", Effect: EffectOutbound, Review: ReviewAlways}, {Name: "drop", Effect: EffectDestructive, Review: ReviewAlways}}
	for name, allowed := range map[string]bool{"look": true, "write": true, "mail": false, "drop": false} {
		for _, review := range []string{"never", "always", "when"} {
			err := CheckPolicies(specs, agents.AssistantConfig{Tools: []string{name}, Policies: []agents.ToolPolicy{{Tool: name, Review: review}}})
			if allowed || review != "never" {
				require.NoError(t, err, "%s %s", name, review)
				continue
			}
			require.Contains(t, fault.FieldsOf(err)["policies[0].review"], "must not be never", name)
		}
	}
	err := CheckPolicies(specs, agents.AssistantConfig{Tools: []string{"look", "fly"}, Policies: []agents.ToolPolicy{{Tool: "swim", Review: "always"}}})
	require.Equal(t, map[string]string{"tools": `must be tools of this server; "fly" is none`, "policies[0].tool": "must be a tool of this server"}, fault.FieldsOf(err))
}
