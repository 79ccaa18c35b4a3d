package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
)

func fanOut(b *graph.Builder, names ...string) *graph.Builder {
	for _, n := range names {
		b.Entry(n).Finish(n)
	}
	return b
}

func TestAFailedStepRunsOnlyTheFailedNodeAgain(t *testing.T) {
	t.Parallel()
	for _, policy := range []graph.FailurePolicy{graph.Panic, graph.Proceed} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var ran counter
				boom := errors.New("boom")
				late := make(chan struct{})
				early := make(chan struct{})
				stopped := make(chan error, 1)
				g := compile(t, fanOut(graph.New("g").Channels(log).
					Node("early", ran.counting(func(ctx context.Context, task *graph.Task) (graph.Command, error) {
						close(early)
						return logs(ctx, task)
					})).
					Node("fails", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
						if ran.add("fails") == 1 {
							<-early
							synctest.Wait() // early has finished, late waits
							if policy == graph.Proceed {
								go func() {
									synctest.Wait() // only late is left
									close(late)
								}()
							}
							return graph.Command{}, boom
						}
						return logs(ctx, task)
					}).
					Node("late", ran.counting(func(ctx context.Context, task *graph.Task) (graph.Command, error) {
						if ran.of("late") > 1 {
							return logs(ctx, task)
						}
						select {
						case <-ctx.Done():
							stopped <- context.Cause(ctx)
							return graph.Command{}, ctx.Err()
						case <-late:
							return logs(ctx, task)
						}
					})), "early", "fails", "late"))
				b := setUp(t, g, func(o *graph.RunnerOptions) { o.OnFailure, o.Parallel = policy, 3 })
				err := b.fails(graph.Begin())
				require.ErrorIs(t, err, boom)
				var node *graph.NodeError
				require.ErrorAs(t, err, &node)
				require.Equal(t, "fails", node.Node)
				require.Equal(t, 1, node.Tries)
				state := b.now()
				require.Equal(t, agents.DueNodes("early", "fails", "late"), state.Head.Next, "the step is due as before")
				require.Empty(t, logged(t, state), "and nothing of it is merged")
				var kept []int
				for _, p := range state.Pending {
					kept = append(kept, p.Task)
				}
				var step *graph.StepError
				if policy == graph.Panic {
					require.ErrorContains(t, <-stopped, "another node of the step failed")
					require.Equal(t, []int{0}, kept, "what had finished is kept")
					require.False(t, errors.As(err, &step))
				} else {
					require.Equal(t, []int{0, 2}, kept, "the siblings ended and are kept")
					require.ErrorAs(t, err, &step)
					require.Equal(t, 1, step.Step)
					require.Len(t, step.Failed, 1)
				}
				b = over(t, g, b.cp, func(o *graph.RunnerOptions) { o.OnFailure = policy })
				require.Equal(t, []string{"early", "fails", "late"}, logged(t, b.run(graph.Continue())))
				require.Equal(t, 1, ran.of("early"), "what had finished doesn't run again")
				require.Equal(t, 2, ran.of("fails"))
				require.Equal(t, map[graph.FailurePolicy]int{graph.Panic: 2, graph.Proceed: 1}[policy], ran.of("late"))
			})
		})
	}
}

func TestProceedTellsEveryFailureInTheOrderOfTheTasks(t *testing.T) {
	t.Parallel()
	rounds := map[string][]int{"Forwards": {0, 1, 2, 3}, "Backwards": {3, 2, 1, 0}, "Mixed": {2, 0, 3, 1}}
	for name, order := range rounds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				turns := []chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})}
				fail := func(_ context.Context, task *graph.Task) (graph.Command, error) {
					<-turns[task.Index]
					return graph.Command{}, fmt.Errorf("%d is broken", task.Index)
				}
				g := compile(t, graph.New("g").Node("a", fail).Node("c", fail).Entry("c").Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
					return []graph.Send{{Node: "a", Input: 1}, {Node: "a", Input: 2}, {Node: "a", Input: 3}}, nil
				}, "a").Finish("a").Finish("c"))
				go func() {
					for _, i := range order {
						close(turns[i])
						synctest.Wait()
					}
				}()
				_, err := g.Run(t.Context(), graph.Execution{Step: -1, Parallel: 4, OnFailure: graph.Proceed})
				var step *graph.StepError
				require.ErrorAs(t, err, &step)
				require.EqualError(t, err, "node c: 0 is broken\nnode a: 1 is broken\nnode a: 2 is broken\nnode a: 3 is broken")
			})
		})
	}
}

func TestAPanicEndsOnlyItsRun(t *testing.T) {
	t.Parallel()
	g := compile(t, fanOut(graph.New("g").Node("a", func(context.Context, *graph.Task) (graph.Command, error) { panic("canary") }).Node("b", nothing), "a", "b"))
	h := &host{}
	_, err := g.Run(t.Context(), graph.Execution{Host: h, Step: -1})
	var node *graph.NodeError
	require.ErrorAs(t, err, &node)
	require.Equal(t, "a", node.Node)
	var panicked *graph.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "canary", panicked.Value)
	require.NotEmpty(t, panicked.Stack)
	require.Empty(t, h.commits, "nothing of the step is stored")
	for _, e := range h.events {
		require.False(t, e.Type == event.StepFinished && e.Node == "a")
	}
}

func TestAResultThatCannotBeMergedIsNeverKept(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]graph.Command{
		"Undeclared": {Update: []graph.Write{graph.Sum("z").Put(1)}},
		"Engine":     {Update: []graph.Write{graph.Replace[[]string]("__join:x").Put([]string{"bad"})}},
		"Reducer":    {Update: []graph.Write{graph.Sum("log").Put(1)}},
		"WithoutID":  {Update: []graph.Write{people.Put([]entry{{Text: "nobody"}})}},
		"Goto":       {Goto: []string{"z"}},
		"Also":       {Also: []string{"z"}},
		"Send":       {Send: []graph.Send{{Node: "z"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var ran counter
				g := compile(t, fanOut(graph.New("g").Channels(log, people).Node("bad", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
					if ran.add("bad") == 1 {
						return bad, nil
					}
					return logs(ctx, task)
				}).Node("slow", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
					if ran.add("slow") == 1 {
						synctest.Wait() // bad has finished first
					}
					return logs(ctx, task)
				}), "bad", "slow"))
				b := setUp(t, g, func(o *graph.RunnerOptions) { o.OnFailure, o.Parallel = graph.Proceed, 2 })
				err := b.fails(graph.Begin())
				var node *graph.NodeError
				require.ErrorAs(t, err, &node)
				require.Equal(t, "bad", node.Node)
				require.ErrorAs(t, err, new(*graph.InputError))
				require.Equal(t, []string{"bad", "slow"}, logged(t, b.run(graph.Continue())), "so the thread is not stuck with it")
				require.Equal(t, 1, ran.of("slow"))
			})
		})
	}
}

func TestNewInputTakesWhatAnUnfinishedStepDid(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, compile(t, fanOut(graph.New("g").Channels(log).Node("a", ran.counting(logs)).Node("b", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		if ran.add("b") == 1 {
			return graph.Command{}, errors.New("boom")
		}
		return logs(ctx, task)
	}), "a", "b")), func(o *graph.RunnerOptions) { o.Parallel, o.OnFailure = 1, graph.Proceed })
	b.fails(graph.Begin())
	require.Equal(t, []string{"a", "a", "b"}, logged(t, b.run(graph.Begin())), "the finished half stands, and the graph begins anew")
	require.Equal(t, 2, ran.of("a"))
}

func TestNewInputIsTakenThoughTheGraphLostAChannelThatAnUnfinishedStepWrote(t *testing.T) {
	t.Parallel()
	gone := graph.Sum("gone")
	old := compile(t, fanOut(graph.New("g").Channels(log, gone).Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{gone.Put(1), log.Put([]string{"old"})}}, nil
	}).Node("b", func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, errors.New("boom") }), "a", "b"))
	b := setUp(t, old, func(o *graph.RunnerOptions) { o.Parallel, o.OnFailure = 1, graph.Proceed })
	b.fails(graph.Begin())
	b = over(t, compile(t, fanOut(graph.New("g").Channels(log).Node("a", logs), "a")), b.cp)
	refusal(t, b.fails(graph.Continue()), "next", graph.ErrNotResumable)
	require.Equal(t, []string{"old", "a"}, logged(t, b.run(graph.Begin())))
}

// handled is a graph whose node a fails until it is told not to, and is handled
// by h.
func handled(t testing.TB, ran *counter, a, h graph.Node) *graph.Graph {
	t.Helper()
	return compile(t, graph.New("g").Channels(log).
		Node("a", ran.counting(a), graph.OnError("h"), graph.Retry(graph.RetryPolicy{MaxAttempts: 2, On: func(error) bool { return true }})).
		Node("h", ran.counting(h), graph.Ends("c")).Node("b", ran.counting(logs)).Node("c", ran.counting(logs)).
		Entry("a").Edge("a", "b").Edge("h", "b").Finish("b").Finish("c"))
}

func boom(context.Context, *graph.Task) (graph.Command, error) {
	return graph.Command{}, errors.New("boom")
}

func TestAHandlerFollowsANodeThatFailed(t *testing.T) {
	t.Parallel()
	secret := errors.New("password is hunter2")
	for name, c := range map[string]struct {
		err     error
		message string
	}{
		"Internal": {secret, "the node failed"},
		"Written":  {fmt.Errorf("%w: %w", graph.Fail("The printer is out of paper."), secret), "The printer is out of paper."},
		"Fault":    {fault.NotFound("Printer").WithCause(secret), fault.Public(fault.NotFound("Printer"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ran counter
			var failure graph.NodeFailure
			g := handled(t, &ran, func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, c.err },
				func(_ context.Context, task *graph.Task) (graph.Command, error) {
					var ok bool
					failure, ok = graph.Failed(task)
					require.True(t, ok)
					return graph.Command{Update: []graph.Write{log.Put([]string{"handled " + failure.Node})}, Goto: []string{"c"}}, nil
				})
			b := setUp(t, g)
			state := b.run(graph.Begin())
			require.Equal(t, []string{"handled a", "c"}, logged(t, state), "it writes and decides where to go")
			require.Equal(t, graph.NodeFailure{Node: "a", Message: c.message, Tries: 2}, failure)
			require.Equal(t, 2, ran.of("a"), "retries come first")
			require.Zero(t, ran.of("b"))
			all, err := json.Marshal(state)
			require.NoError(t, err)
			require.NotContains(t, string(all), "hunter2", "what nobody wrote for people is not stored")
		})
	}
}

func TestAHandlerIsToldWhatTheNodeWasSent(t *testing.T) {
	t.Parallel()
	g := compile(t, graph.New("g").Channels(log).Node("a", boom, graph.OnError("h")).Node("h", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		f, _ := graph.Failed(task)
		return graph.Command{Update: []graph.Write{log.Put([]string{string(f.Input)})}}, nil
	}).Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
		return []graph.Send{{Node: "a", Input: 1}, {Node: "a", Input: 2}}, nil
	}, "a").Finish("a").Finish("h"))
	require.Equal(t, []string{"1", "2"}, logged(t, setUp(t, g).run(graph.Begin())), "one handler for each failure")
}

func TestAHandlerIsResumedWithoutTheFailedNode(t *testing.T) {
	t.Parallel()
	var ran counter
	g := handled(t, &ran, boom, func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		if ran.of("h") == 1 {
			return graph.Command{}, errors.New("the process ends here")
		}
		if _, ok := graph.Failed(task); !ok {
			return graph.Command{}, errors.New("it knows nothing of the failure")
		}
		return logs(ctx, task)
	})
	b := setUp(t, g)
	b.fails(graph.Begin())
	b = over(t, g, b.cp)
	require.Equal(t, 2, ran.of("a"))
	state := b.run(graph.Continue())
	require.Equal(t, 2, ran.of("a"), "the failed node doesn't run again")
	require.Len(t, logged(t, state), 2)
}

func TestAFailedHandlerTellsBothFailures(t *testing.T) {
	t.Parallel()
	var ran counter
	own := errors.New("own")
	g := handled(t, &ran, func(context.Context, *graph.Task) (graph.Command, error) {
		return graph.Command{}, graph.Fail("No paper.")
	}, func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, own })
	err := setUp(t, g).fails(graph.Begin())
	var both *graph.HandlerError
	require.ErrorAs(t, err, &both)
	require.Equal(t, &graph.HandlerError{Node: "a", Failure: "No paper.", Err: own}, both)
	require.ErrorIs(t, err, own)
	require.EqualError(t, err, "node h: handling the failure of a (No paper.): own")

	// The same node called by an edge handles nothing.
	g = compile(t, graph.New("g").Node("a", boom, graph.OnError("h")).Node("h", boom).Entry("h").Edge("h", "a").Finish("a"))
	err = setUp(t, g).fails(graph.Begin())
	require.False(t, errors.As(err, &both))
}

func TestAPauseIsNoFailureForAHandler(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, handled(t, &ran, asking, boom))
	asked := b.pauses(graph.Begin())
	require.Equal(t, "a", asked[0].Node)
	require.Equal(t, []string{"a=1", "b"}, logged(t, b.run(graph.Answer(1))))
	require.Zero(t, ran.of("h"))
	require.Equal(t, 2, ran.of("a"), "a pause is no try of the retry policy either")
}

func TestAHandledPanicIsAFailureLikeAnother(t *testing.T) {
	t.Parallel()
	var ran counter
	b := setUp(t, handled(t, &ran, func(context.Context, *graph.Task) (graph.Command, error) { panic("boom") }, logs))
	require.Len(t, logged(t, b.run(graph.Begin())), 2)
	require.Equal(t, 2, ran.of("a"))
}

func TestNewInputMayChangeAMessageThatAnUnfinishedStepChanged(t *testing.T) {
	t.Parallel()
	shared := func(text string) graph.Write { return graph.AddMessage(agents.Message{ID: "shared", Text: text}) }
	var ran counter
	b := setUp(t, compile(t, fanOut(graph.New("g").Channels(log).Node("a", func(context.Context, *graph.Task) (graph.Command, error) {
		if ran.add("a") > 1 {
			return graph.Command{}, nil
		}
		return graph.Command{Update: []graph.Write{shared("by a")}}, nil
	}).Node("b", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		if ran.add("b") == 1 {
			return boom(ctx, task)
		}
		return logs(ctx, task)
	}), "a", "b")), func(o *graph.RunnerOptions) { o.Parallel, o.OnFailure = 1, graph.Proceed })
	b.fails(graph.Begin(shared("first")))
	require.Equal(t, []string{"second"}, texts(b.run(graph.Begin(shared("second")))))
}
