package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/store"
)

// What a node knows of a state that it wrote itself is, to the last field, what
// another node reads.
func TestWhatIsKeptIsWhatIsRead(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	other, err := store.Open(t.Context(), store.Options{URL: b.url, MaxConns: 2})
	require.NoError(t, err)
	defer other.Close()
	same := func(step int) {
		t.Helper()
		run := agents.Run{ID: lease.Run, Org: b.mia.Org, Thread: thread.ID}
		claim := agents.Claimed{Run: run, Head: &agents.Standing{Line: thread.Line, Step: step}}
		kept, err := b.db.StateOf(t.Context(), b.mia, claim)
		require.NoError(t, err)
		read, err := other.StateOf(t.Context(), b.mia, claim)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(read, kept), step)
		kept, err = b.db.EndState(t.Context(), b.mia, run)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(read, kept), step)
	}
	same(-1)
	all := b.history(t, lease, thread.Line, 0, 45, nil, naive{values: map[string]json.RawMessage{}})
	same(44)
	for i, rich := range []agents.Message{
		{ID: "asks", Role: agents.RoleAssistant, ToolCalls: []agents.ToolCall{{ID: "c", Name: "add", Args: json.RawMessage(`{"a": 1}`)}}, Model: "mock",
			Usage: &agents.TokenUsage{Input: 3, Output: 4}, DurationMS: 12, CreatedAt: time.Unix(5, 123456789)},
		{ID: "result", Role: agents.RoleTool, ToolCallID: "c", Name: "add", Text: "<1>", Data: json.RawMessage(`{"b":[1,2]}`), Status: agents.MessageFailed},
		{ID: "human", Role: agents.RoleUser, Text: "hi", Author: string(b.mia.User), Blocks: json.RawMessage(`[{"type":"text","text":"hi"}]`)},
	} {
		n := 45 + i
		step := agents.Step{Line: thread.Line, Step: n, Source: agents.SourceLoop, Messages: []agents.Message{rich}, Ops: []agents.Op{{Kind: agents.OpAppend, ID: rich.ID}},
			Next: []agents.Due{{Node: "agent", Input: json.RawMessage(`{"x":1}`)}}, Metadata: json.RawMessage(`{"k":1}`),
			Wrote: []agents.Wrote{{Node: "a", Ops: 1}, {Node: "b"}}, Deltas: map[string][]agents.Delta{"plan": {{Op: agents.DeltaMerge, Value: json.RawMessage(`{"z":1}`)}}}}
		if i == 2 {
			step.Interrupts = []agents.Interrupt{{ID: "01a21704-6de2-7162-bace-e0747c818679", Node: "agent", Kind: agents.Question, Value: json.RawMessage(`"why?"`)}}
		}
		_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, step, nil)
		require.NoError(t, err)
		same(n)
	}
	require.Len(t, all, 45)
	// A step that is written in another way, with what it keeps of all before it, is read.
	for n := 48; n < 53; n++ {
		_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, n, agents.MessageID(fmt.Sprint("late", n))), nil)
		require.NoError(t, err)
		same(n)
	}
}

// A state that was handed out stays as it was while the thread goes on, and whoever
// appends to one has a list of their own.
func TestAStateThatWasHandedOutDoesNotGrow(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	run := agents.Run{ID: lease.Run, Org: b.mia.Org, Thread: thread.ID}
	var handed []agents.State
	for n := range 40 {
		_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, n, agents.MessageID(fmt.Sprint("m", n))), nil)
		require.NoError(t, err)
		state, err := b.db.EndState(t.Context(), b.mia, run)
		require.NoError(t, err)
		_ = append(state.Messages, agents.Message{ID: "mine"})
		handed = append(handed, state)
	}
	for n, state := range handed {
		require.Len(t, state.Messages, n+1)
		for i, m := range state.Messages {
			require.Equal(t, fmt.Sprint("m", i), string(m.ID))
		}
	}
}
