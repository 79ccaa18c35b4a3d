package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

func TestMessagesOfBothFamiliesAreRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		messages string
		want     []string // role: text
	}{
		"ByType":          {`[{"type":"human","content":"x"}]`, []string{"user: x"}},
		"ByRole":          {`[{"role":"user","content":"x"}]`, []string{"user: x"}},
		"CaseOfType":      {`[{"type":"Human","content":"x"}]`, []string{"user: x"}},
		"TypeMessage":     {`[{"type":"message","role":"user","content":"x"}]`, []string{"user: x"}},
		"AllRoles":        {`[{"role":"system","content":"s"},{"role":"developer","content":"d"},{"type":"ai","content":"a"},{"role":"assistant","content":"b"},{"type":"tool","content":"t","tool_call_id":"c"},{"role":"user","content":"u"}]`, []string{"system: s", "system: d", "assistant: a", "assistant: b", "tool: t", "user: u"}},
		"One":             {`{"type":"human","content":"x"}`, []string{"user: x"}},
		"Text":            {`"x"`, []string{"user: x"}},
		"Blocks":          {`[{"type":"human","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":"u"},{"type":"text","text":"b"}]}]`, []string{"user: a\nb"}},
		"ToolCallOfModel": {`[{"type":"ai","content":null,"tool_calls":[{"id":"1","name":"n","args":{"a":1}}]},{"type":"human","content":"x"}]`, []string{"assistant: ", "user: x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Now().UTC()
			var in agents.RunInput
			require.NoError(t, parseInput(json.RawMessage(`{"messages":`+c.messages+`,"other":1}`), &in, "mia", now))
			got := in.Messages
			require.Equal(t, map[string]json.RawMessage{"other": json.RawMessage(`1`)}, in.Values)
			var said []string
			for _, m := range got {
				said = append(said, string(m.Role)+": "+m.Text)
				require.NotEmpty(t, m.ID)
				require.Equal(t, now, m.CreatedAt)
				require.Equal(t, m.Role == agents.RoleUser, m.Author == "mia", "the scope says who writes")
			}
			require.Equal(t, c.want, said)
		})
	}
}

func TestIdsOfMessagesAreKept(t *testing.T) {
	t.Parallel()
	var in agents.RunInput
	err := parseInput(json.RawMessage(`{"messages":[{"type":"ai","content":"","id":"a","tool_calls":[{"id":"1","name":"n","args":{"b":1,"a":2}}]},
		{"type":"tool","content":"r","tool_call_id":"1","name":"n"},{"type":"human","content":"x","id":"own"}]}`), &in, "mia", time.Now())
	require.NoError(t, err)
	got := in.Messages
	require.Equal(t, agents.MessageID("own"), got[2].ID)
	require.Equal(t, "1", got[1].ToolCallID)
	require.Equal(t, `{"b":1,"a":2}`, string(got[0].ToolCalls[0].Args))
	out := presentMessages(got)
	require.Equal(t, []any{"ai", "tool", "human"}, []any{out[0]["type"], out[1]["type"], out[2]["type"]})
	require.Equal(t, "own", string(out[2]["id"].(agents.MessageID)))
	require.Equal(t, "success", out[1]["status"])
	require.Equal(t, "tool_call", out[0]["tool_calls"].([]map[string]any)[0]["type"])
}

func TestIdentityIsTakenOutOfWhatIsKept(t *testing.T) {
	t.Parallel()
	got := withoutIdentity([]byte(`{"user_id":"kept: it is no config","config":{"user_id":"x","configurable":{"org_id":"x","tenant_id":"x","mine":1}},"context":{"user_id":"x","a":2}}`))
	require.JSONEq(t, `{"user_id":"kept: it is no config","config":{"configurable":{"mine":1}},"context":{"a":2}}`, string(got))
}

func TestWhatTheDatabaseCanHoldIsTaken(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `{"a":"\\u0000 \" \\"}`, `{"a":"\ud83e\uddf5"}`, `{"a":"\uD83E\uDDF5x"}`, `{"a":[0,-0.0,0e9,1.5e300,-1e-300]}`, `{"\u00fc":1}`} {
		require.NoError(t, storable([]byte(body)), body)
	}
	for body, rule := range map[string]string{
		`{"a":"\u0000"}`: "NUL", `{"\u0000":1}`: "NUL", `{"a":"\ud83e"}`: "surrogate", `{"a":"\ud83e\u0041"}`: "surrogate", `{"a":"\udde5"}`: "surrogate",
		`{"a":"\ud83e\\uddf5"}`: "surrogate", "{\"a\":\"\xff\"}": "UTF-8", `{"a":1e400}`: "number", `{"a":1e-400}`: "number",
		`{"a":0.` + strings.Repeat("3", 500) + `}`: "number", strings.Repeat("[", 300) + strings.Repeat("]", 300): "nested",
	} {
		err := storable([]byte(body))
		require.True(t, fault.Is(err, fault.KindInvalid), body)
		require.Contains(t, fault.Public(err), rule, body)
	}
}

func FuzzInput(f *testing.F) {
	for _, seed := range []string{`{"messages":[{"type":"human","content":"x"}]}`, `{"messages":"x"}`, `{"messages":{"role":"user","content":[{"type":"text","text":"x"}]}}`,
		`null`, `{"messages":[{"type":"ai","tool_calls":[{"args":null}]},{"role":"user","content":"\ud800"}]}`, "{\"messages\":\"\xff\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return // decode has refused it
		}
		_ = storable(raw)
		var in agents.RunInput
		err := parseInput(raw, &in, "mia", time.Unix(0, 0))
		if err != nil {
			require.True(t, fault.Is(err, fault.KindInvalid), "%v", err)
			require.NotEmpty(t, fault.FieldsOf(err))
			return
		}
		messages := in.Messages
		if n := len(messages); n > 0 {
			require.Equal(t, agents.RoleUser, messages[n-1].Role)
			require.NoError(t, agents.ValidateText("text", messages[n-1].Text))
		}
		for _, m := range messages {
			require.True(t, utf8.ValidString(m.Text))
			require.LessOrEqual(t, utf8.RuneCountInString(string(m.ID)), 200)
			_, err := json.Marshal(m)
			require.NoError(t, err, "what is accepted can be stored")
			_, err = json.Marshal(presentMessage(m))
			require.NoError(t, err, "and shown")
		}
	})
}
