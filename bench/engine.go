//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/checkpoint/sqlite"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// The sizes of the rows of the engine.
const (
	loopSteps = 300
	fanTasks  = 100
	commitsOf = 200
)

// measureEngine prints what a super-step costs without storage, beside the same
// functions called by hand, and what storing one costs beside a raw write of the
// same bytes.
func measureEngine(ctx context.Context, b *backing, s settings) error {
	loop, err := threeNodes()
	if err != nil {
		return fmt.Errorf("compiling: %w", err)
	}
	fan, err := hundredTasks()
	if err != nil {
		return fmt.Errorf("compiling: %w", err)
	}
	fmt.Printf("\nThe engine alone, nothing stored\n\n| what | ns | allocations | bytes | of the same by hand |\n|---|---|---|---|---|\n")
	for _, row := range []struct {
		name   string
		per    int
		engine func(context.Context) error
		hand   func(context.Context) error
	}{
		{"a super-step of a loop of 3 nodes", loopSteps, loop, loopByHand},
		{fmt.Sprintf("a task of a fan of %d", fanTasks), fanTasks, fan, fanByHand},
	} {
		var ratios []float64
		var best testing.BenchmarkResult
		for range s.rounds {
			engine, err := benchmark(ctx, row.engine)
			if err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
			hand, err := benchmark(ctx, row.hand)
			if err != nil {
				return fmt.Errorf("%s, by hand: %w", row.name, err)
			}
			ratios = append(ratios, float64(engine.NsPerOp())/float64(hand.NsPerOp()))
			if best.N == 0 || engine.NsPerOp() < best.NsPerOp() {
				best = engine
			}
		}
		slices.Sort(ratios)
		fmt.Printf("| %s | %d | %.1f | %.0f | %.1f [%.1f-%.1f] |\n", row.name, best.NsPerOp()/int64(row.per),
			float64(best.AllocsPerOp())/float64(row.per), float64(best.AllocedBytesPerOp())/float64(row.per),
			ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	}
	return measureCheckpointers(ctx, b, s)
}

func benchmark(ctx context.Context, do func(context.Context) error) (testing.BenchmarkResult, error) {
	var failed error
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := do(ctx); err != nil {
				failed = err
				b.FailNow()
			}
		}
	})
	return r, failed
}

var tally = graph.Sum("tally")

// threeNodes runs a loop of three nodes that count.
func threeNodes() (func(context.Context) error, error) {
	count := func(context.Context, *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{tally.Put(1)}}, nil
	}
	again := func(s graph.State) ([]string, error) {
		n, _, err := tally.Get(s)
		if n >= loopSteps {
			return []string{graph.End}, err
		}
		return []string{"a"}, err
	}
	g, err := graph.New("loop").Channels(tally).Node("a", count).Node("b", count).Node("c", count).
		Entry("a").Edge("a", "b").Edge("b", "c").Branch("c", again, "a", graph.End).Compile()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		s, err := g.Run(ctx, graph.Execution{RecursionLimit: loopSteps + 1})
		if err != nil {
			return err
		}
		return total(s, loopSteps)
	}, nil
}

func total(s graph.State, want float64) error {
	n, _, err := tally.Get(s)
	if err == nil && n != want {
		err = fmt.Errorf("it counted %v", n)
	}
	return err
}

// loopByHand does what the nodes of the loop do, with the state kept as JSON.
func loopByHand(context.Context) error {
	state := map[string]json.RawMessage{}
	for range loopSteps {
		if err := addByHand(state); err != nil {
			return err
		}
	}
	return nil
}

func addByHand(state map[string]json.RawMessage) error {
	var old float64
	if raw, ok := state["tally"]; ok {
		if err := json.Unmarshal(raw, &old); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(old + 1)
	state["tally"] = raw
	return err
}

// hundredTasks runs one step of as many tasks.
func hundredTasks() (func(context.Context) error, error) {
	work := func(_ context.Context, t *graph.Task) (graph.Command, error) {
		n, err := graph.InputOf[float64](t)
		return graph.Command{Update: []graph.Write{tally.Put(n)}}, err
	}
	spread := func(graph.State) ([]graph.Send, error) {
		out := make([]graph.Send, fanTasks)
		for i := range out {
			out[i] = graph.Send{Node: "work", Input: 1}
		}
		return out, nil
	}
	g, err := graph.New("fan").Channels(tally).Node("work", work).Fan(graph.Start, spread, "work").Finish("work").Compile()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		s, err := g.Run(ctx, graph.Execution{})
		if err != nil {
			return err
		}
		return total(s, fanTasks)
	}, nil
}

// fanByHand does the same work on as many goroutines.
func fanByHand(ctx context.Context) error {
	state := map[string]json.RawMessage{}
	var mu sync.Mutex
	group, _ := errgroup.WithContext(ctx)
	for range fanTasks {
		group.Go(func() error {
			mu.Lock()
			defer mu.Unlock()
			return addByHand(state)
		})
	}
	return group.Wait()
}

// measureCheckpointers prints what storing a step with one message costs.
func measureCheckpointers(ctx context.Context, b *backing, s settings) (err error) {
	p, err := startProduct(b) // migrates, and makes the member
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	floor, err := openBare(ctx, b.postgres.URL())
	if err != nil {
		return err
	}
	defer floor.pool.Close()
	db, err := store.Open(ctx, store.Options{URL: b.postgres.URL()})
	if err != nil {
		return err
	}
	defer db.Close()
	scope, err := db.MemberScope(ctx, "bench", "reader00@bench.test")
	if err != nil {
		return err
	}
	file, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(b.dir, "bench.db")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text := words(1, messageBytes)
	// As many bytes as the step has in JSON.
	body := text + string(make200())
	fmt.Printf("\nStoring a step with one message of %d bytes\n\n| where | ms p50 / p99 | of a raw write of the bytes with pgx |\n|---|---|---|\n", messageBytes)
	contenders := []*storing{
		{name: "PostgreSQL", cp: store.NewCheckpointer(db, scope)}, {name: "SQLite, synchronous=FULL", cp: file},
		{name: "memory", cp: memory.New(memory.Options{})}, {name: "raw"},
	}
	for _, c := range contenders {
		if err := c.begin(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for range commitsOf * s.rounds {
		for _, c := range contenders {
			err := timed(ctx, &c.took, func(ctx context.Context) error {
				if c.cp != nil {
					return c.commit(ctx, text)
				}
				_, err := floor.pool.Exec(ctx, `insert into bench.commits (body) values ($1)`, body)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	raw := contenders[len(contenders)-1].took
	slices.Sort(raw)
	for _, c := range contenders {
		slices.Sort(c.took)
		fmt.Printf("| %s | %.2f / %.2f | %.2f |\n", c.name, ms(c.took[len(c.took)/2]), ms(c.took[len(c.took)*99/100]),
			float64(c.took[len(c.took)/2])/float64(raw[len(raw)/2]))
	}
	return nil
}

// storing is a thread in one storage.
type storing struct {
	name  string
	cp    graph.Checkpointer
	lease agents.Lease
	line  agents.LineID
	step  int
	took  []time.Duration
}

func (c *storing) begin(ctx context.Context) error {
	if c.cp == nil {
		return nil
	}
	var err error
	if c.lease, err = c.cp.Acquire(ctx, agents.ThreadID(id.New())); err != nil {
		return err
	}
	state, err := c.cp.State(ctx, c.lease.Thread, "")
	c.line = state.Line
	return err
}

func (c *storing) commit(ctx context.Context, text string) error {
	m := agents.Message{ID: agents.MessageID(id.New()), Role: agents.RoleAssistant, Text: text, CreatedAt: time.Now()}
	step := agents.Step{Line: c.line, Step: c.step, Source: agents.SourceLoop, Messages: []agents.Message{m},
		Ops: []agents.Op{{Kind: agents.OpAppend, ID: m.ID}}, Next: agents.DueNodes("agent"), At: time.Now()}
	c.step++
	return c.cp.Commit(ctx, c.lease, step)
}
