package checkpointtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
)

// crashRounds is how many random graphs are run, each once undisturbed and once
// with crashes; HEDDLE_CRASH_ROUNDS asks for more.
func crashRounds(t *testing.T) int {
	n := 25
	if v := os.Getenv("HEDDLE_CRASH_ROUNDS"); v != "" {
		var err error
		n, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	return n
}

// crashes compares runs of random graphs that crash at random places, and go on,
// with the same runs left alone: one final state, and the same events once those
// that only tell of the crash are put aside.
func crashes(b *bench) {
	for seed := range uint64(crashRounds(b.T)) {
		want := play(b, seed, 0)
		for crash := uint64(1); crash <= 2; crash++ {
			got := play(b, seed, crash)
			require.Empty(b, cmp.Diff(want.values, got.values), "seed %d crash %d: values", seed, crash)
			require.Empty(b, cmp.Diff(want.texts, got.texts), "seed %d crash %d: messages", seed, crash)
			require.Empty(b, cmp.Diff(want.events, got.events), "seed %d crash %d: events", seed, crash)
			require.Empty(b, got.twice, "seed %d crash %d: a task whose result was kept ran again", seed, crash)
		}
	}
}

// played is what is compared of a run.
type played struct {
	values map[string]string
	texts  []string
	// events are those of nodes and steps, by step, without doubles.
	events []string
	// twice are tasks that ran again after their result was stored.
	twice []string
}

// errCrash is the process's end in these tests.
var errCrash = errors.New("the process was killed")

// faulty is a checkpointer under a process that gets killed at some of its
// writes: before the write, or after it and before the answer.
type faulty struct {
	graph.Checkpointer
	rnd  *rand.Rand
	mu   sync.Mutex
	odds int // one in odds writes; 0 is none
	dead bool
	kept map[string]bool // what tasks logged whose results are stored
}

func (f *faulty) write(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errCrash
	}
	kill := f.odds > 0 && f.rnd.IntN(f.odds) == 0
	if kill && f.rnd.IntN(2) == 0 {
		f.dead = true
		return errCrash
	}
	if err := do(); err != nil {
		return err
	}
	if kill {
		f.dead = true
		return errCrash
	}
	return nil
}

func (f *faulty) Commit(ctx context.Context, l agents.Lease, s agents.Step) error {
	return f.write(func() error { return f.Checkpointer.Commit(ctx, l, s) })
}

func (f *faulty) Pend(ctx context.Context, l agents.Lease, w agents.PendingWrites) error {
	return f.write(func() error {
		err := f.Checkpointer.Pend(ctx, l, w)
		for _, p := range w.Pending {
			if err == nil && p.Result != nil {
				for _, c := range p.Result.Writes {
					if c.Channel == chLog.Name() {
						f.kept[fmt.Sprint(string(w.Line), p.Task, string(c.Delta.Value))] = true
					}
				}
			}
		}
		return err
	})
}

func (f *faulty) SubLine(ctx context.Context, l agents.Lease, s agents.SubLine) (out agents.State, err error) {
	err = f.write(func() error {
		out, err = f.Checkpointer.SubLine(ctx, l, s)
		return err
	})
	return out, err
}

var (
	chLog   = graph.Append[string]("log")
	chFacts = graph.Merge[int]("facts")
	chSum   = graph.Sum("sum")
	chMax   = graph.Reduce("max", "max/1", func(a, b int) int { return max(a, b) })
	chOwn   = graph.Append[string]("own").Private()
)

// maker makes random graphs of layers: nodes that write to every channel and say
// something, that ask, that send, that stand for a subgraph; and joins.
type maker struct {
	rnd *rand.Rand
	f   *faulty
	// twice are tasks that ran although their result was stored.
	twice []string
}

func (m *maker) graph(name string, depth int) *graph.Graph {
	b := graph.New(name).Channels(chLog, chFacts, chSum, chMax, chOwn)
	before := []string{graph.Start}
	layers := 1 + m.rnd.IntN(3)
	for layer := range layers {
		var here []string
		width := 1 + m.rnd.IntN(3)
		for i := range width {
			n := fmt.Sprintf("%s-n%d%d", name, layer, i)
			here = append(here, n)
			switch kind := m.rnd.IntN(8); {
			case kind == 0 && depth > 0:
				b.Subgraph(n, m.graph(n, depth-1))
			case kind == 1 && depth > 0:
				b.Isolated(n, m.graph(n, depth-1), func(s graph.State, _ *graph.Task) ([]graph.Write, error) {
					return []graph.Write{chLog.Put([]string{fmt.Sprint("in ", len(s.Messages()))})}, nil
				}, func(s graph.State) ([]graph.Write, error) {
					log, _, err := chLog.Get(s)
					return []graph.Write{chLog.Put(log)}, err
				})
			default:
				b.Node(n, m.node(n, kind))
			}
		}
		switch {
		case layer > 0 && len(before) > 1 && len(here) == 1 && m.rnd.IntN(2) == 0:
			b.Join(here[0], before...)
		case layer > 0 && m.rnd.IntN(3) == 0:
			count := 1 + m.rnd.IntN(4)
			target := here
			for _, from := range before {
				b.Fan(from, func(graph.State) ([]graph.Send, error) {
					var out []graph.Send
					for i := range count {
						out = append(out, graph.Send{Node: target[i%len(target)], Input: fmt.Sprint(from, i)})
					}
					return out, nil
				}, target...)
			}
		default:
			for _, from := range before {
				for _, to := range here {
					b.Edge(from, to)
				}
			}
		}
		before = here
	}
	for _, from := range before {
		b.Finish(from)
	}
	g, err := b.Compile()
	if err != nil {
		panic(err)
	}
	return g
}

// node writes, from what it reads, to every channel.
func (m *maker) node(name string, kind int) graph.Node {
	return func(_ context.Context, t *graph.Task) (graph.Command, error) {
		log, _, err := chLog.Get(t.State)
		if err != nil {
			return graph.Command{}, err
		}
		me := fmt.Sprintf("%s%s after %d of %d", name, t.Input, len(log), len(t.State.Messages()))
		t.EmitCustom(event.GraphCustom, me)
		if kind == 2 {
			answer, err := t.Interrupt(me + "?")
			if err != nil {
				return graph.Command{}, err
			}
			me += string(answer)
		}
		m.f.ran(t, me, &m.twice)
		sum := 0
		for _, c := range me {
			sum += int(c)
		}
		return graph.Command{Update: []graph.Write{
			chLog.Put([]string{me}), chFacts.Put(map[string]int{name: sum, "last": sum}), chSum.Put(float64(sum)), chMax.Put(sum),
			chOwn.Put([]string{name}),
			graph.AddMessage(agents.Message{ID: agents.MessageID("said-" + me), Role: agents.RoleAssistant, Text: me}),
			graph.AddMessage(agents.Message{ID: "shared", Role: agents.RoleAssistant, Text: "last by " + me}),
		}}, nil
	}
}

// ran notes a task that runs although its result is stored.
func (f *faulty) ran(t *graph.Task, me string, twice *[]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := string(t.Line)
	if n := len(t.NS); n > 0 {
		_, line, _ = strings.Cut(t.NS[n-1], ":")
	}
	if f.kept[fmt.Sprint(line, t.Index, string(raw([]string{me})))] {
		*twice = append(*twice, me)
	}
}

// play runs the graph of a seed to its end, through as many crashes and pauses as
// come.
func play(b *bench, seed, crash uint64) played {
	b.Helper()
	f := &faulty{Checkpointer: b.cp, rnd: rand.New(rand.NewPCG(seed, crash)), kept: map[string]bool{}}
	if crash > 0 {
		f.odds = 4
	}
	m := &maker{rnd: rand.New(rand.NewPCG(seed, 99)), f: f}
	g := m.graph("g", 2)
	thread := agents.ThreadID(id.New())
	seen := map[string]bool{}
	sink := func(e event.Envelope) {
		name, value := e.CustomName()
		if name == event.GraphCustom || e.Type == event.StepFinished {
			var nodes []string
			for _, ns := range e.NS {
				nodes = append(nodes, strings.Split(ns, ":")[0])
			}
			seen[fmt.Sprintf("%v %s %s %s", nodes, e.Node, name, value)] = true
		}
	}
	in := graph.Begin(graph.AddMessage(agents.Message{ID: "hello", Role: agents.RoleUser, Text: "hello"}))
	for lives := 0; ; lives++ {
		require.Less(b, lives, 500, "seed %d crash %d never ends", seed, crash)
		f.dead = false
		if lives > 60 {
			f.odds = 0 // it was hit often enough
		}
		r := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: f, Sink: sink, RecursionLimit: 100})
		state, err := r.Invoke(b.Context(), thread, in)
		switch {
		case err == nil:
			return picture(b, state, seen, m.twice)
		case errors.As(err, new(*graph.Interrupted)):
			in = answer(state, seed)
		case errors.Is(err, errCrash):
			if state, err = b.cp.State(b.Context(), thread, ""); err != nil || state.Head == nil {
				continue // nothing was stored: the caller asks again
			}
			if len(state.Head.Next) == 0 {
				return picture(b, state, seen, m.twice)
			}
			if len(state.Head.Interrupts) == 0 {
				in = graph.Continue()
				continue
			}
			in = answer(state, seed)
		default:
			require.NoError(b, err, "seed %d crash %d", seed, crash)
		}
	}
}

// answer answers the open questions one after the other, or all at once.
func answer(s agents.State, seed uint64) graph.Input {
	answers := map[string]any{}
	for i, open := range s.Head.Interrupts {
		if i == 0 || seed%2 == 0 {
			answers[open.ID] = "yes"
		}
	}
	return graph.Answer(answers)
}

func picture(b *bench, s agents.State, seen map[string]bool, twice []string) played {
	b.Helper()
	out := played{values: map[string]string{}, texts: texts(s), twice: twice}
	for name, v := range s.Values {
		if !strings.HasPrefix(name, "__") {
			out.values[name] = string(compact(b.T, v))
		}
	}
	for e := range seen {
		out.events = append(out.events, e)
	}
	sort.Strings(out.events)
	return out
}

// compact puts JSON into one form: databases may keep another.
func compact(t *testing.T, v json.RawMessage) []byte {
	t.Helper()
	var any any
	require.NoError(t, json.Unmarshal(v, &any))
	out, err := json.Marshal(any)
	require.NoError(t, err)
	return out
}
