package api

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

// TestAMessageIsWrittenAsItIsPresented compares the two ways of writing messages,
// byte for byte.
func TestAMessageIsWrittenAsItIsPresented(t *testing.T) {
	usage := &agents.TokenUsage{Input: 3, Output: 4}
	for name, m := range map[string]agents.Message{
		"human":             {ID: "m1", Role: agents.RoleUser, Text: "plain"},
		"named":             {ID: "m1", Role: agents.RoleUser, Name: `the "one"`, Text: "plain"},
		"letters and marks": {ID: "ü<1>", Role: agents.RoleUser, Text: "Grüße, \"you\" \\ <b>&\n\t\u2028\x7f 世界"},
		"blocks":            {ID: "m1", Role: agents.RoleUser, Text: "a", Blocks: json.RawMessage(`[{"type":"text","text":"a"}]`)},
		"system":            {ID: "m1", Role: agents.RoleSystem, Text: "be kind"},
		"empty":             {ID: "m1", Role: agents.RoleAssistant},
		"answer":            {ID: "m1", Role: agents.RoleAssistant, Text: "yes", Model: "m-1", Usage: usage},
		"calls": {ID: "m1", Role: agents.RoleAssistant, Name: "helper", ToolCalls: []agents.ToolCall{
			{ID: "c1", Name: "calculator", Args: json.RawMessage(`{"x":[1,2]}`)}, {ID: "c2", Name: "none"}}},
		"result":        {ID: "m1", Role: agents.RoleTool, ToolCallID: "c1", Text: "3", Name: "calculator"},
		"failed result": {ID: "m1", Role: agents.RoleTool, ToolCallID: "c1", Text: "no", Status: agents.MessageFailed},
	} {
		want, err := json.Marshal(presentMessage(m))
		require.NoError(t, err)
		require.Equal(t, string(want), string(appendMessage(nil, m)), name)
	}
}
