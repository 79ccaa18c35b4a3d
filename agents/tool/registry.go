package tool

import (
	"fmt"
	"slices"
)

// Registry knows tools by name. It is built once and never changes.
type Registry struct {
	names  []string
	byName map[string]Tool
}

// NewRegistry holds the tools in the given order. A name twice, or a tool with
// an incomplete spec, is an error.
func NewRegistry(tools ...Tool) (*Registry, error) {
	r := &Registry{byName: make(map[string]Tool, len(tools))}
	for _, t := range tools {
		spec := t.Spec()
		if err := spec.check(); err != nil {
			return nil, fmt.Errorf("registering a tool: %w", err)
		}
		if _, taken := r.byName[spec.Name]; taken {
			return nil, fmt.Errorf("registering tool %s: the name is taken", spec.Name)
		}
		r.byName[spec.Name] = t
		r.names = append(r.names, spec.Name)
	}
	return r, nil
}

// Get finds a tool by name.
func (r *Registry) Get(name string) (Tool, bool) {
	t, ok := r.byName[name]
	return t, ok
}

// Names gives all names in the order of registration.
func (r *Registry) Names() []string { return slices.Clone(r.names) }

// Specs gives, in the order of registration, the specs of those tools whose
// names are allowed. It is what a model may be offered; names that are not
// registered are passed over.
func (r *Registry) Specs(allowed []string) []Spec {
	var out []Spec
	for _, name := range r.names {
		if slices.Contains(allowed, name) {
			out = append(out, r.byName[name].Spec())
		}
	}
	return out
}
