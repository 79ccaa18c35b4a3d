package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrMissing is the rule of a context that lacks what the graph requires.
var ErrMissing = errors.New("is required by the graph")

// Need is a field that a run's context must have, such as the locale of whoever
// is written to. The context is what a client gives with a run; it never says who
// acts, which comes from the scope.
type Need struct {
	name   string
	check  func(json.RawMessage) error
	schema func() json.RawMessage
}

// Needs requires a field of a type. Its name must be one that a channel may have.
func Needs[T any](name string) Need { return Need{name: name, check: decodes[T], schema: schemaOf[T]} }

// Context declares what the context of every run must have. A run that lacks a
// field, or has it in another type, is refused before any node runs.
func (b *Builder) Context(needs ...Need) *Builder {
	for _, n := range needs {
		if _, taken := b.needs[n.name]; taken || !validName.MatchString(n.name) {
			b.fault(n.name, ErrBadChannel)
			continue
		}
		b.needs[n.name] = n
	}
	return b
}

// CheckContext checks a run's context, for the graph and its subgraphs. The error joins an [*InputError] for each
// field, as context.NAME.
func (g *Graph) CheckContext(context map[string]json.RawMessage) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(g.needs)) {
		raw, ok := context[name]
		if !ok || string(raw) == "null" {
			errs = append(errs, g.refuse("context."+name, ErrMissing, ""))
			continue
		}
		if err := g.needs[name].check(raw); err != nil {
			errs = append(errs, g.refuse("context."+name, ErrWrongType, err.Error()))
		}
	}
	for _, name := range g.Nodes() {
		if sub := g.Subgraph(name); sub != nil {
			errs = append(errs, sub.CheckContext(context))
		}
	}
	return errors.Join(errs...)
}

// ContextOf reads a field of the run's context; ok is false where it is absent.
func ContextOf[T any](t *Task, name string) (value T, ok bool, err error) {
	raw, ok := t.Context[name]
	if !ok {
		return value, false, nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, true, fmt.Errorf("reading context.%s: %w", name, err)
	}
	return value, true, nil
}
