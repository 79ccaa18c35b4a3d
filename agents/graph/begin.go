package graph

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents"
)

// Input is what a run brings to a thread. [Begin], [Continue], [Answer], [Jump]
// and [Feed] make it.
type Input struct {
	// Writes are merged before the first node runs.
	Writes []Write
	// Resume goes on from where the thread stands; nil begins anew, and whatever
	// was paused is left behind.
	Resume *agents.Resume
	// Entry are the nodes to begin with instead of the graph's entry.
	Entry []string
	// Fill adds writes that follow from the state the run finds, where the run
	// doesn't simply go on: such as results of calls that nobody will answer.
	Fill func(State) []Write

	answer any
	asks   bool
}

// Begin is new input: what was paused is left behind.
func Begin(writes ...Write) Input { return Input{Writes: writes} }

// Continue goes on with what is due: after a breakpoint, after a failure, or
// from an older checkpoint.
func Continue() Input { return Input{Resume: &agents.Resume{}} }

// Answer goes on from a pause: value answers the only open interrupt; or is a
// map[string]any with answers by interrupt id; or, with several open, a slice
// with one answer for each, in their order. It must marshal to JSON; nil is the
// answer null.
func Answer(value any) Input { return Input{Resume: &agents.Resume{}, answer: value, asks: true} }

// Jump goes on at other nodes than those that are due; End alone ends the turn.
func Jump(nodes []string, writes ...Write) Input {
	return Input{Resume: &agents.Resume{Goto: nodes}, Writes: writes}
}

// Feed is the next input of an iterative session: the run begins at a node, or
// at [Start].
func Feed(entry string, writes ...Write) Input { return Input{Writes: writes, Entry: []string{entry}} }

// Beginning is where a run starts to execute: the step that keeps what it brings,
// and what goes on from there.
type Beginning struct {
	// Commit is that step: its State, Next and Pending are the execution's.
	Commit Commit
	// Resume are the pauses with answers that the first super-step goes on from.
	Resume []agents.Interrupt
}

// Begin computes how a run starts on a thread's state. Errors are [*InputError]s
// and, for answers that fit nothing, faults; nothing is changed.
func (g *Graph) Begin(loaded agents.State, in Input) (Beginning, error) {
	step := loaded.Step + 1
	out := Beginning{Commit: Commit{Line: loaded.Line, Step: step, State: StateOf(loaded)}}
	resume, err := in.resume(loaded)
	if err != nil {
		return out, err
	}
	stays := resume != nil && !resume.Jumps() && loaded.Head != nil
	c := &out.Commit
	switch {
	case stays:
		if err := g.Resumable(loaded); err != nil {
			return out, err
		}
		c.Next, c.Pending, out.Resume = loaded.Head.Next, loaded.Pending, resume.Interrupts
	case loaded.Head != nil:
		// The step that is due will not be completed: what finished of it stands.
		if c.State, c.Changes, err = g.Settle(c.State, loaded.Line, step, loaded.Head.Next, loaded.Pending); err != nil {
			return out, err
		}
	}
	if resume.Jumps() {
		if err := g.Jumpable(resume.Goto, resume.Sends); err != nil {
			return out, err
		}
		c.Next = append(agents.DueNodes(slices.DeleteFunc(slices.Clone(resume.Goto), func(n string) bool { return n == End })...), resume.Sends...)
	}
	var writes []Write
	if in.Fill != nil && (!stays || len(c.Next) == 0) {
		writes = in.Fill(c.State)
	}
	own := g.noteReducers(c.State)
	if resume == nil {
		own = append(own, g.forget(c.State)...)
	}
	state, more, err := g.apply(c.State, loaded.Line, step, own, append(writes, in.Writes...))
	if err != nil {
		return out, err
	}
	c.State, c.Changes = state, c.Changes.With(more)
	if resume == nil {
		c.Next, err = g.entries(state, in.Entry)
	}
	return out, err
}

// Jumpable checks that a run may go on at nodes, and at those that are sent
// something.
func (g *Graph) Jumpable(nodes []string, sends []agents.Due) error {
	if err := g.Known("goto", nodes...); err != nil {
		return err
	}
	for _, s := range sends {
		if !g.Has(s.Node) {
			return g.refuse("goto", ErrNoSuchNode, s.Node)
		}
	}
	return nil
}

// resume gives what to go on from, with the answers matched to what is open.
func (in Input) resume(loaded agents.State) (*agents.Resume, error) {
	if !in.asks {
		if r := in.Resume; r != nil && len(r.Interrupts) == 0 && !r.Jumps() && loaded.Head != nil {
			// Whoever was asked is asked the same, and a breakpoint is passed.
			return &agents.Resume{Interrupts: loaded.Head.Interrupts, Of: r.Of}, nil
		}
		return in.Resume, nil
	}
	if loaded.Head == nil || len(loaded.Head.Interrupts) == 0 {
		return nil, agents.ErrNotInterrupted
	}
	raw, err := json.Marshal(in.answer)
	if err != nil {
		return nil, &InputError{Field: "answer", Rule: ErrWrongType, Detail: "it can't be written as JSON", cause: err}
	}
	open, err := agents.Match(raw, loaded.Head.Interrupts)
	return &agents.Resume{Interrupts: open}, err
}

// entries gives the tasks to begin with.
func (g *Graph) entries(s State, named []string) ([]agents.Due, error) {
	if len(named) == 0 || slices.Equal(named, []string{Start}) {
		return g.Entry(s)
	}
	for _, n := range named {
		if !g.Has(n) {
			return nil, g.refuse("entry", ErrNoSuchNode, n)
		}
	}
	return agents.DueNodes(named...), nil
}

// Resumable checks that what is due on a thread can be executed by this version
// of the graph: its nodes are there, whatever paused inside a subgraph still has
// it, and channels are merged as they were. The error is an [*InputError] with [ErrNotResumable] that says to a
// person what is missing.
func (g *Graph) Resumable(s agents.State) error {
	if s.Head == nil {
		return nil
	}
	for _, d := range s.Head.Next {
		if !g.Has(d.Node) {
			return g.refuse("next", ErrNotResumable, "it has no node "+d.Node+" any more")
		}
	}
	for _, i := range s.Head.Interrupts {
		at := g
		for _, ns := range i.NS {
			name := nodeOf(ns)
			if at = at.Subgraph(name); at == nil {
				return g.refuse("next", ErrNotResumable, "its node "+name+" is no subgraph any more")
			}
		}
		if !at.Has(i.Node) {
			return g.refuse("next", ErrNotResumable, "it has no node "+i.Node+" any more")
		}
	}
	return g.sameReducers(NewState(nil, s.Values))
}

// nodeOf gives the node of one part of a namespace, NODE:LINE.
func nodeOf(ns string) string {
	if i := strings.LastIndexByte(ns, ':'); i >= 0 {
		return ns[:i]
	}
	return ns
}

// reducersChannel is where the engine keeps which reducers made a thread's values.
const reducersChannel = "__reducers"

// Labels gives the label of each channel's reducer.
func (g *Graph) Labels() map[string]string {
	out := make(map[string]string, len(g.channels))
	for name, d := range g.channels {
		out[name] = d.label
	}
	return out
}

// noteReducers keeps the labels with the thread where they aren't yet.
func (g *Graph) noteReducers(s State) []agents.Change {
	if len(g.channels) == 0 {
		return nil
	}
	raw, err := json.Marshal(g.Labels())
	if err != nil || string(raw) == string(s.values[reducersChannel]) {
		return nil
	}
	return []agents.Change{{Channel: reducersChannel, Delta: &agents.Delta{Op: agents.DeltaSet, Value: raw}}}
}

// sameReducers checks that the channels a thread has values of are merged as they
// were. A channel that is new, or gone, is no obstacle.
func (g *Graph) sameReducers(s State) error {
	raw, ok := s.values[reducersChannel]
	if !ok {
		return nil
	}
	var labels map[string]string
	if err := json.Unmarshal(raw, &labels); err != nil {
		return &DecodeError{Channel: reducersChannel, Err: err}
	}
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		was, had := labels[name]
		now, has := g.channels[name]
		if had && has && was != now.label {
			return g.refuse("values."+name, ErrNotResumable, "the reducer of "+name+" was "+was+" and is "+now.label+" now")
		}
	}
	return nil
}
