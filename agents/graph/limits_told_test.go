package graph_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
)

func TestARunnerTellsWhichLimitWasReached(t *testing.T) {
	t.Parallel()
	again := func(graph.State) ([]string, error) { return []string{"a"}, nil }
	slow := func(ctx context.Context, _ *graph.Task) (graph.Command, error) {
		<-ctx.Done()
		return graph.Command{}, context.Cause(ctx)
	}
	for name, c := range map[string]struct {
		node    graph.Node
		options graph.RunnerOptions
		want    event.RunErrorData
	}{
		"Steps": {nothing, graph.RunnerOptions{RecursionLimit: 3},
			event.RunErrorData{Code: "recursion_limit", Message: "the run reached its recursion limit of 3 steps without finishing"}},
		"Run": {slow, graph.RunnerOptions{Timeout: time.Second},
			event.RunErrorData{Code: "timeout", Message: "the run took longer than its limit of 1s"}},
		"Step": {slow, graph.RunnerOptions{StepTimeout: time.Second},
			event.RunErrorData{Code: "step_timeout", Message: "the step took longer than its limit of 1s"}},
		"Node": {slow, graph.RunnerOptions{NodeTimeout: time.Second},
			event.RunErrorData{Code: "node_timeout", Node: "a", Message: "the node took longer than its limit of 1s"}},
		"Fault": {func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{}, fault.New(fault.KindUnavailable, "The printer is away.").WithCode("printer_away")
		}, graph.RunnerOptions{}, event.RunErrorData{Code: "printer_away", Node: "a", Message: "The printer is away."}},
		"Words": {func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{}, graph.Fail("No paper.")
		},
			graph.RunnerOptions{}, event.RunErrorData{Code: "node_failed", Node: "a", Message: "No paper."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, err := graph.New("g").Node("a", c.node).Entry("a").Branch("a", again, "a", graph.End).Compile()
				require.NoError(t, err)
				var got event.RunErrorData
				c.options.Checkpointer = memory.New(memory.Options{})
				c.options.Sink = func(e event.Envelope) {
					if e.Type == event.RunError {
						require.NoError(t, e.Decode(&got))
					}
				}
				_, err = graph.NewRunner(g, c.options).Invoke(t.Context(), "t", graph.Begin())
				require.Error(t, err)
				require.Equal(t, c.want, got)
			})
		})
	}
}
