package graph_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
)

// log is the channel in which the nodes of these tests leave their traces.
var log = graph.Append[string]("log")

func nothing(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, nil }

// logs is a node that leaves its name, and what it was sent.
func logs(_ context.Context, t *graph.Task) (graph.Command, error) {
	return graph.Command{Update: []graph.Write{log.Put([]string{t.Node + string(t.Input)})}}, nil
}

// to is a router that always chooses the same.
func to(targets ...string) graph.Router {
	return func(graph.State) ([]string, error) { return targets, nil }
}

func compile(t testing.TB, b *graph.Builder) *graph.Graph {
	t.Helper()
	g, err := b.Compile()
	require.NoError(t, err)
	return g
}

// bench is a runner and a thread that memory keeps.
type bench struct {
	testing.TB
	*graph.Runner
	cp     *memory.Checkpointer
	thread agents.ThreadID

	mu   sync.Mutex
	told []event.Envelope
}

// setUp makes a bench for a graph; change may change the runner's options.
func setUp(t testing.TB, g *graph.Graph, change ...func(*graph.RunnerOptions)) *bench {
	t.Helper()
	return over(t, g, memory.New(memory.Options{}), change...)
}

// over is setUp on what is kept already, as a new process finds it.
func over(t testing.TB, g *graph.Graph, cp *memory.Checkpointer, change ...func(*graph.RunnerOptions)) *bench {
	t.Helper()
	b := &bench{TB: t, cp: cp, thread: "thread"}
	o := graph.RunnerOptions{Checkpointer: b.cp, Sink: func(e event.Envelope) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = append(b.told, e)
	}}
	for _, c := range change {
		c(&o)
	}
	b.Runner = graph.NewRunner(g, o)
	return b
}

// run runs to the end.
func (b *bench) run(in graph.Input, options ...graph.RunOption) agents.State {
	b.Helper()
	state, err := b.Invoke(b.Context(), b.thread, in, options...)
	require.NoError(b, err)
	return state
}

// pauses runs to a pause and gives what it asks.
func (b *bench) pauses(in graph.Input, options ...graph.RunOption) []agents.Interrupt {
	b.Helper()
	state, err := b.Invoke(b.Context(), b.thread, in, options...)
	var paused *graph.Interrupted
	require.ErrorAs(b, err, &paused)
	require.Equal(b, paused.Interrupts, state.Head.Interrupts)
	return paused.Interrupts
}

// fails runs to a failure.
func (b *bench) fails(in graph.Input, options ...graph.RunOption) error {
	b.Helper()
	_, err := b.Invoke(b.Context(), b.thread, in, options...)
	require.Error(b, err)
	require.False(b, errors.As(err, new(*graph.Interrupted)), "it paused: %v", err)
	return err
}

// now reads the thread's state.
func (b *bench) now() agents.State {
	b.Helper()
	state, err := b.State(b.Context(), b.thread)
	require.NoError(b, err)
	return state
}

// untouched checks that something that is refused changes nothing, and disturbs
// nobody who holds the thread.
func (b *bench) untouched(refused func()) {
	b.Helper()
	lease, err := b.cp.Acquire(b.Context(), b.thread)
	require.NoError(b, err)
	before := b.now()
	refused()
	require.Equal(b, before, b.now())
	require.NoError(b, b.cp.Commit(b.Context(), lease, agents.Step{Line: before.Line, Step: before.Step + 1, Source: agents.SourceUpdate,
		Next: dueAt(before), Interrupts: asksAt(before), Pending: before.Pending}), "whoever holds the thread goes on")
}

func dueAt(s agents.State) []agents.Due {
	if s.Head == nil {
		return nil
	}
	return s.Head.Next
}

func asksAt(s agents.State) []agents.Interrupt {
	if s.Head == nil {
		return nil
	}
	return s.Head.Interrupts
}

// logged reads the traces of a state.
func logged(t testing.TB, s agents.State) []string {
	t.Helper()
	got, _, err := log.Get(graph.NewState(s.Messages, s.Values))
	require.NoError(t, err)
	return got
}

func texts(s agents.State) []string {
	var out []string
	for _, m := range s.Messages {
		out = append(out, m.Text)
	}
	return out
}

// refusal checks an error for the field and the rule, as a program and as a
// client sees them.
func refusal(t testing.TB, err error, field string, rule error) {
	t.Helper()
	var bad *graph.InputError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, field, bad.Field)
	require.ErrorIs(t, err, rule)
	require.True(t, fault.Is(err, fault.KindInvalid))
	require.True(t, strings.HasPrefix(fault.FieldsOf(err)[field], rule.Error()), "%v", fault.FieldsOf(err))
}

// counter counts executions by name.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
	return c.n[name]
}

func (c *counter) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// counting is a node that counts and then does what another does.
func (c *counter) counting(node graph.Node) graph.Node {
	return func(ctx context.Context, t *graph.Task) (graph.Command, error) {
		c.add(t.Node)
		return node(ctx, t)
	}
}

// asking is a node that asks by its name and logs the answer.
func asking(_ context.Context, t *graph.Task) (graph.Command, error) {
	answer, err := t.Interrupt(t.Node + string(t.Input) + "?")
	if err != nil {
		return graph.Command{}, err
	}
	return graph.Command{Update: []graph.Write{log.Put([]string{t.Node + string(t.Input) + "=" + string(answer)})}}, nil
}

// of lists the envelopes told so far that pick wants.
func (b *bench) of(pick func(event.Envelope) bool) []event.Envelope {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.told), func(e event.Envelope) bool { return !pick(e) })
}
