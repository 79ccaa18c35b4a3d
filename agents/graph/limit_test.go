package graph_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/clock"
)

// waits is a node that takes as long as it may.
func waits(ctx context.Context, _ *graph.Task) (graph.Command, error) {
	<-ctx.Done()
	return graph.Command{}, ctx.Err()
}

// turn moves a fake clock once everybody waits for it, and says where it stands.
func turn(c *clock.Fake, by time.Duration) {
	synctest.Wait()
	c.Advance(by)
	synctest.Wait()
}

func TestEachLimitHasAnErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	const limit = time.Minute
	slow := func(options ...graph.Option) *graph.Builder {
		return graph.New("g").Node("a", waits, options...).Entry("a").Finish("a")
	}
	inner := compile(t, slow())
	for name, c := range map[string]struct {
		build *graph.Builder
		x     graph.Execution
		want  error
		node  string
	}{
		"Node":           {slow(graph.Timeout(limit)), graph.Execution{}, &graph.NodeTimeoutError{Limit: limit}, "a"},
		"NodeByDefault":  {slow(), graph.Execution{NodeTimeout: limit}, &graph.NodeTimeoutError{Limit: limit}, "a"},
		"NodeOfItsOwn":   {slow(graph.Timeout(limit)), graph.Execution{NodeTimeout: time.Second / 2}, &graph.NodeTimeoutError{Limit: limit}, "a"},
		"Step":           {slow(), graph.Execution{StepTimeout: limit}, &graph.StepTimeoutError{Limit: limit}, ""},
		"StepWithNode":   {slow(graph.Timeout(2 * limit)), graph.Execution{StepTimeout: limit}, &graph.StepTimeoutError{Limit: limit}, ""},
		"Run":            {slow(), graph.Execution{Timeout: limit}, &graph.RunTimeoutError{Limit: limit}, ""},
		"RunWithStep":    {slow(), graph.Execution{Timeout: limit, StepTimeout: 2 * limit}, &graph.RunTimeoutError{Limit: limit}, ""},
		"Unhandled":      {slow(graph.OnError("h")).Node("h", nothing).Finish("h"), graph.Execution{StepTimeout: limit}, &graph.StepTimeoutError{Limit: limit}, ""},
		"ProceedYields":  {slow(), graph.Execution{StepTimeout: limit, OnFailure: graph.Proceed}, &graph.StepTimeoutError{Limit: limit}, ""},
		"RunInside":      {graph.New("g").Subgraph("a", inner).Entry("a").Finish("a"), graph.Execution{Timeout: limit}, &graph.RunTimeoutError{Limit: limit}, ""},
		"StepInside":     {graph.New("g").Subgraph("a", inner).Entry("a").Finish("a"), graph.Execution{StepTimeout: limit}, &graph.StepTimeoutError{Limit: limit}, ""},
		"NodeInside":     {graph.New("g").Subgraph("s", inner).Entry("s").Finish("s"), graph.Execution{NodeTimeout: limit}, &graph.NodeTimeoutError{Limit: limit}, "s/a"},
		"RetriesAreOver": {slow(graph.Retry(graph.RetryPolicy{InitialDelay: time.Hour, MaxDelay: time.Hour}), graph.Timeout(time.Second)), graph.Execution{StepTimeout: limit}, &graph.StepTimeoutError{Limit: limit}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, system := range map[string]bool{"FakeClock": false, "SystemClock": true} {
				synctest.Test(t, func(t *testing.T) {
					g := compile(t, c.build)
					x, fake := c.x, clock.NewFake(time.Unix(0, 0))
					h := &host{}
					x.Step, x.Host, x.Clock = -1, h, fake
					if system {
						x.Clock = clock.System{}
					}
					begun := time.Now()
					done := make(chan error, 1)
					go func() {
						_, err := g.Run(t.Context(), x)
						done <- err
					}()
					if !system {
						turn(fake, time.Second)
						turn(fake, limit-time.Second-1)
						require.Empty(t, done, "not a moment early")
						turn(fake, 1)
					}
					err := <-done
					require.Equal(t, c.want.Error(), rootOf(err).Error(), kind)
					require.IsType(t, c.want, rootOf(err))
					if system {
						require.Equal(t, limit, time.Since(begun))
					}
					var node *graph.NodeError
					require.Equal(t, c.node != "", errors.As(err, &node))
					if c.node != "" {
						require.Equal(t, c.node, node.Node)
					}
					require.Empty(t, h.commits)
				})
			}
		})
	}
}

// rootOf gives the innermost error.
func rootOf(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func TestAStepThatIsCutOffKeepsWhatFinished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ran counter
		g := compile(t, fanOut(graph.New("g").Channels(log).Node("quick", ran.counting(logs)).Node("slow", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
			if ran.add("slow") == 1 {
				return waits(ctx, task)
			}
			return logs(ctx, task)
		}), "quick", "slow"))
		b := setUp(t, g, func(o *graph.RunnerOptions) { o.StepTimeout, o.Parallel = time.Second, 2 })
		require.ErrorAs(t, b.fails(graph.Begin()), new(*graph.StepTimeoutError))
		require.Equal(t, []string{"quick", "slow"}, logged(t, b.run(graph.Continue())))
		require.Equal(t, 1, ran.of("quick"))
	})
}

func TestTheTimeOfANodeThatHeedsNoContextCountsToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := compile(t, graph.New("g").Node("a", func(context.Context, *graph.Task) (graph.Command, error) {
			time.Sleep(time.Minute)
			return graph.Command{}, nil
		}, graph.Timeout(time.Second)).Entry("a").Finish("a"))
		begun := time.Now()
		require.ErrorAs(t, setUp(t, g).fails(graph.Begin()), new(*graph.NodeTimeoutError))
		require.Equal(t, time.Minute, time.Since(begun), "the engine waits for it")
	})
}

func TestANodeLimitBoundsEachTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := compile(t, graph.New("g").Node("a", waits, graph.Timeout(10*time.Second), graph.Retry(graph.RetryPolicy{InitialDelay: time.Second})).Entry("a").Finish("a"))
		begun := time.Now()
		err := setUp(t, g).fails(graph.Begin())
		var node *graph.NodeError
		require.ErrorAs(t, err, &node)
		require.Equal(t, 3, node.Tries, "a timeout is worth another try")
		require.Equal(t, 33*time.Second, time.Since(begun))
	})
}

func TestARunThatNeverEndsMeetsItsLimit(t *testing.T) {
	t.Parallel()
	loop := compile(t, graph.New("g").Channels(log).Node("a", logs).Entry("a").Branch("a", to("a"), "a", graph.End))
	for limit, want := range map[int]int{-1: graph.DefaultRecursionLimit, 0: graph.DefaultRecursionLimit, 3: 3} {
		h := &host{}
		_, err := loop.Run(t.Context(), graph.Execution{Host: h, Step: -1, RecursionLimit: limit})
		var reached *graph.RecursionError
		require.ErrorAs(t, err, &reached)
		require.Equal(t, want, reached.Limit)
		require.Len(t, h.commits, want)
	}
	b := setUp(t, loop, func(o *graph.RunnerOptions) { o.RecursionLimit = 2 })
	var reached *graph.RecursionError
	require.ErrorAs(t, b.fails(graph.Begin()), &reached)
	require.Len(t, logged(t, b.now()), 2)
	require.ErrorAs(t, b.fails(graph.Continue(), graph.RecursionLimit(5)), &reached)
	require.Equal(t, 5, reached.Limit)
	require.Len(t, logged(t, b.now()), 7, "what was done stays, and the run goes on from there")
	require.Equal(t, agents.DueNodes("a"), b.now().Head.Next)
}

func TestARunThatEndsAtItsLimitIsFine(t *testing.T) {
	t.Parallel()
	g := compile(t, nodes(graph.New("g").Channels(log), logs, "a", "b").Entry("a").Edge("a", "b").Finish("b"))
	require.Equal(t, []string{"a", "b"}, logged(t, setUp(t, g).run(graph.Begin(), graph.RecursionLimit(2))))
	require.ErrorAs(t, setUp(t, g).fails(graph.Begin(), graph.RecursionLimit(1)), new(*graph.RecursionError))
}
