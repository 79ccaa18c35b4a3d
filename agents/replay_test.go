package agents_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
)

// whole is the plain truth of a state: every change applied in its order.
type whole struct {
	refs   []agents.Ref
	values map[string]json.RawMessage
}

// line is a line of history as storage has it, and the plain truth beside it.
type line struct {
	parent *line
	// after is the parent's step that the line begins after, head its newest own.
	after, head int
	rows        map[int]agents.Checkpoint
	truth       map[int]whole
}

// at gives the truth at a step of the line or of what it stands on.
func (l *line) at(step int) whole {
	for ; l != nil; l = l.parent {
		if w, ok := l.truth[step]; ok {
			return w
		}
	}
	return whole{}
}

// grow adds the next step, with what storage keeps beside it.
func (l *line) grow(rnd *rand.Rand) error {
	c := agents.Checkpoint{Step: l.head + 1, Ops: someOps(rnd), Deltas: someDeltas(rnd)}
	before := l.at(l.head)
	after := whole{refs: agents.ApplyOps(before.refs, c.Ops), values: maps.Clone(before.values)}
	if after.values == nil {
		after.values = map[string]json.RawMessage{}
	}
	for channel, deltas := range c.Deltas {
		if err := agents.Fold(after.values, channel, deltas); err != nil {
			return err
		}
	}
	switch {
	case c.Step == 0:
	case c.Step%agents.SnapshotEvery == 0:
		c.Snapshot = &agents.Snapshot{Messages: after.refs, Values: after.values}
	case c.Step%agents.RollupEvery == 0:
		c.Rollup = &agents.Rollup{}
		for s := c.Step - agents.RollupEvery + 1; s < c.Step; s++ {
			if r, ok := l.rows[s]; ok { // a younger line has only its own
				c.Rollup.Add(r.Ops, r.Deltas)
			}
		}
		c.Rollup.Add(c.Ops, c.Deltas)
	}
	l.rows[c.Step], l.truth[c.Step], l.head = c, after, c.Step
	return nil
}

// load reads a state as storage does: line by line from the oldest that matters,
// of each the rows that StepsFor names.
func (l *line) load(step int) (agents.State, []agents.Ref, int, error) {
	var segments [][]agents.Checkpoint
	rows := 0
	for upto := step; l != nil; upto, l = min(upto, l.after), l.parent {
		var segment []agents.Checkpoint
		snapshot := false
		for _, s := range agents.StepsFor(min(upto, l.head)) {
			if r, ok := l.rows[s]; ok {
				segment, snapshot = append(segment, r), snapshot || r.Snapshot != nil
			}
		}
		segments, rows = append(segments, segment), max(rows, len(segment))
		if snapshot && (step > upto || l.after < step-1) { // and the parent is there
			break
		}
	}
	state, refs := agents.State{Step: -1, Values: map[string]json.RawMessage{}}, []agents.Ref(nil)
	for _, segment := range slices.Backward(segments) {
		var err error
		if refs, err = agents.Replay(&state, refs, segment); err != nil {
			return state, nil, rows, err
		}
	}
	return state, refs, rows, nil
}

func someOps(rnd *rand.Rand) (ops []agents.Op) {
	for range rnd.IntN(3) {
		ops = append(ops, agents.Op{ID: agents.MessageID(fmt.Sprint("m", rnd.IntN(40))), Rev: rnd.Int64N(5),
			Kind: []agents.OpKind{agents.OpAppend, agents.OpAppend, agents.OpReplace, agents.OpRemove}[rnd.IntN(4)]})
	}
	return ops
}

func someDeltas(rnd *rand.Rand) map[string][]agents.Delta {
	out := map[string][]agents.Delta{}
	n, key := rnd.IntN(9), rnd.IntN(20)
	for range rnd.IntN(3) {
		channel := []string{"text", "list", "map", "sum", "byid", "made"}[rnd.IntN(6)]
		d := agents.Delta{Op: agents.DeltaDrop}
		if rnd.IntN(12) > 0 {
			switch channel {
			case "text":
				d = agents.Delta{Op: agents.DeltaSet, Value: json.RawMessage(fmt.Sprintf("%q", fmt.Sprint(n)))}
			case "list":
				d = agents.Delta{Op: agents.DeltaAppend, Value: json.RawMessage(fmt.Sprintf("[%d,%d]", n, key))}
			case "map":
				d = agents.Delta{Op: agents.DeltaMerge, Value: json.RawMessage(fmt.Sprintf(`{"k%d":%d}`, key, n))}
			case "sum":
				d = agents.Delta{Op: agents.DeltaAdd, Value: json.RawMessage(fmt.Sprint(n))}
			case "byid":
				d = agents.Delta{Op: agents.DeltaUpsert, Value: json.RawMessage(fmt.Sprintf(`[{"id":"e%d","n":%d}]`, key, n))}
				if n < 3 {
					d = agents.Delta{Op: agents.DeltaRemove, Value: json.RawMessage(fmt.Sprintf(`["e%d"]`, key))}
				}
			case "made":
				d = agents.Delta{Op: agents.DeltaSet, Value: json.RawMessage(fmt.Sprint(n)), From: json.RawMessage("1")}
			}
		}
		out[channel] = append(out[channel], d)
	}
	return out
}

func TestAStateIsLoadedFromFewRowsAsIfFromAll(t *testing.T) {
	t.Parallel()
	for seed, steps := range []int{1, 49, 50, 51, 101, 999, 1000, 1001, 2000, 2100} {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(seed), 8))
			grown := func(parent *line, after, to int) *line {
				l := &line{parent: parent, after: after, head: after, rows: map[int]agents.Checkpoint{}, truth: map[int]whole{}}
				for l.head < to {
					require.NoError(t, l.grow(rnd))
				}
				return l
			}
			lines := []*line{grown(nil, -1, steps)}
			for range 8 {
				parent := lines[rnd.IntN(len(lines))]
				after := parent.after + rnd.IntN(parent.head-parent.after+1)
				if rnd.IntN(3) == 0 {
					after -= (after % agents.RollupEvery) + rnd.IntN(2) // just before or at a rollup
				}
				after = max(after, parent.after, 0)
				lines = append(lines, grown(parent, after, after+rnd.IntN(130)))
			}
			for i, l := range lines {
				places := []int{l.head, max(0, l.after), l.after + 1, l.head - l.head%agents.RollupEvery, l.head - l.head%agents.SnapshotEvery}
				for range 10 {
					places = append(places, rnd.IntN(l.head+1))
				}
				for _, step := range places {
					if step > l.head || step < 0 {
						continue
					}
					state, refs, rows, err := l.load(step)
					require.NoError(t, err)
					want := l.at(step)
					require.Equal(t, step, state.Step, "line %d", i)
					require.Equal(t, step, state.Head.Step)
					if step > 0 {
						require.Equal(t, step-1, state.Parent.Step, "line %d step %d", i, step)
					} else {
						require.Nil(t, state.Parent)
					}
					require.Equal(t, append([]agents.Ref{}, want.refs...), append([]agents.Ref{}, refs...), "line %d step %d", i, step)
					require.Equal(t, want.values, state.Values, "line %d step %d", i, step)
					require.LessOrEqual(t, rows, agents.SnapshotEvery/agents.RollupEvery+agents.RollupEvery+1, "the rows of a line are bounded")
				}
			}
		})
	}
}

func TestStepsForNamesTheStepAndTheOneBefore(t *testing.T) {
	t.Parallel()
	for step := range 2 * agents.SnapshotEvery {
		steps := agents.StepsFor(step)
		require.True(t, slices.IsSorted(steps), "%d: %v", step, steps)
		require.Equal(t, step, steps[len(steps)-1])
		if step > 0 {
			require.Equal(t, step-1, steps[len(steps)-2], "its parent")
		}
		require.Len(t, slices.Compact(slices.Clone(steps)), len(steps), "%d: %v", step, steps)
	}
}

func TestCheckpointsAreNamedByTheirLineAndStep(t *testing.T) {
	t.Parallel()
	l, other := agents.LineID("01890a5d-ac96-774b-bcce-b302099a8057"), agents.LineID("01890a5d-ac96-774b-bcce-b302099a8058")
	for _, step := range []int{agents.BeforeFirst, 0, 1, 255, 65536, 1<<31 - 1} {
		named := agents.CheckpointID(l, step)
		got, ok := agents.StepOf(named, l)
		require.True(t, ok)
		require.Equal(t, step, got)
	}
	require.Equal(t, string(l), agents.CheckpointID(l, 0))
	for _, bad := range []string{agents.CheckpointID(l, -2), agents.CheckpointID(l, 1<<31), agents.CheckpointID("short", 1)} {
		require.Empty(t, bad)
	}
	for _, strange := range []string{"", "x", agents.CheckpointID(other, 1<<30)[:35] + "g", "00000000-0000-4000-8000-000000000000"} {
		_, ok := agents.StepOf(strange, l)
		require.False(t, ok, strange)
	}
}
