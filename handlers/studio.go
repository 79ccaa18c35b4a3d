package handlers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/views/studio"
)

// StudioStore reads threads as they are stored.
type StudioStore interface {
	Thread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.Thread, error)
	Threads(ctx context.Context, scope auth.Scope, q agents.ThreadQuery) ([]agents.Thread, error)
	State(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.State, error)
	Checkpoints(ctx context.Context, scope auth.Scope, thread agents.ThreadID, limit int) ([]agents.Checkpoint, error)
	Opened(ctx context.Context, scope auth.Scope, thread agents.Thread, now time.Time) error
}

// Graphs are the compiled graphs of this server.
type Graphs interface {
	Names() []string
	Graph(name string) (*graph.Graph, bool)
}

// Studio serves the development server's view from the inside (LG-52): graphs,
// stored states, running again. What somebody may read there is what they may
// read elsewhere.
type Studio struct {
	frame  *Frame
	store  StudioStore
	graphs Graphs
	runs   Runs
	clock  clock.Clock
}

// NewStudio makes the handlers; they are registered in development only.
func NewStudio(frame *Frame, store StudioStore, graphs Graphs, runs Runs, clk clock.Clock) *Studio {
	return &Studio{frame: frame, store: store, graphs: graphs, runs: runs, clock: clk}
}

// The bounds of what the pages show.
const (
	studioThreads = 20
	studioSteps   = 20
	studioText    = 2000
)

// Home is GET /dev.
func (s *Studio) Home(c *fiber.Ctx) error {
	threads, err := s.store.Threads(c.UserContext(), middleware.Scope(c), agents.ThreadQuery{Limit: studioThreads})
	if err != nil {
		return err
	}
	view := studio.Home{Graphs: s.graphs.Names()}
	for _, t := range threads {
		view.Threads = append(view.Threads, studio.Thread{
			ID: string(t.ID), Title: present.Title(t.Title), Status: string(t.Status), Updated: present.Time(t.UpdatedAt, s.clock.Now())})
	}
	return html(c, fiber.StatusOK, studio.HomePage(s.frame.page(c, "Studio"), view))
}

// Graph is GET /dev/graphs/:graph.
func (s *Studio) Graph(c *fiber.Ctx) error {
	g, ok := s.graphs.Graph(utils.CopyString(c.Params("graph")))
	if !ok {
		return fault.NotFound("Graph")
	}
	var edges []studio.Edge
	for _, e := range g.Edges() {
		edges = append(edges, studio.Edge{From: e.From, To: e.To, Conditional: e.Conditional})
	}
	return html(c, fiber.StatusOK, studio.GraphPage(s.frame.page(c, "Graph "+g.Name()), g.Name(), studio.Draw(graph.Start, graph.End, edges), edges))
}

// Thread is GET /dev/threads/:thread.
func (s *Studio) Thread(c *fiber.Ctx) error {
	ctx, scope, now := c.UserContext(), middleware.Scope(c), s.clock.Now()
	t, err := s.store.Thread(ctx, scope, threadParam(c))
	if err != nil {
		return err
	}
	if err := s.store.Opened(ctx, scope, t, now.UTC()); err != nil {
		return err
	}
	state, err := s.store.State(ctx, scope, t.ID)
	if err != nil {
		return err
	}
	steps, err := s.store.Checkpoints(ctx, scope, t.ID, studioSteps)
	if err != nil {
		return err
	}
	p := s.frame.page(c, present.Title(t.Title))
	view := studio.State{ID: string(t.ID), Title: present.Title(t.Title), Status: string(t.Status), Line: string(state.Line), Step: state.Step,
		CanRun: t.WritableBy(scope) && lastHuman(state) != nil, CSRF: p.CSRF}
	if state.Head != nil {
		view.Next = state.Head.Next
		view.Due = len(state.Head.Next) > 0 && t.Status != agents.ThreadBusy && len(state.Head.Interrupts) == 0
		for _, i := range state.Head.Interrupts {
			view.Interrupts = append(view.Interrupts, studio.Text{Name: i.Node, Text: present.SetOut(string(i.Value))})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(state.Values)) {
		view.Values = append(view.Values, studio.Text{Name: name, Text: present.SetOut(string(state.Values[name]))})
	}
	for _, m := range state.Messages {
		shown := studio.Message{ID: string(m.ID), Role: string(m.Role), Text: clipped(m.Text), Revision: m.Revision}
		for _, call := range m.ToolCalls {
			shown.Calls = append(shown.Calls, studio.Text{Name: call.Name, Text: present.SetOut(string(call.Args))})
		}
		view.Messages = append(view.Messages, shown)
	}
	for _, step := range steps {
		view.Steps = append(view.Steps, studio.Step{ID: step.ID, Step: step.Step, Source: string(step.Source), Run: string(step.Run),
			Next: strings.Join(step.Next, ", "), Changes: changesOf(step), At: present.Time(step.CreatedAt, now)})
	}
	return html(c, fiber.StatusOK, studio.ThreadPage(p, view))
}

// Rerun is POST /dev/threads/:thread/rerun: the last message of a person is sent
// again.
func (s *Studio) Rerun(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	t, err := s.store.Thread(c.UserContext(), scope, threadParam(c))
	if err != nil {
		return err
	}
	state, err := s.store.State(c.UserContext(), scope, t.ID)
	if err != nil {
		return err
	}
	last := lastHuman(state)
	if last == nil {
		return fault.Invalid("thread", "has no message to run again")
	}
	again := agents.Message{ID: agents.MessageID(id.New()), Role: agents.RoleUser, Text: last.Text, Blocks: last.Blocks,
		Author: string(scope.User), CreatedAt: s.clock.Now()}
	return s.submit(c, scope, t, agents.RunInput{Messages: []agents.Message{again}})
}

// Continue is POST /dev/threads/:thread/continue: the graph goes on with what is
// due.
func (s *Studio) Continue(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	t, err := s.store.Thread(c.UserContext(), scope, threadParam(c))
	if err != nil {
		return err
	}
	return s.submit(c, scope, t, agents.RunInput{Resume: &agents.Resume{}})
}

func (s *Studio) submit(c *fiber.Ctx, scope auth.Scope, t agents.Thread, input agents.RunInput) error {
	if t.Assistant == "" {
		return fault.Invalid("thread", "has not run before")
	}
	if _, err := s.runs.Submit(c.UserContext(), scope, run.Request{Thread: t.ID, Assistant: string(t.Assistant), Input: input}); err != nil {
		return err
	}
	return done(c, "/dev/threads/"+string(t.ID))
}

func lastHuman(state agents.State) *agents.Message {
	for i := len(state.Messages) - 1; i >= 0; i-- {
		if state.Messages[i].Role == agents.RoleUser {
			return &state.Messages[i]
		}
	}
	return nil
}

// changesOf counts what a step changed.
func changesOf(c agents.Checkpoint) string {
	var parts []string
	if n := len(c.Ops); n > 0 {
		parts = append(parts, fmt.Sprintf("messages: %d", n))
	}
	for _, channel := range slices.Sorted(maps.Keys(c.Deltas)) {
		parts = append(parts, fmt.Sprintf("%s: %d", channel, len(c.Deltas[channel])))
	}
	if n := len(c.Interrupts); n > 0 {
		parts = append(parts, fmt.Sprintf("interrupts: %d", n))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func clipped(text string) string {
	if r := []rune(text); len(r) > studioText {
		return string(r[:studioText]) + "…"
	}
	return text
}
