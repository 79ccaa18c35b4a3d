package agents

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Due is one task that is due: a node and, if the task was sent rather than led
// to by an edge, an input of its own.
type Due struct {
	Node string
	// Input is what was sent; nil where the node reads the shared state only.
	Input json.RawMessage
}

// Nodes lists the nodes of tasks in order, one that is due twice twice.
func Nodes(due []Due) []string {
	out := make([]string, len(due))
	for i, d := range due {
		out[i] = d.Node
	}
	return out
}

// DueNodes makes tasks without inputs of their own.
func DueNodes(nodes ...string) []Due {
	out := make([]Due, len(nodes))
	for i, n := range nodes {
		out[i] = Due{Node: n}
	}
	return out
}

type sent struct {
	Node  string          `json:"node"`
	Input json.RawMessage `json:"input"`
}

// MarshalJSON writes the node's name alone where there is no input.
func (d Due) MarshalJSON() ([]byte, error) {
	if d.Input == nil {
		return json.Marshal(d.Node)
	}
	return json.Marshal(sent(d))
}

// UnmarshalJSON reads either form.
func (d *Due) UnmarshalJSON(raw []byte) error {
	*d = Due{}
	if json.Unmarshal(raw, &d.Node) == nil {
		return nil
	}
	var s sent
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("reading a task: %w", err)
	}
	*d = Due(s)
	return nil
}

// Change is one write of a node: to a channel, or to the messages.
type Change struct {
	Channel string    `json:"channel,omitempty"`
	Delta   *Delta    `json:"delta,omitempty"`
	Message *Message  `json:"message,omitempty"`
	Remove  MessageID `json:"remove,omitempty"`
}

// Result is what a finished task gave: writes, and where to go.
type Result struct {
	Writes []Change `json:"writes,omitempty"`
	// Jump says that Goto replaces the declared edges, even if it is empty.
	Jump bool     `json:"jump,omitempty"`
	Goto []string `json:"goto,omitempty"`
	// Also follows beside the declared edges.
	Also []string `json:"also,omitempty"`
	Send []Due    `json:"send,omitempty"`
}

// Pending is what is known of one task of a step that is not complete: the
// result of one that finished, so that it never runs again, or how far the
// subgraph of another one is.
type Pending struct {
	// Task is the task's place among those that are due.
	Task int `json:"task"`
	// Result is nil for a task that has not finished.
	Result *Result `json:"result,omitempty"`
	// Line is the line of history that the task's subgraph writes.
	Line LineID `json:"line,omitempty"`
}

// Wrote says which part of a step's changes one task made: the step's Ops and
// Deltas stand in the order of its tasks.
type Wrote struct {
	Node string `json:"node"`
	// Ops counts list operations, Deltas those of each channel.
	Ops    int            `json:"ops,omitempty"`
	Deltas map[string]int `json:"deltas,omitempty"`
}

// Hidden reports whether a channel never leaves the server: private ones, whose
// names begin with an underscore, and those that the engine keeps for itself.
func Hidden(channel string) bool { return channel != "" && channel[0] == '_' }

// Public gives the channels that clients may see.
func Public(values map[string]json.RawMessage) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(values))
	for name, v := range values {
		if !Hidden(name) {
			out[name] = v
		}
	}
	return out
}

// PendingOf finds what is known of a task.
func PendingOf(all []Pending, task int) (Pending, bool) {
	i := slices.IndexFunc(all, func(p Pending) bool { return p.Task == task })
	if i < 0 {
		return Pending{}, false
	}
	return all[i], true
}
