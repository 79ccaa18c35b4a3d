package model

import (
	"encoding/json"
	"errors"
	"iter"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

func stream(err error, chunks ...Chunk) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		for _, c := range chunks {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(Chunk{}, err)
		}
	}
}

func TestCollectAssemblesInterleavedCallsTextAndSignedReasoning(t *testing.T) {
	raw := json.RawMessage(`{"type":"thinking","thinking":"hm <b>","signature":"s&g"}`)
	var seen []ChunkKind
	answer, err := Collect(stream(nil,
		ReasoningChunk("h"), ReasoningChunk("m"), RawChunk(BlockReasoning, raw),
		TextChunk("Let me "), TextChunk("look."),
		ToolStart(0, "a", "search"), ToolStart(1, "b", "weather"),
		ToolArgs(1, `{"place":`), ToolArgs(0, `{"query":"x"}`), ToolArgs(1, `"Oslo"}`),
		ToolEnd(1), ToolEnd(0),
		UsageChunk(Usage{Input: 1}), UsageChunk(Usage{Input: 3, Output: 9}), FinishChunk(FinishTools),
	), func(c Chunk) error { seen = append(seen, c.Kind); return nil })
	require.NoError(t, err)
	want := Answer{
		Message: Message{
			Role:    RoleAssistant,
			Content: []Block{{Type: BlockReasoning, Text: "hm", Raw: raw}, Text("Let me look.")},
			ToolCalls: []ToolCall{
				{ID: "a", Name: "search", Args: json.RawMessage(`{"query":"x"}`)},
				{ID: "b", Name: "weather", Args: json.RawMessage(`{"place":"Oslo"}`)},
			},
		},
		Usage: Usage{Input: 3, Output: 9}, Finish: FinishTools,
	}
	require.Empty(t, cmp.Diff(want, answer))
	require.Len(t, seen, 15)

	stored, err := Encode(answer.Message)
	require.NoError(t, err)
	var back Message
	require.NoError(t, json.Unmarshal(stored, &back))
	require.Equal(t, string(raw), string(back.Content[0].Raw))
	require.Empty(t, cmp.Diff(answer.Message, back))
}

func TestCollectOfABrokenStreamKeepsTextAndDropsOpenCalls(t *testing.T) {
	broken := &Error{Kind: CutStream, Cause: errors.New("connection reset")}
	answer, err := Collect(stream(broken,
		TextChunk("half"), ToolStart(0, "a", "search"), ToolArgs(0, `{"q`)))
	require.ErrorIs(t, err, broken)
	require.Equal(t, "half", answer.Message.Text())
	require.Empty(t, answer.Message.ToolCalls)

	_, err = Collect(stream(nil, TextChunk("half")))
	kind, ok := KindOf(err)
	require.True(t, ok)
	require.Equal(t, CutStream, kind)
}

func TestCollectRefusesBrokenOrder(t *testing.T) {
	for name, chunks := range map[string][]Chunk{
		"a hole in the numbers": {ToolStart(1, "a", "x")},
		"args before start":     {ToolArgs(0, "{}")},
		"args after end":        {ToolStart(0, "a", "x"), ToolEnd(0), ToolArgs(0, "{}")},
		"no id":                 {ToolStart(0, "", "x")},
		"finish with open call": {ToolStart(0, "a", "x"), FinishChunk(FinishTools)},
		"text after finish":     {FinishChunk(FinishStop), TextChunk("x")},
		"unknown kind":          {{Kind: "noise"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Collect(stream(nil, chunks...))
			kind, _ := KindOf(err)
			require.Equal(t, Malformed, kind, "%v", err)
		})
	}
}

func TestCollectStopsWhenAWatcherFails(t *testing.T) {
	gone := errors.New("log is away")
	pulled := 0
	seq := func(yield func(Chunk, error) bool) {
		for range 10 {
			pulled++
			if !yield(TextChunk("x"), nil) {
				return
			}
		}
	}
	_, err := Collect(seq, func(Chunk) error { return gone })
	require.ErrorIs(t, err, gone)
	require.Equal(t, 1, pulled)
}

func TestRequestCheckNamesEveryBrokenField(t *testing.T) {
	for _, ok := range []float64{0, 2} {
		require.NoError(t, Request{Model: "mock", Params: Params{Temperature: &ok}}.Check())
	}
	for _, bad := range []float64{-0.01, 2.01, math.NaN()} {
		err := Request{Model: "mock", Params: Params{Temperature: &bad}}.Check()
		require.Contains(t, fault.FieldsOf(err), "temperature")
	}
	err := Request{
		Messages: []Message{{Role: "system"}, {Role: RoleTool, ToolCallID: "nobody"}},
		Tools:    []ToolSpec{{Name: "x", Schema: json.RawMessage("[]")}},
		Params:   Params{MaxTokens: -1, ToolChoice: "maybe", Effort: "huge"},
	}.Check()
	require.True(t, fault.Is(err, fault.KindInvalid))
	require.Len(t, fault.FieldsOf(err), 7)
}

func TestToolCallWithBrokenArgumentsCanStillBeStored(t *testing.T) {
	out, err := json.Marshal(ToolCall{ID: "a", Name: "x", Args: json.RawMessage(`{"q`)})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"a","name":"x","args":"{\"q"}`, string(out))
}

func TestErrorsKnowRetryAndHideTheProvidersWords(t *testing.T) {
	retry := map[ErrorKind]bool{RateLimited: true, Overloaded: true, CutStream: true, Malformed: true}
	for _, kind := range ErrorKinds() {
		e := &Error{Kind: kind, Provider: "p", Model: "m", Status: 429, RetryAfter: time.Second, Message: "inner words"}
		require.Equal(t, retry[kind], e.Retryable(), kind)
		require.Contains(t, e.Error(), "inner words")
		f := e.Fault()
		require.NotContains(t, fault.Public(f), "inner words")
		require.Equal(t, "model_"+string(kind), fault.Code(f))
		require.ErrorIs(t, f, e)
	}
}

func TestRegistryRefusesDoublesAndNamesTheUnknown(t *testing.T) {
	var m Model = nothing{}
	_, err := NewRegistry(Entry{ID: "a", Model: m}, Entry{ID: "a", Model: m})
	require.ErrorContains(t, err, "taken")
	_, err = NewRegistry(Entry{ID: "a"})
	require.Error(t, err)

	r, err := NewRegistry(Entry{ID: "b", Model: m}, Entry{ID: "a", Model: m, Title: "A"})
	require.NoError(t, err)
	require.Equal(t, "b", r.List()[0].Title)
	_, err = r.Get("zzz")
	require.Contains(t, fault.FieldsOf(err), "model")
}

func TestAFamilyServesEveryNameBehindItsPrefix(t *testing.T) {
	var m Model = nothing{}
	for _, bad := range []string{"*", "openai*", ":*", "a*b", "a:b:*", "openai:*x"} {
		_, err := NewRegistry(Entry{ID: bad, Model: m})
		require.ErrorContains(t, err, "star", bad)
	}
	r, err := NewRegistry(
		Entry{ID: "mock", Model: m},
		Entry{ID: "openai:*", Title: "OpenAI", Model: m, Tools: true},
		Entry{ID: "openai:pinned", Title: "Ours", Model: m, ContextTokens: 8},
	)
	require.NoError(t, err)

	for id, want := range map[string]Entry{
		"mock":             {ID: "mock", Name: "mock", Title: "mock", Model: m},
		"openai:gpt-4o":    {ID: "openai:gpt-4o", Name: "gpt-4o", Title: "openai:gpt-4o", Model: m, Tools: true},
		"openai:org/l3:8b": {ID: "openai:org/l3:8b", Name: "org/l3:8b", Title: "openai:org/l3:8b", Model: m, Tools: true},
		"openai:pinned":    {ID: "openai:pinned", Name: "openai:pinned", Title: "Ours", Model: m, ContextTokens: 8},
	} {
		got, err := r.Get(id)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, id := range []string{"openai", "openai:", "openai:*", "openai:a b", "openai:a\n", "other:x", "openai:" + strings.Repeat("x", 201)} {
		_, err := r.Get(id)
		require.Contains(t, fault.FieldsOf(err), "model", id)
	}

	list := r.List()
	require.Len(t, list, 3)
	prefix, family := list[1].Prefix()
	require.True(t, family)
	require.Equal(t, "openai:", prefix)
	_, family = list[0].Prefix()
	require.False(t, family)
}
