package graph

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The rules a graph can break; errors.Is finds them in a [CompileError].
var (
	ErrBadName       = errors.New("the name is empty, reserved or used twice")
	ErrBadChannel    = errors.New("the channel's name is not allowed or used twice")
	ErrNoBody        = errors.New("the function or its targets are missing")
	ErrNoEntry       = errors.New("nothing follows the start")
	ErrUnknownNode   = errors.New("an edge names a node that doesn't exist")
	ErrEdgeFromEnd   = errors.New("an edge leaves the end")
	ErrEdgeToStart   = errors.New("an edge leads to the start")
	ErrDuplicateEdge = errors.New("the edge is declared twice")
	ErrBadJoin       = errors.New("a join needs two or more different nodes as its sources")
	ErrBadHandler    = errors.New("a node that handles failures can't have a handler itself")
	ErrBadOption     = errors.New("a subgraph takes no retries and no limit of its own")
	ErrUnreachable   = errors.New("the node can't be reached from the start")
	ErrNoPathToEnd   = errors.New("no path leads from the node to the end")
	ErrCycle         = errors.New("a cycle has no conditional edge that could leave it")
)

// rules give each rule a stable code and say how to keep it.
var rules = []struct {
	rule       error
	code, help string
}{
	{ErrBadName, "bad_name", "Give every node a name of its own; __start__ and __end__ are taken."},
	{ErrBadChannel, "bad_channel", "A channel's name begins with a letter and has letters, digits, _ . and -, at most 64; messages is taken."},
	{ErrNoBody, "no_body", "Pass a function, and the targets it may choose."},
	{ErrNoEntry, "no_entry", "Declare where a run begins: Edge(graph.Start, \"…\")."},
	{ErrUnknownNode, "unknown_node", "Declare the node, or correct the name in the edge."},
	{ErrEdgeFromEnd, "edge_from_end", "Nothing follows the end. Remove the edge."},
	{ErrEdgeToStart, "edge_to_start", "Lead back to the first node instead of to the start."},
	{ErrDuplicateEdge, "duplicate_edge", "Remove one of the two."},
	{ErrBadJoin, "bad_join", "Name each source once, and not the start; for a single one use Edge."},
	{ErrBadHandler, "bad_handler", "Let the handler deal with its own errors, or let the run fail."},
	{ErrBadOption, "bad_option", "Declare Retry and Timeout with the nodes inside the subgraph."},
	{ErrUnreachable, "unreachable", "Lead an edge to the node. If another node goes there by its Command, declare it with Ends."},
	{ErrNoPathToEnd, "no_path_to_end", "Lead an edge onwards to graph.End. If the node ends by its Command, declare Ends(graph.End)."},
	{ErrCycle, "cycle", "Make one edge of the cycle a Branch that can leave it."},
}

// CompileError names the node, edge or channel at fault and the rule it breaks.
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

// Code is a stable word for the rule.
func (e *CompileError) Code() string { return e.row().code }

// Help says how to mend it.
func (e *CompileError) Help() string { return e.row().help }

func (e *CompileError) row() (r struct {
	rule       error
	code, help string
}) {
	for _, row := range rules {
		if errors.Is(e.Rule, row.rule) {
			return row
		}
	}
	return r
}

// check finds every broken rule, beside those that were found before.
func (g *Graph) check(errs []error) error {
	fault := func(node string, rule error) {
		errs = append(errs, &CompileError{Graph: g.name, Node: node, Rule: rule})
	}
	if len(g.Successors(Start)) == 0 {
		fault(Start, ErrNoEntry)
	}
	sources := append(slices.Collect(maps.Keys(g.edges)), slices.Collect(maps.Keys(g.branches))...)
	for _, j := range g.joins {
		sources = append(sources, j.from...)
	}
	sources = append(sources, slices.Collect(maps.Keys(g.nodes))...)
	slices.Sort(sources)
	for _, from := range slices.Compact(sources) {
		if !g.Has(from) && from != Start && from != End {
			fault(from, ErrUnknownNode)
		}
		targets := g.Successors(from)
		slices.Sort(targets)
		for _, to := range slices.Compact(targets) {
			switch {
			case to == Start:
				fault(from, ErrEdgeToStart)
			case !g.Has(to) && to != End:
				fault(to, ErrUnknownNode)
			}
		}
		if h := g.nodes[from].handler; h != "" && (h == End || g.nodes[h].handler != "") {
			fault(h, ErrBadHandler)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
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
	return errors.Join(errs...)
}

// reach finds every node that can follow from.
func (g *Graph) reach(from string) map[string]bool {
	seen, todo := map[string]bool{}, []string{from}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, next := range g.Successors(name) {
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
	visit = func(name string) []string {
		state[name] = 1
		path = append(path, name)
		for _, next := range g.certain(name) {
			switch state[next] {
			case 1:
				return append(slices.Clone(path[slices.Index(path, next):]), next)
			case 0:
				if found := visit(next); found != nil {
					return found
				}
			}
		}
		state[name], path = 2, path[:len(path)-1]
		return nil
	}
	for _, name := range append([]string{Start}, g.Nodes()...) {
		if state[name] == 0 {
			if found := visit(name); found != nil {
				return found
			}
		}
	}
	return nil
}

// certain lists what follows a node without anybody deciding. A node that may
// leave by its own command decides.
func (g *Graph) certain(name string) []string {
	if len(g.nodes[name].ends) > 0 {
		return nil
	}
	out := slices.Clone(g.edges[name])
	for _, j := range g.joins {
		if slices.Contains(j.from, name) {
			out = append(out, j.to)
		}
	}
	return out
}
