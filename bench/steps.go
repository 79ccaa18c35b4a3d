//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/valyala/fasthttp"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/store"
)

// The sizes of the rows of steps: a thread of 1,000 messages with 5 steps each,
// as 500 runs of 10 steps that bring a message and end with one.
const (
	longRuns     = 500
	stepsPerRun  = 10
	messageBytes = 750
	stateReads   = 30
	historyLimit = 10
	serverHeap   = 64 << 20
	// naiveRuns is how far the row that stores the whole state goes: its cost
	// grows with the square.
	naiveRuns = 100
)

// stepsGraph is the chain of nodes that the rows run: only the last says
// something.
const stepsGraph = "steps"

func chain() (*graph.Graph, error) {
	b := graph.New(stepsGraph)
	last := graph.Start
	for i := range stepsPerRun - 1 {
		name := fmt.Sprintf("n%d", i+1)
		node := func(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, nil }
		if i == stepsPerRun-2 {
			node = says
		}
		b.Node(name, node).Edge(last, name)
		last = name
	}
	return b.Finish(last).Compile()
}

func says(_ context.Context, t *graph.Task) (graph.Command, error) {
	m := agents.Message{ID: agents.MessageID(t.NewID()), Role: agents.RoleAssistant, Run: t.Run, CreatedAt: t.Clock.Now(),
		Text: words(uint64(t.Step), messageBytes)}
	t.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: string(m.Role)})
	t.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: m.Text})
	t.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
	return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
}

// words makes a text of n bytes that reads like one to a compressor: words of an
// uneven length in an uneven order, different for each seed.
func words(seed uint64, n int) string {
	rnd := rand.New(rand.NewPCG(seed, 4))
	var b strings.Builder
	for b.Len() < n {
		for range 2 + rnd.IntN(8) {
			b.WriteByte("etaoinshrdlcumwfgypbvk"[min(rnd.IntN(22), rnd.IntN(22))])
		}
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

// measureSteps prints what a long thread costs on PostgreSQL: bytes beside its
// plain content, the last step beside the first, and reading it beside reading
// the same rows.
func measureSteps(ctx context.Context, b *backing, s settings) (err error) {
	p, err := startProduct(b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	floor, err := openBare(ctx, b.postgres.URL())
	if err != nil {
		return err
	}
	defer floor.pool.Close()
	before, err := sizes(ctx, floor.pool)
	if err != nil {
		return err
	}
	thread, err := longThread(ctx, p)
	if err != nil {
		return fmt.Errorf("making a long thread: %w: %s", err, p.said())
	}
	if err := floor.settle(ctx); err != nil {
		return err
	}
	after, err := sizes(ctx, floor.pool)
	if err != nil {
		return err
	}
	naive, err := wholeStates(ctx, floor)
	if err != nil {
		return err
	}
	plain := float64(2 * longRuns * messageBytes)
	raw, err := member(ctx, b.postgres.URL(), p.Org)
	if err != nil {
		return err
	}
	defer raw.Close()
	first, last, err := stepTimes(ctx, raw, thread)
	if err != nil {
		return err
	}
	fmt.Printf("\nSteps: a thread of %d messages of %d bytes in %d steps, %.2f MB of plain content; after VACUUM, indexes included\n\n",
		2*longRuns, messageBytes, longRuns*stepsPerRun, plain/1e6)
	fmt.Println("| stored | MB | of plain content | bytes per step | last step of first |")
	fmt.Println("|---|---|---|---|---|")
	kept := float64(after.kept - before.kept)
	fmt.Printf("| messages and checkpoints | %.2f | %.2f | %.0f | %.2f (%.2f of %.2f ms) |\n", kept/1e6, kept/plain, kept/(longRuns*stepsPerRun),
		last/first, last, first)
	log := float64(after.log - before.log)
	fmt.Printf("| the log, until retention | %.2f | %.2f | %.0f | |\n", log/1e6, log/plain, log/(longRuns*stepsPerRun))
	content := float64(2 * naiveRuns * messageBytes)
	fmt.Printf("| the whole state with each step, %d messages only | %.2f | %.1f | %.0f | %.2f (%.2f of %.2f ms) |\n", 2*naiveRuns,
		float64(naive.bytes)/1e6, float64(naive.bytes)/content, float64(naive.bytes)/(naiveRuns*stepsPerRun), naive.last/naive.first, naive.last, naive.first)
	return measureReads(ctx, b, raw, thread, s)
}

// longThread runs the chain on one thread until it is long.
func longThread(ctx context.Context, p *product) (thread string, err error) {
	client := &fasthttp.HostClient{Addr: p.Addr, MaxConns: 20, NoDefaultUserAgentHeader: true}
	defer client.CloseIdleConnections()
	c, err := newPatron(ctx, p, client, p.Keys[0], 1)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	thread = c.threads[0]
	for i := range longRuns {
		body, err := json.Marshal(map[string]any{"assistant_id": stepsGraph, "input": map[string]any{
			"messages": []any{map[string]any{"role": "user", "content": words(uint64(i)+1<<32, messageBytes)}}}})
		if err != nil {
			return "", fmt.Errorf("writing an input: %w", err)
		}
		if _, err := c.call("/api/threads/"+thread+"/runs/wait", body); err != nil {
			return "", fmt.Errorf("run %d: %w", i, err)
		}
	}
	return thread, nil
}

// member gives a pool of connections that see an organisation's rows.
func member(ctx context.Context, url, org string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "set role heddle_app"); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "select set_config('heddle.org', $1, false)", org)
		return err
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// taken is how much the tables of states and of the log take.
type taken struct{ kept, log int64 }

func sizes(ctx context.Context, pool *pgxpool.Pool) (taken, error) {
	var t taken
	// Rows, what lies outside them, and indexes; not the maps of free and visible
	// pages, which do not grow with a thread.
	err := pool.QueryRow(ctx, `with size as (
			select c.relname, pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0) + pg_indexes_size(c.oid) as bytes
			from pg_class c where c.oid in ('messages'::regclass, 'checkpoints'::regclass, 'events'::regclass))
		select (sum(bytes) filter (where relname <> 'events'))::bigint, (sum(bytes) filter (where relname = 'events'))::bigint from size`).Scan(&t.kept, &t.log)
	if err != nil {
		return t, fmt.Errorf("measuring tables: %w", err)
	}
	return t, nil
}

// stepTimes gives the median time between steps of the first and of the last
// tenth of a thread's runs, in milliseconds.
func stepTimes(ctx context.Context, pool *pgxpool.Pool, thread string) (first, last float64, err error) {
	rows, _ := pool.Query(ctx, `select extract(epoch from c.created_at - lag(c.created_at) over (order by c.step))::float8 * 1000
		from checkpoints c join lines l on l.org_id = c.org_id and l.id = c.line_id where l.thread_id = $1 order by c.step`, thread)
	all, err := pgx.CollectRows(rows, pgx.RowTo[*float64])
	if err != nil {
		return 0, 0, fmt.Errorf("reading when steps were made: %w", err)
	}
	median := func(from, to int) float64 {
		var some []float64
		for i := from; i < to; i++ {
			if i%stepsPerRun > 0 { // between two steps of one run
				some = append(some, *all[i])
			}
		}
		slices.Sort(some)
		return some[len(some)/2]
	}
	if len(all) != longRuns*stepsPerRun {
		return 0, 0, fmt.Errorf("the thread has %d steps, not %d", len(all), longRuns*stepsPerRun)
	}
	tenth := len(all) / 10
	return median(0, tenth), median(len(all)-tenth, len(all)), nil
}

// naive is a row that stores the whole state with each step.
type naive struct {
	bytes       int64
	first, last float64
}

func wholeStates(ctx context.Context, b *bare) (naive, error) {
	var out naive
	if _, err := b.pool.Exec(ctx, `create table if not exists bench.states (thread uuid not null, step int not null, state jsonb not null, primary key (thread, step))`); err != nil {
		return out, fmt.Errorf("making the table of whole states: %w", err)
	}
	type message struct{ ID, Role, Text string }
	var state []message
	var times []float64
	for step := range naiveRuns * stepsPerRun {
		if step%(stepsPerRun/2) == 0 {
			state = append(state, message{fmt.Sprint(step), "user", words(uint64(step), messageBytes)})
		}
		raw, err := json.Marshal(map[string]any{"messages": state, "next": []string{"n"}})
		if err != nil {
			return out, fmt.Errorf("writing a state: %w", err)
		}
		began := time.Now()
		if _, err := b.pool.Exec(ctx, `insert into bench.states values ('00000000-0000-0000-0000-000000000001', $1, $2)`, step, string(raw)); err != nil {
			return out, fmt.Errorf("storing a state: %w", err)
		}
		times = append(times, time.Since(began).Seconds()*1000)
	}
	if err := b.settle(ctx); err != nil {
		return out, err
	}
	if err := b.pool.QueryRow(ctx, `select pg_total_relation_size('bench.states')`).Scan(&out.bytes); err != nil {
		return out, fmt.Errorf("measuring whole states: %w", err)
	}
	tenth := len(times) / 10
	early, late := slices.Clone(times[:tenth]), slices.Clone(times[len(times)-tenth:])
	slices.Sort(early)
	slices.Sort(late)
	out.first, out.last = early[tenth/2], late[tenth/2]
	return out, nil
}

// measureReads prints what it costs to read a state to go on from, and a history,
// beside reading the same rows and looking at none.
func measureReads(ctx context.Context, b *backing, raw *pgxpool.Pool, thread string, s settings) error {
	db, err := store.Open(ctx, store.Options{URL: b.postgres.URL()})
	if err != nil {
		return err
	}
	defer db.Close()
	scope, err := db.MemberScope(ctx, "bench", "reader00@bench.test")
	if err != nil {
		return err
	}
	// A server has tens of megabytes alive; with the few of this process the
	// collector would run every other reading, of ours and not of the raw rows.
	alive := make([]byte, serverHeap)
	defer runtime.KeepAlive(alive)
	r := reads{db: db, pool: raw, scope: scope, thread: agents.ThreadID(thread)}
	fmt.Printf("\nReading that thread\n\n| what | ms p50 / p99 | of the same rows, raw |\n|---|---|---|\n")
	for _, row := range []struct {
		name string
		ours func(context.Context) error
		raw  func(context.Context) error
	}{
		{"state to go on from", r.state, func(ctx context.Context) error { return r.rows(ctx, 1) }},
		{fmt.Sprintf("history of %d states", historyLimit), r.history, func(ctx context.Context) error { return r.rows(ctx, historyLimit) }},
	} {
		var ours, bare []time.Duration
		for range s.rounds {
			for range stateReads {
				if err := timed(ctx, &ours, row.ours); err != nil {
					return fmt.Errorf("%s: %w", row.name, err)
				}
				if err := timed(ctx, &bare, row.raw); err != nil {
					return fmt.Errorf("%s, raw: %w", row.name, err)
				}
			}
		}
		slices.Sort(ours)
		slices.Sort(bare)
		fmt.Printf("| %s | %.1f / %.1f | %.2f |\n", row.name, ms(ours[len(ours)/2]), ms(ours[len(ours)*99/100]),
			float64(ours[len(ours)/2])/float64(bare[len(bare)/2]))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func timed(ctx context.Context, into *[]time.Duration, do func(context.Context) error) error {
	began := time.Now()
	err := do(ctx)
	*into = append(*into, time.Since(began))
	return err
}

// reads is one thread and two ways to read it.
type reads struct {
	db     *store.DB
	pool   *pgxpool.Pool
	scope  auth.Scope
	thread agents.ThreadID
}

func (r reads) state(ctx context.Context) error {
	s, err := r.db.State(ctx, r.scope, r.thread)
	if err == nil && len(s.Messages) != 2*longRuns {
		err = fmt.Errorf("the state has %d messages", len(s.Messages))
	}
	return err
}

func (r reads) history(ctx context.Context) error {
	all, err := r.db.History(ctx, r.scope, r.thread, agents.HistoryQuery{Limit: historyLimit})
	if err == nil && (len(all) != historyLimit || len(all[historyLimit-1].Messages) < 2*longRuns-1) {
		err = fmt.Errorf("the history has %d states", len(all))
	}
	return err
}

// rows reads the messages and the checkpoints that the newest states are made of
// and looks into none of them.
func (r reads) rows(ctx context.Context, states int) error {
	line := `(select line_id from threads where id = $1)`
	for _, sql := range []string{
		`select c.line_id, c.step, c.run_id, c.source, c.ops, c.deltas, c.snapshot, c.rollup, c.next, c.wrote, c.interrupts, c.metadata,
			c.event_seq, c.created_at from checkpoints c
			where c.line_id = ` + line + ` and (c.step % 50 = 0 and c.step >= $2::int - $2::int % 1000 or c.step >= $2::int - $2::int % 50) order by c.step`,
		`select id, revision, role, text, author_id, rest, body, run_id, created_at from messages
			where org_id = (select org_id from threads where id = $1) and thread_id = $1 and $2::int > 0`,
	} {
		rows, err := r.pool.Query(ctx, sql, string(r.thread), longRuns*stepsPerRun-states)
		if err != nil {
			return err
		}
		n := 0
		for rows.Next() {
			for _, v := range rows.RawValues() {
				n += len(v)
			}
		}
		if rows.Close(); rows.Err() != nil || n == 0 {
			return errors.Join(rows.Err(), fmt.Errorf("read %d bytes", n))
		}
	}
	return nil
}
