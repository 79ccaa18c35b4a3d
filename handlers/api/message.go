package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// wireMessage is a message as clients send it: by type (LangChain) or by role
// (OpenAI).
type wireMessage struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Role       string          `json:"role"`
	Name       string          `json:"name"`
	Content    json.RawMessage `json:"content"`
	ToolCalls  []wireToolCall  `json:"tool_calls"`
	ToolCallID string          `json:"tool_call_id"`
}

type wireToolCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

// roles maps the words of both families to ours.
var roles = map[string]agents.MessageRole{
	"human": agents.RoleUser, "user": agents.RoleUser,
	"ai": agents.RoleAssistant, "assistant": agents.RoleAssistant,
	"system": agents.RoleSystem, "developer": agents.RoleSystem,
	"tool": agents.RoleTool,
}

// parseInput reads a run's input: an object of channels, messages among them, whose
// last one is from the human (LG-21). A list or a text stands for the messages.
func parseInput(raw json.RawMessage, into *agents.RunInput, author string, now time.Time) error {
	var channels map[string]json.RawMessage
	if json.Unmarshal(raw, &channels) != nil {
		if raw[0] != '[' && raw[0] != '"' {
			return fault.Invalid("input", "must be an object of channels, or messages")
		}
		channels = map[string]json.RawMessage{"messages": raw}
	}
	if messages := channels["messages"]; !absent(messages) {
		var err error
		if into.Messages, err = parseMessages("input.messages", messages, author, now); err != nil {
			return err
		}
		if n := len(into.Messages); n > 0 && into.Messages[n-1].Role != agents.RoleUser {
			return fault.Invalid("input.messages", "must end with a message of the human")
		}
	}
	delete(channels, "messages")
	into.Values = channels
	return nil
}

// parseMessages reads messages; field is what they are called where they came from.
func parseMessages(field string, raw json.RawMessage, author string, now time.Time) ([]agents.Message, error) {
	wire, err := parseList(raw)
	if err != nil {
		return nil, fault.Invalid(field, "must be a list of messages")
	}
	out := make([]agents.Message, len(wire))
	for i, w := range wire {
		if out[i], err = w.message(fmt.Sprintf("%s[%d]", field, i), now); err != nil {
			return nil, err
		}
		if out[i].Role == agents.RoleUser {
			out[i].Author = author
		}
	}
	return out, nil
}

// parseList takes a list of messages, a single message or a plain string.
func parseList(raw json.RawMessage) ([]wireMessage, error) {
	var many []wireMessage
	if json.Unmarshal(raw, &many) == nil {
		return many, nil
	}
	var one wireMessage
	if json.Unmarshal(raw, &one) == nil && (one.Type != "" || one.Role != "") {
		return []wireMessage{one}, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []wireMessage{{Type: "human", Content: raw}}, nil
	}
	if len(raw) == 0 {
		return nil, fault.Invalid("input.messages", "is required")
	}
	return nil, fault.Invalid("input.messages", "must be a list of messages")
}

func (w wireMessage) message(field string, now time.Time) (agents.Message, error) {
	word := w.Type
	if word == "" || word == "message" {
		word = w.Role
	}
	role, ok := roles[strings.ToLower(word)]
	if !ok {
		return agents.Message{}, fault.Invalid(field, "must have a type of human, ai, system or tool")
	}
	m := agents.Message{ID: agents.MessageID(w.ID), Role: role, Name: w.Name, ToolCallID: w.ToolCallID, CreatedAt: now}
	switch {
	case m.ID == "":
		m.ID = agents.MessageID(id.New())
	case utf8.RuneCountInString(w.ID) > 200:
		return agents.Message{}, fault.Invalid(field+".id", "must be at most 200 characters")
	}
	for _, c := range w.ToolCalls {
		m.ToolCalls = append(m.ToolCalls, agents.ToolCall{ID: c.ID, Name: c.Name, Args: c.Args})
	}
	var err error
	if m.Text, m.Blocks, err = content(field+".content", w.Content); err != nil {
		return agents.Message{}, err
	}
	if role == agents.RoleUser {
		err = agents.ValidateText(field+".content", m.Text)
	}
	return m, err
}

// content reads text, or a list of blocks that is kept as it came.
func content(field string, raw json.RawMessage) (string, json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil, nil
	}
	var blocks []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &blocks) != nil {
		return "", nil, fault.Invalid(field, "must be text or a list of blocks")
	}
	var parts []string
	for _, b := range blocks {
		if b.Type == "text" {
			parts = append(parts, b.Text)
		}
	}
	return strings.Join(parts, "\n"), append(json.RawMessage(nil), raw...), nil
}

// presentMessages gives messages in the API's form.
func presentMessages(messages []agents.Message) []map[string]any {
	out := make([]map[string]any, len(messages))
	for i, m := range messages {
		out[i] = presentMessage(m)
	}
	return out
}

func presentMessage(m agents.Message) map[string]any {
	out := map[string]any{
		"id": m.ID, "content": m.Text, "additional_kwargs": map[string]any{}, "response_metadata": map[string]any{},
	}
	if m.Blocks != nil {
		out["content"] = m.Blocks
	}
	if m.Name != "" {
		out["name"] = m.Name
	}
	switch m.Role {
	case agents.RoleUser:
		out["type"] = "human"
	case agents.RoleSystem:
		out["type"] = "system"
	case agents.RoleTool:
		out["type"], out["tool_call_id"], out["status"] = "tool", m.ToolCallID, "success"
		if m.Status == agents.MessageFailed {
			out["status"] = "error"
		}
	default:
		out["type"] = "ai"
		calls := make([]map[string]any, len(m.ToolCalls))
		for i, c := range m.ToolCalls {
			calls[i] = map[string]any{"id": c.ID, "name": c.Name, "args": c.Args, "type": "tool_call"}
		}
		out["tool_calls"], out["invalid_tool_calls"] = calls, []any{}
		if m.Model != "" {
			out["response_metadata"] = map[string]any{"model_name": m.Model}
		}
		if m.Usage != nil {
			out["usage_metadata"] = map[string]any{
				"input_tokens": m.Usage.Input, "output_tokens": m.Usage.Output, "total_tokens": m.Usage.Input + m.Usage.Output,
			}
		}
	}
	return out
}
