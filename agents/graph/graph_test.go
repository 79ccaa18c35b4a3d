package graph_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// host keeps what a run commits and tells.
type host struct {
	graph.Ephemeral
	mu      sync.Mutex
	commits []graph.Commit
	events  []event.Envelope
	refuse  error
}

func (h *host) Commit(_ context.Context, c graph.Commit) error {
	h.commits = append(h.commits, c)
	return h.refuse
}

func (h *host) Emit(e event.Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// fan is five nodes of one super-step that finish in the order the test says.
func fan(t *testing.T, order func(node string)) *graph.Graph {
	t.Helper()
	b := graph.New("fan").Channels(log).Node("join", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{log.Put([]string{"join"})}}, nil
	}).Edge("join", graph.End)
	for _, name := range []string{"e", "c", "a", "d", "b"} {
		b.Node(name, func(_ context.Context, task *graph.Task) (graph.Command, error) {
			order(name)
			return graph.Command{Update: []graph.Write{log.Put([]string{name}),
				graph.AddMessage(agents.Message{ID: agents.MessageID(name), Role: agents.RoleAssistant})}}, nil
		}).Edge(graph.Start, name).Edge(name, "join")
	}
	g, err := b.Compile()
	require.NoError(t, err)
	return g
}

func TestASuperStepMergesTheSameWhoeverFinishesFirst(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			names := []string{"a", "b", "c", "d", "e"}
			rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			turns := map[string]chan struct{}{}
			for _, n := range names {
				turns[n] = make(chan struct{})
			}
			g := fan(t, func(node string) { <-turns[node] })
			go func() {
				for _, n := range names {
					close(turns[n])
					synctest.Wait() // that node has finished before the next may
				}
			}()
			h := &host{}
			state, err := g.Run(t.Context(), graph.Execution{Host: h, Step: -1, Parallel: 5})
			require.NoError(t, err)
			got, _, err := log.Get(state)
			require.NoError(t, err)
			require.Equal(t, []string{"a", "b", "c", "d", "e", "join"}, got)
			var ids []string
			for _, m := range state.Messages() {
				ids = append(ids, string(m.ID))
			}
			require.Equal(t, "abcde", strings.Join(ids, ""))
			require.Len(t, h.commits, 2)
			require.Equal(t, agents.DueNodes("join"), h.commits[0].Next)
			require.Empty(t, h.commits[1].Next)
		})
	}
}

func TestNodesOfAStepSeeTheStateBeforeIt(t *testing.T) {
	t.Parallel()
	read := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		seen, _, err := log.Get(task.State)
		return graph.Command{Update: []graph.Write{log.Put([]string{strings.Join(seen, "") + task.Node})}}, err
	}
	g, err := graph.New("g").Channels(log).Node("a", read).Node("b", read).Node("c", read).Edge(graph.Start, "a").Edge(graph.Start, "b").
		Edge("a", "c").Edge("b", "c").Edge("c", graph.End).Compile()
	require.NoError(t, err)
	state, err := g.Run(t.Context(), graph.Execution{Host: &host{}, Step: -1})
	require.NoError(t, err)
	got, _, err := log.Get(state)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "abc"}, got)
}

func TestARunThatNeverEndsMeetsItsLimit(t *testing.T) {
	t.Parallel()
	g, err := graph.New("g").Node("a", nothing).Edge(graph.Start, "a").
		Branch("a", func(graph.State) ([]string, error) { return []string{"a"}, nil }, "a", graph.End).Compile()
	require.NoError(t, err)
	for limit, want := range map[int]int{0: graph.DefaultRecursionLimit, 3: 3} {
		h := &host{}
		_, err = g.Run(t.Context(), graph.Execution{Host: h, Step: -1, RecursionLimit: limit})
		var reached *graph.RecursionError
		require.ErrorAs(t, err, &reached)
		require.Equal(t, want, reached.Limit)
		require.Len(t, h.commits, want)
	}
}

func TestAPanicEndsOnlyItsRun(t *testing.T) {
	t.Parallel()
	g, err := graph.New("g").Node("a", func(context.Context, *graph.Task) (graph.Command, error) { panic("canary") }).
		Node("b", nothing).Edge(graph.Start, "a").Edge(graph.Start, "b").Edge("a", graph.End).Edge("b", graph.End).Compile()
	require.NoError(t, err)
	h := &host{}
	_, err = g.Run(t.Context(), graph.Execution{Host: h, Step: -1})
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

func TestCancelEndsTheStepWithItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopped by mia")
	ctx, cancel := context.WithCancelCause(t.Context())
	g, err := graph.New("g").Node("a", func(ctx context.Context, _ *graph.Task) (graph.Command, error) {
		cancel(cause)
		<-ctx.Done()
		return graph.Command{}, ctx.Err()
	}).Edge(graph.Start, "a").Edge("a", graph.End).Compile()
	require.NoError(t, err)
	h := &host{}
	_, err = g.Run(ctx, graph.Execution{Host: h, Step: -1})
	require.ErrorIs(t, err, cause)
	require.Empty(t, h.commits)
}

func TestARefusedCommitEndsTheRun(t *testing.T) {
	t.Parallel()
	h := &host{refuse: agents.ErrFenced}
	_, err := fan(t, func(string) {}).Run(t.Context(), graph.Execution{Host: h, Step: -1})
	require.ErrorIs(t, err, agents.ErrFenced)
	require.Len(t, h.commits, 1)
}

func TestGotoAndBranchesMayOnlyGoWhereTheGraphGoes(t *testing.T) {
	t.Parallel()
	jump := func(to ...string) graph.Node {
		return func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{Goto: to}, nil }
	}
	for name, c := range map[string]struct {
		build *graph.Builder
		err   string
		steps int
	}{
		"Known":   {graph.New("g").Node("a", jump("c")).Node("b", nothing).Node("c", nothing).Edge(graph.Start, "a").Edge("a", "b").Edge("b", "c").Edge("c", graph.End), "", 2},
		"End":     {graph.New("g").Node("a", jump(graph.End)).Node("b", nothing).Edge(graph.Start, "a").Edge("a", "b").Edge("b", graph.End), "", 1},
		"Unknown": {graph.New("g").Node("a", jump("z")).Edge(graph.Start, "a").Edge("a", graph.End), "goto is no node of the graph: z", 0},
		"Branch": {graph.New("g").Node("a", nothing).Node("b", nothing).Edge(graph.Start, "a").Edge("b", graph.End).
			Branch("a", func(graph.State) ([]string, error) { return []string{graph.End}, nil }, "b"), "isn't among its targets", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := c.build.Compile()
			require.NoError(t, err)
			h := &host{}
			_, err = g.Run(t.Context(), graph.Execution{Host: h, Step: -1})
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
			} else {
				require.NoError(t, err)
			}
			require.Len(t, h.commits, c.steps)
		})
	}
}
