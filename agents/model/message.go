package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Role says who speaks in a message. System text is no message: it stands in
// [Request.System].
type Role string

// The roles.
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one turn as a model reads or writes it, neutral of any provider's
// wire format.
type Message struct {
	// ID is the stored message's id; models ignore it.
	ID      string  `json:"id,omitempty"`
	Role    Role    `json:"role"`
	Content []Block `json:"content,omitempty"`

	// ToolCalls are the calls an assistant message asks for, in its order.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`

	// ToolCallID, ToolName and Failed belong to tool messages: which call this
	// answers, by which tool, and whether the content tells of a failure.
	ToolCallID string `json:"tool_call_id,omitempty"`
	ToolName   string `json:"tool_name,omitempty"`
	Failed     bool   `json:"failed,omitempty"`
}

// ToolCall is a model's wish to have a tool run. Args are the bytes the model
// wrote, not checked against any schema and, when a stream was cut or a model
// errs, not even sure to be JSON.
type ToolCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

// MarshalJSON keeps args that are no JSON as a JSON string, so that a broken
// call can still be stored and shown.
func (c ToolCall) MarshalJSON() ([]byte, error) {
	args := c.Args
	switch {
	case len(bytes.TrimSpace(args)) == 0:
		args = json.RawMessage("{}")
	case !json.Valid(args):
		quoted, err := json.Marshal(string(args))
		if err != nil {
			return nil, fmt.Errorf("quoting the arguments of a tool call: %w", err)
		}
		args = quoted
	}
	return json.Marshal(struct {
		ID   string          `json:"id"`
		Name string          `json:"name"`
		Args json.RawMessage `json:"args"`
	}{c.ID, c.Name, args})
}

// UserText makes a message of a person.
func UserText(text string) Message {
	return Message{Role: RoleUser, Content: []Block{Text(text)}}
}

// AssistantText makes a message of the assistant.
func AssistantText(text string) Message {
	return Message{Role: RoleAssistant, Content: []Block{Text(text)}}
}

// ToolResult makes the message that answers call.
func ToolResult(call ToolCall, content string, failed bool) Message {
	return Message{
		Role: RoleTool, Content: []Block{Text(content)},
		ToolCallID: call.ID, ToolName: call.Name, Failed: failed,
	}
}

// Text joins the text blocks of m; reasoning and foreign blocks are left out.
func (m Message) Text() string { return m.join(BlockText) }

// Reasoning joins the readable reasoning of m.
func (m Message) Reasoning() string { return m.join(BlockReasoning) }

func (m Message) join(kind BlockType) string {
	var b strings.Builder
	for _, block := range m.Content {
		if block.Type == kind {
			b.WriteString(block.Text)
		}
	}
	return b.String()
}

// Empty reports whether m says nothing and asks for nothing.
func (m Message) Empty() bool { return len(m.Content) == 0 && len(m.ToolCalls) == 0 }
