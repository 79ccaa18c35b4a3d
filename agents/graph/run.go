package graph

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/id"
)

// DefaultRecursionLimit is how many super-steps one run may execute unless it
// says otherwise (the LangGraph default).
const DefaultRecursionLimit = 25

// MaxRecursionLimit is the most that a run may ask for.
const MaxRecursionLimit = 10_000

// Commit is what a super-step hands to its host.
type Commit struct {
	// Line is the line the step belongs to; NS is empty for the run's own, and
	// names the subgraphs around a step of one.
	Line agents.LineID
	NS   []string
	Step int
	// Changes lead from the state before to State.
	Changes Changes
	State   State
	// Next are the tasks that are due now; empty means the graph is done.
	Next []agents.Due
	// Pending is what is known of those tasks already: a step that paused keeps
	// what its other tasks did.
	Pending []agents.Pending
	// Interrupts are set when the run pauses here.
	Interrupts []agents.Interrupt
	// Reviews are the requests that the pauses ask for.
	Reviews []agents.Review
	// Metadata is the host's own note, a JSON object.
	Metadata json.RawMessage
}

// Host carries out what the engine must not do itself. Its methods but Emit are
// called by several goroutines at once only where a step has several subgraphs.
type Host interface {
	// Commit stores a super-step. An error ends the run with that error.
	Commit(ctx context.Context, c Commit) error
	// Pend stores what finished before the rest of its step, adding to what is
	// stored for the same step. An error ends the run with that error.
	Pend(ctx context.Context, p agents.PendingWrites) error
	// Sub gives what is stored of a subgraph's line, making the line if it is
	// new: Step, Head, Pending and Own of the state; the rest is not read.
	Sub(ctx context.Context, s agents.SubLine) (agents.State, error)
	// Emit tells watchers; node, step and namespace are set. It is called by
	// several goroutines at once.
	Emit(e event.Envelope)
}

// Ephemeral is a host that keeps and tells nothing, for embedding.
type Ephemeral struct{}

// Commit implements [Host].
func (Ephemeral) Commit(context.Context, Commit) error { return nil }

// Pend implements [Host].
func (Ephemeral) Pend(context.Context, agents.PendingWrites) error { return nil }

// Sub implements [Host].
func (Ephemeral) Sub(_ context.Context, s agents.SubLine) (agents.State, error) {
	return agents.State{Line: s.Line, Step: s.ParentStep}, nil
}

// Emit implements [Host].
func (Ephemeral) Emit(event.Envelope) {}

// IDs gives the source of ids for one task, so that tasks that run side by side
// don't share one.
type IDs func(task string) id.Source

// RandomIDs are fresh UUIDs whatever the task.
func RandomIDs(string) id.Source { return id.New }

// NamedIDs derives ids from a seed: the n-th id of a task is always the same.
func NamedIDs(seed string) IDs {
	return func(task string) id.Source {
		n := 0
		return func() string {
			n++
			return id.Named(id.GraphNamespace, seed+"/"+task+"/"+itoa(n))
		}
	}
}

// Execution is one run of a graph.
type Execution struct {
	Info  Info
	State State
	// Next are the tasks to begin with; nil means the graph's entry.
	Next []agents.Due
	// Pending is what is known of those tasks already.
	Pending []agents.Pending
	// Step is the number of the newest committed step.
	Step int
	// Resume are the pauses that the first step goes on from, with answers.
	Resume []agents.Interrupt
	Host   Host
	// RecursionLimit bounds the super-steps, 1 to [MaxRecursionLimit]; default
	// [DefaultRecursionLimit].
	RecursionLimit int
	// Parallel bounds how many tasks of a step run at once; default the CPUs.
	Parallel int
	// OnFailure says what a step does when a node fails; default [Panic].
	OnFailure FailurePolicy
	// Timeout bounds the run, StepTimeout each step, NodeTimeout one execution of
	// a node that declares no limit; 0 is none.
	Timeout, StepTimeout, NodeTimeout time.Duration
	// Break are a developer's breakpoints.
	Break  Breakpoints
	Clock  Clock
	IDs    IDs
	Logger *slog.Logger
}

func (x Execution) withDefaults() Execution {
	if x.RecursionLimit <= 0 {
		x.RecursionLimit = DefaultRecursionLimit
	}
	if x.Parallel <= 0 {
		x.Parallel = runtime.GOMAXPROCS(0)
	}
	if x.OnFailure == "" {
		x.OnFailure = Panic
	}
	if x.Clock == nil {
		x.Clock = SystemClock()
	}
	if x.IDs == nil {
		x.IDs = RandomIDs
	}
	if x.Host == nil {
		x.Host = Ephemeral{}
	}
	return x
}

// Run executes the graph until nothing is due, and returns the final state.
// It returns the context's cause when that ends first, and [*Interrupted] once
// the step in which nodes paused is committed.
//
// Other errors: [*NodeError], [*StepError], [*StepTimeoutError],
// [*RunTimeoutError], [*RecursionError], [*InputError] where Next names a node
// that this version of the graph lacks, and whatever the host returns. State
// and storage are then as of the last commit.
func (g *Graph) Run(ctx context.Context, x Execution) (State, error) {
	x = x.withDefaults()
	if err := g.CheckContext(x.Info.Context); err != nil {
		return x.State, err
	}
	ctx, release := within(ctx, x.Clock, x.Timeout, &RunTimeoutError{Limit: x.Timeout})
	defer release()
	e := &engine{g: g, x: x, line: x.Info.Line, step: x.Step, state: x.State}
	next := slices.Clone(x.Next)
	if next == nil {
		var err error
		if next, err = g.Entry(x.State); err != nil {
			return x.State, err
		}
	}
	err := e.run(ctx, next, x.Pending, x.Resume)
	return e.state, err
}

// engine executes one graph on one line: the run's own, or a subgraph's.
type engine struct {
	g *Graph
	x Execution
	// ns are the subgraphs around this one, path their nodes' names.
	ns    []string
	path  string
	line  agents.LineID
	step  int
	state State
	// own are, in a subgraph, all changes since the line began.
	own []agents.Change
}

// run executes super-steps until nothing is due.
func (e *engine) run(ctx context.Context, next []agents.Due, known []agents.Pending, resume []agents.Interrupt) error {
	for executed := 0; len(next) > 0; executed++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if executed >= e.x.RecursionLimit {
			return &RecursionError{Limit: e.x.RecursionLimit}
		}
		var err error
		if next, err = e.superStep(ctx, next, known, resume); err != nil {
			return err
		}
		known, resume = nil, nil // they belong to the step that goes on
	}
	return nil
}

// taskID names a task within its run, for clients.
func (e *engine) taskID(task int) string {
	return TaskID(e.x.Info.Run, e.ns, e.step+1, task)
}

// TaskID is the id of a task: what watchers can derive from its envelopes.
func TaskID(run agents.RunID, ns []string, step, task int) string {
	name := string(run)
	for _, n := range ns {
		name += "/" + n
	}
	return id.Named(id.GraphNamespace, name+"/"+itoa(step)+"/"+itoa(task))
}
