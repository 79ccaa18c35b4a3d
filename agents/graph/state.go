package graph

import (
	"encoding/json"
	"slices"
	"sync/atomic"

	"github.com/heddle/heddle/agents"
)

// State is a frozen snapshot: what every node of one super-step reads.
type State struct {
	messages []agents.Message
	values   map[string]json.RawMessage
	// room says whether the spare room behind messages was given to a state that
	// goes on from this one; nil where it belongs to somebody else. So a long thread
	// is not copied for each step.
	room *atomic.Bool
}

// NewState makes a state from stored messages and values; neither may be
// changed afterwards.
func NewState(messages []agents.Message, values map[string]json.RawMessage) State {
	return State{messages: messages, values: values}
}

// StateOf makes a state of what a checkpointer or a [Runner] loaded, so that
// channels and keys can read it.
func StateOf(loaded agents.State) State { return NewState(loaded.Messages, loaded.Values) }

// Messages gives the thread's messages in order. The slice must not be changed.
func (s State) Messages() []agents.Message { return slices.Clip(s.messages) }

// grow gives the messages for a state that goes on from this one: what is added to
// them is no part of this one, nor of any other that goes on from it.
func (s State) grow() []agents.Message {
	if s.room != nil && s.room.CompareAndSwap(false, true) {
		return s.messages
	}
	return slices.Clip(s.messages)
}

// Values gives the raw channels, hidden ones too; [agents.Public] leaves those
// out. The map must not be changed.
func (s State) Values() map[string]json.RawMessage { return s.values }

// Last gives the newest message.
func (s State) Last() (agents.Message, bool) {
	if len(s.messages) == 0 {
		return agents.Message{}, false
	}
	return s.messages[len(s.messages)-1], true
}

// Write is one change a node asks for: to a channel, or to the messages. Channels
// and keys make it, or [AddMessage] and [RemoveMessage].
type Write struct {
	agents.Change
	err error
}

// AddMessage appends a message, or replaces the one with its id in place.
func AddMessage(m agents.Message) Write { return Write{Change: agents.Change{Message: &m}} }

// AddMessages is AddMessage for several.
func AddMessages(ms ...agents.Message) []Write {
	out := make([]Write, len(ms))
	for i, m := range ms {
		out[i] = AddMessage(m)
	}
	return out
}

// RemoveMessage takes a message out of the thread's list; one that is not there
// is passed over.
func RemoveMessage(id agents.MessageID) Write { return Write{Change: agents.Change{Remove: id}} }
