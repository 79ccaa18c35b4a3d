package model

import (
	"fmt"

	"github.com/heddle/heddle/internal/fault"
)

// Entry is one model that assistants can be set to.
type Entry struct {
	// ID is what an assistant's configuration names, such as "mock".
	ID string
	// Title is the name people see.
	Title string
	Model Model
	// ContextTokens is the size of the context window, 0 if unknown.
	ContextTokens int
	// Tools says whether the model can ask for tools.
	Tools bool
}

// Registry knows models by id. It is built once and never changes.
type Registry struct {
	entries []Entry
	byID    map[string]Entry
}

// NewRegistry holds the entries in the given order; an id twice, an empty id
// or a nil model is an error.
func NewRegistry(entries ...Entry) (*Registry, error) {
	r := &Registry{byID: make(map[string]Entry, len(entries))}
	for _, e := range entries {
		if e.ID == "" || e.Model == nil {
			return nil, fmt.Errorf("registering model %q: id and model are required", e.ID)
		}
		if _, taken := r.byID[e.ID]; taken {
			return nil, fmt.Errorf("registering model %q: the id is taken", e.ID)
		}
		if e.Title == "" {
			e.Title = e.ID
		}
		r.byID[e.ID] = e
		r.entries = append(r.entries, e)
	}
	return r, nil
}

// Get finds a model by id; an unknown id is an invalid fault on field "model".
func (r *Registry) Get(id string) (Entry, error) {
	e, ok := r.byID[id]
	if !ok {
		return Entry{}, fault.Invalid("model", fmt.Sprintf("%q is not one of the configured models", id))
	}
	return e, nil
}

// List gives all entries in the order of their registration.
func (r *Registry) List() []Entry { return append([]Entry(nil), r.entries...) }
