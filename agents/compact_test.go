package agents_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

func TestFlatListsAreReadBack(t *testing.T) {
	t.Parallel()
	ops := []agents.Op{{Kind: agents.OpAppend, ID: "a"}, {Kind: agents.OpReplace, ID: `q"\ü🧵` + "\x01", Rev: 1 << 52}, {Kind: agents.OpRemove, ID: "7"},
		{Kind: agents.OpAppend, ID: "+", Rev: 5}, {Kind: agents.OpAppend, ID: "[{"}}
	got, err := agents.DecodeOps(agents.EncodeOps(ops))
	require.NoError(t, err)
	require.Equal(t, ops, got)
	refs := []agents.Ref{{ID: "a"}, {ID: `"`, Rev: 3}, {ID: "9", Rev: 9}, {ID: "{"}}
	list, err := agents.DecodeRefs(agents.EncodeRefs(refs))
	require.NoError(t, err)
	require.Equal(t, refs, list)

	old, err := agents.DecodeOps([]byte(`[{"op":"append","id":"a"},{"op":"replace","id":"b","rev":2}]`))
	require.NoError(t, err)
	require.Equal(t, []agents.Op{{Kind: agents.OpAppend, ID: "a"}, {Kind: agents.OpReplace, ID: "b", Rev: 2}}, old)
	list, err = agents.DecodeRefs([]byte(` [ {"id":"a"}, {"id":"b","rev":2} ]`))
	require.NoError(t, err)
	require.Equal(t, []agents.Ref{{ID: "a"}, {ID: "b", Rev: 2}}, list)
	for _, empty := range []string{`[]`, ` [ ] `, `null`} {
		got, err := agents.DecodeOps([]byte(empty))
		require.NoError(t, err)
		require.Empty(t, got)
	}
	for _, bad := range []string{``, `[`, `["+"`, `["?","a"]`, `[7]`, `["+",7]`, `["+","a",1.5]`, `["+","a"] x`, `["+"]`, `["+","a","-"]`, `["+" "a"]`, `["+","a\`, `["+",{}]`, `{}`} {
		_, err := agents.DecodeOps([]byte(bad))
		require.Error(t, err, bad)
	}

	r := agents.Rollup{Ops: ops, Deltas: map[string][]agents.Delta{"c": {{Op: agents.DeltaSet, Value: json.RawMessage(`1`)}}}}
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	var back agents.Rollup
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, r, back)
	s := agents.Snapshot{Messages: refs, Values: map[string]json.RawMessage{"c": json.RawMessage(`1`)}}
	raw, err = json.Marshal(s)
	require.NoError(t, err)
	var whole agents.Snapshot
	require.NoError(t, json.Unmarshal(raw, &whole))
	require.Equal(t, s, whole)
}

func FuzzFlatLists(f *testing.F) {
	f.Add([]byte(`["+","a","=","b",2,"-","c"]`))
	f.Add([]byte(`["a",1,"b"]`))
	f.Add([]byte(`[{"op":"append","id":"a"}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if ops, err := agents.DecodeOps(raw); err == nil {
			again, err := agents.DecodeOps(agents.EncodeOps(ops))
			if slices.ContainsFunc(ops, func(op agents.Op) bool {
				return op.ID == "" || op.Kind != agents.OpAppend && op.Kind != agents.OpReplace && op.Kind != agents.OpRemove
			}) {
				return // the old form could say what the new one can't
			}
			require.NoError(t, err)
			require.Equal(t, len(ops), len(again))
		}
		if refs, err := agents.DecodeRefs(raw); err == nil {
			again, err := agents.DecodeRefs(agents.EncodeRefs(refs))
			require.NoError(t, err)
			require.Equal(t, len(refs), len(again))
		}
	})
}
