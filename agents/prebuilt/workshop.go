package prebuilt

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/internal/fault"
)

// Workshop knows what assistants can be made of on this server: its graphs,
// models and tools. Safe for concurrent use.
type Workshop struct {
	graphs *Registry
	models *model.Registry
	tools  *tool.Registry
	logger *slog.Logger
	// trials bounds how many drafts are tried at once.
	trials chan struct{}
}

// maxTrials is how many drafts a server tries at once.
const maxTrials = 4

// NewWorkshop makes the workshop.
func NewWorkshop(graphs *Registry, models *model.Registry, tools *tool.Registry, logger *slog.Logger) *Workshop {
	return &Workshop{graphs: graphs, models: models, tools: tools, logger: logger, trials: make(chan struct{}, maxTrials)}
}

// Graphs lists the names of the graphs.
func (w *Workshop) Graphs() []string { return w.graphs.Names() }

// Graph finds a graph by name.
func (w *Workshop) Graph(name string) (*graph.Graph, bool) { return w.graphs.Graph(name) }

// Models lists the models.
func (w *Workshop) Models() []model.Entry { return w.models.List() }

// Tools lists the tools in the order people see them.
func (w *Workshop) Tools() []tool.Spec { return w.tools.Specs(w.tools.Names()) }

// Check checks an assistant whole: its own rules, and that everything it names
// exists on this server. The fault names every field that breaks its rule.
func (w *Workshop) Check(a agents.Assistant) error {
	_, unknown := w.models.Get(a.Config.Defaults().Model)
	var missing error
	if a.Graph != "" && !slices.Contains(w.graphs.Names(), a.Graph) {
		missing = fault.Invalid("graph", fmt.Sprintf("%q is not a graph of this server", a.Graph))
	}
	return together(tool.CheckPolicies(w.Tools(), a.Config), unknown, missing, a.Validate())
}

// together makes one fault of all fields that break a rule.
func together(errs ...error) error {
	broken := map[string]string{}
	for _, err := range errs {
		if err != nil && !fault.Is(err, fault.KindInvalid) {
			return err
		}
		maps.Copy(broken, fault.FieldsOf(err))
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}

// errBusy says that as many drafts are being tried as may be.
var errBusy = errors.New("all places for trials are taken")
