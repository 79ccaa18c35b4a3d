package sqlite

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

func TestRawJSONIsWrittenByteForByte(t *testing.T) {
	t.Parallel()
	odd := json.RawMessage("{\"z\" : 1.50,\n\t\"a\":[ -0e0, 1E+3, \"<b> & \\u2028 \\\\\" ] }")
	want := agents.Result{
		Writes: []agents.Change{
			{Channel: "c", Delta: &agents.Delta{Op: agents.DeltaSet, Value: odd, From: json.RawMessage(`null`)}},
			{Message: &agents.Message{ID: "m", Text: `-0e0 "-0e1" \`, Blocks: odd, Data: odd, CreatedAt: time.Unix(1700000000, 5).UTC(),
				ToolCalls: []agents.ToolCall{{ID: "one", Args: odd}, {ID: "two", Args: json.RawMessage(`2.0`)}}}},
		},
		Send: []agents.Due{{Node: "plain"}, {Node: "-0e0", Input: odd}},
	}
	text, err := encode(want)
	require.NoError(t, err)
	require.True(t, json.Valid([]byte(text)), "%s", text)
	require.Contains(t, text, string(odd))
	var got agents.Result
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	require.Empty(t, cmp.Diff(want, got))

	snapshot := agents.Snapshot{Values: map[string]json.RawMessage{"b": odd, "a": json.RawMessage(`1.0`), "c": json.RawMessage(`"x"`)}}
	text, err = encode(snapshot)
	require.NoError(t, err)
	var back agents.Snapshot
	require.NoError(t, json.Unmarshal([]byte(text), &back))
	require.Empty(t, cmp.Diff(snapshot, back))
}

func TestRawJSONThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	_, err := encode(agents.Delta{Op: agents.DeltaSet, Value: json.RawMessage(`{"cut":`)})
	require.ErrorContains(t, err, "what should be JSON is none")
}
