package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// BenchmarkLongThread reads a thread of 1,000 messages in 1,000 steps; see the
// rows "steps" of make bench for the figures that count.
func BenchmarkLongThread(b *testing.B) {
	f := setup(b)
	cp := store.NewCheckpointer(f.db, f.mia)
	thread := agents.ThreadID(id.New())
	lease, err := cp.Acquire(b.Context(), thread)
	require.NoError(b, err)
	state, err := cp.State(b.Context(), thread, "")
	require.NoError(b, err)
	for n := range 1000 {
		m := agents.Message{ID: agents.MessageID(id.New()), Role: agents.RoleUser, Text: strings.Repeat(fmt.Sprint(n, " words "), 75), Author: string(f.mia.User)}
		require.NoError(b, cp.Commit(b.Context(), lease, agents.Step{Line: state.Line, Step: n, Source: agents.SourceLoop, Messages: []agents.Message{m},
			Ops: []agents.Op{{Kind: agents.OpAppend, ID: m.ID}}, Next: agents.DueNodes("agent")}))
	}
	b.Run("State", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := cp.State(b.Context(), thread, "")
			require.NoError(b, err)
		}
	})
	b.Run("History", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := cp.History(b.Context(), thread, agents.HistoryQuery{Limit: 10})
			require.NoError(b, err)
		}
	})
}
