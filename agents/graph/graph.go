// Package graph compiles declared workflows and executes them in super-steps:
// all nodes that are due read one frozen state, run side by side, and their
// writes are merged in a fixed order. The package performs no I/O: storing a
// step and telling watchers go through the [Host] that whoever runs the graph
// supplies.
//
// Invariants: a compiled [Graph] is immutable and shared by all runs; the
// result of a super-step doesn't depend on which node finished first; nothing
// of a step is visible before its commit.
//
// agents/run, agents/prebuilt and custom graphs import it; it imports agents,
// event and auth.
package graph

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The virtual nodes every graph has.
const (
	Start = "__start__"
	End   = "__end__"
)

// Node is one unit of work. It may run again after a crash, from its top.
type Node func(ctx context.Context, t *Task) (Command, error)

// Command is a node's result: writes to the state and, instead of the declared
// edges, the nodes to go to.
type Command struct {
	Update []Write
	Goto   []string
}

// Router decides where to go after a node; it must return some of the targets
// declared with the branch.
type Router func(State) []string

type branch struct {
	route   Router
	targets []string
}

// Builder declares a graph. Errors are gathered and reported by Compile.
type Builder struct {
	name     string
	nodes    map[string]Node
	edges    map[string][]string
	branches map[string]branch
	errs     []error
}

// New starts the declaration of a graph.
func New(name string) *Builder {
	return &Builder{name: name, nodes: map[string]Node{}, edges: map[string][]string{}, branches: map[string]branch{}}
}

// Node declares a node.
func (b *Builder) Node(name string, run Node) *Builder {
	if _, taken := b.nodes[name]; taken || name == Start || name == End || name == "" {
		b.errs = append(b.errs, &CompileError{Graph: b.name, Node: name, Rule: ErrBadName})
		return b
	}
	b.nodes[name] = run
	return b
}

// Edge declares that to follows from. Start and End may be named.
func (b *Builder) Edge(from, to string) *Builder {
	if from == End {
		b.errs = append(b.errs, &CompileError{Graph: b.name, Node: to, Rule: ErrEdgeFromEnd})
	}
	if slices.Contains(b.edges[from], to) {
		b.errs = append(b.errs, &CompileError{Graph: b.name, Node: from + " → " + to, Rule: ErrDuplicateEdge})
	}
	b.edges[from] = append(b.edges[from], to)
	return b
}

// Branch declares a conditional edge: route chooses among targets.
func (b *Builder) Branch(from string, route Router, targets ...string) *Builder {
	b.branches[from] = branch{route: route, targets: targets}
	return b
}

// The rules a graph can break; errors.Is finds them in a [CompileError].
var (
	ErrBadName       = errors.New("the name is empty, reserved or used twice")
	ErrNoEntry       = errors.New("nothing follows the start")
	ErrUnknownNode   = errors.New("an edge names a node that doesn't exist")
	ErrEdgeFromEnd   = errors.New("an edge leaves the end")
	ErrDuplicateEdge = errors.New("the edge is declared twice")
	ErrUnreachable   = errors.New("the node can't be reached from the start")
	ErrNoPathToEnd   = errors.New("no path leads from the node to the end")
	ErrCycle         = errors.New("a cycle has no conditional edge that could leave it")
)

// CompileError names the node at fault and the rule it breaks.
type CompileError struct {
	Graph, Node string
	Rule        error
}

// Error says which graph and node break which rule.
func (e *CompileError) Error() string {
	return fmt.Sprintf("graph %s, node %s: %v", e.Graph, e.Node, e.Rule)
}

// Unwrap returns the rule.
func (e *CompileError) Unwrap() error { return e.Rule }

// Graph is a compiled workflow. Safe for concurrent use.
type Graph struct {
	name     string
	nodes    map[string]Node
	edges    map[string][]string
	branches map[string]branch
}

// Name gives the graph's name.
func (g *Graph) Name() string { return g.name }

// Nodes lists the declared nodes in order of name.
func (g *Graph) Nodes() []string { return slices.Sorted(maps.Keys(g.nodes)) }

// Successors lists where a node's declared edges and branches can lead.
func (g *Graph) Successors(node string) []string {
	return append(slices.Clone(g.edges[node]), g.branches[node].targets...)
}

// Edge is one declared way from a node to another.
type Edge struct {
	From, To string
	// Conditional says that a branch chooses it.
	Conditional bool
}

// Edges lists the declared edges: those of the start first, then of the nodes
// in order of name, each in order of declaration. Where a node goes by its own
// [Command] is not declared and so not among them.
func (g *Graph) Edges() []Edge {
	var out []Edge
	for _, from := range append([]string{Start}, g.Nodes()...) {
		for _, to := range g.edges[from] {
			out = append(out, Edge{From: from, To: to})
		}
		for _, to := range g.branches[from].targets {
			out = append(out, Edge{From: from, To: to, Conditional: true})
		}
	}
	return out
}

// Compile checks the declaration and returns the graph, or every broken rule,
// joined.
func (b *Builder) Compile() (*Graph, error) {
	g := &Graph{name: b.name, nodes: maps.Clone(b.nodes), edges: maps.Clone(b.edges), branches: maps.Clone(b.branches)}
	errs := slices.Clone(b.errs)
	fault := func(node string, rule error) {
		errs = append(errs, &CompileError{Graph: b.name, Node: node, Rule: rule})
	}
	if len(g.Successors(Start)) == 0 {
		fault(Start, ErrNoEntry)
	}
	sources := slices.Sorted(maps.Keys(b.edges))
	for from := range b.branches {
		sources = append(sources, from)
	}
	slices.Sort(sources)
	for _, from := range slices.Compact(sources) {
		if _, ok := g.nodes[from]; !ok && from != Start && from != End {
			fault(from, ErrUnknownNode)
		}
		for _, to := range g.Successors(from) {
			if _, ok := g.nodes[to]; !ok && to != End {
				fault(to, ErrUnknownNode)
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	reached := g.reach(Start)
	for _, name := range g.Nodes() {
		switch {
		case !reached[name]:
			fault(name, ErrUnreachable)
		case !g.reach(name)[End]:
			fault(name, ErrNoPathToEnd)
		}
	}
	if path := g.plainCycle(); path != nil {
		fault(strings.Join(path, " → "), ErrCycle)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return g, nil
}

// reach finds every node that can follow from.
func (g *Graph) reach(from string) map[string]bool {
	seen, todo := map[string]bool{}, []string{from}
	for len(todo) > 0 {
		node := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, next := range g.Successors(node) {
			if !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	return seen
}

// plainCycle finds a cycle of unconditional edges only: nothing could end it.
func (g *Graph) plainCycle() []string {
	state, path := map[string]int{}, []string{}
	var visit func(string) []string
	visit = func(node string) []string {
		state[node] = 1
		path = append(path, node)
		for _, next := range g.edges[node] {
			switch state[next] {
			case 1:
				return append(slices.Clone(path[slices.Index(path, next):]), next)
			case 0:
				if found := visit(next); found != nil {
					return found
				}
			}
		}
		state[node], path = 2, path[:len(path)-1]
		return nil
	}
	for _, node := range append([]string{Start}, g.Nodes()...) {
		if state[node] == 0 {
			if found := visit(node); found != nil {
				return found
			}
		}
	}
	return nil
}

// After lists the nodes that follow a node on a state, by its declared edges
// and branches.
func (g *Graph) After(node string, s State) ([]string, error) {
	if _, ok := g.nodes[node]; !ok && node != Start {
		return nil, fmt.Errorf("graph %s has no node %q", g.name, node)
	}
	next, err := g.after(node, s, Command{})
	return settle(next), err
}

// after decides which nodes follow a finished node.
func (g *Graph) after(node string, s State, cmd Command) ([]string, error) {
	if cmd.Goto != nil {
		return g.known(node, cmd.Goto)
	}
	next := slices.Clone(g.edges[node])
	if b, ok := g.branches[node]; ok {
		chosen := b.route(s)
		for _, c := range chosen {
			if !slices.Contains(b.targets, c) {
				return nil, fmt.Errorf("graph %s: the branch of node %s chose %q, which isn't among its targets", g.name, node, c)
			}
		}
		next = append(next, chosen...)
	}
	return next, nil
}

func (g *Graph) known(node string, targets []string) ([]string, error) {
	for _, t := range targets {
		if _, ok := g.nodes[t]; !ok && t != End {
			return nil, fmt.Errorf("graph %s: node %s went to %q, which doesn't exist", g.name, node, t)
		}
	}
	return slices.Clone(targets), nil
}
