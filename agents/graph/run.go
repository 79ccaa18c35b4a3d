package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/id"
)

// DefaultRecursionLimit is how many super-steps one run may execute unless it
// says otherwise (the LangGraph default).
const DefaultRecursionLimit = 25

// Info is what a node may know of the run around it. It is trusted: it comes
// from the session or key that asked, never from the input.
type Info struct {
	Scope     auth.Scope
	Thread    agents.ThreadID
	Run       agents.RunID
	Attempt   int
	Assistant agents.Assistant
	// Line is the line of history the run writes, Token its fencing token.
	Line  agents.LineID
	Token int64
}

// Task is one execution of one node.
type Task struct {
	Info
	Node  string
	Step  int
	State State
	Clock clock.Clock
	NewID id.Source
	emit  func(event.Envelope)
	pause pause
}

// Emit tells watchers of something that happens inside the node. It never
// blocks on a reader.
func (t *Task) Emit(typ event.Type, data any) {
	t.emit(event.Envelope{Type: typ, Node: t.Node, Step: t.Step, Data: event.Data(data)})
}

// EmitCustom is Emit for a CUSTOM event.
func (t *Task) EmitCustom(name event.Name, value any) {
	t.emit(event.Envelope{Type: event.Custom, Node: t.Node, Step: t.Step, Data: event.NewCustom(name, value)})
}

// Commit is what a super-step hands to its host.
type Commit struct {
	Step    int
	Changes Changes
	State   State
	// Next are the nodes that are due now; empty means the graph is done.
	Next []string
	// Interrupts are set when nodes of the step paused; those nodes stay due.
	Interrupts []agents.Interrupt
	// Reviews are the requests that the pauses ask for.
	Reviews []agents.Review
}

// Host carries out what the engine must not do itself.
type Host interface {
	// Commit stores a super-step. An error ends the run with that error.
	Commit(ctx context.Context, c Commit) error
	// Emit tells watchers; node and step are set.
	Emit(e event.Envelope)
}

// Execution is one run of a graph.
type Execution struct {
	Info  Info
	State State
	// Next are the nodes to begin with; nil means the graph's entry.
	Next []string
	// Step is the number of the newest committed step.
	Step int
	// Resume are the pauses that the first step goes on from, with answers.
	Resume []agents.Interrupt
	Host   Host
	// RecursionLimit bounds the super-steps; default [DefaultRecursionLimit].
	RecursionLimit int
	// Parallel bounds how many nodes of a step run at once; default the CPUs.
	Parallel int
	Clock    clock.Clock
	NewID    id.Source
	Logger   *slog.Logger
}

// NodeError says which node failed.
type NodeError struct {
	Node string
	Err  error
}

// Error names the node.
func (e *NodeError) Error() string { return "node " + e.Node + ": " + e.Err.Error() }

// Unwrap returns the node's own error.
func (e *NodeError) Unwrap() error { return e.Err }

// PanicError is a panic inside a node; the process and other runs go on.
type PanicError struct {
	Value any
	Stack []byte
}

// Error gives the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// RecursionError says that the run used up its super-steps.
type RecursionError struct{ Limit int }

// Error names the limit.
func (e *RecursionError) Error() string {
	return fmt.Sprintf("the run reached its recursion limit of %d steps without finishing", e.Limit)
}

// Run executes the graph until nothing is due, and returns the final state.
// It returns the context's cause when that ends first, and [*Interrupted] once
// the step in which nodes paused is committed.
func (g *Graph) Run(ctx context.Context, x Execution) (State, error) {
	x = x.withDefaults()
	state, next := x.State, slices.Clone(x.Next)
	if next == nil {
		var err error
		if next, err = g.Entry(state); err != nil {
			return state, err
		}
	}
	for executed := 0; len(next) > 0; executed++ {
		if err := context.Cause(ctx); err != nil {
			return state, err
		}
		if executed >= x.RecursionLimit {
			return state, &RecursionError{Limit: x.RecursionLimit}
		}
		x.Step++
		var err error
		if state, next, err = g.superStep(ctx, x, state, next); err != nil {
			return state, err
		}
		x.Resume = nil // answers belong to the step that goes on from the pause
	}
	return state, nil
}

// Entry lists the nodes a run begins with on a state.
func (g *Graph) Entry(s State) ([]string, error) {
	next, err := g.after(Start, s, Command{})
	if err != nil {
		return nil, err
	}
	return settle(next), nil
}

func (x Execution) withDefaults() Execution {
	if x.RecursionLimit <= 0 {
		x.RecursionLimit = DefaultRecursionLimit
	}
	if x.Parallel <= 0 {
		x.Parallel = runtime.GOMAXPROCS(0)
	}
	if x.Clock == nil {
		x.Clock = clock.System{}
	}
	if x.NewID == nil {
		x.NewID = id.New
	}
	return x
}

// superStep runs all due nodes on one frozen state and commits the merge.
func (g *Graph) superStep(ctx context.Context, x Execution, state State, due []string) (State, []string, error) {
	commands, pauses := make([]Command, len(due)), make([]pause, len(due))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(x.Parallel)
	for i, name := range due {
		group.Go(func() error {
			var err error
			commands[i], pauses[i], err = g.runNode(groupCtx, x, state, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return state, nil, cause
		}
		return state, nil, err
	}
	var writes []Write
	for i, cmd := range commands {
		if pauses[i].asked == nil {
			writes = append(writes, cmd.Update...)
		}
	}
	merged, changes, err := merge(state, writes)
	if err != nil {
		return state, nil, err
	}
	var next []string
	commit := Commit{Step: x.Step, Changes: changes, State: merged}
	for i, name := range due {
		if asked := pauses[i].asked; asked != nil {
			commit.Interrupts = append(commit.Interrupts, *asked)
			commit.Reviews = append(commit.Reviews, pauses[i].reviews...)
			next = append(next, name)
			continue
		}
		follow, err := g.after(name, merged, commands[i])
		if err != nil {
			return state, nil, err
		}
		next = append(next, follow...)
	}
	next = settle(next)
	commit.Next = next
	if err := x.Host.Commit(ctx, commit); err != nil {
		return state, nil, err
	}
	if len(commit.Interrupts) > 0 {
		return merged, next, &Interrupted{Interrupts: commit.Interrupts}
	}
	return merged, next, nil
}

// settle sorts what is due, so that the order of merging never depends on who
// finished first, and drops the end.
func settle(nodes []string) []string {
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	return slices.DeleteFunc(nodes, func(n string) bool { return n == End })
}

func (g *Graph) runNode(ctx context.Context, x Execution, state State, name string) (cmd Command, p pause, err error) {
	node, ok := g.nodes[name]
	if !ok {
		return Command{}, pause{}, &NodeError{Node: name, Err: errors.New("this version of the graph has no such node")}
	}
	task := &Task{
		Info: x.Info, Node: name, Step: x.Step, State: state, Clock: x.Clock, NewID: x.NewID, emit: x.Host.Emit,
		pause: pauseOf(x.Resume, name),
	}
	task.Emit(event.StepStarted, event.StepData{StepName: name})
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			if x.Logger != nil {
				x.Logger.ErrorContext(ctx, "node panicked", "run_id", x.Info.Run, "node", name, "err", err, "stack", string(debug.Stack()))
			}
		}
		// A node that asked has paused, whatever it returned afterwards: an error
		// it swallowed must not turn a question into a result.
		if p = task.pause; p.asked != nil && !errors.As(err, new(*PanicError)) {
			err = nil
			return
		}
		if err != nil {
			err = &NodeError{Node: name, Err: err}
			return
		}
		task.Emit(event.StepFinished, event.StepData{StepName: name})
	}()
	cmd, err = node(ctx, task)
	return cmd, pause{}, err
}

// Failure is an error whose text its author wrote for people: it is shown as
// the run's error, while any other error's text only goes to the log.
type Failure struct{ text string }

// Fail makes a [Failure].
func Fail(text string) *Failure { return &Failure{text: text} }

// Error gives the text.
func (f *Failure) Error() string { return f.text }

// Apply applies writes to a state outside a run: a run's input, a state update.
func Apply(s State, writes []Write) (State, Changes, error) { return merge(s, writes) }
