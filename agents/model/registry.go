package model

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/heddle/heddle/internal/fault"
)

// Entry is one model that assistants can be set to, or a family of them.
type Entry struct {
	// ID is what an assistant's configuration names, such as "mock". An id
	// that ends in ":*" stands for every id with what comes before the star:
	// "openai:*" serves "openai:gpt-4o-mini" and whatever the provider has.
	ID string
	// Name is what [Request.Model] has to say, set by [Registry.Get]: the id,
	// or within a family the part after its prefix, verbatim.
	Name string
	// Title is the name people see.
	Title string
	Model Model
	// ContextTokens is the size of the context window, 0 if unknown.
	ContextTokens int
	// Tools says whether the model can ask for tools.
	Tools bool
}

// Prefix gives what the ids of a family begin with, such as "openai:"; ok is
// false for a single model. A form shows a family as free text behind it.
func (e Entry) Prefix() (prefix string, ok bool) {
	prefix, ok = strings.CutSuffix(e.ID, "*")
	return prefix, ok && strings.HasSuffix(prefix, ":")
}

// maxName is the longest name of a model within a family, in bytes.
const maxName = 200

// Registry knows models by id. It is built once and never changes.
type Registry struct {
	entries []Entry
	byID    map[string]Entry
}

// NewRegistry holds the entries in the given order; an id twice, an empty id,
// a star that ends no prefix or a nil model is an error.
func NewRegistry(entries ...Entry) (*Registry, error) {
	r := &Registry{byID: make(map[string]Entry, len(entries))}
	for _, e := range entries {
		if e.ID == "" || e.Model == nil {
			return nil, fmt.Errorf("registering model %q: id and model are required", e.ID)
		}
		if prefix, family := e.Prefix(); strings.Contains(e.ID, "*") && (!family || strings.IndexByte(prefix, ':') != len(prefix)-1 || prefix == ":") {
			return nil, fmt.Errorf("registering model %q: a star stands only at the end of provider:*", e.ID)
		}
		if _, taken := r.byID[e.ID]; taken {
			return nil, fmt.Errorf("registering model %q: the id is taken", e.ID)
		}
		if e.Title == "" {
			e.Title = e.ID
		}
		e.Name = e.ID
		r.byID[e.ID] = e
		r.entries = append(r.entries, e)
	}
	return r, nil
}

// Get finds a model by id, a single one before a family. Of a family it gives
// an entry whose ID is what was asked. An unknown id is an invalid fault on
// field "model".
func (r *Registry) Get(id string) (Entry, error) {
	if e, ok := r.byID[id]; ok {
		if _, family := e.Prefix(); !family {
			return e, nil
		}
	}
	provider, name, ok := strings.Cut(id, ":")
	e, known := r.byID[provider+":*"]
	switch {
	case !ok || !known:
		return Entry{}, fault.Invalid("model", fmt.Sprintf("%q is not one of the configured models", id))
	case !validName(name):
		return Entry{}, fault.Invalid("model", fmt.Sprintf("must name a model after %q, without spaces, in at most %d characters", provider+":", maxName))
	}
	e.ID, e.Name, e.Title = id, name, id
	return e, nil
}

func validName(name string) bool {
	return name != "" && name != "*" && len(name) <= maxName && strings.IndexFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}) < 0
}

// List gives all entries in the order of their registration, a family as one.
func (r *Registry) List() []Entry { return append([]Entry(nil), r.entries...) }
