// Ticker shows an iterative session: one thread that is fed by a machine, here a
// meter that is read at every tick, and that goes on as one history through many
// runs. The same reading twice counts twice. When the program is started again, in a
// later version that keeps its numbers in another form, the session goes on where it
// stood.
//
//	go run ./examples/ticker
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

const (
	thread = "meter-1"
	tick   = 100 * time.Millisecond
)

// session opens the thread's session on a graph and feeds it one reading per tick.
// Its stream tells what comes of them until the session is finished.
func session(ctx context.Context, clock graph.Clock, kept graph.Checkpointer, g *graph.Graph, readings []float64, out io.Writer) error {
	runner := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: kept, Clock: clock})
	s := runner.Open(ctx, thread, []graph.Mode{graph.ModeValues})

	fed := make(chan error, 1)
	go func() {
		err := feed(ctx, clock, s, readings)
		s.Finish("no more readings")
		fed <- err
	}()
	var shown error
	for f := range s.Frames() {
		switch {
		case f.Closed != "":
			fmt.Fprintf(out, "closed: %s\n", f.Closed)
		case f.State != nil && f.State.Head.Source == agents.SourceLoop:
			shown = errors.Join(shown, show(out, *f.State))
		}
	}
	return errors.Join(<-fed, shown)
}

// feed waits for the clock it was given, never for the machine's: a test decides
// when a tick comes. Feed returns when the run that the reading began has ended.
func feed(ctx context.Context, clock graph.Clock, s *graph.Session, readings []float64) error {
	for _, value := range readings {
		select {
		case <-clock.After(tick):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := s.Feed(ctx, graph.Feed("measure", reading.Put(value))); err != nil {
			return fmt.Errorf("feeding %v: %w", value, err)
		}
	}
	return nil
}

// show tells what a step left. Whichever version wrote it, the newest one reads it.
func show(out io.Writer, state agents.State) error {
	value, _, err := reading.Get(graph.StateOf(state))
	if err != nil {
		return err
	}
	s, err := statsV2.Require(graph.StateOf(state))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "step %d: read %.1f, mean %.1f of %d\n", state.Step, value, s.Mean, s.Count)
	return nil
}

func run(ctx context.Context, clock graph.Clock, out io.Writer) error {
	// With a checkpointer on disk the two sessions may be two processes.
	kept := memory.New(memory.Options{Clock: clock})

	first, err := buildV1()
	if err != nil {
		return err
	}
	if err := session(ctx, clock, kept, first, []float64{20, 20, 26}, out); err != nil {
		return err
	}

	later, err := buildV2()
	if err != nil {
		return err
	}
	return session(ctx, clock, kept, later, []float64{26, 23}, out)
}

func main() {
	if err := run(context.Background(), graph.SystemClock(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}
