package agents_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

func TestListOperationsKeepPlaces(t *testing.T) {
	t.Parallel()
	refs := []agents.Ref{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	got := agents.ApplyOps(refs, []agents.Op{
		{Kind: agents.OpAppend, ID: "d"}, {Kind: agents.OpReplace, ID: "b", Rev: 1}, {Kind: agents.OpRemove, ID: "a"},
		{Kind: agents.OpAppend, ID: "c", Rev: 2}, {Kind: agents.OpReplace, ID: "nobody", Rev: 1}, {Kind: agents.OpRemove, ID: "nobody"},
		{Kind: agents.OpAppend, ID: "a"},
	})
	require.Equal(t, []agents.Ref{{ID: "b", Rev: 1}, {ID: "c", Rev: 2}, {ID: "d"}, {ID: "a"}}, got)
	require.Equal(t, []agents.Ref{{ID: "a"}, {ID: "b"}, {ID: "c"}}, refs, "the old list is untouched")
}

func TestListOperationsAtOnceOrOneByOneAreTheSame(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var ops []agents.Op
		for range rnd.IntN(30) {
			ops = append(ops, agents.Op{ID: agents.MessageID(rune('a' + rnd.IntN(6))), Rev: rnd.Int64N(3),
				Kind: []agents.OpKind{agents.OpAppend, agents.OpReplace, agents.OpRemove}[rnd.Int64N(3)]})
		}
		var single []agents.Ref
		for _, op := range ops {
			single = agents.ApplyOps(single, []agents.Op{op})
		}
		whole := agents.ApplyOps(nil, ops)
		require.True(t, slices.Equal(single, whole), "%v: %v and %v", ops, single, whole)
	}
}

func TestDeltasReplayEveryChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value  string
		deltas []agents.Delta
		want   string
	}{
		"Set":         {`1`, []agents.Delta{{Op: agents.DeltaSet, Value: json.RawMessage(`"x"`)}}, `"x"`},
		"AppendFirst": {``, []agents.Delta{{Op: agents.DeltaAppend, Value: json.RawMessage(`[1]`)}}, `[1]`},
		"Append":      {`[1]`, []agents.Delta{{Op: agents.DeltaAppend, Value: json.RawMessage(`[2,3]`)}, {Op: agents.DeltaAppend, Value: json.RawMessage(`[]`)}}, `[1,2,3]`},
		"Merge":       {`{"a":1,"b":2}`, []agents.Delta{{Op: agents.DeltaMerge, Value: json.RawMessage(`{"b":3,"c":null}`)}}, `{"a":1,"b":3,"c":null}`},
		"Add":         {`1.5`, []agents.Delta{{Op: agents.DeltaAdd, Value: json.RawMessage(`2`)}, {Op: agents.DeltaAdd, Value: json.RawMessage(`-1`)}}, `2.5`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := agents.ApplyDeltas(json.RawMessage(c.value), c.deltas)
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(got))
		})
	}
	for _, d := range []agents.Delta{{Op: "grow", Value: json.RawMessage(`1`)}, {Op: agents.DeltaAppend, Value: json.RawMessage(`{}`)},
		{Op: agents.DeltaAdd, Value: json.RawMessage(`"x"`)}} {
		_, err := agents.ApplyDeltas(json.RawMessage(`[1]`), []agents.Delta{d})
		require.ErrorContains(t, err, string(d.Op))
	}
}

func TestTextOfAPersonIsCountedInRunes(t *testing.T) {
	t.Parallel()
	for text, rule := range map[string]string{
		"x": "", "\u3000x": "", strings.Repeat("ü", 10_000): "", strings.Repeat("🧵", 10_000): "",
		"": "must not be empty", " \n\t\r\u00a0\u200b": "must not be empty", "\u3000\u2003": "must not be empty", "\ufeff": "must not be empty",
		"a\x00": "must not contain NUL characters", "\xff": "must be valid UTF-8",
		strings.Repeat("ü", 10_001): "must be at most 10,000 characters; this one has 10001",
	} {
		err := agents.ValidateText("message", text)
		if rule == "" {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, map[string]string{"message": rule}, fault.FieldsOf(err), "%.20q", text)
	}
}

func TestStrategiesAreFourWordsOrNone(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "enqueue", "reject", "interrupt", "rollback"} {
		got, err := agents.ParseStrategy("f", word)
		require.NoError(t, err)
		require.Equal(t, agents.Strategy(word), got)
	}
	for _, word := range []string{"Reject", "enqueue ", "hope"} {
		_, err := agents.ParseStrategy("f", word)
		require.True(t, fault.Is(err, fault.KindInvalid), word)
		require.Contains(t, fault.Public(err), "enqueue")
	}
}

func TestStatusesReadAsTheAPISaysThem(t *testing.T) {
	t.Parallel()
	for status, want := range map[agents.RunStatus]struct {
		api   string
		ended bool
	}{
		agents.RunPending: {"pending", false}, agents.RunRunning: {"running", false}, agents.RunWaiting: {"success", false},
		agents.RunSuccess: {"success", true}, agents.RunFailed: {"error", true}, agents.RunTimeout: {"timeout", true},
		agents.RunCancelled: {"interrupted", true},
	} {
		require.Equal(t, want.api, status.API())
		require.Equal(t, want.ended, status.Ended(), status)
	}
}
