package graph

import (
	"maps"
	"slices"
	"time"
)

// Builder declares a graph. Errors are gathered and reported by Compile.
type Builder struct {
	name     string
	nodes    map[string]node
	edges    map[string][]string
	branches map[string][]branch
	joins    []join
	channels map[string]declaration
	needs    map[string]Need
	errs     []error
}

// New starts the declaration of a graph.
func New(name string) *Builder {
	return &Builder{name: name, nodes: map[string]node{}, edges: map[string][]string{}, branches: map[string][]branch{},
		channels: map[string]declaration{}, needs: map[string]Need{}}
}

func (b *Builder) fault(node string, rule error) *Builder {
	b.errs = append(b.errs, &CompileError{Graph: b.name, Node: node, Rule: rule})
	return b
}

// Channels declares the state beside the messages, which every graph has.
func (b *Builder) Channels(channels ...Declared) *Builder {
	for _, c := range channels {
		d := c.declared()
		if _, taken := b.channels[d.name]; taken || !validName.MatchString(d.name) || d.name == messagesChannel {
			b.fault(d.name, ErrBadChannel)
			continue
		}
		b.channels[d.name] = d
	}
	return b
}

// Option refines a node.
type Option func(*node)

// Retry lets a node that fails run again, see [RetryPolicy].
func Retry(p RetryPolicy) Option { return func(n *node) { n.retry = &p } }

// Timeout bounds one execution of a node. Without it only the limits of the step
// and the run hold. A node has to heed its context: the engine waits for it.
func Timeout(d time.Duration) Option { return func(n *node) { n.timeout = d } }

// OnError names the node that handles a failure, once retries are used up, in
// place of the declared edges. The failure itself is committed first, so the
// failed node doesn't run again; [Failed] tells the handler of it. A pause of
// the node, a cancelled run and a limit of the step or run pass it by.
func OnError(handler string) Option { return func(n *node) { n.handler = handler } }

// Ends declares where a node may go by its own [Command], so that the graph is
// drawn and checked with those ways.
func Ends(nodes ...string) Option { return func(n *node) { n.ends = append(n.ends, nodes...) } }

// Node declares a node.
func (b *Builder) Node(name string, run Node, options ...Option) *Builder {
	return b.add(name, node{run: run}, run != nil, options)
}

func (b *Builder) add(name string, n node, whole bool, options []Option) *Builder {
	if _, taken := b.nodes[name]; taken || name == Start || name == End || name == "" {
		return b.fault(name, ErrBadName)
	}
	if !whole {
		b.fault(name, ErrNoBody)
	}
	for _, o := range options {
		o(&n)
	}
	if n.sub != nil && (n.retry != nil || n.timeout != 0) {
		b.fault(name, ErrBadOption)
	}
	b.nodes[name] = n
	return b
}

// Edge declares that to follows from. Start and End may be named.
func (b *Builder) Edge(from, to string) *Builder {
	if from == End {
		b.fault(to, ErrEdgeFromEnd)
	}
	if slices.Contains(b.edges[from], to) {
		b.fault(from+" → "+to, ErrDuplicateEdge)
	}
	b.edges[from] = append(b.edges[from], to)
	return b
}

// Entry declares the node a run begins with; it is Edge from [Start].
func (b *Builder) Entry(name string) *Builder { return b.Edge(Start, name) }

// Finish declares that nothing follows a node; it is Edge to [End].
func (b *Builder) Finish(name string) *Builder { return b.Edge(name, End) }

// Branch declares a conditional edge: route chooses among targets. A node may
// have several branches.
func (b *Builder) Branch(from string, route Router, targets ...string) *Builder {
	if from == End {
		b.fault(from, ErrEdgeFromEnd)
	}
	if route == nil || len(targets) == 0 {
		b.fault(from, ErrNoBody)
	}
	b.branches[from] = append(b.branches[from], branch{route: route, targets: targets})
	return b
}

// Fan declares that tasks with inputs of their own follow: spread decides how
// many, and for which of the targets.
func (b *Builder) Fan(from string, spread Spread, targets ...string) *Builder {
	if from == End {
		b.fault(from, ErrEdgeFromEnd)
	}
	if spread == nil || len(targets) == 0 {
		b.fault(from, ErrNoBody)
	}
	b.branches[from] = append(b.branches[from], branch{spread: spread, targets: targets})
	return b
}

// Join declares that to follows once all of from have finished, in whatever
// steps they do; then it waits for all of them anew. A source that goes elsewhere
// by its own [Command] has not finished in this sense.
func (b *Builder) Join(to string, from ...string) *Builder {
	sources := slices.Sorted(slices.Values(from))
	switch {
	case slices.Contains(from, End):
		b.fault(to, ErrEdgeFromEnd)
	case len(slices.Compact(slices.Clone(sources))) != len(from), len(from) < 2, slices.Contains(from, Start):
		b.fault(to, ErrBadJoin)
	case slices.ContainsFunc(b.joins, func(j join) bool { return j.to == to && slices.Equal(j.from, sources) }):
		b.fault(to, ErrDuplicateEdge)
	}
	b.joins = append(b.joins, join{from: sources, to: to})
	return b
}

// Compile checks the declaration and returns the graph, or every broken rule,
// joined; errors.As finds a [*CompileError].
func (b *Builder) Compile() (*Graph, error) {
	g := &Graph{name: b.name, nodes: maps.Clone(b.nodes), edges: maps.Clone(b.edges), branches: maps.Clone(b.branches),
		joins: slices.Clone(b.joins), channels: maps.Clone(b.channels), needs: maps.Clone(b.needs)}
	if err := g.check(slices.Clone(b.errs)); err != nil {
		return nil, err
	}
	g.hash = g.fingerprint()
	return g, nil
}
