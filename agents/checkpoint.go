package agents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/heddle/heddle/internal/fault"
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

// Checkpoint is what one super-step changed.
type Checkpoint struct {
	// ID follows from Line and Step, see [CheckpointID].
	ID   string
	Line LineID
	// ParentID is the checkpoint before, empty for the first; filled in where
	// several are listed.
	ParentID string
	Step     int
	Run      RunID
	Source   CheckpointSource
	Ops      []Op
	Deltas   map[string][]Delta
	// Next are the tasks that are due.
	Next []Due
	// Wrote says which task made which of the changes.
	Wrote []Wrote
	// Interrupts are the pauses that wait for an answer here.
	Interrupts []Interrupt
	Metadata   json.RawMessage
	EventSeq   int64
	CreatedAt  time.Time
	// Snapshot is set every [SnapshotEvery] steps, Rollup every [RollupEvery].
	Snapshot *Snapshot
	Rollup   *Rollup
}

// HistoryQuery selects states of a thread.
type HistoryQuery struct {
	// Limit is 1 to [MaxHistory].
	Limit int
	// Before is a checkpoint's id: only what is older is listed. Empty begins
	// with the newest.
	Before string
	// Only, if given, is the one checkpoint that is listed.
	Only string
	// Metadata is an object that a checkpoint's contains, with its source, step,
	// run_id and thread_id; nil matches all.
	Metadata json.RawMessage
	// Bare leaves out the messages.
	Bare bool
	// Followed gives with each state the step that followed.
	Followed bool
}

// MaxHistory is how many states one look into a history gives.
const MaxHistory = 1000

// Check says whether a query may be asked.
func (q HistoryQuery) Check() error {
	if q.Limit < 1 || q.Limit > MaxHistory {
		return fault.Invalid("limit", "must be from 1 to 1000")
	}
	return nil
}

// The faults of checkpoints.
var (
	ErrThreadNotFound     = fault.NotFound("Thread")
	ErrCheckpointNotFound = fault.NotFound("Checkpoint")
)

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
	// Pending is what is known of the tasks that are due at Head.
	Pending []Pending
	// Own are, on a subgraph's line, the changes since the line began.
	Own []Change
	// Followed is the step after this one on its line, where it was asked for and
	// there is one.
	Followed *Followed
	// Failure says why the run that made Head ended there, where it was asked for.
	Failure *RunError
}

// Followed is the step that followed a state.
type Followed struct {
	Checkpoint
	// Messages are those that it added or replaced, in the order of its Ops.
	Messages []Message
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
	DeltaUpsert DeltaOp = "upsert" // of a list of objects: replaces those with the same "id" in place, adds the others
	DeltaRemove DeltaOp = "remove" // of a list of objects: takes out those whose "id" is listed
	DeltaDrop   DeltaOp = "drop"   // forgets the value
	// DeltaReduce asks a reducer that only the graph knows. What is stored is
	// what came of it: a DeltaSet whose From is this one's value.
	DeltaReduce DeltaOp = "reduce"
)

// Delta is one change of one channel.
type Delta struct {
	Op    DeltaOp         `json:"op"`
	Value json.RawMessage `json:"value"`
	// From is what the graph's own reducer made Value of.
	From json.RawMessage `json:"from,omitempty"`
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

// Fold replays changes onto one channel of values, which it changes.
func Fold(values map[string]json.RawMessage, channel string, deltas []Delta) error {
	value, err := ApplyDeltas(values[channel], deltas)
	if err != nil {
		return fmt.Errorf("replaying channel %s: %w", channel, err)
	}
	if value == nil {
		delete(values, channel)
	} else {
		values[channel] = value
	}
	return nil
}

func applyDelta(value json.RawMessage, d Delta) (json.RawMessage, error) {
	switch d.Op {
	case DeltaSet:
		return d.Value, nil
	case DeltaDrop:
		return nil, nil
	case DeltaAppend:
		return appendList(value, d.Value)
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
	case DeltaUpsert:
		return upsert(value, d.Value)
	case DeltaRemove:
		return remove(value, d.Value)
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

// appendList adds a list to another without reading either's elements.
func appendList(value, more json.RawMessage) (json.RawMessage, error) {
	old, more := bytes.TrimSpace(value), bytes.TrimSpace(more)
	switch {
	case isNull(more):
		if isNull(old) {
			return json.RawMessage("[]"), nil
		}
		return old, nil
	case !isList(more):
		return nil, errors.New("reading the change: it is no list")
	case isNull(old):
		return more, nil
	case !isList(old):
		return nil, errors.New("reading the value: it is no list")
	case isEmpty(old):
		return more, nil
	case isEmpty(more):
		return old, nil
	}
	out := make(json.RawMessage, 0, len(old)+len(more))
	out = append(append(out, old[:len(old)-1]...), ',')
	return append(out, more[1:]...), nil
}

func isNull(v []byte) bool { return len(v) == 0 || string(v) == "null" }

func isEmpty(list []byte) bool { return len(bytes.TrimSpace(list[1:len(list)-1])) == 0 }

func isList(v []byte) bool { return len(v) >= 2 && v[0] == '[' && v[len(v)-1] == ']' }

// identified is what upsert and remove read of an element.
type identified struct {
	ID string `json:"id"`
}

// idsOf reads a list and the ids of its elements.
func idsOf(list json.RawMessage) (elements []json.RawMessage, at map[string]int, err error) {
	at = map[string]int{}
	if isNull(list) {
		return nil, at, nil
	}
	if err := json.Unmarshal(list, &elements); err != nil {
		return nil, nil, err
	}
	for i, e := range elements {
		var one identified
		if err := json.Unmarshal(e, &one); err != nil || one.ID == "" {
			return nil, nil, fmt.Errorf("element %d has no id", i)
		}
		at[one.ID] = i
	}
	return elements, at, nil
}

func upsert(value, delta json.RawMessage) (json.RawMessage, error) {
	old, at, err := idsOf(value)
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	more, _, err := idsOf(delta)
	if err != nil {
		return nil, fmt.Errorf("reading the change: %w", err)
	}
	for _, e := range more {
		var one identified
		if err := json.Unmarshal(e, &one); err != nil {
			return nil, err
		}
		if i, ok := at[one.ID]; ok {
			old[i] = e
			continue
		}
		at[one.ID] = len(old)
		old = append(old, e)
	}
	return json.Marshal(old)
}

func remove(value, delta json.RawMessage) (json.RawMessage, error) {
	old, at, err := idsOf(value)
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	var ids []string
	if err := json.Unmarshal(delta, &ids); err != nil {
		return nil, fmt.Errorf("reading the change: %w", err)
	}
	gone := map[int]bool{}
	for _, id := range ids {
		if i, ok := at[id]; ok {
			gone[i] = true
		}
	}
	kept := make([]json.RawMessage, 0, len(old))
	for i, e := range old {
		if !gone[i] {
			kept = append(kept, e)
		}
	}
	return json.Marshal(kept)
}
