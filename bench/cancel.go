//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model/openai/openaitest"
	"github.com/heddle/heddle/agents/prebuilt"
	"github.com/heddle/heddle/internal/id"
)

// The rows `cancel`: how soon after a person's stop a model provider is no longer
// paid for. A run of the graph chat asks a provider over HTTP by the product's own
// client for OpenAI's protocol; the provider (openaitest) has streamed some words
// and is silent; the run is cancelled by API, once at the process that executes
// it and once at another one, which has to tell the first over Redis. Measured is
// the time from sending that call until the provider's server sees its request
// end, which is when net/http notices that the connection was closed. Beside it
// the least there is: one commit, and a client of net/http that gives up a request
// to the same provider. One cancel at a time; the run's own end, which follows, is
// waited for and not measured. Limit: cancelLimit.

const (
	cancelsPerRound = 40
	// cancelLimit is how soon the provider must see it.
	cancelLimit = 200 * time.Millisecond
)

// askingModel is a model of the provider; it takes any name.
const askingModel = "openai:bench"

// askingAssistant asks the provider.
func askingAssistant() agents.Assistant {
	return agents.Assistant{ID: agents.AssistantID(id.Named(id.GraphNamespace, "bench asks a provider")), Graph: prebuilt.ChatName, Name: "Asks a provider",
		Config: agents.AssistantConfig{Model: askingModel}}
}

// provider is a model provider that says when its clients go.
type provider struct {
	*openaitest.Server
	http   *http.Server
	base   string
	served chan error
	// left receives when a request's client has gone.
	left chan time.Time
}

func startProvider() (*provider, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	p := &provider{Server: openaitest.New(openaitest.Options{}), base: "http://" + listener.Addr().String() + "/v1",
		served: make(chan error, 1), left: make(chan time.Time, 1)}
	p.http = &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(p.answer)}
	go func() { p.served <- p.http.Serve(listener) }()
	return p, nil
}

func (p *provider) answer(w http.ResponseWriter, r *http.Request) {
	p.ServeHTTP(w, r) // returns as soon as the client is seen to have gone
	if r.Context().Err() != nil {
		p.left <- time.Now()
	}
}

func (p *provider) stop() error {
	err := p.http.Close()
	if ended := <-p.served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// measureCancel prints how soon a provider sees that a run was cancelled.
func measureCancel(ctx context.Context, b *backing, s settings) (err error) {
	model, err := startProvider()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.stop()) }()
	works, err := startProduct(b, "-provider", model.base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, works.stop()) }()
	serves, err := startProduct(b, "-provider", model.base, "-worker", "off")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, serves.stop()) }()
	floor, err := openBare(ctx, b.postgres.URL())
	if err != nil {
		return err
	}
	defer floor.pool.Close()
	client := &fasthttp.HostClient{Addr: works.Addr, MaxConns: 20, NoDefaultUserAgentHeader: true}
	defer client.CloseIdleConnections()
	asker, err := newAsker(ctx, works, client, model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, asker.close()) }()
	type row struct {
		name string
		once func(ctx context.Context) (time.Duration, error)
	}
	const bareRow = "one commit, one request given up by hand"
	rows := []row{
		{bareRow, func(ctx context.Context) (time.Duration, error) { return model.giveUp(ctx, floor) }},
		{"cancel at the node that executes the run", func(ctx context.Context) (time.Duration, error) { return asker.stopped(ctx, works) }},
		{"cancel at another node", func(ctx context.Context) (time.Duration, error) { return asker.stopped(ctx, serves) }},
	}
	order := slices.Clone(rows)
	all, medians := map[string][]time.Duration{}, map[string][]float64{}
	for i := -1; i < s.rounds; i++ { // round -1 warms up
		if err := floor.settle(ctx); err != nil {
			return err
		}
		for _, r := range order {
			var here []time.Duration
			for range cancelsPerRound {
				took, err := r.once(ctx)
				if err != nil {
					return fmt.Errorf("%s: %w: %s%s", r.name, err, works.said(), serves.said())
				}
				here = append(here, took)
			}
			if i >= 0 {
				all[r.name] = append(all[r.name], here...)
				medians[r.name] = append(medians[r.name], quantile(here, .5))
			}
		}
		slices.Reverse(order)
	}
	fmt.Printf("\nCancel: from the call until the model provider sees that its request has ended; %d a round, one at a time\n", cancelsPerRound)
	fmt.Printf("\n| what | p50 ms | p99 ms | p99 of the limit of %d ms | of the floor p50 |\n|---|---|---|---|---|\n", cancelLimit.Milliseconds())
	for _, r := range rows {
		p99 := quantile(all[r.name], .99)
		fmt.Printf("| %s | %.1f | %.1f | %.2f | %s |\n", r.name, quantile(all[r.name], .5), p99, p99/ms(cancelLimit),
			spreadOf(ratios(medians[r.name], medians[bareRow])).show("%.1f"))
	}
	return nil
}

// expect makes the next request one that never ends by itself.
func (p *provider) expect() { p.Script(openaitest.StallAfter("Once upon a time ")) }

// gone waits until the provider has seen its client go.
func (p *provider) gone(ctx context.Context, began time.Time) (time.Duration, error) {
	timeout := time.NewTimer(callLimit)
	defer timeout.Stop()
	select {
	case at := <-p.left:
		return at.Sub(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-timeout.C:
		return 0, errors.New("the provider still answers")
	}
}

// giveUp commits once and then gives up a request to the provider, by hand.
func (p *provider) giveUp(ctx context.Context, floor *bare) (time.Duration, error) {
	p.expect()
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(asking, http.MethodPost, p.base+"/chat/completions", strings.NewReader(
		`{"model":"bench","stream":true,"messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		return 0, fmt.Errorf("asking the provider: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking the provider: %w", err)
	}
	defer response.Body.Close()
	if _, err := response.Body.Read(make([]byte, 1)); err != nil {
		return 0, fmt.Errorf("hearing the provider: %w", err)
	}
	began := time.Now()
	if _, err := floor.pool.Exec(ctx, `insert into bench.commits (body) values ($1)`, string(make200())); err != nil {
		return 0, fmt.Errorf("committing: %w", err)
	}
	cancel()
	return p.gone(ctx, began)
}

// asker starts runs that ask the provider, and sees them begin to stream.
type asker struct {
	*patron
	model *provider
}

func newAsker(ctx context.Context, p *product, http *fasthttp.HostClient, model *provider) (*asker, error) {
	c, err := newPatron(ctx, p, http, p.Keys[0], threadsPerLevel)
	return &asker{patron: c, model: model}, err
}

// stopped starts a run, cancels it at a node once a token was seen, and gives how
// soon the provider saw that.
func (a *asker) stopped(ctx context.Context, at *product) (time.Duration, error) {
	thread := a.threads[a.next%len(a.threads)]
	a.next++
	if err := a.heartbeat(); err != nil {
		return 0, err
	}
	a.model.expect()
	w := &watch{topic: "thread:" + thread, began: time.Now(), end: make(chan struct{}), shown: make(chan struct{})}
	a.watch.Store(w)
	run, err := a.start(thread, string(askingAssistant().ID))
	if err != nil {
		return 0, err
	}
	if err := a.wait(w.shown); err != nil {
		return 0, fmt.Errorf("waiting for the first token: %w", err)
	}
	judge := &patron{http: &fasthttp.HostClient{Addr: at.Addr}, key: at.Keys[0]}
	began := time.Now()
	if err := judge.cancel(ctx, thread, run, false); err != nil {
		return 0, err
	}
	took, err := a.model.gone(ctx, began)
	if err != nil {
		return 0, err
	}
	return took, a.ended(w)
}
