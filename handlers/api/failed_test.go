package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

func TestAFailureStandsWithTheTaskThatFailed(t *testing.T) {
	t.Parallel()
	state := agents.State{Head: &agents.Checkpoint{Next: agents.DueNodes("a", "b", "c")}}
	told := func(node string) (out []any) {
		state.Failed = &agents.RunError{Code: "node_failed", Message: `it said "no"`, Node: node}
		for i := range state.Head.Next {
			out = append(out, failureOf(state, i))
		}
		return out
	}
	text := `{"error":"node_failed","message":"it said \"no\""}`
	require.Equal(t, []any{nil, text, nil}, told("b"))
	require.Equal(t, []any{nil, nil, text}, told(""), "what failed outside of nodes is the last one's")
	state.Failed = nil
	require.Nil(t, failureOf(state, 2))
}
