package app

import (
	"errors"
	"fmt"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/script"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// graphs builds models and tools and registers the graphs that use them.
func (a *App) graphs() (*prebuilt.Registry, *tool.Registry, error) {
	models, tools, err := a.toolbox()
	if err != nil {
		return nil, nil, err
	}
	graphs, err := a.compiled(models, tools)
	if err != nil {
		return nil, nil, err
	}
	registry, err := prebuilt.NewRegistry(graphs...)
	if err != nil {
		return nil, nil, err
	}
	if err := breakable(registry, a.o); err != nil {
		return nil, nil, err
	}
	a.registry = registry
	a.workshop = prebuilt.NewWorkshop(registry, models, tools, a.logger("agents"))
	return registry, tools, nil
}

// breakable checks that breakpoints for every run are a developer's, and that
// some graph has each of their nodes.
func breakable(graphs *prebuilt.Registry, o Options) error {
	points := slices.Concat(o.Break.Before, o.Break.After)
	if len(points) > 0 && !o.Config.Server.Env.Development() {
		return errors.New("breakpoints for every run are for development (HEDDLE_ENV=development); a run's own are interrupt_before and interrupt_after of the API")
	}
	for _, p := range points {
		if !slices.ContainsFunc(graphs.Names(), func(name string) bool {
			g, ok := graphs.Graph(name)
			return ok && g.Breakable("breakpoint", []string{p}) == nil
		}) {
			return fmt.Errorf("breakpoint %q: no graph has this node; heddle graph show NAME lists them", p)
		}
	}
	return nil
}

// toolbox builds what graphs work with.
func (a *App) toolbox() (*model.Registry, *tool.Registry, error) {
	models, err := a.models()
	if err != nil {
		return nil, nil, err
	}
	mailer, err := a.mailer()
	if err != nil {
		return nil, nil, err
	}
	all, err := builtin.All(builtin.Deps{
		Mailer: mailer, HTTP: a.egress(),
		Searcher: store.NewSearcher(a.db, func(d store.DocumentHit) builtin.Hit {
			return builtin.Hit{ID: d.Slug, Title: d.Title, Snippet: d.Snippet, URL: "/knowledge/" + d.Slug, Score: d.Score}
		}),
		Memory: store.NewMemory(a.db, func(i agents.Item) builtin.Item {
			return builtin.Item{Key: i.Key, Value: i.Value, UpdatedAt: i.UpdatedAt}
		}),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("making the built-in tools: %w", err)
	}
	tools, err := tool.NewRegistry(append(all, a.o.Tools...)...)
	if err != nil {
		return nil, nil, err
	}
	a.tools = tool.NewDispatcher(tools, tool.DispatcherOptions{Logger: a.logger("agents")})
	return models, tools, nil
}

// compiled gives the graphs of this server that compile, and what is wrong with
// the others.
func (a *App) compiled(models *model.Registry, tools *tool.Registry) ([]*graph.Graph, error) {
	graphs, errs := slices.Clone(a.o.Graphs), []error(nil)
	chat, err := prebuilt.Chat(prebuilt.ChatOptions{Models: models, Tools: tools, Call: a.tools, Ledger: a.ledger()})
	if err != nil {
		errs = append(errs, fmt.Errorf("compiling the graph chat: %w", err))
	} else {
		graphs = append(graphs, chat)
	}
	if a.o.Config.Server.Env.Development() {
		development, err := prebuilt.Development()
		graphs, errs = append(graphs, development...), append(errs, err)
	}
	return graphs, errors.Join(errs...)
}

// Graphs gives the graphs that a server with these options registers and that
// compile, and what is wrong with the others. It opens and connects nothing.
func Graphs(o Options) ([]*graph.Graph, error) {
	a := &App{o: o}
	models, tools, err := a.toolbox()
	if err != nil {
		return nil, err
	}
	graphs, err := a.compiled(models, tools)
	if err == nil {
		_, err = prebuilt.NewRegistry(graphs...)
	}
	return graphs, err
}

// guideID is the demo assistant's id, the same in every organisation.
var guideID = agents.AssistantID(id.Named(id.GraphNamespace, "heddle guide"))

// demoAssistants are made for every organisation in development.
func demoAssistants(cfg *config.Config) []agents.Assistant {
	if !cfg.Server.Env.Development() {
		return nil
	}
	return []agents.Assistant{{
		ID: guideID, Graph: prebuilt.ChatName, Name: "Heddle guide",
		Description: "Answers questions about the handbook, calculates, tells the time and the weather, remembers, and writes e-mail that a reviewer sends.",
		Config: agents.AssistantConfig{
			Model:  script.ID,
			Prompt: "You are Heddle guide, the assistant of a small company. Answer briefly and name your sources.",
			Tools:  append(slices.Clone(allTools), "send_email", "http_request"),
			Starters: []string{
				"What is our refund policy?", "Email bob@example.com that we ship on Friday", "Weather in Berlin and Oslo", "Plan a launch",
				"Remember that I like tea", "Count to 200",
			},
		},
	}}
}

// allTools are those a default assistant may use: none of them has an effect
// outside.
var allTools = []string{"calculator", "current_time", "weather", "search", "remember", "recall"}

// defaultConfig is what the default assistant of a graph starts with.
func defaultConfig(graph string) agents.AssistantConfig {
	if graph != prebuilt.ChatName {
		return agents.AssistantConfig{}
	}
	return agents.AssistantConfig{Model: script.ID, Tools: allTools}
}

// MockPace is the mock model's speed for people, in tokens a second.
const MockPace = script.Pace
