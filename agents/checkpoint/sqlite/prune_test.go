package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/checkpoint/sqlite"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// TestPruningLeavesEveryKeptStateAsItIs commits, forks and prunes at random, across
// rollups and a snapshot, and compares what is left, and what isn't, with the
// checkpointer in memory, which has neither rollups nor snapshots.
func TestPruningLeavesEveryKeptStateAsItIs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &twins{T: t, rnd: rand.New(rand.NewPCG(seed, 3)), lease: map[graph.Checkpointer]agents.Lease{}}
			w.sqlite = open(t, sqlite.Options{Path: sqlite.Memory, NewID: counting()})
			w.memory = memory.New(memory.Options{Checkpoints: -1, NewID: counting()})
			for _, c := range []graph.Checkpointer{w.sqlite, w.memory} {
				var err error
				w.lease[c], err = c.Acquire(t.Context(), "t")
				require.NoError(t, err)
			}
			if seed == 0 {
				w.commit(960)
			}
			for range 20 {
				switch w.rnd.IntN(8) {
				case 0, 1:
					w.fork()
				case 2, 3:
					w.prune(1 + w.rnd.IntN(90))
				default:
					w.commit(1 + w.rnd.IntN(70))
				}
			}
			w.compare()
			w.compareCopy()
		})
	}
}

// counting makes the same ids each time.
func counting() id.Source {
	n := 0
	return func() string {
		n++
		return fmt.Sprintf("00000000-0000-7000-8000-%04x00000000", n)
	}
}

// twins are two checkpointers to which the same happens.
type twins struct {
	*testing.T
	rnd            *rand.Rand
	sqlite, memory graph.Checkpointer
	lease          map[graph.Checkpointer]agents.Lease
	made           []string // checkpoints
}

func (w *twins) commit(steps int) {
	now, err := w.memory.State(w.Context(), "t", "")
	require.NoError(w, err)
	refs, values := now.Refs(), now.Values
	for n := now.Step + 1; n <= now.Step+steps; n++ {
		step := said(now.Line, n, fmt.Sprint(n, " on ", now.Line))
		m := &step.Messages[0]
		m.ID, m.Revision = agents.MessageID(fmt.Sprint(n%40)), w.rnd.Int64N(1<<50) // each is replaced again and again
		step.Ops = []agents.Op{{Kind: agents.OpAppend, ID: m.ID, Rev: m.Revision}}
		if w.rnd.IntN(5) == 0 {
			step.Ops = append(step.Ops, agents.Op{Kind: agents.OpRemove, ID: agents.MessageID(fmt.Sprint(w.rnd.IntN(40)))})
		}
		step.Deltas["log"] = []agents.Delta{{Op: agents.DeltaAppend, Value: fmt.Appendf(nil, "[%d]", n)}}
		if w.rnd.IntN(30) == 0 {
			step.Deltas["log"] = []agents.Delta{{Op: agents.DeltaDrop}}
		}
		refs = agents.ApplyOps(refs, step.Ops)
		for channel, deltas := range step.Deltas {
			require.NoError(w, agents.Fold(values, channel, deltas))
		}
		if n > 0 && n%agents.SnapshotEvery == 0 {
			step.Snapshot = &agents.Snapshot{Messages: refs, Values: values}
		}
		for c, lease := range w.lease {
			require.NoError(w, c.Commit(w.Context(), lease, step))
		}
		w.made = append(w.made, agents.CheckpointID(now.Line, n))
	}
}

func (w *twins) fork() {
	if len(w.made) == 0 {
		return
	}
	at := w.made[w.rnd.IntN(len(w.made))]
	lines := map[agents.LineID]bool{}
	for c, lease := range w.lease {
		line, err := c.Fork(w.Context(), lease, at)
		if err != nil {
			require.Equal(w, fault.KindNotFound, fault.KindOf(err), "%v", err)
		}
		lines[line] = true
	}
	require.Len(w, lines, 1, "both forked, or neither")
}

func (w *twins) prune(keep int) {
	got, err := w.sqlite.Prune(w.Context(), "t", keep)
	require.NoError(w, err)
	want, err := w.memory.Prune(w.Context(), "t", keep)
	require.NoError(w, err)
	require.Equal(w, want, got, "removed")
}

// compare reads the newest states and others that were made, kept or not.
func (w *twins) compare() {
	q := agents.HistoryQuery{Limit: 30}
	want, err := w.memory.History(w.Context(), "t", q)
	require.NoError(w, err)
	got, err := w.sqlite.History(w.Context(), "t", q)
	require.NoError(w, err)
	require.Len(w, got, len(want))
	kept := 0
	look := []string{""}
	for i := range want {
		require.Equal(w, want[i].Head.ID, got[i].Head.ID)
		w.same(want[i], got[i])
		look = append(look, want[i].Head.ID)
	}
	for range 150 {
		look = append(look, w.made[w.rnd.IntN(len(w.made))])
	}
	for _, at := range look {
		want, err := w.memory.State(w.Context(), "t", at)
		if err != nil {
			_, err := w.sqlite.State(w.Context(), "t", at)
			require.Equal(w, fault.KindNotFound, fault.KindOf(err), "%v", err)
			continue
		}
		got, err := w.sqlite.State(w.Context(), "t", at)
		require.NoError(w, err)
		w.same(want, got)
		kept++
	}
	require.Greater(w, kept, 20)
}

func (w *twins) same(want, got agents.State) {
	w.Helper()
	require.Equal(w, want.Step, got.Step)
	require.Empty(w, cmp.Diff(want.Messages, got.Messages), "step %d", want.Step)
	require.Len(w, got.Values, len(want.Values))
	for name, v := range want.Values {
		require.JSONEq(w, string(v), string(got.Values[name]), "step %d", want.Step)
	}
	if want.Parent != nil {
		require.Equal(w, want.Parent.ID, got.Parent.ID)
	}
}

// compareCopy copies the thread as it is and looks at the copy's newest states.
func (w *twins) compareCopy() {
	require.NoError(w, w.sqlite.Copy(w.Context(), "t", "u"))
	q := agents.HistoryQuery{Limit: 40}
	want, err := w.sqlite.History(w.Context(), "t", q)
	require.NoError(w, err)
	require.NoError(w, w.sqlite.Delete(w.Context(), "t"))
	got, err := w.sqlite.History(w.Context(), "u", q)
	require.NoError(w, err)
	require.Len(w, got, len(want))
	for i := range want {
		require.NotEqual(w, want[i].Line, got[i].Line)
		want[i].Parent = nil // has another id
		w.same(want[i], got[i])
	}
}
