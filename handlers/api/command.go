package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/internal/fault"
)

// command is how a client goes on from a pause (agentserver 5).
type command struct {
	Resume json.RawMessage `json:"resume"`
	Goto   json.RawMessage `json:"goto"`
	Update json.RawMessage `json:"update"`
}

// commands reads a command, nil for none; what it changes of the state goes into what
// the run brings. One that says nothing is none.
func (in createRun) commands(brings *agents.RunInput, author string, now time.Time) (*run.Command, error) {
	var cmd command
	if absent(in.Command) {
		return nil, nil
	}
	if json.Unmarshal(in.Command, &cmd) != nil {
		return nil, fault.Invalid("command", "must be an object")
	}
	if cmd.Resume == nil && absent(cmd.Goto) && absent(cmd.Update) {
		return nil, nil
	}
	out := &run.Command{Answer: cmd.Resume}
	var err error
	if out.Goto, out.Sends, err = targets(cmd.Goto); err != nil {
		return nil, err
	}
	if absent(cmd.Update) {
		return out, nil
	}
	values, err := update(cmd.Update)
	if err != nil {
		return nil, err
	}
	if messages := values["messages"]; !absent(messages) {
		if brings.Messages, err = parseMessages("command.update.messages", messages, author, now); err != nil {
			return nil, err
		}
	}
	delete(values, "messages")
	brings.Values = values
	return out, nil
}

// update reads an object of channels, or a list of pairs of a channel and its value.
func update(raw json.RawMessage) (map[string]json.RawMessage, error) {
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) == nil {
		return values, nil
	}
	const rule = "must be an object of channels, or a list of pairs [channel, value]"
	var pairs [][]json.RawMessage
	if json.Unmarshal(raw, &pairs) != nil {
		return nil, fault.Invalid("command.update", rule)
	}
	values = map[string]json.RawMessage{}
	for i, p := range pairs {
		var channel string
		if len(p) != 2 || json.Unmarshal(p[0], &channel) != nil {
			return nil, fault.Invalid(fmt.Sprintf("command.update[%d]", i), rule)
		}
		if _, twice := values[channel]; twice {
			return nil, fault.Invalid(fmt.Sprintf("command.update[%d]", i), "names a channel a second time")
		}
		values[channel] = p[1]
	}
	return values, nil
}

// targets reads a command's goto: a node's name, a node with an input of its own, or
// a list of both.
func targets(raw json.RawMessage) (nodes []string, sends []agents.Due, err error) {
	if absent(raw) {
		return nil, nil, nil
	}
	list := []json.RawMessage{raw}
	if raw[0] == '[' {
		if json.Unmarshal(raw, &list) != nil {
			return nil, nil, errTarget
		}
	}
	for _, one := range list {
		var name string
		if json.Unmarshal(one, &name) == nil {
			nodes = append(nodes, name)
			continue
		}
		var send struct {
			Node  string          `json:"node"`
			Input json.RawMessage `json:"input"`
		}
		if json.Unmarshal(one, &send) != nil || send.Node == "" {
			return nil, nil, errTarget
		}
		if send.Input == nil {
			send.Input = json.RawMessage("null")
		}
		sends = append(sends, agents.Due{Node: send.Node, Input: send.Input})
	}
	return nodes, sends, nil
}

var errTarget = fault.Invalid("command.goto", "must be the name of a node, {node, input}, or a list of these")
