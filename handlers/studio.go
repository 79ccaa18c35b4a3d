package handlers

import (
	"context"
	"net/url"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/views/studio"
)

// StudioStore reads threads and what became of them step by step.
type StudioStore interface {
	ThreadStore
	// Checkpoints reads the newest checkpoints of the active line, newest first.
	Checkpoints(ctx context.Context, scope auth.Scope, thread agents.ThreadID, limit int) ([]agents.Checkpoint, error)
}

// Graphs finds the registered graphs.
type Graphs interface {
	Names() []string
	Graph(name string) (*graph.Graph, bool)
}

// What the studio shows at most.
const (
	studioThreads     = 20
	studioCheckpoints = 20
)

// Studio serves the pages under /dev on which a development server shows what
// its graphs and threads are made of. Everybody who is signed in may look at
// graphs; of threads they see what they see elsewhere.
type Studio struct {
	frame      *Frame
	store      StudioStore
	assistants Assistants
	graphs     Graphs
	runs       Runs
	clock      clock.Clock
	// outbox says that the server keeps its mail.
	outbox bool
}

// NewStudio makes the handlers.
func NewStudio(frame *Frame, store StudioStore, assistants Assistants, graphs Graphs, runs Runs, clk clock.Clock, outbox bool) *Studio {
	return &Studio{frame: frame, store: store, assistants: assistants, graphs: graphs, runs: runs, clock: clk, outbox: outbox}
}

// Home is GET /dev: the graphs and the person's newest threads.
func (s *Studio) Home(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	threads, err := s.store.Threads(c.UserContext(), scope, agents.ThreadQuery{Limit: studioThreads})
	if err != nil {
		return err
	}
	names, err := s.assistants.AssistantNames(c.UserContext(), scope)
	if err != nil {
		return err
	}
	view := studio.Home{Outbox: s.outbox}
	for _, name := range s.graphs.Names() {
		g, _ := s.graphs.Graph(name)
		view.Graphs = append(view.Graphs, studio.GraphLine{Name: name, Href: graphHref(name), Nodes: len(g.Nodes()), Edges: len(g.Edges())})
	}
	now := s.clock.Now()
	for _, t := range threads {
		view.Threads = append(view.Threads, studio.ThreadLine{ID: string(t.ID), Title: present.Title(t.Title), Assistant: names[t.Assistant],
			Status: string(t.Status), Updated: present.Time(t.UpdatedAt, now)})
	}
	return html(c, fiber.StatusOK, studio.HomePage(s.frame.page(c, "Studio"), view))
}

// Graph is GET /dev/graphs/:graph.
func (s *Studio) Graph(c *fiber.Ctx) error {
	name, err := url.PathUnescape(c.Params("graph"))
	g, ok := s.graphs.Graph(name)
	if err != nil || !ok {
		return fault.NotFound("Graph")
	}
	view := present.Graph(g)
	view.Outbox = s.outbox
	return html(c, fiber.StatusOK, studio.GraphPage(s.frame.page(c, view.Name), view))
}

func graphHref(name string) string { return "/dev/graphs/" + url.PathEscape(name) }

// Thread is GET /dev/threads/:thread: the state inspector.
func (s *Studio) Thread(c *fiber.Ctx) error {
	ctx, scope := c.UserContext(), middleware.Scope(c)
	view, err := s.store.View(ctx, scope, threadParam(c))
	if err != nil {
		return err
	}
	now := s.clock.Now()
	if err := s.store.Opened(ctx, scope, view.Thread, now); err != nil {
		return err
	}
	checkpoints, err := s.store.Checkpoints(ctx, scope, view.Thread.ID, studioCheckpoints)
	if err != nil {
		return err
	}
	page := s.frame.page(c, present.Title(view.Thread.Title))
	out := present.Inspected(view, checkpoints, now)
	out.CanWrite, out.MostCheckpoints, out.Outbox, out.CSRF = view.Thread.WritableBy(scope), studioCheckpoints, s.outbox, page.CSRF
	if view.Thread.Owner != scope.User {
		names, err := s.store.Names(ctx, scope)
		if err != nil {
			return err
		}
		out.Owner = present.Member(names, view.Thread.Owner)
	}
	if view.Thread.Assistant != "" {
		a, err := s.assistants.AssistantVersion(ctx, scope, view.Thread.Assistant, view.Thread.AssistantVersion)
		if err != nil {
			return err
		}
		out.Assistant, out.GraphName = a.Name, a.Graph
		if _, ok := s.graphs.Graph(a.Graph); ok {
			out.GraphHref = graphHref(a.Graph)
		}
	}
	if len(view.Open) > 0 && len(out.Interrupts) == 0 {
		page.Refresh = 3
	}
	return html(c, fiber.StatusOK, studio.ThreadPage(page, out))
}

// Rerun is POST /dev/threads/:thread/rerun: the last message of a person is sent
// once more, as a message of whoever asks.
func (s *Studio) Rerun(c *fiber.Ctx) error {
	scope := middleware.Scope(c)
	view, err := s.writable(c)
	if err != nil {
		return err
	}
	last, ok := present.LastAsked(view.State)
	if !ok || view.Thread.Assistant == "" {
		return fault.Conflict("Nobody has written to an assistant in this thread yet.").WithCode("nothing_asked")
	}
	input := s.runs.Text(scope, last.Text)
	input.Messages[0].Blocks = last.Blocks
	return s.submit(c, view.Thread, input)
}

// Continue is POST /dev/threads/:thread/continue: the thread goes on with the
// nodes that are due.
func (s *Studio) Continue(c *fiber.Ctx) error {
	view, err := s.writable(c)
	if err != nil {
		return err
	}
	if !present.Continuable(view) || view.Thread.Assistant == "" {
		return fault.Conflict("Nothing of this thread is due, or a run is open on it.").WithCode("nothing_due")
	}
	if len(view.State.Head.Interrupts) > 0 {
		if _, err := s.runs.Resume(c.UserContext(), middleware.Scope(c), view.Thread.ID, run.Command{}); err != nil {
			return err
		}
		return done(c, "/dev/threads/"+string(view.Thread.ID))
	}
	return s.submit(c, view.Thread, agents.RunInput{Resume: &agents.Resume{}})
}

// writable reads a thread that the person may write to; one that they may only
// read is as absent as for every other change.
func (s *Studio) writable(c *fiber.Ctx) (agents.View, error) {
	scope := middleware.Scope(c)
	view, err := s.store.View(c.UserContext(), scope, threadParam(c))
	if err == nil && !view.Thread.WritableBy(scope) {
		err = fault.NotFound("Thread")
	}
	return view, err
}

func (s *Studio) submit(c *fiber.Ctx, thread agents.Thread, input agents.RunInput) error {
	_, err := s.runs.Submit(c.UserContext(), middleware.Scope(c), run.Request{Thread: thread.ID, Assistant: string(thread.Assistant), Input: input})
	if err != nil {
		return err
	}
	return done(c, "/dev/threads/"+string(thread.ID))
}
