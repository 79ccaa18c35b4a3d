package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

// Options say how to execute a recording again.
type Options struct {
	// Graphs are the graphs that a recording may be of, beside chat, which is
	// made of the recording. Their nodes do again whatever they do.
	Graphs []*graph.Graph
	// RunLimit bounds each run; default a minute.
	RunLimit time.Duration
}

// Again executes a recording and compares what happens with what happened. The
// error says that it could not be executed at all.
func Again(ctx context.Context, r Recording, o Options) (Report, error) {
	if err := r.repeatable(); err != nil {
		return Report{}, err
	}
	played, notes, err := play(ctx, r, o)
	if err != nil {
		return Report{}, fmt.Errorf("replaying %s: %w", r.Name, err)
	}
	report := compare(side{"recorded", r}, side{"replayed", played}, again)
	report.Notes = notes
	return report, nil
}

// play executes all runs of a recording on a memory of their own.
func play(ctx context.Context, r Recording, o Options) (Recording, []string, error) {
	results, err := resultsOf(r.Events)
	if err != nil {
		return r, nil, err
	}
	decided, err := decisionsOf(r.Events)
	if err != nil {
		return r, nil, err
	}
	p := &player{
		recorded: r, o: o, ids: graph.NamedIDs("replay"), thread: agents.ThreadID(r.Events[0].ThreadID), decided: decided,
		ledger: &ledger{reviews: map[string]agents.Review{}, journals: map[string]agents.Journal{}},
		tools:  recordedTools{results: results, strange: &strange{}},
	}
	p.memory = memory.New(memory.Options{Checkpoints: -1, NewID: p.ids("memory")})
	out := r
	var notes []string
	for i, run := range r.Runs {
		ended, err := p.run(ctx, run)
		if err != nil {
			return r, nil, err
		}
		if ended != nil {
			notes = append(notes, fmt.Sprintf("run %d ended with: %v", i+1, ended))
		}
	}
	if hash := p.hash; r.Graph.Hash != "" && hash != r.Graph.Hash {
		notes = append(notes, "the declaration of the graph is not the one that was recorded")
	}
	for _, s := range p.tools.strange.all() {
		notes = append(notes, "not in the recording: "+s)
	}
	state, err := p.memory.State(ctx, p.thread, "")
	if err != nil {
		return r, nil, err
	}
	out.Events, out.State = p.events, stateOf(state)
	return out, notes, nil
}

// player executes the runs of one thread.
type player struct {
	recorded Recording
	o        Options
	ids      graph.IDs
	thread   agents.ThreadID
	memory   *memory.Checkpointer
	decided  decisions
	ledger   *ledger
	tools    recordedTools
	hash     string

	mu     sync.Mutex
	events []event.Envelope
}

// run executes one run. ended is how it ended if it neither came to its end nor
// paused; err that it could not be executed.
func (p *player) run(ctx context.Context, run Run) (ended, err error) {
	began := slices.IndexFunc(p.recorded.Events, func(e event.Envelope) bool {
		return e.Type == event.RunStarted && e.RunID == string(run.ID)
	})
	if began < 0 {
		return nil, fmt.Errorf("run %s is not in the log", run.ID)
	}
	g, err := p.graph(run)
	if err != nil {
		return nil, err
	}
	in, err := p.input(ctx, run)
	if err != nil {
		return err, nil
	}
	start := p.recorded.Events[began]
	p.ledger.until(p.decided, start.Seq)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.o.RunLimit, time.Minute))
	defer cancel()
	runner := graph.NewRunner(g, graph.RunnerOptions{
		Checkpointer: p.memory, Sink: p.hear, IDs: p.ids, Clock: standing{start.Time}, RecursionLimit: p.recorded.Config.RecursionLimit,
		Scope:     auth.Scope{User: "replay", Org: "replay", Role: run.Role},
		Assistant: agents.Assistant{ID: "replay", Graph: p.recorded.Graph.Name, Version: 1, Config: p.recorded.Config},
	})
	_, err = runner.Invoke(ctx, p.thread, in, graph.RunID(run.ID))
	if errors.As(err, new(*graph.Interrupted)) {
		return nil, nil
	}
	return err, nil
}

func (p *player) hear(e event.Envelope) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Seq = int64(len(p.events) + 1)
	p.events = append(p.events, e)
}

// input gives what a run brings. Pauses are answered in their order: their ids
// are others now.
func (p *player) input(ctx context.Context, run Run) (graph.Input, error) {
	if run.Resume == nil {
		in := graph.Begin(graph.AddMessages(run.Messages...)...)
		in.Fill = p.fill(run)
		return in, nil
	}
	state, err := p.memory.State(ctx, p.thread, "")
	if err != nil {
		return graph.Input{}, err
	}
	var open []agents.Interrupt
	if state.Head != nil {
		open = slices.Clone(state.Head.Interrupts)
	}
	if len(run.Resume.Answers) == 0 {
		open = nil
	}
	if len(open) != len(run.Resume.Answers) {
		return graph.Input{}, fmt.Errorf("%d pauses were open when it was recorded, now there are %d", len(run.Resume.Answers), len(open))
	}
	for i, a := range run.Resume.Answers {
		open[i].Answer = a.value()
	}
	in := graph.Input{Resume: &agents.Resume{Interrupts: open, Goto: run.Resume.Goto, Sends: run.Resume.Sends}, Writes: graph.AddMessages(run.Messages...)}
	in.Fill = p.fill(run)
	return in, nil
}

func (p *player) fill(run Run) func(graph.State) []graph.Write {
	return func(graph.State) []graph.Write { return graph.AddMessages(run.Filled...) }
}

// graph gives the recording's graph, with the model of one run.
func (p *player) graph(run Run) (*graph.Graph, error) {
	g, err := p.compiled(run)
	if err == nil {
		p.hash = g.Hash()
	}
	return g, err
}

func (p *player) compiled(run Run) (*graph.Graph, error) {
	name := p.recorded.Graph.Name
	if at := slices.IndexFunc(p.o.Graphs, func(g *graph.Graph) bool { return g.Name() == name }); at >= 0 {
		return p.o.Graphs[at], nil
	}
	if name != prebuilt.ChatName {
		return nil, fmt.Errorf("%w: %s", ErrUnknownGraph, name)
	}
	said, err := answersOf(p.recorded.Events, run.ID)
	if err != nil {
		return nil, err
	}
	id := p.recorded.Config.Defaults().Model
	models, err := model.NewRegistry(model.Entry{ID: id, Model: &recordedModel{answers: said, strange: p.tools.strange}, Tools: true})
	if err != nil {
		return nil, err
	}
	tools, err := p.tools.registry(p.recorded.Tools)
	if err != nil {
		return nil, err
	}
	return prebuilt.Chat(prebuilt.ChatOptions{
		Models: models, Tools: tools, Call: tool.NewDispatcher(tools, tool.DispatcherOptions{}), Ledger: p.ledger})
}

// standing is a clock that stands where a run began; waits take as long as they
// say, so that limits and delays keep their proportion.
type standing struct{ at time.Time }

// Now implements [graph.Clock].
func (c standing) Now() time.Time { return c.at }

// After implements [graph.Clock].
func (c standing) After(d time.Duration) <-chan time.Time { return time.After(d) }
