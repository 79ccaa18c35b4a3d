package graph

import (
	"encoding/json"
	"fmt"

	"github.com/heddle/heddle/agents"
)

// Channel is a typed field of a graph's state: its name, and the reducer that
// merges what nodes write. A Channel value is an immutable descriptor; graphs
// and tests share it freely.
type Channel[T any] struct {
	name string
	op   agents.DeltaOp
}

// Replace makes a channel in which the last write wins.
func Replace[T any](name string) Channel[T] { return Channel[T]{name: name, op: agents.DeltaSet} }

// Append makes a channel whose writes are added at the end of a list.
func Append[E any](name string) Channel[[]E] {
	return Channel[[]E]{name: name, op: agents.DeltaAppend}
}

// Merge makes a channel whose writes set keys of a map.
func Merge[V any](name string) Channel[map[string]V] {
	return Channel[map[string]V]{name: name, op: agents.DeltaMerge}
}

// Sum makes a channel whose writes are added up.
func Sum(name string) Channel[float64] { return Channel[float64]{name: name, op: agents.DeltaAdd} }

// Name gives the channel's name, the key under which clients see it.
func (c Channel[T]) Name() string { return c.name }

// Get reads the channel from a state; ok is false when nothing was written yet.
func (c Channel[T]) Get(s State) (value T, ok bool, err error) {
	raw, ok := s.values[c.name]
	if !ok {
		return value, false, nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, true, fmt.Errorf("reading channel %s: %w", c.name, err)
	}
	return value, true, nil
}

// Put makes a write to the channel.
func (c Channel[T]) Put(value T) Write {
	raw, err := json.Marshal(value)
	return Write{channel: c.name, delta: agents.Delta{Op: c.op, Value: raw}, err: err}
}

// Write is one change a node asks for: to a channel, or to the messages.
type Write struct {
	channel string
	delta   agents.Delta
	message *agents.Message
	remove  agents.MessageID
	err     error
}

// AddMessage appends a message, or replaces the one with its id.
func AddMessage(m agents.Message) Write { return Write{message: &m} }

// AddMessages is AddMessage for several.
func AddMessages(ms ...agents.Message) []Write {
	out := make([]Write, len(ms))
	for i, m := range ms {
		out[i] = AddMessage(m)
	}
	return out
}

// RemoveMessage takes a message out of the thread's list.
func RemoveMessage(id agents.MessageID) Write { return Write{remove: id} }

// State is a frozen snapshot: what every node of one super-step reads.
type State struct {
	messages []agents.Message
	values   map[string]json.RawMessage
}

// NewState makes a state from stored messages and values; neither may be
// changed afterwards.
func NewState(messages []agents.Message, values map[string]json.RawMessage) State {
	return State{messages: messages, values: values}
}

// Messages gives the thread's messages in order. The slice must not be changed.
func (s State) Messages() []agents.Message { return s.messages }

// Values gives the raw channels. The map must not be changed.
func (s State) Values() map[string]json.RawMessage { return s.values }

// Last gives the newest message.
func (s State) Last() (agents.Message, bool) {
	if len(s.messages) == 0 {
		return agents.Message{}, false
	}
	return s.messages[len(s.messages)-1], true
}
