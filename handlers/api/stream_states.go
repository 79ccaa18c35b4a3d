package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// checkpoint makes the frames that a stored step gives. The state is read: the
// log names it and carries none.
func (p *projector) checkpoint(e event.Envelope, value json.RawMessage) error {
	var named event.CheckpointValue
	if err := json.Unmarshal(value, &named); err != nil {
		return fmt.Errorf("reading which checkpoint was made: %w", err)
	}
	line := agents.LineID(named.Line)
	if line == "" {
		line = p.line
	}
	state, err := p.at(stepOf{graph: p.graph, ns: e.NS, line: line, step: named.Step})
	if err != nil {
		return fmt.Errorf("reading step %d: %w", named.Step, err)
	}
	stepped := steppedOf(state)
	updates := stepped.Updates()
	if err := p.words.whole(e, stepped); err != nil {
		return err
	}
	if err := p.tasks.stored(e, stepped, updates); err != nil {
		return err
	}
	for _, u := range updates {
		if err := p.add(modeUpdates, "updates", e.NS, map[string]any{u.Node: presentUpdate(u)}); err != nil {
			return err
		}
	}
	return p.stateFrames(e, state)
}

func (p *projector) stateFrames(e event.Envelope, state agents.State) error {
	open := presentInterrupts(state.Head)
	if len(open) > 0 {
		if err := p.add(modeUpdates, "updates", e.NS, fiber.Map{"__interrupt__": open}); err != nil {
			return err
		}
	}
	if p.modes[modeValues] {
		values, err := valuesJSON(state)
		if err != nil {
			return err
		}
		if err := p.add(modeValues, "values", e.NS, values); err != nil {
			return err
		}
	}
	if !p.modes.any(modeCheckpoints, modeDebug) || p.stateless {
		return nil
	}
	state.Pending = nil // comes and goes while the step stands, and a frame is the same whenever it is read
	seen := presentState(p.thread, state)
	seen["config"] = fiber.Map{"configurable": seen["checkpoint"]}
	if seen["parent_checkpoint"] != nil {
		seen["parent_config"] = fiber.Map{"configurable": seen["parent_checkpoint"]}
	}
	if err := p.add(modeCheckpoints, "checkpoints", e.NS, seen); err != nil {
		return err
	}
	return p.add(modeDebug, "debug", e.NS, debugged("checkpoint", state.Step, timestamp(state.Head.CreatedAt), seen))
}

func debugged(kind string, step int, at string, payload any) fiber.Map {
	return fiber.Map{"type": kind, "step": step, "timestamp": at, "payload": payload}
}

// presentUpdate gives what a task wrote as an update of the state: messages, and
// of each other channel what was written to it; null of nothing.
func presentUpdate(u graph.Update) map[string]any {
	out := map[string]any{}
	var messages []any
	written := map[string][]json.RawMessage{}
	for _, w := range u.Writes {
		switch {
		case w.Message != nil:
			messages = append(messages, presentMessage(*w.Message))
		case w.Remove != "":
			messages = append(messages, fiber.Map{"type": "remove", "id": w.Remove, "content": ""})
		case w.Delta != nil && !agents.Hidden(w.Channel):
			written[w.Channel] = append(written[w.Channel], changed(*w.Delta))
		}
	}
	if messages != nil {
		out["messages"] = messages
	}
	for _, channel := range slices.Sorted(maps.Keys(written)) {
		if values := written[channel]; len(values) == 1 {
			out[channel] = values[0]
		} else {
			out[channel] = values
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// pairs gives an update as a list of channels and values.
func pairs(update map[string]any) [][2]any {
	out := make([][2]any, 0, len(update))
	for _, channel := range slices.Sorted(maps.Keys(update)) {
		out = append(out, [2]any{channel, update[channel]})
	}
	return out
}

// changed is the value that a node wrote.
func changed(d agents.Delta) json.RawMessage {
	switch {
	case d.From != nil:
		return d.From
	case d.Value == nil:
		return json.RawMessage("null")
	default:
		return d.Value
	}
}

// doing follows the tasks of a run: what they began with is told when they begin,
// what came of them when it is stored.
type doing struct {
	p *projector
	// ended are tasks of the step in flight, by namespace and place.
	ended map[string]bool
}

func newDoing(p *projector) *doing { return &doing{p: p, ended: map[string]bool{}} }

func (d *doing) hear(e event.Envelope) error {
	if e.Type == event.RunError {
		return d.failed(e)
	}
	if e.Type != event.StepStarted && e.Type != event.StepFinished {
		return nil
	}
	var data event.StepData
	if err := e.Decode(&data); err != nil {
		return err
	}
	id := d.p.taskOf(e, data.Task)
	if e.Type == event.StepFinished {
		d.ended[id] = true
		return nil
	}
	if d.p.quiet {
		return nil
	}
	task := fiber.Map{"id": id, "name": e.Node, "input": d.input(e, data.Task), "triggers": triggers(e.Node), "interrupts": []any{}}
	return d.tell(e, "task", task)
}

// input is what a task begins with: what was sent to it, or the state before its
// step; null where that can't be read any more.
func (d *doing) input(e event.Envelope, task int) any {
	if len(e.NS) > 0 || e.Step < 1 {
		return nil
	}
	before, err := d.p.at(stepOf{line: d.p.line, step: e.Step - 1})
	if err != nil {
		return nil
	}
	if h := before.Head; h != nil && task < len(h.Next) && h.Next[task].Input != nil {
		return h.Next[task].Input
	}
	return presentValues(before)
}

// stored tells what came of the tasks of a step that is stored now.
func (d *doing) stored(e event.Envelope, s graph.Stepped, updates []graph.Update) error {
	if !d.p.modes.any(modeTasks, modeDebug) || s.State.Head.Source != agents.SourceLoop {
		return nil
	}
	for i, due := range s.Was {
		id := taskAt(s.State.Head.Line, s.State.Step-1, i)
		if !d.ended[id] {
			continue
		}
		delete(d.ended, id)
		result := [][2]any{}
		if i < len(updates) && updates[i].Node == due.Node {
			result = pairs(presentUpdate(updates[i]))
		}
		if err := d.tell(e, "task_result", fiber.Map{"id": id, "name": due.Node, "result": result, "error": nil, "interrupts": []any{}}); err != nil {
			return err
		}
	}
	for i, due := range s.State.Head.Next {
		mine := interruptsOf(s.State.Head, len(s.State.NS), i)
		if len(mine) == 0 {
			continue
		}
		if err := d.tell(e, "task_result", fiber.Map{"id": taskID(s.State.Head, i), "name": due.Node, "result": [][2]any{}, "error": nil, "interrupts": mine}); err != nil {
			return err
		}
	}
	return nil
}

func (d *doing) failed(e event.Envelope) error {
	var data event.RunErrorData
	if err := e.Decode(&data); err != nil {
		return err
	}
	if data.Node == "" {
		return nil
	}
	return d.tell(e, "task_result", fiber.Map{"id": d.p.taskOf(e, 0), "name": data.Node, "result": [][2]any{}, "error": data.Message, "interrupts": []any{}})
}

func (d *doing) tell(e event.Envelope, kind string, task fiber.Map) error {
	if err := d.p.add(modeTasks, "tasks", e.NS, task); err != nil {
		return fmt.Errorf("telling of a task: %w", err)
	}
	return d.p.add(modeDebug, "debug", e.NS, debugged(kind, e.Step, timestamp(e.Time), task))
}

func triggers(node string) []string { return []string{"branch:to:" + node} }
