package api

import (
	"encoding/json"
	"strconv"

	"github.com/heddle/heddle/agents"
)

// appendMessage writes what presentMessage gives, as JSON, in a fraction of the time:
// a long thread is a thousand of them.
func appendMessage(out []byte, m agents.Message) []byte {
	out = append(out, `{"additional_kwargs":{},"content":`...)
	if m.Blocks != nil {
		out = append(out, m.Blocks...)
	} else {
		out = appendText(out, m.Text)
	}
	out = appendText(append(out, `,"id":`...), string(m.ID))
	ai := m.Role != agents.RoleUser && m.Role != agents.RoleSystem && m.Role != agents.RoleTool
	if ai {
		out = append(out, `,"invalid_tool_calls":[]`...)
	}
	if m.Name != "" {
		out = appendText(append(out, `,"name":`...), m.Name)
	}
	out = append(out, `,"response_metadata":{`...)
	if ai && m.Model != "" {
		out = appendText(append(out, `"model_name":`...), m.Model)
	}
	out = append(out, '}')
	switch m.Role {
	case agents.RoleUser:
		return append(out, `,"type":"human"}`...)
	case agents.RoleSystem:
		return append(out, `,"type":"system"}`...)
	case agents.RoleTool:
		status := "success"
		if m.Status == agents.MessageFailed {
			status = "error"
		}
		out = appendText(append(out, `,"status":`...), status)
		out = appendText(append(out, `,"tool_call_id":`...), m.ToolCallID)
		return append(out, `,"type":"tool"}`...)
	}
	out = append(out, `,"tool_calls":[`...)
	for i, c := range m.ToolCalls {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"args":`...)
		if len(c.Args) == 0 {
			out = append(out, "null"...)
		}
		out = append(out, c.Args...)
		out = appendText(append(out, `,"id":`...), c.ID)
		out = appendText(append(out, `,"name":`...), c.Name)
		out = append(out, `,"type":"tool_call"}`...)
	}
	out = append(out, `],"type":"ai"`...)
	if u := m.Usage; u != nil {
		out = append(out, `,"usage_metadata":{"input_tokens":`...)
		out = strconv.AppendInt(out, int64(u.Input), 10)
		out = strconv.AppendInt(append(out, `,"output_tokens":`...), int64(u.Output), 10)
		out = strconv.AppendInt(append(out, `,"total_tokens":`...), int64(u.Input+u.Output), 10)
		out = append(out, '}')
	}
	return append(out, '}')
}

// appendText writes text as a JSON string.
func appendText(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			raw, err := json.Marshal(s)
			if err != nil { // no string can't be written
				return append(out, `""`...)
			}
			return append(out, raw...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}
