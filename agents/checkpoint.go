package agents

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// CheckpointSource says what made a checkpoint.
type CheckpointSource string

// The sources of checkpoints, in the API's words.
const (
	SourceInput  CheckpointSource = "input"
	SourceLoop   CheckpointSource = "loop"
	SourceUpdate CheckpointSource = "update"
	SourceFork   CheckpointSource = "fork"
)

// SnapshotEvery is after how many steps a checkpoint carries the whole id list
// and the other channels, so that loading a state reads a bounded number of
// rows.
const SnapshotEvery = 50

// Checkpoint is what one super-step changed.
type Checkpoint struct {
	ID     string
	Line   LineID
	Step   int
	Run    RunID
	Source CheckpointSource
	Ops    []Op
	Deltas map[string][]Delta
	Next   []string
	// Interrupts are the pauses that wait for an answer here.
	Interrupts []Interrupt
	Metadata   json.RawMessage
	EventSeq   int64
	CreatedAt  time.Time
	// Snapshot is set every [SnapshotEvery] steps.
	Snapshot *Snapshot
}

// Snapshot is a whole state in references.
type Snapshot struct {
	Messages []Ref                      `json:"messages"`
	Values   map[string]json.RawMessage `json:"values,omitempty"`
}

// State is a thread's state at the head of a line.
type State struct {
	Line LineID
	// Step is the newest committed step, -1 on a fresh thread.
	Step     int
	Messages []Message
	// Values are the channels other than messages, as stored.
	Values map[string]json.RawMessage
	// Head is the newest checkpoint, nil on a fresh thread; Parent the one before.
	Head   *Checkpoint
	Parent *Checkpoint
}

// Refs lists the state's messages as references.
func (s State) Refs() []Ref {
	refs := make([]Ref, len(s.Messages))
	for i, m := range s.Messages {
		refs[i] = Ref{ID: m.ID, Rev: m.Revision}
	}
	return refs
}

// DeltaOp names a change of a channel. The set is small and closed, so that
// storage can replay it without knowing the graph.
type DeltaOp string

// The changes of a channel.
const (
	DeltaSet    DeltaOp = "set"    // replaces the value
	DeltaAppend DeltaOp = "append" // adds the elements of a list at the end
	DeltaMerge  DeltaOp = "merge"  // sets the keys of an object
	DeltaAdd    DeltaOp = "add"    // adds a number
)

// Delta is one change of one channel.
type Delta struct {
	Op    DeltaOp         `json:"op"`
	Value json.RawMessage `json:"value"`
}

// ApplyDeltas replays changes onto a channel's value; an absent value is nil.
func ApplyDeltas(value json.RawMessage, deltas []Delta) (json.RawMessage, error) {
	for _, d := range deltas {
		next, err := applyDelta(value, d)
		if err != nil {
			return nil, fmt.Errorf("applying %s: %w", d.Op, err)
		}
		value = next
	}
	return value, nil
}

func applyDelta(value json.RawMessage, d Delta) (json.RawMessage, error) {
	switch d.Op {
	case DeltaSet:
		return d.Value, nil
	case DeltaAppend:
		return combine(value, d.Value, func(old, more []json.RawMessage) []json.RawMessage { return append(old, more...) })
	case DeltaMerge:
		return combine(value, d.Value, func(old, more map[string]json.RawMessage) map[string]json.RawMessage {
			if old == nil {
				return more
			}
			maps.Copy(old, more)
			return old
		})
	case DeltaAdd:
		return combine(value, d.Value, func(old, more float64) float64 { return old + more })
	default:
		return nil, fmt.Errorf("unknown change %q", d.Op)
	}
}

func combine[T any](value, delta json.RawMessage, join func(old, more T) T) (json.RawMessage, error) {
	var old, more T
	if len(value) > 0 {
		if err := json.Unmarshal(value, &old); err != nil {
			return nil, fmt.Errorf("reading the value: %w", err)
		}
	}
	if err := json.Unmarshal(delta, &more); err != nil {
		return nil, fmt.Errorf("reading the change: %w", err)
	}
	return json.Marshal(join(old, more))
}
