// Package graphtest is for those who test their own graphs: a [Bench] runs a
// graph on the memory checkpointer with a clock that stands still, ids that are
// the same in every run and a [Sink] that keeps what was told. A run on it is the
// same byte for byte each time.
//
// Tests import it.
package graphtest

import (
	"log/slog"
	"testing"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/clock"
)

// Clock is a clock that moves only when told to by Advance. It goes wherever the
// engine takes a clock.
type Clock = clock.Fake

// NewClock makes a clock that stands at start.
func NewClock(start time.Time) *Clock { return clock.NewFake(start) }

// began is where the clock of a bench stands at first.
var began = time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)

// seed is what a bench derives its ids from.
const seed = "graphtest"

// Bench is a [graph.Runner] with what tests look at.
type Bench struct {
	*graph.Runner
	Clock *Clock
	Sink  *Sink

	options graph.RunnerOptions
}

// Option changes what a bench's runner is made with.
type Option func(*graph.RunnerOptions)

// New makes a bench for a graph. Tasks of a step run one at a time, so that
// envelopes too come in one order: a test of what happens side by side sets
// Parallel. The engine's log goes to the test's.
func New(tb testing.TB, g *graph.Graph, options ...Option) *Bench {
	tb.Helper()
	clock, sink, ids := NewClock(began), new(Sink), graph.NamedIDs(seed)
	o := graph.RunnerOptions{
		Checkpointer: memory.New(memory.Options{Checkpoints: -1, Clock: clock, NewID: ids("memory")}),
		Sink:         sink.Add,
		Parallel:     1,
		Clock:        clock,
		IDs:          ids,
		Logger:       slog.New(slog.NewTextHandler(tb.Output(), nil)),
	}
	for _, change := range options {
		change(&o)
	}
	return &Bench{Runner: graph.NewRunner(g, o), Clock: clock, Sink: sink, options: o}
}

// Restart gives a bench for a graph, the same or a later version of it, on what
// this one has stored: as a new process would go on. Clock and sink are shared.
func (b *Bench) Restart(g *graph.Graph) *Bench {
	next := *b
	next.Runner = graph.NewRunner(g, b.options)
	return &next
}

// Reader is a [graph.Channel] or a [graph.Key].
type Reader[T any] interface {
	Name() string
	Get(graph.State) (value T, ok bool, err error)
}

// Value reads a channel of a loaded state, the zero value if nothing was written
// yet. What can't be read ends the test.
func Value[T any](tb testing.TB, s agents.State, from Reader[T]) T {
	tb.Helper()
	value, _, err := from.Get(graph.StateOf(s))
	if err != nil {
		tb.Fatalf("reading %s: %v", from.Name(), err)
	}
	return value
}
