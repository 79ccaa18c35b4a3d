package tool

import (
	"fmt"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

// CheckPolicies checks what an assistant's configuration says of tools against
// the specs of the tools there are. Whoever may save an assistant may loosen
// the review of a tool that reads or writes what is ours. That of a tool that
// reaches outside or can't be taken back may be narrowed by conditions, never
// switched off. The fault names every field that breaks a rule, as agents.AssistantConfig.Validate does.
func CheckPolicies(specs []Spec, c agents.AssistantConfig) error {
	broken := map[string]string{}
	find := func(name string) (Spec, bool) {
		at := slices.IndexFunc(specs, func(s Spec) bool { return s.Name == name })
		if at < 0 {
			return Spec{}, false
		}
		return specs[at], true
	}
	for _, name := range c.Tools {
		if _, ok := find(name); !ok {
			broken["tools"] = fmt.Sprintf("must be tools of this server; %q is none", name)
		}
	}
	for i, p := range c.Policies {
		spec, ok := find(p.Tool)
		at := fmt.Sprintf("policies[%d]", i)
		switch {
		case !ok:
			broken[at+".tool"] = "must be a tool of this server"
		case p.Review == agents.ReviewNever && (spec.Effect == EffectOutbound || spec.Effect == EffectDestructive):
			broken[at+".review"] = "must not be never: the effect of this tool is " + string(spec.Effect)
		case len(p.ExemptRoles) > 0 && (spec.Effect == EffectOutbound || spec.Effect == EffectDestructive):
			broken[at+".exempt_roles"] = "must be empty: the effect of this tool is " + string(spec.Effect)
		}
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}
