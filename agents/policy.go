package agents

import (
	"encoding/json"

	"github.com/heddle/heddle/auth"
)

// ToolPolicy says when an assistant's calls of one tool wait for a person.
type ToolPolicy struct {
	Tool string `json:"tool"`
	// Review is never, always or when.
	Review string `json:"review"`
	// When are the conditions of "when": all must hold.
	When []Condition `json:"when,omitempty"`
	// Roles narrows the policy to people with one of these roles; empty means
	// everybody.
	Roles []auth.Role `json:"roles,omitempty"`
	// Decisions are those a reviewer may take; empty means all.
	Decisions []string `json:"decisions,omitempty"`
	// DueMinutes is how long a request stays open, 1 to 43,200; 0 means 60.
	DueMinutes int `json:"due_minutes,omitempty"`
}

// Condition compares one argument of a call.
type Condition struct {
	// Path leads to the argument, its steps joined by dots.
	Path string `json:"path"`
	// Op is exists, equals, not_equals, contains, matches, greater, less, in or
	// not_in.
	Op    string          `json:"op"`
	Value json.RawMessage `json:"value,omitempty"`
}
