package graph_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// host keeps what a run commits, pends and tells.
type host struct {
	graph.Ephemeral
	mu      sync.Mutex
	commits []graph.Commit
	pended  []agents.PendingWrites
	events  []event.Envelope
	refuse  error
}

func (h *host) Commit(_ context.Context, c graph.Commit) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits = append(h.commits, c)
	return h.refuse
}

func (h *host) Pend(_ context.Context, p agents.PendingWrites) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pended = append(h.pended, p)
	return nil
}

func (h *host) Emit(e event.Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// The channels of the fan: one for each reducer, and each gives another value in
// another order of writes.
var (
	lastOne = graph.Replace[string]("last")
	facts   = graph.Merge[string]("facts")
	total   = graph.Sum("total")
	people  = graph.AppendByID[entry]("people")
	chain   = graph.Reduce("chain", "chain/1", func(old, in string) string { return "(" + old + in + ")" })
)

// crowd is ten tasks of one super-step, two of them sent to one node, that finish
// in the order the test says.
func crowd(t *testing.T, order func(task int)) *graph.Graph {
	t.Helper()
	b := graph.New("crowd").Channels(log, lastOne, facts, total, people, chain).Node("join", logs).Finish("join")
	names := []string{"e", "c", "a", "d", "b", "h", "g", "f"}
	work := func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		order(task.Index)
		me := fmt.Sprint(task.Node, string(task.Input))
		return graph.Command{Update: []graph.Write{
			log.Put([]string{me}), lastOne.Put(me), facts.Put(map[string]string{"shared": me, me: "own"}), total.Put(0.1 * float64(1+task.Index)),
			people.Put([]entry{{"shared", me}, {me, me}}), chain.Put(me),
			graph.AddMessage(agents.Message{ID: agents.MessageID(me), Role: agents.RoleAssistant, Text: me}),
			graph.AddMessage(agents.Message{ID: "shared", Role: agents.RoleAssistant, Text: me}),
			graph.RemoveMessage(agents.MessageID("a")),
		}}, nil
	}
	for _, name := range names {
		b.Node(name, work).Entry(name).Edge(name, "join")
	}
	b.Node("sent", work).Fan(graph.Start, func(graph.State) ([]graph.Send, error) {
		return []graph.Send{{Node: "sent", Input: 2}, {Node: "sent", Input: 1}}, nil
	}, "sent").Edge("sent", "join")
	return compile(t, b)
}

func TestASuperStepMergesTheSameWhoeverFinishesFirst(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	var want []graph.Commit
	for round := range 1000 {
		synctest.Test(t, func(t *testing.T) {
			order := rnd.Perm(10)
			turns := make([]chan struct{}, len(order))
			for i := range turns {
				turns[i] = make(chan struct{})
			}
			g := crowd(t, func(task int) { <-turns[task] })
			go func() {
				for _, task := range order {
					close(turns[task])
					synctest.Wait() // that task has finished before the next may
				}
			}()
			h := &host{}
			state, err := g.Run(t.Context(), graph.Execution{Host: h, Step: -1, Parallel: 10})
			require.NoError(t, err)
			require.Len(t, h.commits, 2)
			if round == 0 {
				want = h.commits
				require.Equal(t, []string{"a", "b", "c", "d", "e", "f", "g", "h", "sent2", "sent1", "join"}, read(t, state, log))
				require.Equal(t, "sent1", read(t, state, lastOne))
				require.Equal(t, "((((((((((a)b)c)d)e)f)g)h)sent2)sent1)", read(t, state, chain))
				require.Equal(t, entry{"shared", "sent1"}, read(t, state, people)[0])
				require.Equal(t, "sent1", read(t, state, facts)["shared"])
				require.Equal(t, []string{"sent1", "b", "c", "d", "e", "f", "g", "h", "sent2", "sent1"}, texts(agents.State{Messages: state.Messages()}))
				return
			}
			require.Equal(t, want, h.commits, "after %v", order)
			pended := map[int]int{}
			for _, p := range h.pended {
				for _, one := range p.Pending {
					pended[one.Task]++
				}
			}
			for i, task := range order {
				require.Equal(t, min(1, len(order)-1-i), pended[task], "each is kept at once but the last, whose step is committed: %v", order)
			}
		})
	}
}

func TestNodesOfAStepSeeTheStateBeforeIt(t *testing.T) {
	t.Parallel()
	look := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		seen, _, err := log.Get(task.State)
		return graph.Command{Update: []graph.Write{log.Put([]string{fmt.Sprint(task.Node, " sees ", len(seen), " and ", len(task.State.Messages()))}),
			graph.AddMessage(agents.Message{ID: agents.MessageID(task.Node)})}}, err
	}
	g := compile(t, graph.New("g").Channels(log).Node("a", look).Node("b", look).Node("c", look).Entry("a").Entry("b").Edge("a", "c").Edge("b", "c").Finish("c"))
	state, err := g.Run(t.Context(), graph.Execution{Host: &host{}, Step: -1, Parallel: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"a sees 0 and 0", "b sees 0 and 0", "c sees 2 and 2"}, read(t, state, log))
}

func TestATaskKnowsItsPlace(t *testing.T) {
	t.Parallel()
	seen := make(chan *graph.Task, 2)
	look := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		seen <- task
		return graph.Command{}, nil
	}
	g := compile(t, graph.New("g").Node("a", look).Node("b", look).Entry("b").Entry("a").Finish("a").Finish("b"))
	info := graph.Info{Thread: "t", Run: "r", Attempt: 3, Line: "l", Token: 7}
	_, err := g.Run(t.Context(), graph.Execution{Info: info, Step: 4, Parallel: 1})
	require.NoError(t, err)
	for i, node := range []string{"a", "b"} {
		task := <-seen
		require.Equal(t, info, task.Info)
		require.Equal(t, node, task.Node)
		require.Equal(t, i, task.Index)
		require.Equal(t, 5, task.Step)
		require.Equal(t, 1, task.Try)
		require.Nil(t, task.Input)
		require.Equal(t, graph.TaskID("r", nil, 5, i), task.ID)
	}
}

func TestNoMoreTasksRunAtOnceThanAllowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		gate := make(chan struct{})
		b := graph.New("g")
		for i := range 10 {
			name := fmt.Sprint("n", i)
			b.Node(name, func(context.Context, *graph.Task) (graph.Command, error) {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				<-gate
				mu.Lock()
				now--
				mu.Unlock()
				return graph.Command{}, nil
			}).Entry(name).Finish(name)
		}
		g := compile(t, b)
		done := make(chan error)
		go func() {
			_, err := g.Run(t.Context(), graph.Execution{Step: -1, Parallel: 3})
			done <- err
		}()
		synctest.Wait()
		require.Equal(t, 3, now, "as many as may")
		close(gate)
		require.NoError(t, <-done)
		require.Equal(t, 3, most)
	})
}

func TestARefusedCommitEndsTheRun(t *testing.T) {
	t.Parallel()
	h := &host{refuse: agents.ErrFenced}
	_, err := crowd(t, func(int) {}).Run(t.Context(), graph.Execution{Host: h, Step: -1})
	require.ErrorIs(t, err, agents.ErrFenced)
	require.Len(t, h.commits, 1)
}

func TestCancelEndsTheStepWithItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopped by mia")
	ctx, cancel := context.WithCancelCause(t.Context())
	g := compile(t, graph.New("g").Node("a", func(ctx context.Context, _ *graph.Task) (graph.Command, error) {
		cancel(cause)
		<-ctx.Done()
		return graph.Command{}, ctx.Err()
	}, graph.OnError("h")).Node("h", nothing).Entry("a").Finish("a").Finish("h"))
	h := &host{}
	_, err := g.Run(ctx, graph.Execution{Host: h, Step: -1})
	require.ErrorIs(t, err, cause)
	require.Empty(t, h.commits, "no handler hears of it")
}

func TestARunOfALineThatNamesUnknownNodesIsNotResumable(t *testing.T) {
	t.Parallel()
	_, err := compile(t, declared()).Run(t.Context(), graph.Execution{Next: agents.DueNodes("a", "z")})
	refusal(t, err, "next", graph.ErrNotResumable)
	require.ErrorContains(t, err, "it has no node z any more")
}

func TestAMessageThatANodeNamesItselfKeepsItsTextOnEveryLine(t *testing.T) {
	t.Parallel()
	var n counter
	g := compile(t, graph.New("g").Channels(log).Node("a", func(context.Context, *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{ID: "summary", Text: fmt.Sprint("try ", n.add("a"))})}}, nil
	}).Node("b", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{graph.RemoveMessage("summary")}}, nil
	}).Node("c", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{graph.AddMessage(agents.Message{ID: "summary", Text: "again"})}}, nil
	}).Entry("a").Edge("a", "b").Edge("b", "c").Finish("c"))
	b := setUp(t, g)
	require.Equal(t, []string{"again"}, texts(b.run(graph.Begin())), "taken out and said anew")
	all, err := b.History(t.Context(), b.thread, agents.HistoryQuery{Limit: 10})
	require.NoError(t, err)
	b.run(graph.Continue(), graph.From(all[3].Head.ID))
	all, err = b.History(t.Context(), b.thread, agents.HistoryQuery{Limit: 20})
	require.NoError(t, err)
	var said []string
	for _, s := range slices.Backward(all) {
		said = append(said, fmt.Sprint(texts(s)))
	}
	require.Equal(t, []string{"[]", "[try 1]", "[]", "[again]", "[]", "[try 2]", "[]", "[again]"}, said)
}

// Two states that go on from one state, and whoever appends to what it was shown, have
// nothing of each other's.
func TestStatesThatGoOnFromOneShareNothingNew(t *testing.T) {
	t.Parallel()
	base := graph.NewState(nil, nil)
	grow := func(s graph.State, step int, id string) graph.State {
		next, _, err := graph.ApplyMessages(s, "line", step, graph.AddMessages(agents.Message{ID: agents.MessageID(id), Text: id}))
		require.NoError(t, err)
		return next
	}
	texts := func(s graph.State) (out []string) {
		for _, m := range s.Messages() {
			out = append(out, m.Text)
		}
		return out
	}
	for i := range 20 { // with room behind the list and without
		base = grow(base, i, fmt.Sprint("m", i))
		before := texts(base)
		shown := base.Messages()
		left := grow(base, 100, "left")
		mine := append(shown, agents.Message{Text: "mine"})
		right := grow(base, 100, "right")
		more := grow(left, 101, "more")
		require.Equal(t, before, texts(base))
		require.Equal(t, append(slices.Clone(before), "left"), texts(left))
		require.Equal(t, append(slices.Clone(before), "right"), texts(right))
		require.Equal(t, append(slices.Clone(before), "left", "more"), texts(more))
		require.Equal(t, "mine", mine[len(mine)-1].Text)
		replaced := grow(more, 102, "m0")
		require.Equal(t, before, texts(base))
		require.Len(t, replaced.Messages(), len(before)+2)
	}
}
