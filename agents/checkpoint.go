package agents

import (
	"encoding/json"
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
	ID        string
	Line      LineID
	Step      int
	Run       RunID
	Source    CheckpointSource
	Ops       []Op
	Deltas    map[string]json.RawMessage
	Next      []string
	Metadata  json.RawMessage
	EventSeq  int64
	CreatedAt time.Time
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
