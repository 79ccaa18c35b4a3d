package api

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// presentInterrupts lists a checkpoint's open interrupts as __interrupt__ does.
func presentInterrupts(h *agents.Checkpoint) []fiber.Map {
	out := []fiber.Map{}
	if h != nil {
		for _, i := range h.Interrupts {
			out = append(out, fiber.Map{"id": i.ID, "value": i.Value})
		}
	}
	return out
}

// interruptsOf lists those of one task, and of the subgraph it stands for; depth is how
// many subgraphs are around it.
func interruptsOf(h *agents.Checkpoint, depth, task int) []fiber.Map {
	out := []fiber.Map{}
	for _, i := range h.Interrupts {
		if i.OfAt(depth) == task {
			out = append(out, fiber.Map{"id": i.ID, "value": i.Value})
		}
	}
	return out
}

// threadInterrupts groups them by the task that asks.
func threadInterrupts(h *agents.Checkpoint) fiber.Map {
	out := fiber.Map{}
	if h != nil {
		for _, i := range h.Interrupts {
			out[taskID(h, i.Of())] = interruptsOf(h, 0, i.Of())
		}
	}
	return out
}

// taskID names a task that is due at a checkpoint.
func taskID(h *agents.Checkpoint, task int) string {
	return taskAt(h.Line, h.Step, task)
}

// taskAt is taskID where only the checkpoint's place is known.
func taskAt(line agents.LineID, step, task int) string {
	return id.Named(id.GraphNamespace, agents.CheckpointID(line, step)+":"+strconv.Itoa(task))
}

type updateState struct {
	Values       json.RawMessage `json:"values"`
	AsNode       string          `json:"as_node"`
	CheckpointID string          `json:"checkpoint_id"`
	Checkpoint   checkpointName  `json:"checkpoint"`
}

// UpdateState is POST /threads/:thread/state.
func (a *API) UpdateState(c *fiber.Ctx) error {
	thread, err := existingThread(c)
	if err != nil {
		return err
	}
	var in updateState
	if err := decode(c, &in); err != nil {
		return err
	}
	if err := storable(c.Body()); err != nil {
		return err
	}
	if in.Checkpoint.NS != "" {
		return fault.Invalid("checkpoint.checkpoint_ns", "must be empty: the state of a subgraph can be read, and changes by answers to what it asks")
	}
	change := run.Change{AsNode: nodeName(in.AsNode), Checkpoint: in.CheckpointID}
	if change.Checkpoint == "" {
		change.Checkpoint = in.Checkpoint.ID
	}
	scope := middleware.Scope(c)
	if err := stateValues(&change, in.Values, string(scope.User)); err != nil {
		return err
	}
	done, err := a.runs.UpdateState(c.UserContext(), scope, thread, change)
	if err != nil {
		return err
	}
	return c.JSON(fiber.Map{"checkpoint": fiber.Map{
		"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": done.Checkpoint, "checkpoint_map": nil}})
}

// removeAll is the id by which clients take out all messages.
const removeAll = "__remove_all__"

// stateValues reads the values of a change: an object with messages and other
// channels, a list of messages or of such objects, or null.
func stateValues(c *run.Change, raw json.RawMessage, author string) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var channels map[string]json.RawMessage
	var several []map[string]json.RawMessage
	list := raw
	switch {
	case json.Unmarshal(raw, &channels) == nil:
		list = channels["messages"]
		delete(channels, "messages")
	case json.Unmarshal(raw, &several) == nil && len(several) > 0 && several[0]["type"] == nil && several[0]["role"] == nil:
		return severalValues(c, several, author)
	}
	c.Values = channels
	if len(list) == 0 || string(list) == "null" {
		return nil
	}
	wire, err := parseList(list)
	if err != nil {
		return err
	}
	for i, w := range wire {
		if w.Type == "remove" {
			switch {
			case w.ID == "":
				return fault.Invalid(fmt.Sprintf("values.messages[%d].id", i), "is required of what is removed")
			case w.ID == removeAll:
				c.RemoveAll, c.Messages, c.Remove = true, nil, nil
			default:
				c.Remove = append(c.Remove, agents.MessageID(w.ID))
			}
			continue
		}
		m, err := w.message(fmt.Sprintf("values.messages[%d]", i), time.Now().UTC())
		if err != nil {
			return err
		}
		if m.Role == agents.RoleUser {
			m.Author = author
		}
		c.Messages = append(c.Messages, m)
	}
	return nil
}

// severalValues reads values that come as a list: each is written after the one
// before, in the same step.
func severalValues(c *run.Change, all []map[string]json.RawMessage, author string) error {
	for i, values := range all {
		raw, err := json.Marshal(values)
		if err != nil {
			return fault.Invalid(fmt.Sprintf("values[%d]", i), "must be an object")
		}
		if i == 0 {
			err = stateValues(c, raw, author)
		} else {
			var more run.Change
			err = stateValues(&more, raw, author)
			c.With = append(c.With, more)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
