package graph

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
)

// Mode is a way to look at a run: each is a projection of its one stream of
// envelopes. The names are those of LangGraph's clients.
type Mode string

// The modes.
const (
	ModeValues      Mode = "values"      // the whole state after each step
	ModeUpdates     Mode = "updates"     // what each node of a step wrote, and pauses
	ModeMessages    Mode = "messages"    // the model's words as they come
	ModeCustom      Mode = "custom"      // what nodes tell by EmitCustom(event.GraphCustom, …)
	ModeTasks       Mode = "tasks"       // tasks as they start and end
	ModeCheckpoints Mode = "checkpoints" // each checkpoint as it is stored
	ModeDebug       Mode = "debug"       // checkpoints and tasks
	ModeEvents      Mode = "events"      // the envelopes themselves
)

// Modes lists every mode.
func Modes() []Mode {
	return []Mode{ModeValues, ModeUpdates, ModeMessages, ModeCustom, ModeTasks, ModeCheckpoints, ModeDebug, ModeEvents}
}

// Frame is one piece of a stream in one mode.
type Frame struct {
	Mode Mode
	// Envelope is what the frame is made of; its NS says in which subgraph.
	Envelope event.Envelope
	// State is the state of a values, checkpoints or debug frame; Head has the
	// checkpoint itself.
	State   *agents.State
	Update  *Update
	Message *Chunk
	Task    *TaskNews
	// Custom is the value of a custom frame.
	Custom json.RawMessage
}

// Update is what one task of a step wrote; or, with Interrupts, that the run
// pauses.
type Update struct {
	Node       string
	Writes     []agents.Change
	Interrupts []agents.Interrupt
}

// Chunk is a piece of a message's text.
type Chunk struct {
	MessageID agents.MessageID
	Delta     string
	Node      string
	Step      int
}

// TaskNews says that a task started, or how it ended.
type TaskNews struct {
	ID, Node string
	Step     int
	Ended    bool
	// Interrupts are the pauses of a task that ended as one.
	Interrupts []agents.Interrupt
}

// Stepped is what a stored step changed, as whoever projects a stream reads it.
type Stepped struct {
	// State is the state after the step, hidden channels included.
	State agents.State
	// Messages are the bodies that the head's operations add or replace, in order.
	Messages []agents.Message
	// Was are the tasks that were due before the step.
	Was []agents.Due
}

// Projection turns a run's envelopes into frames.
type Projection struct {
	modes []Mode
	// at reads the step that an envelope names, of the run's own line where it
	// names none; it is called only for modes that need it, once for each
	// checkpoint.
	at func(line agents.LineID, step int) (Stepped, error)
	// Subgraphs says whether frames of subgraphs are wanted; envelopes and
	// messages always are.
	subgraphs bool
}

// NewProjection makes a projection to modes. at may be nil where none of them
// looks at states.
func NewProjection(modes []Mode, subgraphs bool, at func(line agents.LineID, step int) (Stepped, error)) *Projection {
	return &Projection{modes: modes, at: at, subgraphs: subgraphs}
}

func (p *Projection) wants(modes ...Mode) bool {
	return slices.ContainsFunc(modes, func(m Mode) bool { return slices.Contains(p.modes, m) })
}

// Frames projects one envelope, in the order of the modes.
func (p *Projection) Frames(e event.Envelope) ([]Frame, error) {
	var out []Frame
	inner := len(e.NS) > 0 && !p.subgraphs
	if e.Type == event.Custom && !inner {
		name, value := e.CustomName()
		switch name {
		case event.GraphCustom:
			out = p.add(out, Frame{Mode: ModeCustom, Envelope: e, Custom: value})
		case event.CheckpointMade:
			more, err := p.checkpoint(e, value)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	switch e.Type {
	case event.TextMessageContent:
		if p.wants(ModeMessages) {
			var d event.TextContentData
			if err := e.Decode(&d); err != nil {
				return nil, err
			}
			out = p.add(out, Frame{Mode: ModeMessages, Envelope: e,
				Message: &Chunk{MessageID: agents.MessageID(d.MessageID), Delta: d.Delta, Node: e.Node, Step: e.Step}})
		}
	case event.StepStarted, event.StepFinished:
		if p.wants(ModeTasks, ModeDebug) && !inner {
			var d event.StepData
			if err := e.Decode(&d); err != nil {
				return nil, err
			}
			news := &TaskNews{ID: TaskID(agents.RunID(e.RunID), e.NS, e.Step, d.Task), Node: e.Node, Step: e.Step, Ended: e.Type == event.StepFinished}
			out = p.add(out, Frame{Mode: ModeTasks, Envelope: e, Task: news})
			out = p.add(out, Frame{Mode: ModeDebug, Envelope: e, Task: news})
		}
	default:
	}
	return p.add(out, Frame{Mode: ModeEvents, Envelope: e}), nil
}

func (p *Projection) add(out []Frame, f Frame) []Frame {
	if p.wants(f.Mode) {
		out = append(out, f)
	}
	return out
}

// checkpoint makes the frames that a stored step gives: a step that pauses tells
// the pauses in place of values.
func (p *Projection) checkpoint(e event.Envelope, value json.RawMessage) ([]Frame, error) {
	if !p.wants(ModeValues, ModeUpdates, ModeTasks, ModeCheckpoints, ModeDebug) {
		return nil, nil
	}
	var named event.CheckpointValue
	if err := json.Unmarshal(value, &named); err != nil {
		return nil, fmt.Errorf("reading which checkpoint was made: %w", err)
	}
	stepped, err := p.at(agents.LineID(named.Line), named.Step)
	if err != nil {
		return nil, fmt.Errorf("reading step %d: %w", named.Step, err)
	}
	var out []Frame
	head := stepped.State.Head
	for _, u := range stepped.Updates() {
		out = p.add(out, Frame{Mode: ModeUpdates, Envelope: e, Update: &u})
	}
	if len(head.Interrupts) > 0 {
		out = p.add(out, Frame{Mode: ModeUpdates, Envelope: e, Update: &Update{Interrupts: head.Interrupts}})
		for task, due := range head.Next {
			var mine []agents.Interrupt
			for _, i := range head.Interrupts {
				if i.Of() == task && i.Break == "" {
					mine = append(mine, i)
				}
			}
			if len(mine) > 0 {
				news := &TaskNews{ID: TaskID(agents.RunID(e.RunID), e.NS, named.Step, task), Node: due.Node, Step: named.Step, Ended: true, Interrupts: mine}
				out = p.add(out, Frame{Mode: ModeTasks, Envelope: e, Task: news})
				out = p.add(out, Frame{Mode: ModeDebug, Envelope: e, Task: news})
			}
		}
	}
	state := stepped.State
	if len(head.Interrupts) == 0 || len(head.Ops) > 0 || len(head.Deltas) > 0 {
		out = p.add(out, Frame{Mode: ModeValues, Envelope: e, State: &state})
	}
	out = p.add(out, Frame{Mode: ModeCheckpoints, Envelope: e, State: &state})
	return p.add(out, Frame{Mode: ModeDebug, Envelope: e, State: &state}), nil
}

// Updates says what each task of the step wrote, in the order of the tasks; none
// for a step that no node made. Hidden channels are left out.
func (s Stepped) Updates() []Update {
	head := s.State.Head
	wrote := head.Wrote
	if len(wrote) == 0 && head.Source == agents.SourceLoop && len(head.Interrupts) == 0 && len(s.Was) == 1 {
		wrote = []agents.Wrote{{Node: s.Was[0].Node, Ops: len(head.Ops), Deltas: counts(head.Deltas)}}
	}
	var out []Update
	ops, messages, at := head.Ops, s.Messages, map[string]int{}
	for _, w := range wrote {
		u := Update{Node: w.Node}
		n := min(w.Ops, len(ops))
		u.Writes = agents.ChangesOf(ops[:n], nil, &messages)
		ops = ops[n:]
		for _, channel := range slices.Sorted(maps.Keys(w.Deltas)) {
			from := at[channel]
			at[channel] = min(from+w.Deltas[channel], len(head.Deltas[channel]))
			if agents.Hidden(channel) {
				continue
			}
			for _, d := range head.Deltas[channel][from:at[channel]] {
				u.Writes = append(u.Writes, agents.Change{Channel: channel, Delta: &d})
			}
		}
		out = append(out, u)
	}
	return out
}

func counts(deltas map[string][]agents.Delta) map[string]int {
	out := make(map[string]int, len(deltas))
	for channel, d := range deltas {
		out[channel] = len(d)
	}
	return out
}
