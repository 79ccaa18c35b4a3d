//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// level is one number of clients and how many runs they make together in a
// slice: one to a few seconds of them.
type level struct{ clients, total int }

func levelOf(clients int) level { return level{clients, 100 + 10*min(clients, 50)} }

// threadsPerLevel is how many threads the clients of a level share out, at least
// one each, so that no thread gathers a long history.
const threadsPerLevel = 64

// contender is one row within a level.
type contender struct {
	name  string
	slice func(ctx context.Context) (round, error)
}

// peers are what the rows of runs are compared with, and the way in beside HTTP.
type peers struct {
	floor  *bare
	hand   *byHand
	within *inside
}

// rowsOfRuns are the rows of a table of runs, in the order in which they are
// printed.
func rowsOfRuns() []string { return []string{"bare", "same rows", "inside echo", "echo", "stream50"} }

// measureRuns prints a table per number of clients: runs of two graphs over the
// real API, and of one of them from within the product, beside the bare commits a
// run needs and beside the rows it writes, in turns.
func measureRuns(ctx context.Context, b *backing, s settings) (err error) {
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
	hand, err := openByHand(ctx, floor)
	if err != nil {
		return err
	}
	all := peers{floor, hand, &inside{p: p, threads: map[int][][]string{}}}
	http := &fasthttp.HostClient{Addr: p.Addr, MaxConns: 200, NoDefaultUserAgentHeader: true}
	defer http.CloseIdleConnections()
	fmt.Printf("\nRuns: submit over HTTP -> first token on a socket -> answer of runs/wait; `inside` without both; `bare` is %d commits a run, `same rows` what a run writes\n", commitsPerRun)
	for _, clients := range s.clients {
		l := levelOf(clients)
		if err := measureLevel(ctx, b, p, all, http, l, s); err != nil {
			return fmt.Errorf("%d clients: %w: %s", l.clients, err, p.said())
		}
	}
	return nil
}

func measureLevel(ctx context.Context, b *backing, p *product, all peers, http *fasthttp.HostClient, l level, s settings) (err error) {
	var patrons []*patron
	defer func() {
		for _, c := range patrons {
			err = errors.Join(err, c.close())
		}
	}()
	for i := range l.clients {
		c, err := newPatron(ctx, p, http, p.Keys[i%len(p.Keys)], max(1, threadsPerLevel/l.clients))
		if err != nil {
			return err
		}
		patrons = append(patrons, c)
	}
	product := func(graph, want string) func(context.Context) (round, error) {
		return func(ctx context.Context) (round, error) {
			return inParallel(l.clients, l.total, func(client int) (outcome, error) { return patrons[client].run(graph, want) })
		}
	}
	contenders := []contender{
		{"echo", product("echo", "echo: hello")},
		{"stream50", product("stream50", "token49")},
		{"inside echo", func(ctx context.Context) (round, error) {
			return all.within.slice(ctx, asked{Graph: "echo", Want: "echo: hello", Clients: l.clients, Total: l.total})
		}},
		{"bare", func(ctx context.Context) (round, error) { return all.floor.slice(ctx, l.clients, l.total) }},
		{"same rows", func(ctx context.Context) (round, error) { return all.hand.slice(ctx, l.clients, l.total) }},
	}
	rounds := map[string][]round{}
	took := map[string]map[string]*statement{"echo": {}, "inside echo": {}}
	for i := -1; i < s.rounds; i++ { // round -1 warms up
		if err := all.floor.settle(ctx); err != nil {
			return err
		}
		for _, c := range contenders {
			if c.name == "same rows" && all.hand.of == nil {
				if err := all.hand.take(ctx, p.Org, "echo"); err != nil {
					return err
				}
			}
			if s.statements {
				if err := b.forgetStatements(ctx); err != nil {
					return err
				}
			}
			stop := profile(p, s, fmt.Sprintf("runs-%s-%d-%d", strings.ReplaceAll(c.name, " ", "-"), l.clients, i))
			r, err := counted(ctx, b, p, all.floor, c)
			if err := errors.Join(err, stop()); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if i < 0 {
				continue
			}
			rounds[c.name] = append(rounds[c.name], r)
			if into := took[c.name]; s.statements && into != nil {
				if err := b.addStatements(ctx, into); err != nil {
					return err
				}
			}
		}
		if i >= 0 { // the first round begins where the sample is made
			slices.Reverse(contenders)
		}
	}
	printLevel(l, rounds)
	if s.statements {
		for _, name := range []string{"echo", "inside echo"} {
			printStatements(fmt.Sprintf("%s, %d clients", name, l.clients), took[name], s.rounds*l.total)
		}
	}
	return nil
}

// counted runs one slice and counts what it wrote and burnt.
func counted(ctx context.Context, b *backing, p *product, floor *bare, c contender) (round, error) {
	before, err := floor.written(ctx)
	if err != nil {
		return round{}, err
	}
	cpu, postgres := cpuOf(p.pid()), b.postgresCPU()
	r, err := c.slice(ctx)
	if err != nil {
		return r, err
	}
	n := float64(len(r.totals))
	r.serverCPU, r.postgresCPU = (cpuOf(p.pid())-cpu)/n*1000, (b.postgresCPU()-postgres)/n*1000
	after, err := floor.written(ctx)
	r.commits = float64(after-before) / n
	return r, err
}

func printLevel(l level, rounds map[string][]round) {
	fmt.Printf("\n| %d clients | runs/s median [min-max] | of bare | of same rows | end p50 ms | end p99 ms | first token p50 ms | p99 ms | commits/run | server CPU ms/run | PostgreSQL CPU ms/run |\n|---|---|---|---|---|---|---|---|---|---|---|\n", l.clients)
	rate := func(r round) float64 { return r.perSecond }
	base, same := each(rounds["bare"], rate), each(rounds["same rows"], rate)
	for _, name := range rowsOfRuns() {
		rs := rounds[name]
		var firsts, totals []time.Duration
		for _, r := range rs {
			firsts, totals = append(firsts, r.firsts...), append(totals, r.totals...)
		}
		first := " | "
		if quantile(firsts, .5) > 0 {
			first = fmt.Sprintf("%.1f | %.1f", quantile(firsts, .5), quantile(firsts, .99))
		}
		fmt.Printf("| %s | %s | %.2f | %.2f | %.1f | %.1f | %s | %.1f | %.2f | %.2f |\n", name,
			spreadOf(each(rs, rate)).show("%.0f"), spreadOf(ratios(each(rs, rate), base)).mid, spreadOf(ratios(each(rs, rate), same)).mid,
			quantile(totals, .5), quantile(totals, .99), first,
			spreadOf(each(rs, func(r round) float64 { return r.commits })).mid,
			spreadOf(each(rs, func(r round) float64 { return r.serverCPU })).mid,
			spreadOf(each(rs, func(r round) float64 { return r.postgresCPU })).mid)
	}
}
