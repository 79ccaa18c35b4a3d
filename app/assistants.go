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

// complete provides the defaults if one of them is not there yet: a new version
// of the server may have brought a graph.
func (a assistants) complete(ctx context.Context, scope auth.Scope) error {
	have, err := a.AssistantNames(ctx, scope)
	if err != nil {
		return err
	}
	for _, d := range a.defaults() {
		if _, ok := have[d.ID]; !ok {
			return a.provide(ctx, scope)
		}
	}
	return nil
}

// SearchAssistants lists assistants, the defaults among them.
func (a assistants) SearchAssistants(ctx context.Context, scope auth.Scope, q agents.AssistantSearch) ([]agents.Assistant, int, error) {
	if err := a.complete(ctx, scope); err != nil {
		return nil, 0, err
	}
	return a.DB.SearchAssistants(ctx, scope, q)
}

// CountAssistants counts assistants, the defaults among them.
func (a assistants) CountAssistants(ctx context.Context, scope auth.Scope, f agents.AssistantFilter) (int, error) {
	if err := a.complete(ctx, scope); err != nil {
		return 0, err
	}
	return a.DB.CountAssistants(ctx, scope, f)
}

// CreateAssistant makes an assistant. The ids of the defaults are theirs, also
// before they appear.
func (a assistants) CreateAssistant(ctx context.Context, scope auth.Scope, n agents.Assistant, comment string) (agents.Assistant, error) {
	if n.ID != "" && a.ours(string(n.ID)) {
		if err := a.provide(ctx, scope); err != nil {
			return agents.Assistant{}, err
		}
	}
	return a.DB.CreateAssistant(ctx, scope, n, comment)
}

// apiAssistants is the API's view of assistants.
type apiAssistants struct {
	assistants
	threads pageThreads
}

// threadsAtOnce is how many threads are read before they are deleted.
const threadsAtOnce = 100

// DeleteAssistant takes an assistant out of use, and deletes the scope's own
// threads with it if that is asked for; how many is told. The versions stay: runs
// and the audit log refer to them.
func (a apiAssistants) DeleteAssistant(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, withThreads bool) (int, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return 0, err
	}
	gone := 0
	for withThreads {
		found, err := a.OwnThreadsWith(ctx, scope, assistant, threadsAtOnce)
		if err != nil {
			return gone, err
		}
		if len(found) == 0 {
			break
		}
		for _, thread := range found {
			err := a.threads.DeleteThread(ctx, scope, thread)
			switch {
			case err == nil:
				gone++
			case !fault.Is(err, fault.KindNotFound): // somebody else was quicker
				return gone, err
			}
		}
	}
	return gone, a.ArchiveAssistant(ctx, scope, assistant, true)
}
