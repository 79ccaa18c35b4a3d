package agents_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

// FuzzStoredForms reads what storage may hold, and writes and reads it again.
func FuzzStoredForms(f *testing.F) {
	for _, seed := range []string{`"a"`, `{"node":"a","input":null}`, `{"node":"a","input":{"x":[1]}}`, `null`, `[]`, `{}`, `1`, `{"node":1}`, `"\u0000"`,
		`{"task":1,"result":{"writes":[{"channel":"c","delta":{"op":"set","value":1,"from":2}},{"remove":"m"}],"jump":true,"goto":["a"],"send":["b",{"node":"c","input":1}]}}`,
		`{"task":-1,"line":"l"}`, `{"id":"i","node":"n","kind":"question","ns":["s:l"],"root":[0],"value":{"a":1},"answered":[null],"answer":null}`,
		`{"id":"m","role":"user","text":"hi","tool_calls":[{"id":"c","name":"t","args":{}}],"created_at":"2026-01-02T03:04:05Z"}`,
		`{"ops":[{"op":"append","id":"m","rev":7}],"deltas":{"c":[{"op":"add","value":1}]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		again[agents.Due](t, raw)
		again[agents.Pending](t, raw)
		again[agents.Interrupt](t, raw)
		again[agents.Message](t, raw)
		again[agents.Rollup](t, raw)
		again[agents.Snapshot](t, raw)
		again[agents.RunInput](t, raw)
	})
}

// again checks that what can be read can be written, and is the same when it is
// read again.
func again[T any](t *testing.T, raw []byte) {
	t.Helper()
	var one, two T
	if json.Unmarshal(raw, &one) != nil {
		return
	}
	first, err := json.Marshal(one)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(first, &two), "%s", first)
	second, err := json.Marshal(two)
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
}

func TestADueTaskWithoutAnInputIsItsNodesName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		due  agents.Due
		json string
	}{
		{agents.Due{Node: "a"}, `"a"`}, {agents.Due{Node: "a", Input: json.RawMessage(`null`)}, `{"node":"a","input":null}`},
		{agents.Due{Node: "a", Input: json.RawMessage(`[1]`)}, `{"node":"a","input":[1]}`},
	} {
		raw, err := json.Marshal(c.due)
		require.NoError(t, err)
		require.Equal(t, c.json, string(raw))
		back := agents.Due{Node: "before", Input: json.RawMessage(`1`)}
		require.NoError(t, json.Unmarshal(raw, &back))
		require.Equal(t, c.due, back)
	}
	require.Error(t, json.Unmarshal([]byte(`[1]`), new(agents.Due)))
}

var deltaOps = []agents.DeltaOp{agents.DeltaSet, agents.DeltaAppend, agents.DeltaMerge, agents.DeltaAdd, agents.DeltaUpsert, agents.DeltaRemove,
	agents.DeltaDrop, agents.DeltaReduce, "grow"}

// FuzzApplyDeltas merges any JSON into any JSON by any operation, twice: valid
// JSON goes in, so valid JSON or an error comes out, and nothing that went in is
// changed.
func FuzzApplyDeltas(f *testing.F) {
	for i, seed := range [][2]string{{`1`, `2`}, {`[1]`, `[2]`}, {`[ ]`, `[]`}, {`null`, `[1]`}, {`{"a":1}`, `{"a":{"b":2}}`}, {`[{"id":"a"}]`, `[{"id":"a","x":1},{"id":"b"}]`},
		{`[{"id":"a"}]`, `["a"]`}, {``, `[{"x":1}]`}, {`1e308`, `1e308`}, {` [1] `, ` [2] `}, {`"[x]"`, `"[y]"`}, {`[1`, `2]`}, {``, ``}, {`"\ud800"`, `{}`}} {
		for op := range deltaOps {
			f.Add([]byte(seed[0]), []byte(seed[1]), byte(op+i), byte(op))
		}
	}
	f.Fuzz(func(t *testing.T, value, change []byte, one, two byte) {
		before, asked := bytes.Clone(value), bytes.Clone(change)
		deltas := []agents.Delta{{Op: deltaOps[int(one)%len(deltaOps)], Value: change}, {Op: deltaOps[int(two)%len(deltaOps)], Value: change}}
		got, err := agents.ApplyDeltas(value, deltas)
		require.Equal(t, before, value)
		require.Equal(t, asked, change)
		sound := (len(value) == 0 || json.Valid(value)) && json.Valid(change)
		if err == nil && sound && got != nil {
			require.True(t, json.Valid(got), "%s by %s and %s of %s is %s", value, deltas[0].Op, deltas[1].Op, change, got)
		}
		// One after the other is the same as both at once, and so is a fold.
		single, singleErr := agents.ApplyDeltas(value, deltas[:1])
		if singleErr == nil {
			single, singleErr = agents.ApplyDeltas(single, deltas[1:])
		}
		require.Equal(t, err == nil, singleErr == nil)
		values := map[string]json.RawMessage{}
		if len(value) > 0 {
			values["c"] = value
		}
		foldErr := agents.Fold(values, "c", deltas)
		require.Equal(t, err == nil, foldErr == nil)
		if err == nil {
			require.Equal(t, string(got), string(single))
			require.Equal(t, string(got), string(values["c"]))
			_, kept := values["c"]
			require.Equal(t, got != nil, kept)
		}
	})
}

// FuzzMatch answers up to four questions with anything.
func FuzzMatch(f *testing.F) {
	ids := []string{"0190a5d0-ac96-774b-bcce-b302099a8057", "0190a5d0-ac96-774b-bcce-b302099a8058", "c", ""}
	for _, seed := range []string{``, `null`, `"yes"`, `[1,2]`, `[1]`, `{}`, `{"c":1}`, `{"c":1,"d":2}`, `{"` + ids[0] + `":null}`, `{"` + ids[0] + `":1,"` + ids[1] + `":{"x":1}}`,
		`{"0190a5d0-ac96-774b-bcce-b302099a80ff":1}`, `{"":1}`, `{"c":1,"c":2}`, `[`} {
		for n := range 5 {
			f.Add([]byte(seed), byte(n))
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte, n byte) {
		var open []agents.Interrupt
		for _, id := range ids[:int(n)%(len(ids)+1)] {
			open = append(open, agents.Interrupt{ID: id, Node: "n"})
		}
		before := slices.Clone(open)
		got, err := agents.Match(answer, open)
		require.Equal(t, before, open, "what is open stays as it is")
		if err != nil {
			require.Nil(t, got)
			require.Contains(t, fault.FieldsOf(err), "command.resume")
			return
		}
		require.Len(t, got, len(open))
		answered := 0
		for i := range got {
			if got[i].Answer != nil {
				answered++
				require.True(t, !json.Valid(answer) || json.Valid(got[i].Answer))
			}
			got[i].Answer = nil
		}
		require.Equal(t, before, got, "nothing but answers is filled in")
		if answer != nil && len(open) > 0 {
			require.Positive(t, answered, "an answer that is taken answers something: %s", answer)
		}
	})
}

// FuzzCheckpointID names any step of any line and finds it again.
func FuzzCheckpointID(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), int64(0), "01890a5d-ac96-774b-bcce-b302099a8057")
	f.Add([]byte("0123456789abcdef"), int64(-1), "")
	f.Add([]byte{}, int64(1<<31), "01890A5D-AC96-774B-BCCE-B302099A8057")
	f.Add(bytes.Repeat([]byte{0xff}, 16), int64(1<<40), strings.Repeat("İ", 18))
	f.Fuzz(func(t *testing.T, bits []byte, step int64, strange string) {
		var raw [16]byte
		copy(raw[:], bits)
		h := hex.EncodeToString(raw[:])
		line := agents.LineID(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
		named := agents.CheckpointID(line, int(step))
		got, ok := agents.StepOf(named, line)
		require.Equal(t, step >= agents.BeforeFirst && step < 1<<31, ok)
		if ok {
			require.Equal(t, int(step), got)
			upper, ok := agents.StepOf(strings.ToUpper(named), line)
			require.True(t, ok)
			require.Equal(t, got, upper, "clients may write it in capitals")
		} else {
			require.Empty(t, named)
		}
		if at, ok := agents.StepOf(strange, line); ok {
			require.Equal(t, strings.ToLower(strange), agents.CheckpointID(line, at))
		}
		_ = agents.CheckpointID(agents.LineID(strange), int(step))
	})
}
