package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/id"
)

// subgraph is a graph that stands as a node in another.
type subgraph struct {
	graph *Graph
	in    func(State, *Task) ([]Write, error)
	out   func(State) ([]Write, error)
}

func (s *subgraph) isolated() bool { return s.in != nil }

// Subgraph declares a node that executes another graph to its end. Both share
// the messages and the channels that both declare, unless they are private; what
// only the child declares stays with it. Its steps are committed one by one on a
// line of their own, so a crash or a pause inside costs no more than outside,
// and its envelopes carry its namespace. A failure inside is the node's failure.
//
// Of the options it takes [OnError] and [Ends]: retries and limits are declared
// with the child's own nodes.
func (b *Builder) Subgraph(name string, child *Graph, options ...Option) *Builder {
	return b.add(name, node{sub: &subgraph{graph: child}}, child != nil, options)
}

// Isolated declares a node that executes another graph in a state of its own: in
// makes the child's first writes of what the parent has, out the parent's writes
// of the child's final state. Neither may depend on anything else.
func (b *Builder) Isolated(name string, child *Graph, in func(State, *Task) ([]Write, error), out func(State) ([]Write, error), options ...Option) *Builder {
	return b.add(name, node{sub: &subgraph{graph: child, in: in, out: out}}, child != nil && in != nil && out != nil, options)
}

// subTask runs a task whose node is a graph.
func (e *engine) subTask(ctx context.Context, i int, due agents.Due, line agents.LineID, resume []agents.Interrupt) outcome {
	n := e.g.nodes[due.Node]
	if line == "" {
		// Kept before anything happens there, so that whoever goes on finds it.
		line = agents.LineID(id.Named(id.GraphNamespace, place(e.line, e.step)+":"+itoa(i)))
		keep := agents.PendingWrites{Line: e.line, Step: e.step, Pending: []agents.Pending{{Task: i, Line: line}}}
		if err := e.x.Host.Pend(ctx, keep); err != nil {
			return outcome{task: i, err: err}
		}
	}
	stepData := event.StepData{StepName: due.Node, Task: i}
	e.x.Host.Emit(event.Envelope{Type: event.StepStarted, Node: due.Node, Step: e.step + 1, NS: e.ns, Data: event.Data(stepData)})
	child, err := e.descend(ctx, n.sub, i, due, line, resume)
	var paused *interruptedWith
	var broke *Interrupted
	switch {
	case err == nil:
		result, err := e.surface(n.sub, child)
		if err != nil {
			return outcome{task: i, err: &NodeError{Node: e.path + due.Node, Err: err}}
		}
		e.x.Host.Emit(event.Envelope{Type: event.StepFinished, Node: due.Node, Step: e.step + 1, NS: e.ns, Data: event.Data(stepData)})
		return outcome{task: i, result: result}
	case errors.As(err, &paused):
		return outcome{task: i, line: line, asked: e.rooted(paused.Interrupts, i), reviews: paused.reviews}
	case errors.As(err, &broke):
		return outcome{task: i, line: line, asked: e.rooted(broke.Interrupts, i)}
	}
	if cause := context.Cause(ctx); cause != nil {
		return outcome{task: i, err: cause}
	}
	var failed *NodeError
	several, limit := errors.As(err, new(*StepError)), errors.As(err, new(*RecursionError))
	if !errors.As(err, &failed) && !several && !limit {
		return outcome{task: i, err: err} // the host's
	}
	if n.handler != "" {
		return e.handle(i, n, due, 1, err)
	}
	if failed != nil && !several {
		return outcome{task: i, err: failed} // it names the inner node
	}
	return outcome{task: i, err: &NodeError{Node: e.path + due.Node, Tries: 1, Err: err}}
}

// rooted notes which task of this line the pauses of its subgraph belong to.
func (e *engine) rooted(asked []agents.Interrupt, task int) []agents.Interrupt {
	out := slices.Clone(asked)
	for i := range out {
		root := make([]int, max(len(out[i].Root), len(e.ns)+1))
		copy(root, out[i].Root)
		root[len(e.ns)] = task
		out[i].Root = root
	}
	return out
}

// descend executes the child from where its line stands.
func (e *engine) descend(ctx context.Context, s *subgraph, i int, due agents.Due, line agents.LineID, resume []agents.Interrupt) (*engine, error) {
	child := &engine{
		g: s.graph, x: e.x, line: line, path: e.path + due.Node + "/",
		ns: append(slices.Clone(e.ns), due.Node+":"+string(line)),
	}
	stored, err := e.x.Host.Sub(ctx, agents.SubLine{Line: line, NS: child.ns, Parent: e.line, ParentStep: e.step})
	if err != nil {
		return child, fmt.Errorf("reading where subgraph %s stands: %w", due.Node, err)
	}
	var base State
	if !s.isolated() {
		base = e.shared(s.graph)
	}
	child.step, child.own = stored.Step, slices.Clone(stored.Own)
	if child.state, err = restore(base, stored.Own); err != nil {
		return child, err
	}
	next, known := []agents.Due(nil), stored.Pending
	if stored.Head != nil {
		next = stored.Head.Next
	} else if next, err = child.begin(ctx, e, s, i, due); err != nil {
		return child, err
	}
	return child, child.run(ctx, next, known, e.within(child.ns, resume))
}

// within gives the part of a resume that is for a subgraph.
func (e *engine) within(ns []string, resume []agents.Interrupt) []agents.Interrupt {
	var out []agents.Interrupt
	for _, r := range resume {
		if len(r.NS) >= len(ns) && slices.Equal(r.NS[:len(ns)], ns) {
			out = append(out, r)
		}
	}
	return out
}

// shared is the parent's state without what the child must not see: the
// channels that it doesn't declare, and the parent's private ones.
func (e *engine) shared(child *Graph) State {
	out := State{messages: e.state.messages, values: agents.Public(e.state.values)}
	for name := range out.values {
		if _, ok := child.channels[name]; !ok {
			delete(out.values, name)
		}
	}
	return out
}

// begin commits what an isolated child starts with and finds what is due.
func (e *engine) begin(ctx context.Context, parent *engine, s *subgraph, i int, due agents.Due) ([]agents.Due, error) {
	if s.isolated() {
		t := &Task{
			Info: e.x.Info, ID: parent.taskID(i), Node: due.Node, Index: i, NS: parent.ns, Step: parent.step + 1, Try: 1, State: parent.state,
			Input: due.Input, Clock: e.x.Clock, NewID: e.x.IDs(parent.taskID(i)), emit: e.x.Host.Emit,
		}
		writes, err := guard(func() ([]Write, error) { return s.in(parent.state, t) })
		t.end()
		if err != nil {
			return nil, &NodeError{Node: parent.path + due.Node, Err: fmt.Errorf("beginning the subgraph: %w", err)}
		}
		changes, err := storable(writes)
		if err == nil {
			err = e.g.takes(agents.Result{Writes: changes})
		}
		if err != nil {
			return nil, &NodeError{Node: parent.path + due.Node, Err: err}
		}
		m := newMerger(e.g, e.state, place(e.line, e.step+1), true)
		if err := m.take("", changes); err != nil {
			return nil, &NodeError{Node: parent.path + due.Node, Err: err}
		}
		next, err := e.g.Entry(m.next)
		if err != nil {
			return nil, err
		}
		if err := e.x.Host.Commit(ctx, Commit{Line: e.line, NS: e.ns, Step: e.step + 1, Changes: m.changes, State: m.next, Next: next}); err != nil {
			return nil, err
		}
		e.step++
		e.state, e.own = m.next, append(e.own, m.all...)
		return next, nil
	}
	next, err := e.g.Entry(e.state)
	for j := range next {
		if next[j].Input == nil {
			next[j].Input = due.Input
		}
	}
	return next, err
}

// surface gives what the parent takes over of a finished child.
func (e *engine) surface(s *subgraph, child *engine) (agents.Result, error) {
	if s.isolated() {
		writes, err := guard(func() ([]Write, error) { return s.out(child.state) })
		if err != nil {
			return agents.Result{}, fmt.Errorf("ending the subgraph: %w", err)
		}
		changes, err := storable(writes)
		if err != nil {
			return agents.Result{}, err
		}
		out := agents.Result{Writes: changes}
		return out, e.g.takes(out)
	}
	var out agents.Result
	for _, c := range child.own {
		if c.Delta == nil {
			out.Writes = append(out.Writes, c)
			continue
		}
		if _, ok := e.g.channels[c.Channel]; !ok || agents.Hidden(c.Channel) {
			continue
		}
		if c.Delta.From != nil { // the parent's own reducer merges it
			c.Delta = &agents.Delta{Op: agents.DeltaReduce, Value: c.Delta.From}
		}
		out.Writes = append(out.Writes, c)
	}
	return out, e.g.takes(out)
}
