// Package graph compiles declared workflows and executes them in super-steps:
// all tasks that are due read one frozen state, run side by side, and their
// writes are merged in a fixed order. The package performs no I/O: storing a
// step and telling watchers go through the [Host] that whoever runs the graph
// supplies; [Runner] is a ready-made one over a [Checkpointer] for programs
// that use the package as a library.
//
// Invariants: a compiled [Graph] is immutable and shared by all runs; the
// result of a super-step doesn't depend on which node finished first; nothing
// of a step is visible before its commit; a task that finished never runs again
// for the same step, whatever became of its siblings or of the process.
//
// agents/run, agents/prebuilt and custom graphs import it; it imports agents,
// event and auth.
package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
)

// The virtual nodes every graph has.
const (
	Start = "__start__"
	End   = "__end__"
)

// Node is one unit of work. It may run again after a crash, from its top.
type Node func(ctx context.Context, t *Task) (Command, error)

// Command is a node's result: writes to the state, and where to go.
type Command struct {
	Update []Write
	// Goto replaces the node's declared edges; nil follows them, an empty list
	// leads nowhere.
	Goto []string
	// Also leads to further nodes beside the declared edges or Goto.
	Also []string
	// Send starts tasks with inputs of their own, beside all the others.
	Send []Send
}

// Send is a task for a node with an input of its own, see [InputOf].
type Send struct {
	Node string
	// Input must marshal to JSON.
	Input any
}

// Router decides where to go after a node; it must return some of the targets
// declared with the branch. It must depend on the state alone.
type Router func(State) ([]string, error)

// Spread decides which tasks to start after a node; their nodes must be among
// the targets declared with the fan. It must depend on the state alone.
type Spread func(State) ([]Send, error)

type branch struct {
	route   Router
	spread  Spread
	targets []string
}

// node is a declared node with its options.
type node struct {
	run     Node
	sub     *subgraph
	retry   *RetryPolicy
	timeout time.Duration
	handler string
	ends    []string
}

// join is an edge that waits for all its sources.
type join struct {
	from []string // in order of name
	to   string
}

// channel is where the engine keeps which sources have finished.
func (j join) channel() string { return "__join:" + fmt.Sprintf("%q", j.from) + ":" + j.to }

// Graph is a compiled workflow. Safe for concurrent use.
type Graph struct {
	name     string
	nodes    map[string]node
	edges    map[string][]string
	branches map[string][]branch
	joins    []join
	channels map[string]declaration
	needs    map[string]Need
	hash     string
}

// Name gives the graph's name.
func (g *Graph) Name() string { return g.name }

// Nodes lists the declared nodes in order of name.
func (g *Graph) Nodes() []string { return slices.Sorted(maps.Keys(g.nodes)) }

// Has reports whether the graph has a node of that name.
func (g *Graph) Has(name string) bool {
	_, ok := g.nodes[name]
	return ok
}

// Subgraph gives the graph that a node stands for, nil for any other node.
func (g *Graph) Subgraph(name string) *Graph {
	if sub := g.nodes[name].sub; sub != nil {
		return sub.graph
	}
	return nil
}

// Isolated reports whether a node is a graph with a state of its own.
func (g *Graph) Isolated(name string) bool {
	sub := g.nodes[name].sub
	return sub != nil && sub.isolated()
}

// ChannelInfo describes a declared channel to people and programs.
type ChannelInfo struct {
	// Name is the stored name, Reducer the stable label of what merges writes.
	Name, Reducer string
	// Private says that no client sees the channel.
	Private bool
}

// Channels lists the declared channels in order of name.
func (g *Graph) Channels() []ChannelInfo {
	var out []ChannelInfo
	for _, name := range slices.Sorted(maps.Keys(g.channels)) {
		out = append(out, ChannelInfo{Name: name, Reducer: g.channels[name].label, Private: agents.Hidden(name)})
	}
	return out
}

// Successors lists where a node's declared edges, branches, joins and options
// can lead; one target may stand there twice.
func (g *Graph) Successors(name string) []string {
	out := slices.Clone(g.edges[name])
	for _, b := range g.branches[name] {
		out = append(out, b.targets...)
	}
	for _, j := range g.joins {
		if slices.Contains(j.from, name) {
			out = append(out, j.to)
		}
	}
	n := g.nodes[name]
	out = append(out, n.ends...)
	if n.handler != "" {
		out = append(out, n.handler)
	}
	return out
}

// EdgeKind says what makes an edge be taken.
type EdgeKind string

// The kinds of edges.
const (
	EdgePlain   EdgeKind = ""        // always
	EdgeBranch  EdgeKind = "branch"  // a router chooses it
	EdgeSend    EdgeKind = "send"    // a spread starts tasks there
	EdgeJoin    EdgeKind = "join"    // once all sources have finished
	EdgeGoto    EdgeKind = "goto"    // the node itself may go there
	EdgeFailure EdgeKind = "failure" // the node failed
)

// Edge is one declared way from a node to another.
type Edge struct {
	From, To string
	Kind     EdgeKind
}

// Conditional reports whether something decides about the edge.
func (e Edge) Conditional() bool { return e.Kind != EdgePlain && e.Kind != EdgeJoin }

// Edges lists the declared edges: those of the start first, then of the nodes
// in order of name, each in order of declaration. Where a node goes by its own
// [Command] is among them only if it was declared with [Ends].
func (g *Graph) Edges() []Edge {
	var out []Edge
	for _, from := range append([]string{Start}, g.Nodes()...) {
		add := func(kind EdgeKind, targets ...string) {
			for _, to := range targets {
				out = append(out, Edge{From: from, To: to, Kind: kind})
			}
		}
		add(EdgePlain, g.edges[from]...)
		for _, b := range g.branches[from] {
			if b.spread != nil {
				add(EdgeSend, b.targets...)
			} else {
				add(EdgeBranch, b.targets...)
			}
		}
		for _, j := range g.joins {
			if slices.Contains(j.from, from) {
				add(EdgeJoin, j.to)
			}
		}
		add(EdgeGoto, g.nodes[from].ends...)
		if h := g.nodes[from].handler; h != "" {
			add(EdgeFailure, h)
		}
	}
	return out
}

// Entry lists the tasks a run begins with on a state.
func (g *Graph) Entry(s State) ([]agents.Due, error) {
	w := walk{g: g, state: s}
	if err := w.after(Start, agents.Result{}); err != nil {
		return nil, err
	}
	return w.due(), nil
}

// After lists the tasks that follow a node on a state, by its declared edges and
// branches, as if it alone had finished. The error is an [*InputError] of the
// field as_node where there is no such node.
func (g *Graph) After(name string, s State) ([]agents.Due, error) {
	next, _, _, err := g.follow(name, s, "")
	return next, err
}

// follow is After with the state in which joins know that the node has finished.
func (g *Graph) follow(name string, s State, place string) ([]agents.Due, State, Changes, error) {
	if !g.Has(name) && name != Start {
		return nil, s, Changes{}, g.refuse("as_node", ErrNoSuchNode, name)
	}
	w := walk{g: g, state: s}
	if err := w.after(name, agents.Result{}); err != nil {
		return nil, s, Changes{}, err
	}
	next := w.due()
	m := newMerger(g, s, place, true)
	if err := m.take("", w.writes()); err != nil {
		return nil, s, Changes{}, err
	}
	return next, m.next, m.changes, nil
}

// Known checks that nodes exist; field names them in the error.
func (g *Graph) Known(field string, names ...string) error {
	for _, n := range names {
		if !g.Has(n) && n != End {
			return g.refuse(field, ErrNoSuchNode, n)
		}
	}
	return nil
}

func (g *Graph) refuse(field string, rule error, detail string) *InputError {
	return &InputError{Graph: g.name, Field: field, Rule: rule, Detail: detail}
}

// walk collects what follows the finished tasks of a step.
type walk struct {
	g     *Graph
	state State
	// path are the names of the subgraphs around g.
	path string
	// marks are the sources of joins that finished, as the state had them and as
	// they are now.
	marks map[string]map[string]bool
	plain []string
	sent  []agents.Due
}

// after adds what follows one finished task.
func (w *walk) after(name string, r agents.Result) error {
	g := w.g
	next := slices.Clone(r.Goto)
	if !r.Jump {
		next = append(next, g.edges[name]...)
		for _, b := range g.branches[name] {
			if err := w.choose(name, b, &next); err != nil {
				return err
			}
		}
		if err := w.mark(name); err != nil {
			return err
		}
	}
	next = append(next, r.Also...)
	if err := g.Known("goto", next...); err != nil {
		return w.failed(name, err)
	}
	for _, s := range r.Send {
		if err := g.Known("send", s.Node); err != nil {
			return w.failed(name, err)
		}
		if s.Node != End {
			w.sent = append(w.sent, s)
		}
	}
	w.plain = append(w.plain, next...)
	return nil
}

// failed blames a finished node for where it leads.
func (w *walk) failed(name string, err error) error {
	return &NodeError{Node: w.path + name, Tries: 1, Err: err}
}

// choose asks one branch or fan, which may panic.
func (w *walk) choose(name string, b branch, next *[]string) error {
	if b.spread != nil {
		sends, err := guard(func() ([]Send, error) { return b.spread(w.state) })
		if err != nil {
			return w.failed(name, fmt.Errorf("spreading tasks: %w", err))
		}
		for _, s := range sends {
			if !slices.Contains(b.targets, s.Node) {
				return w.failed(name, fmt.Errorf("the fan sent to %q, which isn't among its targets", s.Node))
			}
			if s.Node == End {
				continue
			}
			d, err := s.task()
			if err != nil {
				return w.failed(name, err)
			}
			w.sent = append(w.sent, d)
		}
		return nil
	}
	chosen, err := guard(func() ([]string, error) { return b.route(w.state) })
	if err != nil {
		return w.failed(name, fmt.Errorf("choosing a way: %w", err))
	}
	for _, c := range chosen {
		if !slices.Contains(b.targets, c) {
			return w.failed(name, fmt.Errorf("the branch chose %q, which isn't among its targets", c))
		}
	}
	*next = append(*next, chosen...)
	return nil
}

// mark notes a finished source of joins.
func (w *walk) mark(name string) error {
	for _, j := range w.g.joins {
		if !slices.Contains(j.from, name) {
			continue
		}
		key := j.channel()
		if w.marks == nil {
			w.marks = map[string]map[string]bool{}
		}
		if w.marks[key] == nil {
			w.marks[key] = map[string]bool{}
			if raw, ok := w.state.values[key]; ok {
				var done []string
				if err := json.Unmarshal(raw, &done); err != nil {
					return &DecodeError{Channel: key, Err: err}
				}
				for _, d := range done {
					w.marks[key][d] = true
				}
			}
		}
		w.marks[key][name] = true
	}
	return nil
}

// join lets each join whose sources have all finished lead on and begin anew. It
// looks at the step as a whole: a source that ran as several tasks of it, as those
// of a fan do, has finished once.
func (w *walk) join() {
	for _, j := range w.g.joins {
		if key := j.channel(); len(w.marks[key]) == len(j.from) {
			w.marks[key] = map[string]bool{}
			w.plain = append(w.plain, j.to)
		}
	}
}

// writes are those by which the engine keeps the marks of joins.
func (w *walk) writes() []agents.Change {
	var out []agents.Change
	for _, key := range slices.Sorted(maps.Keys(w.marks)) {
		raw, err := json.Marshal(slices.Sorted(maps.Keys(w.marks[key])))
		if err != nil || len(w.marks[key]) == 0 {
			raw = json.RawMessage("[]")
		}
		if have, ok := w.state.values[key]; ok && string(have) == string(raw) || !ok && string(raw) == "[]" {
			continue
		}
		out = append(out, agents.Change{Channel: key, Delta: &agents.Delta{Op: agents.DeltaSet, Value: raw}})
	}
	return out
}

// due gives the tasks in the order in which their results are merged: by name
// what edges lead to, each once, then what was sent, in the order of sending. It
// comes after all of after, and before writes.
func (w *walk) due() []agents.Due {
	w.join()
	slices.Sort(w.plain)
	plain := slices.DeleteFunc(slices.Compact(w.plain), func(n string) bool { return n == End })
	return append(agents.DueNodes(plain...), w.sent...)
}

// task writes a send as a task.
func (s Send) task() (agents.Due, error) {
	raw, err := json.Marshal(s.Input)
	if err != nil {
		return agents.Due{}, fmt.Errorf("writing the input for %s as JSON: %w", s.Node, err)
	}
	return agents.Due{Node: s.Node, Input: raw}, nil
}

// result writes a command in its stored form.
func (c Command) result() (agents.Result, error) {
	r := agents.Result{Jump: c.Goto != nil, Goto: c.Goto, Also: c.Also}
	for _, w := range c.Update {
		if w.err != nil {
			return r, fmt.Errorf("writing channel %s as JSON: %w", w.Channel, w.err)
		}
		r.Writes = append(r.Writes, w.Change)
	}
	for _, s := range c.Send {
		d, err := s.task()
		if err != nil {
			return r, err
		}
		r.Send = append(r.Send, d)
	}
	return r, nil
}
