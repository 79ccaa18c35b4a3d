package graph

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/heddle/heddle/agents"
)

// Changes is what one super-step did to the state, in storable form.
type Changes struct {
	// Messages are the new messages and revisions; Ops says where they go.
	Messages []agents.Message
	Ops      []agents.Op
	Deltas   map[string][]agents.Delta
}

// merge applies writes in their order, which the caller fixes by node name, to
// a state and returns the next state with the changes that lead to it. The old
// state is untouched.
func merge(s State, writes []Write) (State, Changes, error) {
	var changes Changes
	next := State{messages: slices.Clone(s.messages), values: maps.Clone(s.values)}
	if next.values == nil {
		next.values = map[string]json.RawMessage{}
	}
	for _, w := range writes {
		switch {
		case w.err != nil:
			return s, Changes{}, fmt.Errorf("writing channel %s: %w", w.channel, w.err)
		case w.message != nil:
			next.messages, changes = putMessage(next.messages, changes, *w.message)
		case w.remove != "":
			at := slices.IndexFunc(next.messages, func(m agents.Message) bool { return m.ID == w.remove })
			if at >= 0 {
				next.messages = slices.Delete(next.messages, at, at+1)
				changes.Ops = append(changes.Ops, agents.Op{Kind: agents.OpRemove, ID: w.remove})
			}
		default:
			value, err := agents.ApplyDeltas(next.values[w.channel], []agents.Delta{w.delta})
			if err != nil {
				return s, Changes{}, fmt.Errorf("merging channel %s: %w", w.channel, err)
			}
			next.values[w.channel] = value
			if changes.Deltas == nil {
				changes.Deltas = map[string][]agents.Delta{}
			}
			changes.Deltas[w.channel] = append(changes.Deltas[w.channel], w.delta)
		}
	}
	return next, changes, nil
}

func putMessage(messages []agents.Message, changes Changes, m agents.Message) ([]agents.Message, Changes) {
	at := slices.IndexFunc(messages, func(have agents.Message) bool { return have.ID == m.ID })
	op := agents.Op{Kind: agents.OpAppend, ID: m.ID}
	if at < 0 {
		m.Revision = 0
		messages = append(messages, m)
	} else {
		m.Revision = messages[at].Revision + 1
		messages[at] = m
		op = agents.Op{Kind: agents.OpReplace, ID: m.ID, Rev: m.Revision}
	}
	changes.Messages = append(changes.Messages, m)
	changes.Ops = append(changes.Ops, op)
	return messages, changes
}
