package agents

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/heddle/heddle/auth"
)

// ToolPolicy is an assistant's rule for one of its tools: who may use it, and
// whether a person looks at a call before it runs. A tool without a policy
// keeps the review it was registered with.
type ToolPolicy struct {
	Tool string `json:"tool"`
	// Review is never, always, or when: when all of When hold.
	Review string      `json:"review"`
	When   []Condition `json:"when,omitempty"`
	// Roles are those whose runs are shown the tool and may call it (AF-21);
	// empty means every role.
	Roles []auth.Role `json:"roles,omitempty"`
	// ExemptRoles are those whose calls run without a review, whatever Review
	// says; not for tools that reach outside or can't be undone.
	ExemptRoles []auth.Role `json:"exempt_roles,omitempty"`
	// Decisions are what a reviewer may decide; empty means all four.
	Decisions []DecisionKind `json:"decisions,omitempty"`
	// DueMinutes is how long a request may wait, 1 to 43,200 (30 days); 0 means
	// [DefaultDueMinutes].
	DueMinutes int `json:"due_minutes,omitempty"`
}

// The words of [ToolPolicy.Review]; they are those of the tools' specs.
const (
	ReviewNever  = "never"
	ReviewAlways = "always"
	ReviewWhen   = "when"
)

// The bounds of policies.
const (
	DefaultDueMinutes = 60
	MaxDueMinutes     = 43_200
	MaxPolicies       = 50
	MaxConditions     = 20
	// MaxConditionValue bounds a condition's value, in bytes of JSON.
	MaxConditionValue = 2000
	// MaxConditionList bounds the values of in and not_in.
	MaxConditionList = 100
	maxConditionPath = 200
	maxConditionDeep = 10
	maxPattern       = 500
)

// Condition is one test of a call's arguments.
type Condition struct {
	// Path names the argument, with dots into objects and numbers into lists:
	// "to.0.address".
	Path string `json:"path"`
	// Op is one of [ConditionOps].
	Op string `json:"op"`
	// Value is what it is compared with: none for exists, a number for greater
	// and less, a pattern (RE2) for matches, text for contains, a list for in
	// and not_in, any JSON for equals and not_equals.
	Value json.RawMessage `json:"value,omitempty"`
}

// The operations of conditions.
const (
	OpExists    = "exists"
	OpEquals    = "equals"
	OpNotEquals = "not_equals"
	OpContains  = "contains"
	OpMatches   = "matches"
	OpGreater   = "greater"
	OpLess      = "less"
	OpIn        = "in"
	OpNotIn     = "not_in"
)

// OpWords says an operation as part of a sentence.
func OpWords(op string) string {
	switch op {
	case OpExists:
		return "is there"
	case OpEquals:
		return "is"
	case OpNotEquals:
		return "is not"
	case OpGreater:
		return "is greater than"
	case OpLess:
		return "is less than"
	case OpIn:
		return "is one of"
	case OpNotIn:
		return "is none of"
	default:
		return op
	}
}

// String says the condition in words, such as `amount is greater than 100`.
func (c Condition) String() string {
	return strings.TrimSpace(c.Path + " " + OpWords(c.Op) + " " + string(c.Value))
}

// ConditionOps lists the operations in the order they are offered.
func ConditionOps() []string {
	return []string{OpExists, OpEquals, OpNotEquals, OpContains, OpMatches, OpGreater, OpLess, OpIn, OpNotIn}
}

// checkPolicies adds to broken what breaks a rule, as policies[2].when[0].value.
func checkPolicies(broken map[string]string, policies []ToolPolicy) {
	if len(policies) > MaxPolicies {
		broken["policies"] = fmt.Sprintf("must be at most %d", MaxPolicies)
		return
	}
	seen := map[string]bool{}
	for i, p := range policies {
		at := fmt.Sprintf("policies[%d]", i)
		p.check(broken, at)
		if seen[p.Tool] {
			broken[at+".tool"] = "has a policy already"
		}
		seen[p.Tool] = true
	}
}

func (p ToolPolicy) check(broken map[string]string, at string) {
	if p.Tool == "" || len(p.Tool) > 64 {
		broken[at+".tool"] = "must be a tool's name"
	}
	switch {
	case p.Review != ReviewNever && p.Review != ReviewAlways && p.Review != ReviewWhen:
		broken[at+".review"] = "must be never, always or when"
	case p.Review == ReviewWhen && len(p.When) == 0:
		broken[at+".review"] = "needs at least one condition"
	case p.Review != ReviewWhen && len(p.When) > 0:
		broken[at+".review"] = "must be when, since there are conditions"
	}
	if len(p.When) > MaxConditions {
		broken[at+".when"] = fmt.Sprintf("must be at most %d conditions", MaxConditions)
	} else {
		for i, c := range p.When {
			c.check(broken, fmt.Sprintf("%s.when[%d]", at, i))
		}
	}
	if !distinct(p.Roles, auth.Roles()) {
		broken[at+".roles"] = "must be among member, reviewer, admin and owner, each once"
	}
	if !distinct(p.ExemptRoles, auth.Roles()) {
		broken[at+".exempt_roles"] = "must be among member, reviewer, admin and owner, each once"
	}
	if !distinct(p.Decisions, Decisions()) {
		broken[at+".decisions"] = "must be among approve, edit, reject and respond, each once"
	}
	if p.DueMinutes != 0 && (p.DueMinutes < 1 || p.DueMinutes > MaxDueMinutes) {
		broken[at+".due_minutes"] = "must be between 1 and 43,200 minutes"
	}
}

// distinct reports whether every word is known and none comes twice.
func distinct[T comparable](words, known []T) bool {
	for i, w := range words {
		if !slices.Contains(known, w) || slices.Contains(words[:i], w) {
			return false
		}
	}
	return true
}

func (c Condition) check(broken map[string]string, at string) {
	if rule := pathRule(c.Path); rule != "" {
		broken[at+".path"] = rule
	}
	if !slices.Contains(ConditionOps(), c.Op) {
		broken[at+".op"] = "must be one of " + strings.Join(ConditionOps(), ", ")
		return
	}
	if rule := valueRule(c.Op, c.Value); rule != "" {
		broken[at+".value"] = rule
	}
}

func pathRule(path string) string {
	segments := strings.Split(path, ".")
	switch {
	case path == "":
		return "is required"
	case len(path) > maxConditionPath || len(segments) > maxConditionDeep:
		return fmt.Sprintf("must be at most %d characters and %d parts", maxConditionPath, maxConditionDeep)
	case slices.Contains(segments, ""), strings.ContainsFunc(path, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == utf8.RuneError }):
		return "must be names with dots between them"
	default:
		return ""
	}
}

// valueRule gives the rule of an operation that a value breaks, or nothing.
func valueRule(op string, raw json.RawMessage) string {
	if len(raw) > MaxConditionValue {
		return fmt.Sprintf("must be at most %d bytes", MaxConditionValue)
	}
	if op == OpExists {
		if len(raw) > 0 && string(raw) != "null" {
			return "must be empty"
		}
		return ""
	}
	if len(raw) == 0 {
		return "is required"
	}
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return "must be JSON"
	}
	switch op {
	case OpGreater, OpLess:
		if _, ok := value.(float64); !ok {
			return "must be a number"
		}
	case OpContains:
		if text, ok := value.(string); !ok || text == "" {
			return "must be text"
		}
	case OpMatches:
		return patternRule(value)
	case OpIn, OpNotIn:
		return listRule(value)
	}
	return ""
}

func patternRule(value any) string {
	text, ok := value.(string)
	if !ok || text == "" || len(text) > maxPattern {
		return fmt.Sprintf("must be a pattern of 1 to %d characters", maxPattern)
	}
	if _, err := regexp.Compile(text); err != nil {
		return "must be a pattern as RE2 has them"
	}
	return ""
}

func listRule(value any) string {
	all, ok := value.([]any)
	if !ok || len(all) == 0 || len(all) > MaxConditionList {
		return fmt.Sprintf("must be a list of 1 to %d", MaxConditionList)
	}
	for _, one := range all {
		switch one.(type) {
		case map[string]any, []any:
			return "must be a list of texts, numbers, true, false or null"
		}
	}
	return ""
}
