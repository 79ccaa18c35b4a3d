//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The rows of the API: the same requests of the Agent Server API to Heddle and to
// the JavaScript development server, in turns. Both execute ten runs at once and
// have no limit of rate. Heddle commits everything to PostgreSQL and syncs it; the
// peer keeps it in memory. Every run has a thread of its own, made before the time
// begins, so that no side gathers a history.

const (
	apiWorkers  = 10
	apiLong     = 1000 // messages
	apiShort    = 10
	historyReps = 15
	historySize = 10
)

// target is a server with the API.
type target struct {
	name, base string
	keys       []string // none for a server without
	client     *http.Client
	resident   func() int64
	// runs is how many runs a slice has per client.
	runs int
}

func newTarget(name, addr, prefix string, keys []string, runs int, resident func() int64) *target {
	return &target{name: name, base: "http://" + addr + prefix, keys: keys, runs: runs, resident: resident, client: &http.Client{
		Timeout: 2 * time.Minute,
		Transport: &http.Transport{MaxIdleConns: 600, MaxIdleConnsPerHost: 600, DisableCompression: true,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext},
	}}
}

func (t *target) send(ctx context.Context, client int, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing a request: %w", err)
		}
		reader = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, t.base+path, reader)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if len(t.keys) > 0 {
		request.Header.Set("X-Api-Key", t.keys[client%len(t.keys)])
	}
	response, err := t.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %s %s: %w", t.name, method, path, err)
	}
	if response.StatusCode >= 300 {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 300)) // the status says enough
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s: %s %s: status %d: %s", t.name, method, path, response.StatusCode, said)
	}
	return response, nil
}

func (t *target) call(ctx context.Context, client int, method, path string, body, into any) ([]byte, error) {
	response, err := t.send(ctx, client, method, path, body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: reading the answer of %s: %w", t.name, path, err)
	}
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, fmt.Errorf("%s: reading the answer of %s: %w", t.name, path, err)
		}
	}
	return raw, nil
}

func (t *target) thread(ctx context.Context, client int) (string, error) {
	var made struct {
		ID string `json:"thread_id"`
	}
	_, err := t.call(ctx, client, http.MethodPost, "/threads", map[string]any{}, &made)
	return made.ID, err
}

// threads makes a thread for each run of a slice, each by the client that uses it.
func (t *target) threads(ctx context.Context, clients, total int) ([][]string, error) {
	out := make([][]string, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	room := make(chan struct{}, 16)
	for client := range clients {
		wg.Go(func() {
			for n := client; n < total && errs[client] == nil; n += clients {
				room <- struct{}{}
				id, err := t.thread(ctx, client)
				<-room
				out[client], errs[client] = append(out[client], id), err
			}
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

type apiInput struct {
	Assistant string         `json:"assistant_id"`
	Input     map[string]any `json:"input"`
	Modes     []string       `json:"stream_mode,omitempty"`
}

func said(messages ...map[string]any) map[string]any { return map[string]any{"messages": messages} }

func human(text string) map[string]any { return map[string]any{"type": "human", "content": text} }

// wait runs a graph and checks its answer.
func (t *target) wait(ctx context.Context, client int, thread string) (outcome, error) {
	began := time.Now()
	raw, err := t.call(ctx, client, http.MethodPost, "/threads/"+thread+"/runs/wait", apiInput{Assistant: "echo", Input: said(human("hello"))}, nil)
	took := time.Since(began)
	if err == nil && !bytes.Contains(raw, []byte("echo: hello")) {
		err = fmt.Errorf("%s: a run answered %.200q", t.name, raw)
	}
	return outcome{total: took}, err
}

// stream runs stream50 and counts the frames of its tokens.
func (t *target) stream(ctx context.Context, client int, thread string) (outcome, error) {
	began := time.Now()
	response, err := t.send(ctx, client, http.MethodPost, "/threads/"+thread+"/runs/stream",
		apiInput{Assistant: "stream50", Input: said(human("go")), Modes: []string{"messages-tuple"}})
	if err != nil {
		return outcome{}, err
	}
	defer response.Body.Close()
	var out outcome
	frames := 0
	lines := bufio.NewReaderSize(response.Body, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if bytes.HasPrefix(line, []byte("data: [")) && bytes.Contains(line, []byte("token")) {
			if frames++; frames == 1 {
				out.first = time.Since(began)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			out.total = time.Since(began)
			if frames < 50 {
				return out, fmt.Errorf("%s: a stream had %d frames of 50 tokens", t.name, frames)
			}
			return out, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return out, fmt.Errorf("%s: reading a stream: %w", t.name, err)
		}
	}
}

// slice lets each client do so many runs, on threads made before.
func (t *target) slice(ctx context.Context, clients, total int, run func(context.Context, int, string) (outcome, error)) (round, error) {
	threads, err := t.threads(ctx, clients, total)
	if err != nil {
		return round{}, err
	}
	next := make([]int, clients)
	return inParallel(clients, total, func(client int) (outcome, error) {
		if next[client] == len(threads[client]) { // others were slower: one more
			thread, err := t.thread(ctx, client)
			if err != nil {
				return outcome{}, err
			}
			threads[client] = append(threads[client], thread)
		}
		thread := threads[client][next[client]]
		next[client]++
		return run(ctx, client, thread)
	})
}

// totalOf is how many runs a slice has: a few seconds of them.
func (t *target) totalOf(clients int) int { return max(t.runs*2, t.runs*clients/2) }

func measureAPI(ctx context.Context, b *backing, s settings) (err error) {
	p, err := startProduct(b, "-merge", "0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	peer, err := startPeer(ctx, apiWorkers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.stop()) }()
	floor, err := openBare(ctx, b.postgres.URL())
	if err != nil {
		return err
	}
	defer floor.pool.Close()
	targets := []*target{
		newTarget("heddle", p.Addr, "/api", p.Keys, 24, func() int64 { return residentOf(p.pid()) }),
		newTarget("JavaScript", peer.addr, "", nil, 6, peer.resident),
	}
	fmt.Printf("\nThe Agent Server API beside the JavaScript development server (in memory); %d runs at once and no limit of rate on both sides, a fresh thread for each run\n", apiWorkers)
	levels := s.clients
	if !slices.Contains(levels, 256) && len(levels) > 1 {
		levels = append(slices.Clone(levels), 256)
	}
	a := apiRows{ctx: ctx, b: b, p: p, s: s, floor: floor, targets: targets}
	for _, rows := range []struct {
		title  string
		stream bool
		levels []int
	}{{"runs/wait of echo", false, levels}, {"runs/stream of 50 tokens, not gathered", true, s.clients}} {
		if err := a.level(rows.title, rows.stream, rows.levels); err != nil {
			return fmt.Errorf("%w: %s", err, p.said())
		}
	}
	if err := a.history(); err != nil {
		return fmt.Errorf("%w: %s", err, p.said())
	}
	a.memory()
	return nil
}

// apiRows measures the tables.
type apiRows struct {
	ctx     context.Context
	b       *backing
	p       *product
	s       settings
	floor   *bare
	targets []*target
}

func (a apiRows) level(title string, stream bool, levels []int) error {
	if stream {
		fmt.Printf("\n| %s | clients | token frames/s, all streams | of JavaScript | first token p50 ms | of JavaScript | p99 ms | whole run p50 ms | server CPU ms/run | PostgreSQL CPU ms/run |\n|---|---|---|---|---|---|---|---|---|---|\n", title)
	} else {
		fmt.Printf("\n| %s | clients | runs/s | of JavaScript | p50 ms | p99 ms | of JavaScript | server CPU ms/run | PostgreSQL CPU ms/run |\n|---|---|---|---|---|---|---|---|---|\n", title)
	}
	for _, clients := range levels {
		rounds := map[string][]round{}
		order := slices.Clone(a.targets)
		for i := -1; i < a.s.rounds; i++ {
			if err := a.floor.settle(a.ctx); err != nil {
				return err
			}
			for _, t := range order {
				r, err := a.measured(t, clients, stream, i)
				if err != nil {
					return err
				}
				if i >= 0 {
					rounds[t.name] = append(rounds[t.name], r)
				}
			}
			slices.Reverse(order)
		}
		for _, t := range a.targets {
			a.print(t.name, clients, stream, rounds[t.name], rounds["JavaScript"])
		}
	}
	return nil
}

func (a apiRows) measured(t *target, clients int, stream bool, i int) (round, error) {
	run, total := t.wait, t.totalOf(clients)
	if stream {
		run = t.stream
	}
	if i < 0 {
		total = max(clients, total/3) // warms up
	}
	var p *product
	if t.name == "heddle" {
		p = a.p
	}
	stop := profile(p, a.s, fmt.Sprintf("api-%t-%d-%d", stream, clients, i))
	cpu, postgres := cpuOf(a.p.pid()), a.b.postgresCPU()
	r, err := t.slice(a.ctx, clients, total, run)
	if err := errors.Join(err, stop()); err != nil {
		return r, err
	}
	n := float64(len(r.totals))
	r.serverCPU, r.postgresCPU = (cpuOf(a.p.pid())-cpu)/n*1000, (a.b.postgresCPU()-postgres)/n*1000
	return r, nil
}

func (a apiRows) print(name string, clients int, stream bool, of, over []round) {
	per := 1.0
	if stream {
		per = 50
	}
	rate := func(r round) float64 { return r.perSecond * per }
	at := func(q float64, of func(round) []time.Duration) func(round) float64 {
		return func(r round) float64 { return quantile(slices.Clone(of(r)), q) }
	}
	totals, firsts := func(r round) []time.Duration { return r.totals }, func(r round) []time.Duration { return r.firsts }
	mid := func(figure func(round) float64) float64 { return spreadOf(each(of, figure)).mid }
	ratio := func(figure func(round) float64) float64 {
		return spreadOf(ratios(each(of, figure), each(over, figure))).mid
	}
	server, postgres := func(r round) float64 { return r.serverCPU }, func(r round) float64 { return r.postgresCPU }
	cpu := " | "
	if name == "heddle" {
		cpu = fmt.Sprintf("%.2f | %.2f", mid(server), mid(postgres))
	}
	if stream {
		fmt.Printf("| %s | %d | %s | %.2f | %.1f | %.2f | %.1f | %.1f | %s |\n", name, clients, spreadOf(each(of, rate)).show("%.0f"), ratio(rate),
			mid(at(.5, firsts)), ratio(at(.5, firsts)), mid(at(.99, firsts)), mid(at(.5, totals)), cpu)
		return
	}
	fmt.Printf("| %s | %d | %s | %.2f | %.1f | %.1f | %.2f | %s |\n", name, clients, spreadOf(each(of, rate)).show("%.0f"), ratio(rate),
		mid(at(.5, totals)), mid(at(.99, totals)), ratio(at(.99, totals)), cpu)
}

// history measures threads of many messages: readings, and one more run.
func (a apiRows) history() error {
	fmt.Printf("\n| thread of %d messages | GET state p50 ms | of JavaScript | POST history (%d) p50 ms | of JavaScript | a further run ms | less that of a short thread ms | of one GET state |\n|---|---|---|---|---|---|---|---|\n", apiLong, historySize)
	type figures struct{ state, history, late, early []time.Duration }
	all := map[string]*figures{}
	threads := map[string][2]string{}
	for _, t := range a.targets {
		all[t.name] = &figures{}
		long, err := t.filled(a.ctx, apiLong)
		if err != nil {
			return err
		}
		short, err := t.filled(a.ctx, apiShort)
		if err != nil {
			return err
		}
		threads[t.name] = [2]string{long, short}
	}
	for i := range historyReps {
		for j := range a.targets {
			t := a.targets[(i+j)%len(a.targets)]
			f, own := all[t.name], threads[t.name]
			turns := []struct {
				into *[]time.Duration
				what func() error
			}{
				{&f.state, func() error { return t.reads(a.ctx, http.MethodGet, "/threads/"+own[0]+"/state", nil, 1) }},
				{&f.history, func() error {
					return t.reads(a.ctx, http.MethodPost, "/threads/"+own[0]+"/history", map[string]any{"limit": historySize}, historySize)
				}},
				{&f.late, func() error { return t.background(a.ctx, own[0]) }},
				{&f.early, func() error { return t.background(a.ctx, own[1]) }},
			}
			if i%2 == 1 {
				slices.Reverse(turns) // what follows a large answer cleans up after it
			}
			for _, m := range turns {
				began := time.Now()
				if err := m.what(); err != nil {
					return err
				}
				*m.into = append(*m.into, time.Since(began))
			}
		}
	}
	js := all["JavaScript"]
	for _, t := range a.targets {
		f := all[t.name]
		state, history, more := quantile(f.state, .5), quantile(f.history, .5), quantile(f.late, .5)-quantile(f.early, .5)
		fmt.Printf("| %s | %.2f | %.3f | %.2f | %.4f | %.1f | %.2f | %.2f |\n", t.name, state, state/quantile(js.state, .5), history, history/quantile(js.history, .5),
			quantile(f.late, .5), more, more/state)
	}
	return nil
}

// filled makes a thread of so many messages, and enough states for a history.
func (t *target) filled(ctx context.Context, messages int) (string, error) {
	thread, err := t.thread(ctx, 0)
	if err != nil {
		return "", err
	}
	var list []map[string]any
	for i := range messages - 1 {
		m := human(fmt.Sprintf("message %d: %s", i, strings.Repeat("a few words ", 9)))
		if i%2 == 1 {
			m["type"] = "ai"
		}
		list = append(list, m)
	}
	for _, input := range [][]map[string]any{append(list, human("go")), {human("1")}, {human("2")}, {human("3")}, {human("4")}, {human("5")}} {
		if _, err := t.call(ctx, 0, http.MethodPost, "/threads/"+thread+"/runs/wait", apiInput{Assistant: "echo", Input: said(input...)}, nil); err != nil {
			return "", err
		}
	}
	return thread, nil
}

// reads asks for states and checks that as many came.
func (t *target) reads(ctx context.Context, method, path string, body any, want int) error {
	raw, err := t.call(ctx, 0, method, path, body, nil)
	if err == nil && bytes.Count(raw, []byte(`"message 0:`)) != want {
		err = fmt.Errorf("%s: %s answered %d states for %d", t.name, path, bytes.Count(raw, []byte(`"message 0:`)), want)
	}
	return err
}

// background starts a run and joins it.
func (t *target) background(ctx context.Context, thread string) error {
	var made struct {
		ID string `json:"run_id"`
	}
	if _, err := t.call(ctx, 0, http.MethodPost, "/threads/"+thread+"/runs", apiInput{Assistant: "echo", Input: said(human("more"))}, &made); err != nil {
		return err
	}
	_, err := t.call(ctx, 0, http.MethodGet, "/threads/"+thread+"/runs/"+made.ID+"/join", nil, nil)
	return err
}

// memory tells what the servers hold after all that.
func (a apiRows) memory() {
	js := float64(a.targets[1].resident())
	fmt.Printf("\n| resident memory after the series | MB | of JavaScript |\n|---|---|---|\n")
	for _, t := range a.targets {
		fmt.Printf("| %s | %.0f | %.2f |\n", t.name, float64(t.resident())/1024, float64(t.resident())/js)
	}
}
