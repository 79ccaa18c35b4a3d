package agents

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// The spacing of what lets a state be loaded from a bounded number of rows: what
// [RollupEvery] steps changed is kept together beside the last of them, and the
// whole state every [SnapshotEvery].
const (
	RollupEvery   = 50
	SnapshotEvery = 1000
)

// Rollup is what the steps of a line changed since the last multiple of
// [RollupEvery], in their order.
type Rollup struct {
	Ops    []Op               `json:"ops,omitempty"`
	Deltas map[string][]Delta `json:"deltas,omitempty"`
}

// Add takes in the changes of the next step.
func (r *Rollup) Add(ops []Op, deltas map[string][]Delta) {
	r.Ops = append(r.Ops, ops...)
	for channel, d := range deltas {
		if r.Deltas == nil {
			r.Deltas = map[string][]Delta{}
		}
		r.Deltas[channel] = append(r.Deltas[channel], d...)
	}
}

// CheckpointID is the id of the checkpoint of a step: the UUID of its line with
// the step added into its last 32 bits. So neither has to be stored, and
// [StepOf] finds the step again. It is empty for what is no line or no step;
// [BeforeFirst] has one, too.
func CheckpointID(line LineID, step int) string {
	head, tail, ok := split(line)
	if !ok || step < BeforeFirst || step > math.MaxInt32 {
		return ""
	}
	return fmt.Sprintf("%s%08x", head, tail^uint32(step))
}

// StepOf gives the step whose checkpoint has this id on a line; ok is false for
// the id of another line's checkpoint.
func StepOf(id string, line LineID) (step int, ok bool) {
	head, tail, ok := split(line)
	at, stepBits, valid := split(LineID(strings.ToLower(id)))
	if !ok || !valid || at != head {
		return 0, false
	}
	step = int(int32(tail ^ stepBits))
	if step < BeforeFirst {
		return 0, false
	}
	return step, true
}

// BeforeFirst is the step of the checkpoint before a line's first step, see
// [Beginning].
const BeforeFirst = -1

// startNode is what is due before the first step.
const startNode = "__start__"

// Beginning is the state before the first step of a thread's line that stands on no
// other: nothing is there yet, and the input is due. It has a checkpoint, from which
// the thread can begin anew, and nothing is stored for it: first, which followed, says
// all there is to say.
func Beginning(first Checkpoint) State {
	return State{Line: first.Line, Step: BeforeFirst, Values: map[string]json.RawMessage{}, Head: &Checkpoint{
		ID: CheckpointID(first.Line, BeforeFirst), Line: first.Line, Step: BeforeFirst, Run: first.Run, Source: SourceInput,
		Next: DueNodes(startNode), CreatedAt: first.CreatedAt,
	}}
}

// split parts a UUID into its first 96 bits, as text, and its last 32.
func split(line LineID) (head string, tail uint32, ok bool) {
	if len(line) != 36 {
		return "", 0, false
	}
	last, err := hex.DecodeString(string(line[28:]))
	if err != nil {
		return "", 0, false
	}
	return string(line[:28]), uint32(last[0])<<24 | uint32(last[1])<<16 | uint32(last[2])<<8 | uint32(last[3]), true
}

// StepsFor lists the steps of one line, ascending, that have to be read for the
// state at a step: the last snapshot, the rollups after it, the single steps
// after those, and the step before, which is the parent. Those that a line lacks,
// because it began later, belong to its parent line.
func StepsFor(step int) []int {
	var out []int
	whole, last := step-step%SnapshotEvery, step-step%RollupEvery
	for s := whole; s < last; s += RollupEvery {
		out = append(out, s)
	}
	if last == step && step > 0 {
		out = append(out, step-1)
	}
	for s := last; s <= step; s++ {
		out = append(out, s)
	}
	return out
}

// Replay folds the checkpoints of one line that [StepsFor] names, or as many of
// them as the line has, onto a state and the references of its messages, and
// returns the new references. Of s it changes Step, Values, Head and Parent.
func Replay(s *State, refs []Ref, rows []Checkpoint) ([]Ref, error) {
	newest := 0 // of the rows that stand for those before them
	for i, c := range rows {
		if c.Rollup != nil || c.Snapshot != nil {
			newest = i
		}
	}
	messages := listOf(refs)
	for i := range rows {
		c := &rows[i]
		s.Parent, s.Head, s.Step = s.Head, c, c.Step
		changed := Rollup{Ops: c.Ops, Deltas: c.Deltas}
		switch {
		case c.Snapshot != nil:
			messages = listOf(c.Snapshot.Messages)
			s.Values = make(map[string]json.RawMessage, len(c.Snapshot.Values))
			for k, v := range c.Snapshot.Values {
				s.Values[k] = v
			}
			continue
		case c.Rollup != nil:
			changed = *c.Rollup
		case i < newest && c.Step%RollupEvery != 0:
			continue // the parent: a rollup that follows has its changes
		}
		messages.apply(changed.Ops)
		for channel, deltas := range changed.Deltas {
			if err := Fold(s.Values, channel, deltas); err != nil {
				return nil, fmt.Errorf("step %d: %w", c.Step, err)
			}
		}
	}
	return messages.refs(), nil
}

// ChangesOf gives what one step changed as writes in stored form. messages holds
// the messages that its operations add or replace, in order, and loses them.
func ChangesOf(ops []Op, deltas map[string][]Delta, messages *[]Message) []Change {
	var out []Change
	for _, op := range ops {
		if op.Kind == OpRemove {
			out = append(out, Change{Remove: op.ID})
			continue
		}
		m := (*messages)[0]
		*messages = (*messages)[1:]
		out = append(out, Change{Message: &m})
	}
	for _, channel := range slices.Sorted(maps.Keys(deltas)) {
		for _, d := range deltas[channel] {
			out = append(out, Change{Channel: channel, Delta: &d})
		}
	}
	return out
}
