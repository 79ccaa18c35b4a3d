// Package prebuilt holds the graphs Heddle ships: chat, the default agent, and
// the small ones of development. Each is compiled once and shared by all runs;
// what differs between assistants is read from the task.
//
// app registers them; the package imports graph, model and tool.
package prebuilt

import (
	"errors"
	"fmt"

	"github.com/heddle/heddle/agents/graph"
)

// Registry finds compiled graphs by name. It is built once and never changes.
type Registry struct {
	names  []string
	graphs map[string]*graph.Graph
}

// NewRegistry holds the graphs in the given order; a name twice is an error.
func NewRegistry(graphs ...*graph.Graph) (*Registry, error) {
	r := &Registry{graphs: make(map[string]*graph.Graph, len(graphs))}
	for _, g := range graphs {
		if g == nil {
			return nil, errors.New("registering a graph: it is nil")
		}
		if _, taken := r.graphs[g.Name()]; taken {
			return nil, fmt.Errorf("registering graph %s: the name is taken", g.Name())
		}
		r.graphs[g.Name()] = g
		r.names = append(r.names, g.Name())
	}
	return r, nil
}

// Graph finds a graph by name.
func (r *Registry) Graph(name string) (*graph.Graph, bool) {
	g, ok := r.graphs[name]
	return g, ok
}

// Names lists the graphs in the order of registration.
func (r *Registry) Names() []string { return append([]string(nil), r.names...) }
