package model

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/heddle/heddle/internal/fault"
)

// Request is one call to a model.
type Request struct {
	// Model is the id the provider knows, such as "mock".
	Model    string
	System   string
	Messages []Message
	// Tools are those the model may ask for; empty means none.
	Tools  []ToolSpec
	Params Params
}

// ToolSpec is what a model is told of a tool. Nothing that the host injects
// (identity, store, clock) appears in it.
type ToolSpec struct {
	Name        string
	Description string
	// Schema is a JSON Schema of type object.
	Schema json.RawMessage
}

// Params tune one call. The zero value leaves everything to the provider.
type Params struct {
	// Temperature is 0 to 2 inclusive; nil leaves it to the provider.
	Temperature *float64
	// MaxTokens bounds the answer; 0 leaves it to the provider.
	MaxTokens int
	// Stop lists texts that end the answer when they appear.
	Stop []string
	// ToolChoice is "auto" (the default when empty), "none" or "required".
	ToolChoice ToolChoice
	// Effort asks a reasoning model to think "low", "medium" or "high"; others
	// ignore it.
	Effort string
}

// ToolChoice says whether the model may, must or must not call tools.
type ToolChoice string

// The choices.
const (
	ToolsAuto     ToolChoice = "auto"
	ToolsNone     ToolChoice = "none"
	ToolsRequired ToolChoice = "required"
)

// The bounds of [Params.Temperature] (requirement LG-20).
const (
	MinTemperature = 0.0
	MaxTemperature = 2.0
)

// Check reports, as an invalid fault that names each field, what no provider
// could accept: parameters out of range, an unknown role, a tool result that
// answers no earlier call, a tool without an object schema.
func (r Request) Check() error {
	broken := map[string]string{}
	r.Params.check(broken)
	if r.Model == "" {
		broken["model"] = "is required"
	}
	for i, t := range r.Tools {
		field := fmt.Sprintf("tools[%d]", i)
		switch {
		case t.Name == "":
			broken[field] = "name is required"
		case !isObject(t.Schema):
			broken[field] = "schema must be a JSON object"
		}
	}
	asked := map[string]bool{}
	for i, m := range r.Messages {
		field := fmt.Sprintf("messages[%d]", i)
		switch m.Role {
		case RoleUser:
		case RoleAssistant:
			for _, c := range m.ToolCalls {
				asked[c.ID] = true
			}
		case RoleTool:
			if !asked[m.ToolCallID] {
				broken[field] = "answers no earlier tool call"
			}
		default:
			broken[field] = fmt.Sprintf("role %q is unknown", m.Role)
		}
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}

func (p Params) check(broken map[string]string) {
	// The comparison is written so that NaN fails it too.
	if t := p.Temperature; t != nil && !(*t >= MinTemperature && *t <= MaxTemperature) {
		broken["temperature"] = "must be between 0 and 2"
	}
	if p.MaxTokens < 0 {
		broken["max_tokens"] = "must not be negative"
	}
	switch p.ToolChoice {
	case "", ToolsAuto, ToolsNone, ToolsRequired:
	default:
		broken["tool_choice"] = "must be auto, none or required"
	}
	switch p.Effort {
	case "", "low", "medium", "high":
	default:
		broken["effort"] = "must be low, medium or high"
	}
}

func isObject(raw json.RawMessage) bool {
	return json.Valid(raw) && bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{"))
}
