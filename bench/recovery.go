//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/id"
)

// The rows `recovery`: what becomes of runs whose worker is gone. Ten runs of a
// graph that ticks execute in one process of the product while a second one waits
// beside it with nothing to do; then the first is killed (kill -9), or stopped
// (SIGSTOP: its connections and its advisory lock stay, so only the lease can run
// out), or asked to end (SIGTERM). Measured is the time from the signal until a
// socket at the second process has each run's run.continued, which is in the log
// by then: detection, the claim, and reading the thread included. Lease, renewal
// and sweep have their defaults. The same ten runs go on from process to process;
// each must tick again afterwards, without a number of its thread lost or
// repeated, and none may start twice. Limits: those of docs/benchmarks.md. Not
// measured: a machine that is gone with its network, where PostgreSQL itself has
// to notice that the connection is dead (or the lease runs out).

// The sizes of the rows of recovery.
const (
	orphans = 10 // as many as a worker executes by default
	// Not -rounds: one of the last takes a quarter of a minute.
	killRounds, leaseRounds = 4, 1
	// sweepEvery is the product's default; the signal comes at any point of it.
	sweepEvery = 2 * time.Second
	// recoveryLimit bounds the waiting in one round.
	recoveryLimit = 40 * time.Second
)

// tickerGraph ticks every tickPause in a step of its own until it is cancelled.
const (
	tickerGraph = "ticker"
	tickPause   = 100 * time.Millisecond
	tickSteps   = 500 // of one attempt, the most that an assistant may allow
)

var beats = graph.Sum("beats")

func ticker() (*graph.Graph, error) {
	tick := func(ctx context.Context, t *graph.Task) (graph.Command, error) {
		n, _, err := beats.Get(t.State)
		if err != nil {
			return graph.Command{}, err
		}
		t.EmitCustom(event.GraphCustom, map[string]float64{"tick": n})
		select {
		case <-t.Clock.After(tickPause):
		case <-ctx.Done():
			return graph.Command{}, context.Cause(ctx)
		}
		return graph.Command{Update: []graph.Write{beats.Put(1)}}, nil
	}
	again := func(graph.State) ([]string, error) { return []string{"tick"}, nil }
	return graph.New(tickerGraph).Channels(beats).Node("tick", tick).Edge(graph.Start, "tick").Branch("tick", again, "tick", graph.End).Compile()
}

// tickingAssistant is the graph's default one, with more steps than that has.
func tickingAssistant() agents.Assistant {
	return agents.Assistant{ID: agents.AssistantID(id.Named(id.GraphNamespace, tickerGraph)), Graph: tickerGraph, Name: tickerGraph, IsDefault: true,
		Config: agents.AssistantConfig{RecursionLimit: tickSteps}}
}

// loss is a way to lose a worker.
type loss struct {
	name   string
	signal syscall.Signal
	rounds int
	// p50 and p99 are the limits in seconds; 0 is none.
	p50, p99 float64
}

func losses() []loss {
	return []loss{
		{"kill -9", syscall.SIGKILL, killRounds, 3, 20},
		{"SIGTERM: handed over", syscall.SIGTERM, killRounds, 0, 2},
		{"SIGSTOP: the lease alone", syscall.SIGSTOP, leaseRounds, 15, 20},
	}
}

// measureRecovery prints how long runs stand still when their worker is lost.
func measureRecovery(ctx context.Context, b *backing, s settings) (err error) {
	first, err := startProduct(b)
	if err != nil {
		return err
	}
	r := &relay{b: b, holder: first}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.begin(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, r.holder.said())
	}
	fmt.Printf("\nRecovery: %d runs execute in one process, a second waits; from the signal until run.continued of each is on a socket of the second\n", orphans)
	fmt.Printf("\n| the worker is lost by | rounds | seconds p50 | p99 | of the limit p50 | p99 |\n|---|---|---|---|---|---|\n")
	for _, l := range losses() {
		var all []time.Duration
		for range l.rounds {
			took, err := r.round(ctx, l.signal)
			if err != nil {
				return fmt.Errorf("%s: %w: %s", l.name, err, r.holder.said())
			}
			all = append(all, took...)
		}
		p50, p99 := quantile(all, .5)/1000, quantile(all, .99)/1000
		of := func(value, limit float64) string {
			if limit == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f of %.0f s", value/limit, limit)
		}
		fmt.Printf("| %s | %d | %.2f | %.2f | %s | %s |\n", l.name, l.rounds, p50, p99, of(p50, l.p50), of(p99, l.p99))
	}
	return r.end(ctx)
}

// relay is ten runs that go from one process to the next.
type relay struct {
	b      *backing
	holder *product          // executes the runs
	lost   *product          // until it has been cleared away
	runs   map[string]string // of each thread
	ticks  map[string]float64
}

func (r *relay) stop() error {
	err := r.holder.stop()
	if r.lost != nil {
		err = errors.Join(err, r.lost.stop())
	}
	return err
}

// begin starts the runs and waits until each has ticked.
func (r *relay) begin(ctx context.Context) (err error) {
	client := &fasthttp.HostClient{Addr: r.holder.Addr, MaxConns: orphans, NoDefaultUserAgentHeader: true}
	defer client.CloseIdleConnections()
	w, err := newWitness(ctx, r.holder, client, r.holder.Keys[0], nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for range orphans {
		if err := w.addThread(ctx); err != nil {
			return err
		}
	}
	r.runs, r.ticks = map[string]string{}, map[string]float64{}
	for _, thread := range w.threads {
		if r.runs[thread], err = w.start(thread, tickerGraph); err != nil {
			return err
		}
	}
	return r.allTick(ctx, w)
}

// round loses the holder and gives how long each run stood still.
func (r *relay) round(ctx context.Context, signal syscall.Signal) (took []time.Duration, err error) {
	next, err := startProduct(r.b)
	if err != nil {
		return nil, err
	}
	lost := r.holder
	r.holder, r.lost = next, lost
	client := &fasthttp.HostClient{Addr: next.Addr, MaxConns: orphans, NoDefaultUserAgentHeader: true}
	defer client.CloseIdleConnections()
	threads := make([]string, 0, orphans)
	for thread := range r.runs {
		threads = append(threads, thread)
	}
	w, err := newWitness(ctx, next, client, next.Keys[0], threads)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := r.allTick(ctx, w); err != nil { // the lost one still executes
		return nil, err
	}
	time.Sleep(rand.N(sweepEvery)) // at any point between two sweeps
	began := time.Now()
	if err := lost.cmd.Process.Signal(signal); err != nil {
		return nil, fmt.Errorf("sending a signal: %w", err)
	}
	if took, err = w.continued(ctx, began); err != nil {
		return nil, err
	}
	if signal == syscall.SIGSTOP {
		if err := lost.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			return nil, fmt.Errorf("waking a stopped process: %w", err)
		}
	}
	// A process that was only stopped writes what it still can meanwhile: nothing.
	if err := r.allTick(ctx, w); err != nil {
		return nil, fmt.Errorf("after the loss: %w", err)
	}
	r.lost = nil
	return took, lost.stop()
}

// allTick waits for a tick of every run beyond those that were seen before.
func (r *relay) allTick(ctx context.Context, w *witness) error {
	waiting := map[string]bool{}
	for thread := range r.runs {
		waiting[thread] = true
	}
	return w.until(ctx, func(n noted) (bool, error) {
		if n.kind == notedEnd {
			return false, fmt.Errorf("a run of thread %s ended", n.thread)
		}
		if n.kind == notedTick && n.tick > r.ticks[n.thread] {
			r.ticks[n.thread] = n.tick
			delete(waiting, n.thread)
		}
		return len(waiting) == 0, nil
	})
}

// end cancels the runs, and checks that each thread had one run only.
func (r *relay) end(ctx context.Context) error {
	client := &fasthttp.HostClient{Addr: r.holder.Addr, MaxConns: orphans, NoDefaultUserAgentHeader: true}
	defer client.CloseIdleConnections()
	c := &patron{http: client, key: r.holder.Keys[0]}
	for thread, run := range r.runs {
		if err := c.cancel(ctx, thread, run, true); err != nil {
			return err
		}
	}
	return nil
}

// What a witness notes.
const (
	notedTick = iota
	notedContinued
	notedEnd
)

type noted struct {
	kind   int
	thread string
	tick   float64
	at     time.Time
}

// witness watches the ticking runs of several threads on one socket; that their
// numbers are dense is checked by the patron it is.
type witness struct {
	*patron
	notes chan noted
}

// newWitness joins threads that exist.
func newWitness(ctx context.Context, p *product, http *fasthttp.HostClient, key string, threads []string) (*witness, error) {
	w := &witness{notes: make(chan noted, 4096)}
	c, err := newWatcher(ctx, p, http, key, orphans, w.hear)
	if err != nil {
		return nil, err
	}
	w.patron = c
	for _, thread := range threads {
		if err := c.join(ctx, thread); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return w, nil
}

// hear notes what one envelope says. It runs on the socket's reader.
func (w *witness) hear(topic string, payload []byte) error {
	n := noted{thread: topic[len("thread:"):], at: time.Now()}
	switch {
	case bytes.Contains(payload, []byte(`"name":"`+string(event.RunContinued)+`"`)):
		n.kind = notedContinued
	case bytes.Contains(payload, []byte(`"type":"RUN_FINISHED"`)), bytes.Contains(payload, []byte(`"type":"RUN_ERROR"`)):
		n.kind = notedEnd
	case bytes.Contains(payload, []byte(`"tick":`)):
		n.kind = notedTick
		var e struct {
			Data struct{ Value struct{ Tick float64 } }
		}
		if err := json.NewDecoder(bytes.NewReader(payload)).Decode(&e); err != nil { // a bracket follows
			return fmt.Errorf("reading a tick: %w: %.200q", err, payload)
		}
		n.tick = e.Data.Value.Tick
	default:
		return nil
	}
	select {
	case w.notes <- n:
		return nil
	default:
		return errors.New("nobody reads what a witness notes")
	}
}

// until passes notes to fn until it says that it is enough.
func (w *witness) until(ctx context.Context, fn func(noted) (bool, error)) error {
	timeout := time.NewTimer(recoveryLimit)
	defer timeout.Stop()
	for {
		select {
		case n := <-w.notes:
			if enough, err := fn(n); enough || err != nil {
				return err
			}
		case <-w.done:
			return w.err()
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return errors.New("runs stand still")
		}
	}
}

// continued waits until every thread's run goes on elsewhere.
func (w *witness) continued(ctx context.Context, began time.Time) ([]time.Duration, error) {
	at := map[string]time.Duration{}
	err := w.until(ctx, func(n noted) (bool, error) {
		switch n.kind {
		case notedEnd:
			return false, fmt.Errorf("a run of thread %s ended", n.thread)
		case notedContinued:
			if _, again := at[n.thread]; again {
				return false, fmt.Errorf("the run of thread %s was continued twice", n.thread)
			}
			at[n.thread] = n.at.Sub(began)
		}
		return len(at) == orphans, nil
	})
	out := make([]time.Duration, 0, orphans)
	for _, d := range at {
		out = append(out, d)
	}
	return out, err
}

// start submits a run and returns its id.
func (c *patron) start(thread, assistant string) (string, error) {
	answer, err := c.call("/api/threads/"+thread+"/runs",
		fmt.Appendf(nil, `{"assistant_id":%q,"input":{"messages":[{"type":"human","content":"hello"}]}}`, assistant))
	if err != nil {
		return "", err
	}
	var made struct {
		ID string `json:"run_id"`
	}
	if err := json.Unmarshal(answer, &made); err != nil || made.ID == "" {
		return "", fmt.Errorf("starting a run: answered %.100q", answer)
	}
	return made.ID, nil
}

// cancel ends a run, and waits for its end if told to.
func (c *patron) cancel(ctx context.Context, thread, run string, wait bool) error {
	address := "http://" + c.http.Addr + "/api/threads/" + thread + "/runs/" + run + "/cancel"
	if wait {
		address += "?wait=1"
	}
	ctx, stop := context.WithTimeout(ctx, callLimit)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return fmt.Errorf("cancelling a run: %w", err)
	}
	request.Header.Set("X-Api-Key", c.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("cancelling a run: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return fmt.Errorf("cancelling a run: %w", err)
	}
	if response.StatusCode != http.StatusAccepted && response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("cancelling a run: status %d", response.StatusCode)
	}
	return nil
}
