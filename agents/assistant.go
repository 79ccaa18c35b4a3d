package agents

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// ErrAssistantUnsure says that a run was not placed because its assistant is to be
// read anew first.
var ErrAssistantUnsure = fault.Conflict("The assistant has changed. Try again.").WithCode("assistant_unsure")

// Assistant is a named configuration of a graph, owned by an organisation, as
// one of its versions defines it: the active one unless said otherwise.
type Assistant struct {
	ID          AssistantID
	Org         auth.OrgID
	Graph       string
	Version     int
	Name        string
	Description string
	Config      AssistantConfig
	// Chosen is Config as it was saved: what nobody chose is not in it. Only
	// readings have it.
	Chosen AssistantConfig
	// Context are fields that every run of the assistant is given, see [Assistant.ContextOf].
	Context   map[string]json.RawMessage
	Metadata  json.RawMessage
	IsDefault bool
	CreatedAt time.Time
	// UpdatedAt is when the version was saved.
	UpdatedAt time.Time
	// ArchivedAt is when the assistant was taken out of use for new threads,
	// zero if it was not. Readings of one version leave it zero.
	ArchivedAt time.Time
}

// Archived reports whether new threads may no longer begin with the assistant.
func (a Assistant) Archived() bool { return !a.ArchivedAt.IsZero() }

// The bounds of an assistant's words, in characters.
const (
	MaxAssistantName        = 80
	MaxAssistantDescription = 500
	MaxAssistantComment     = 500
	MaxPrompt               = 20_000
	MaxPersonality          = 1000
	MaxStarter              = 500
	MaxTags                 = 50
	MaxTag                  = 100
)

// MaxAssistantData bounds, in bytes of JSON each, an assistant's metadata, its
// context and what its configuration carries for its graph and its clients.
const MaxAssistantData = 64 << 10

// Validate checks the words and the configuration; the fault names every field
// that breaks its rule.
func (a Assistant) Validate() error {
	broken := map[string]string{}
	if strings.TrimSpace(a.Name) == "" {
		broken["name"] = "is required"
	}
	tooLong(broken, "name", a.Name, MaxAssistantName)
	tooLong(broken, "description", a.Description, MaxAssistantDescription)
	if a.Graph == "" {
		broken["graph"] = "is required"
	}
	tooMuch(broken, "metadata", a.Metadata)
	tooMuch(broken, "context", a.Context)
	a.Config.check(broken)
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}

// ContextOf gives the context of a run that brings own: the assistant's fields,
// of which each that the run has too is the run's.
func (a Assistant) ContextOf(own map[string]json.RawMessage) map[string]json.RawMessage {
	if len(a.Context) == 0 {
		return own
	}
	out := maps.Clone(a.Context)
	maps.Copy(out, own)
	return out
}

// AssistantConfig is the second configuration layer: what an admin may set.
type AssistantConfig struct {
	// Model is the model's id, such as "mock".
	Model string `json:"model,omitempty"`
	// Prompt is the system prompt.
	Prompt string `json:"prompt,omitempty"`
	// Role, Personality and ResponseStyle are added to the prompt; Role is
	// "helpful" by default, which adds nothing (LG-20, LG-22).
	Role          string `json:"assistant_role,omitempty"`
	Personality   string `json:"personality,omitempty"`
	ResponseStyle string `json:"response_style,omitempty"`
	// Temperature is 0 to 2 inclusive, 0.7 by default (LG-20).
	Temperature *float64 `json:"temperature,omitempty"`
	// MaxTokens bounds one answer, 100 to 10,000 inclusive, 2,000 by default (LG-20).
	MaxTokens int `json:"max_tokens,omitempty"`
	// RecursionLimit bounds the steps of one run, 1 to 500, 25 by default.
	RecursionLimit int `json:"recursion_limit,omitempty"`
	// MaxModelCalls bounds how often one run asks the model, 1 to 500, 10 by default
	// (AF-33); MaxToolCalls how many calls of tools it makes, 1 to 1,000, without
	// bound by default. What a run goes on with after a pause counts as one.
	MaxModelCalls int `json:"max_model_calls,omitempty"`
	MaxToolCalls  int `json:"max_tool_calls,omitempty"`
	// OnLimit says what happens at MaxModelCalls: "end" (default) closes the answer
	// with a sentence that says so, "error" fails the run. A tool call beyond
	// MaxToolCalls is refused, which the model reads.
	OnLimit string `json:"on_limit,omitempty"`
	// MultitaskStrategy is what new input does to a busy thread where the request
	// does not say; empty leaves it to the server (LG-14).
	MultitaskStrategy Strategy `json:"multitask_strategy,omitempty"`
	// EnableTools set to false takes every tool away, EnableMemory set to false
	// those that remember; both are on by default (LG-20).
	EnableTools  *bool `json:"enable_tools,omitempty"`
	EnableMemory *bool `json:"enable_memory,omitempty"`
	// Tools names the tools the assistant may use; nil means none.
	Tools []string `json:"tools,omitempty"`
	// Policies say when a person looks at a tool's calls, at most one a tool.
	Policies []ToolPolicy `json:"policies,omitempty"`
	// ToolTimeoutSeconds bounds one tool call, 1 to 600, 30 by default (LG-22).
	ToolTimeoutSeconds int `json:"tool_timeout,omitempty"`
	// Starters are prompts offered on an empty thread, at most six.
	Starters []string `json:"starters,omitempty"`
	// Params are settings of the graph itself, such as a delay of a demo graph.
	Params map[string]json.RawMessage `json:"params,omitempty"`

	// Tags and Carried are kept for API clients, and nothing acts on them: labels,
	// and what a client put beside the settings.
	Tags    []string                   `json:"tags,omitempty"`
	Carried map[string]json.RawMessage `json:"carried,omitempty"`

	// Nothing reads these yet: they are kept, checked, and on no form (LG-22).
	WebSearch           bool  `json:"web_search,omitempty"`
	MemoryRetentionDays int   `json:"memory_retention_days,omitempty"` // 1 to 3,650, 90 by default
	MaxMemoryItems      int   `json:"max_memory_items,omitempty"`      // 1 to 100,000, 1,000 by default
	ContentFilter       *bool `json:"content_filter,omitempty"`        // true by default
	PIIDetection        *bool `json:"pii_detection,omitempty"`         // true by default
}

// What happens when a run has asked the model as often as it may.
const (
	OnLimitEnd   = "end"
	OnLimitError = "error"
)

// Defaults fills what is not set.
func (c AssistantConfig) Defaults() AssistantConfig {
	if c.Model == "" {
		c.Model = "mock"
	}
	if c.Role == "" {
		c.Role = "helpful"
	}
	if c.OnLimit == "" {
		c.OnLimit = OnLimitEnd
	}
	if c.Temperature == nil {
		t := 0.7
		c.Temperature = &t
	}
	for field, value := range map[*int]int{&c.MaxTokens: 2000, &c.RecursionLimit: 25, &c.MaxModelCalls: 10, &c.ToolTimeoutSeconds: 30,
		&c.MemoryRetentionDays: 90, &c.MaxMemoryItems: 1000} {
		if *field == 0 {
			*field = value
		}
	}
	for _, field := range []**bool{&c.EnableTools, &c.EnableMemory, &c.ContentFilter, &c.PIIDetection} {
		if *field == nil {
			on := true
			*field = &on
		}
	}
	c.Tools = slices.Clone(c.Tools)
	c.Policies = slices.Clone(c.Policies)
	return c
}

// memoryTools are the tools that [AssistantConfig.EnableMemory] stands for.
var memoryTools = [...]string{"remember", "recall"}

// Usable lists the tools that a run asked for by somebody of the role is shown
// and may call: one list for both, so that what is hidden is also refused.
func (c AssistantConfig) Usable(role auth.Role) []string {
	c = c.Defaults()
	if !*c.EnableTools || !role.Valid() {
		return nil
	}
	return slices.DeleteFunc(c.Tools, func(name string) bool {
		if !*c.EnableMemory && slices.Contains(memoryTools[:], name) {
			return true
		}
		p, ok := c.Policy(name)
		return ok && len(p.Roles) > 0 && !slices.Contains(p.Roles, role)
	})
}

// Policy finds the policy of a tool.
func (c AssistantConfig) Policy(tool string) (ToolPolicy, bool) {
	at := slices.IndexFunc(c.Policies, func(p ToolPolicy) bool { return p.Tool == tool })
	if at < 0 {
		return ToolPolicy{}, false
	}
	return c.Policies[at], true
}

// System is the whole system prompt: the prompt, and what the other words of
// the configuration add to it.
func (c AssistantConfig) System() string {
	parts := []string{}
	if c.Prompt != "" {
		parts = append(parts, c.Prompt)
	}
	if c.Role != "" && c.Role != "helpful" {
		parts = append(parts, "Your role: "+c.Role)
	}
	if c.Personality != "" {
		parts = append(parts, "Your personality: "+c.Personality)
	}
	if c.ResponseStyle != "" {
		parts = append(parts, "The style of your answers: "+c.ResponseStyle)
	}
	return strings.Join(parts, "\n\n")
}

// Validate checks the ranges; the fault names every field that breaks its rule.
// Rules that depend on the tools of a server are tool.CheckPolicies'.
func (c AssistantConfig) Validate() error {
	broken := map[string]string{}
	c.check(broken)
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}

func (c AssistantConfig) check(broken map[string]string) {
	// Written so that NaN fails it too.
	if t := c.Temperature; t != nil && !(*t >= 0 && *t <= 2) {
		broken["temperature"] = "must be between 0 and 2"
	}
	between := func(field string, value, low, high int, rule string) {
		if value != 0 && (value < low || value > high) {
			broken[field] = rule
		}
	}
	between("max_tokens", c.MaxTokens, 100, 10_000, "must be between 100 and 10,000")
	between("recursion_limit", c.RecursionLimit, 1, 500, "must be between 1 and 500 steps")
	between("max_model_calls", c.MaxModelCalls, 1, 500, "must be between 1 and 500 calls")
	between("max_tool_calls", c.MaxToolCalls, 1, 1000, "must be between 1 and 1,000 calls")
	if c.OnLimit != "" && c.OnLimit != OnLimitEnd && c.OnLimit != OnLimitError {
		broken["on_limit"] = "must be end or error"
	}
	if _, err := ParseStrategy("multitask_strategy", string(c.MultitaskStrategy)); err != nil {
		broken["multitask_strategy"] = fault.FieldsOf(err)["multitask_strategy"]
	}
	between("tool_timeout", c.ToolTimeoutSeconds, 1, 600, "must be between 1 and 600 seconds")
	between("memory_retention_days", c.MemoryRetentionDays, 1, 3650, "must be between 1 and 3,650 days")
	between("max_memory_items", c.MaxMemoryItems, 1, 100_000, "must be between 1 and 100,000")
	for field, words := range map[string]string{"assistant_role": c.Role, "personality": c.Personality, "response_style": c.ResponseStyle} {
		tooLong(broken, field, words, MaxPersonality)
	}
	tooLong(broken, "prompt", c.Prompt, MaxPrompt)
	if len(c.Starters) > 6 {
		broken["starters"] = "must be at most six"
	}
	for _, s := range c.Starters {
		tooLong(broken, "starters", s, MaxStarter)
	}
	seen := map[string]bool{}
	for _, name := range c.Tools {
		if seen[name] {
			broken["tools"] = "must name each tool once"
		}
		seen[name] = true
	}
	checkPolicies(broken, c.Policies)
	tooMuch(broken, "params", c.Params)
	tooMuch(broken, "carried", c.Carried)
	if len(c.Tags) > MaxTags {
		broken["tags"] = fmt.Sprintf("must be at most %d", MaxTags)
	}
	for _, t := range c.Tags {
		tooLong(broken, "tags", t, MaxTag)
	}
}

// tooMuch says so of data whose JSON is.
func tooMuch(broken map[string]string, field string, data any) {
	raw, err := json.Marshal(data)
	switch {
	case err != nil:
		broken[field] = "must be JSON"
	case len(raw) > MaxAssistantData:
		broken[field] = fmt.Sprintf("must be at most %d KB of JSON", MaxAssistantData>>10)
	}
}

// tooLong says so of a text that is, or that can't be stored.
func tooLong(broken map[string]string, field, text string, limit int) {
	switch {
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		broken[field] = "must be valid UTF-8 without NUL characters"
	case utf8.RuneCountInString(text) > limit:
		broken[field] = fmt.Sprintf("must be at most %s characters; this has %d", thousands(limit), utf8.RuneCountInString(text))
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
