package agents

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Assistant is a named configuration of a graph, owned by an organisation, as
// its active version defines it.
type Assistant struct {
	ID          AssistantID
	Org         auth.OrgID
	Graph       string
	Version     int
	Name        string
	Description string
	Config      AssistantConfig
	Metadata    json.RawMessage
	IsDefault   bool
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// AssistantConfig is the second configuration layer: what an admin may set.
type AssistantConfig struct {
	// Model is the model's id, such as "mock".
	Model string `json:"model,omitempty"`
	// Prompt is the system prompt.
	Prompt string `json:"prompt,omitempty"`
	// Temperature is 0 to 2 inclusive, 0.7 by default (LG-20).
	Temperature *float64 `json:"temperature,omitempty"`
	// MaxTokens bounds one answer, 100 to 10,000 inclusive, 2,000 by default (LG-20).
	MaxTokens int `json:"max_tokens,omitempty"`
	// Tools names the tools the assistant may use; nil means none.
	Tools []string `json:"tools,omitempty"`
	// Policies say which calls wait for a person.
	Policies []ToolPolicy `json:"policies,omitempty"`
	// ToolTimeoutSeconds bounds one tool call, 1 to 600, 30 by default (LG-22).
	ToolTimeoutSeconds int `json:"tool_timeout,omitempty"`
	// Starters are prompts offered on an empty thread, at most six.
	Starters []string `json:"starters,omitempty"`
	// Params are settings of the graph itself, such as a delay of a demo graph.
	Params map[string]json.RawMessage `json:"params,omitempty"`
}

// Defaults fills what is not set.
func (c AssistantConfig) Defaults() AssistantConfig {
	if c.Model == "" {
		c.Model = "mock"
	}
	if c.Temperature == nil {
		t := 0.7
		c.Temperature = &t
	}
	if c.MaxTokens == 0 {
		c.MaxTokens = 2000
	}
	if c.ToolTimeoutSeconds == 0 {
		c.ToolTimeoutSeconds = 30
	}
	c.Tools = slices.Clone(c.Tools)
	return c
}

// Validate checks the ranges; the fault names every field that breaks its rule.
func (c AssistantConfig) Validate() error {
	broken := map[string]string{}
	if c.Temperature != nil && (*c.Temperature < 0 || *c.Temperature > 2) {
		broken["temperature"] = "must be between 0 and 2"
	}
	if c.MaxTokens != 0 && (c.MaxTokens < 100 || c.MaxTokens > 10_000) {
		broken["max_tokens"] = "must be between 100 and 10,000"
	}
	if c.ToolTimeoutSeconds != 0 && (c.ToolTimeoutSeconds < 1 || c.ToolTimeoutSeconds > 600) {
		broken["tool_timeout"] = "must be between 1 and 600 seconds"
	}
	if len(c.Starters) > 6 {
		broken["starters"] = "must be at most six"
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}
