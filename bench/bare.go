//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// commitsPerRun is how many transactions a run of one step cannot do without
// when nobody shares its batches and its node answers at once: submit; claim; the
// input's step and the last one, with what the node said and the run's end.
const commitsPerRun = 3

// poolSize is how many connections the product holds in its two pools (20 and
// 5); the bare commits get as many.
const poolSize = 25

// bare issues commits and nothing else: each inserts one row of 200 bytes.
type bare struct{ pool *pgxpool.Pool }

func openBare(ctx context.Context, url string) (*bare, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	cfg.MaxConns = poolSize
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening a pool: %w", err)
	}
	for _, sql := range []string{`create schema if not exists bench`, `create table if not exists bench.commits (id bigserial primary key, body text not null)`} {
		if _, err := pool.Exec(ctx, sql); err != nil {
			pool.Close()
			return nil, fmt.Errorf("making the table of bare commits: %w", err)
		}
	}
	return &bare{pool}, nil
}

// settle does between slices what autovacuum does once a minute: without it
// the plans of a database this young are those of empty tables.
func (b *bare) settle(ctx context.Context) error {
	if _, err := b.pool.Exec(ctx, `vacuum (analyze)`, pgx.QueryExecModeExec); err != nil {
		return fmt.Errorf("vacuuming: %w", err)
	}
	return nil
}

// written counts the transactions that have written anything, of everybody.
func (b *bare) written(ctx context.Context) (int64, error) {
	var n int64
	if err := b.pool.QueryRow(ctx, `select pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting transactions: %w", err)
	}
	return n, nil
}

// slice lets clients make total runs' commits, each client one commit after
// the other, and returns how long each run's commits took.
func (b *bare) slice(ctx context.Context, clients, total int) (round, error) {
	body := string(make200())
	return inParallel(clients, total, func(int) (outcome, error) {
		began := time.Now()
		var out outcome
		for i := range commitsPerRun {
			if _, err := b.pool.Exec(ctx, `insert into bench.commits (body) values ($1)`, body); err != nil {
				return out, fmt.Errorf("committing: %w", err)
			}
			if i == commitsPerRun-1 {
				out.first = time.Since(began) // the log is written: what was said could be shown
			}
		}
		out.total = time.Since(began)
		return out, nil
	})
}

func make200() []byte {
	body := make([]byte, 200)
	for i := range body {
		body[i] = 'x'
	}
	return body
}

// round is what one contender did in one slice.
type round struct {
	perSecond      float64
	firsts, totals []time.Duration
	commits        float64 // transactions that wrote, per run
	serverCPU      float64 // of the product, milliseconds per run
	postgresCPU    float64 // of all its processes, milliseconds per run
}

// inParallel makes total runs from clients side by side; the first failure
// ends them.
func inParallel(clients, total int, run func(client int) (outcome, error)) (round, error) {
	var left atomic.Int64
	left.Store(int64(total))
	outs := make([][]outcome, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				out, err := run(i)
				if err != nil {
					errs[i] = err
					left.Store(0)
					return
				}
				outs[i] = append(outs[i], out)
			}
		})
	}
	wg.Wait()
	wall := time.Since(began)
	var r round
	for i := range clients {
		if errs[i] != nil {
			return r, errs[i]
		}
		for _, out := range outs[i] {
			r.firsts, r.totals = append(r.firsts, out.first), append(r.totals, out.total)
		}
	}
	r.perSecond = float64(len(r.totals)) / wall.Seconds()
	return r, nil
}
