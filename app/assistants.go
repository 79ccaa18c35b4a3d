package app

import (
	"context"
	"fmt"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// assistants gives every organisation the default assistants of the registered
// graphs: they appear by themselves the first time the organisation asks for
// one (LG-06). What people changed stays as it is.
type assistants struct {
	*store.DB
	graphs  []string
	special []agents.Assistant
}

// defaults lists the assistants that come with the server.
func (a assistants) defaults() []agents.Assistant {
	out := append([]agents.Assistant(nil), a.special...)
	for _, graph := range a.graphs {
		out = append(out, agents.Assistant{
			ID: agents.AssistantID(id.Named(id.GraphNamespace, graph)), Graph: graph, Name: graph, IsDefault: true,
			Description: "The default assistant of the graph " + graph + ".", Config: defaultConfig(graph),
		})
	}
	return out
}

func (a assistants) provide(ctx context.Context, scope auth.Scope) error {
	for _, d := range a.defaults() {
		if err := a.EnsureAssistant(ctx, scope, d); err != nil {
			return fmt.Errorf("providing the assistant %s: %w", d.Name, err)
		}
	}
	return nil
}

// Assistant finds an assistant, after providing the defaults if it is absent.
func (a assistants) Assistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, error) {
	found, err := a.DB.Assistant(ctx, scope, idOrGraph)
	if !fault.Is(err, fault.KindNotFound) || !a.ours(idOrGraph) {
		return found, err
	}
	if err := a.provide(ctx, scope); err != nil {
		return agents.Assistant{}, err
	}
	return a.DB.Assistant(ctx, scope, idOrGraph)
}

func (a assistants) ours(idOrGraph string) bool {
	for _, d := range a.defaults() {
		if idOrGraph == string(d.ID) || idOrGraph == d.Graph {
			return true
		}
	}
	return false
}

// Assistants lists the organisation's assistants; a new organisation gets the
// defaults first.
func (a assistants) Assistants(ctx context.Context, scope auth.Scope) ([]agents.Assistant, error) {
	found, err := a.DB.Assistants(ctx, scope)
	if err != nil || len(found) > 0 {
		return found, err
	}
	if err := a.provide(ctx, scope); err != nil {
		return nil, err
	}
	return a.DB.Assistants(ctx, scope)
}
