//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// The rows `queue`: the queue alone, without graphs, checkpoints and envelopes,
// beside River, which many Go programs use as theirs. Both sides are given jobs
// that do nothing and that are in the database already, eight are worked on at a
// time by one process, and the time goes from the first claim until the last end
// is committed; a job that ran twice, was lost, or whose end is not in the
// database fails the run. Ours is what the product's worker calls, with its own
// loop of claims ([run.Claims]) and its own statements ([store.DB.Claim],
// [store.DB.FinishRun], which writes ends that are due together together). It
// keeps, for each, the thread's lease with a fencing token, the thread's status and
// an order within the thread, which River has not; River keeps retries, errors and
// history, which ours has elsewhere. Placing jobs in the queue is not measured.

// The sizes of the rows of the queue.
const (
	queueSlots = 8
	// queueJobs for who is fast, slowJobs for River as it is by default, which
	// begins as many jobs every 100 ms as it has workers.
	queueJobs = 3000
	slowJobs  = 160
	// queueLease is the product's default.
	queueLease = 15 * time.Second
	// queueLimit bounds one slice.
	queueLimit = time.Minute
)

// drained is what one contender did in one slice.
type drained struct {
	perSecond, commits, walBytes float64
	postgresCPU                  float64 // milliseconds
}

// measureQueueLayer prints how fast the jobs of a queue are claimed and ended.
func measureQueueLayer(ctx context.Context, b *backing, s settings) error {
	if err := app.Migrate(ctx, b.productURL(), logger()); err != nil {
		return err
	}
	floor, err := openBare(ctx, b.postgres.URL())
	if err != nil {
		return err
	}
	defer floor.pool.Close()
	ours, err := openQueue(ctx, b)
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := openRiver(ctx, b)
	if err != nil {
		return err
	}
	defer theirs.pool.Close()
	type row struct {
		name string
		jobs int
		// fill places jobs, drain works until all have ended.
		fill  func(ctx context.Context, n int) error
		drain func(ctx context.Context, n int) (time.Duration, error)
	}
	const fast, slow = "River, fetch cooldown 1 ms", "River, fetch cooldown 100 ms (default)"
	rows := []row{
		{"heddle", queueJobs, ours.fill, ours.drain},
		{fast, queueJobs, theirs.fill, func(ctx context.Context, n int) (time.Duration, error) { return theirs.drain(ctx, n, time.Millisecond) }},
		{slow, slowJobs, theirs.fill, func(ctx context.Context, n int) (time.Duration, error) {
			return theirs.drain(ctx, n, river.FetchCooldownDefault)
		}},
	}
	results := map[string][]drained{}
	took := map[string]*statement{}
	for i := -1; i < s.rounds; i++ { // round -1 warms up
		for _, r := range rows {
			if i < 0 && r.name == slow {
				continue // it is slow, not cold
			}
			d, err := drainQueue(ctx, b, floor, s, r.jobs, r.fill, r.drain)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if i < 0 {
				continue
			}
			results[r.name] = append(results[r.name], d)
			if s.statements && r.name == "heddle" {
				if err := b.addStatements(ctx, took); err != nil {
					return err
				}
			}
		}
		slices.Reverse(rows)
	}
	fmt.Printf("\nThe queue alone: jobs that do nothing, %d at a time, all in the queue before the first is claimed\n", queueSlots)
	fmt.Printf("\n| queue | jobs/s median [min-max] | of River at 1 ms | transactions/job | WAL bytes/job | PostgreSQL CPU ms/job |\n|---|---|---|---|---|---|\n")
	rate := func(d drained) float64 { return d.perSecond }
	for _, name := range []string{"heddle", fast, slow} {
		rs := results[name]
		fmt.Printf("| %s | %s | %s | %.2f | %.0f | %.2f |\n", name, spreadOf(each(rs, rate)).show("%.0f"),
			spreadOf(ratios(each(rs, rate), each(results[fast], rate))).show("%.2f"),
			spreadOf(each(rs, func(d drained) float64 { return d.commits })).mid,
			spreadOf(each(rs, func(d drained) float64 { return d.walBytes })).mid,
			spreadOf(each(rs, func(d drained) float64 { return d.postgresCPU })).mid)
	}
	if s.statements {
		printStatements("heddle", took, s.rounds*queueJobs)
	}
	return ours.empty(ctx)
}

// drainQueue fills a queue, lets it be worked off, and counts what that wrote.
func drainQueue(ctx context.Context, b *backing, floor *bare, s settings, jobs int, fill func(context.Context, int) error,
	drain func(context.Context, int) (time.Duration, error)) (drained, error) {
	var d drained
	if err := fill(ctx, jobs); err != nil {
		return d, err
	}
	if err := floor.settle(ctx); err != nil {
		return d, err
	}
	if s.statements {
		if err := b.forgetStatements(ctx); err != nil {
			return d, err
		}
	}
	cpu := b.postgresCPU()
	before, err := floor.written(ctx)
	if err != nil {
		return d, err
	}
	wal, err := floor.wal(ctx)
	if err != nil {
		return d, err
	}
	working, cancel := context.WithTimeout(ctx, queueLimit)
	defer cancel()
	took, err := drain(working, jobs)
	if err != nil {
		return d, err
	}
	after, err := floor.written(ctx)
	if err != nil {
		return d, err
	}
	end, err := floor.wal(ctx)
	n := float64(jobs)
	return drained{perSecond: n / took.Seconds(), commits: float64(after-before) / n, walBytes: float64(end-wal) / n,
		postgresCPU: (b.postgresCPU() - cpu) / n * 1000}, err
}

// wal gives how many bytes the write-ahead log has.
func (b *bare) wal(ctx context.Context) (int64, error) {
	var n int64
	if err := b.pool.QueryRow(ctx, `select (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&n); err != nil {
		return 0, fmt.Errorf("reading the log's length: %w", err)
	}
	return n, nil
}

// ourQueue is the product's queue, worked on by the product's statements.
type ourQueue struct {
	db     *store.DB
	pool   *pgxpool.Pool // sees the organisation's rows
	scope  auth.Scope
	worker agents.WorkerID
}

// queueAssistant is the one that the jobs name; nobody executes it.
var queueAssistant = agents.Assistant{ID: agents.AssistantID(id.Named(id.GraphNamespace, "bench queue")), Graph: "echo", Name: "Queue"}

func openQueue(ctx context.Context, b *backing) (*ourQueue, error) {
	db, err := store.Open(ctx, store.Options{URL: b.productURL()})
	if err != nil {
		return nil, err
	}
	q := &ourQueue{db: db, worker: agents.WorkerID(id.New())}
	if err := q.begin(ctx, b); err != nil {
		db.Close()
		return nil, err
	}
	return q, nil
}

func (q *ourQueue) begin(ctx context.Context, b *backing) error {
	var err error
	q.scope, err = q.db.EnsurePerson(ctx, auth.Person{
		Identity: auth.Identity{Issuer: "https://bench.test", Subject: "queue"}, Provider: "bench",
		Email: "queue@bench.test", Name: "queue", OrgSlug: "bench-queue", OrgName: "Queue", Role: auth.RoleMember,
	})
	if err != nil {
		return err
	}
	if err := q.db.EnsureAssistant(ctx, q.scope, queueAssistant); err != nil {
		return err
	}
	q.pool, err = member(ctx, b.postgres.URL(), string(q.scope.Org))
	return err
}

func (q *ourQueue) close() {
	q.pool.Close()
	q.db.Close()
}

// sqlQueueFill places runs on threads of their own, as the product stores them.
const sqlQueueFill = `with made as (
	insert into threads (org_id, id, owner_id, line_id, status)
	select $1::uuid, gen_random_uuid(), $2::uuid, gen_random_uuid(), 'busy' from generate_series(1, $4::int) returning org_id, id
), heads as (
	insert into thread_heads (org_id, thread_id, epoch) select org_id, id, gen_random_uuid() from made
)
insert into runs (org_id, id, thread_id, assistant_id, assistant_version, user_id, input)
select org_id, gen_random_uuid(), id, $3::uuid, 1, $2::uuid, '{}' from made`

// empty removes what the last slice left: it would only make the tables longer.
func (q *ourQueue) empty(ctx context.Context) error {
	if _, err := q.pool.Exec(ctx, `delete from threads where org_id = $1`, string(q.scope.Org)); err != nil {
		return fmt.Errorf("emptying the queue: %w", err)
	}
	return nil
}

func (q *ourQueue) fill(ctx context.Context, n int) error {
	if err := q.empty(ctx); err != nil {
		return err
	}
	if _, err := q.pool.Exec(ctx, sqlQueueFill, string(q.scope.Org), string(q.scope.User), string(queueAssistant.ID), n); err != nil {
		return fmt.Errorf("filling the queue: %w", err)
	}
	return nil
}

// drain claims as the worker does ([run.Claims]); the end of a run is on its way
// when its slot goes to the next.
func (q *ourQueue) drain(ctx context.Context, n int) (time.Duration, error) {
	claims := run.NewClaims(queueSlots)
	seen := make(map[agents.RunID]bool, n)
	ended := make(chan error, n)
	var failed error
	claim := func(free int) ([]agents.Claimed, error) { return q.db.Claim(ctx, q.worker, free, queueLease) }
	start := func(c agents.Claimed) {
		if seen[c.Run.ID] {
			failed = errors.Join(failed, fmt.Errorf("run %s was claimed twice", c.Run.ID))
		}
		seen[c.Run.ID] = true
		slot := claims.Take()
		go func() {
			slot.Ending() // the job did nothing
			err := q.finish(ctx, c)
			slot.Gone()
			ended <- err
		}()
	}
	began, over := time.Now(), 0
	for over < n && failed == nil {
		wait := claims.Wait()
		if wait == 0 && len(seen) < n {
			failed = errors.Join(failed, claims.Fill(claim, start))
			if len(seen) == over {
				failed = errors.Join(failed, fmt.Errorf("%d of %d runs were never claimed", n-len(seen), n))
			}
			wait = claims.Wait()
		}
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case err := <-ended:
			failed = errors.Join(failed, err)
			over++
		case <-claims.Freed():
		case <-again:
		case <-ctx.Done():
			failed = ctx.Err()
		}
	}
	took := time.Since(began)
	for ; over < len(seen); over++ {
		failed = errors.Join(failed, <-ended)
	}
	if failed != nil {
		return 0, failed
	}
	return took, q.check(ctx, n)
}

func (q *ourQueue) finish(ctx context.Context, c agents.Claimed) error {
	scope := auth.Scope{User: c.Run.User, Org: c.Run.Org, Role: c.Role, RequestID: string(c.Run.ID)}
	_, err := q.db.FinishRun(ctx, scope, agents.Lease{Thread: c.Run.Thread, Run: c.Run.ID, Token: c.Run.Token}, agents.Finish{Status: agents.RunSuccess})
	return err
}

func (q *ourQueue) check(ctx context.Context, n int) error {
	var ended, attempts, held int
	err := q.pool.QueryRow(ctx, `select count(*) filter (where r.status = 'success'), sum(r.attempt), count(h.run_id) from runs r
		join thread_heads h on h.org_id = r.org_id and h.thread_id = r.thread_id where r.org_id = $1`, string(q.scope.Org)).Scan(&ended, &attempts, &held)
	if err != nil {
		return fmt.Errorf("looking for the ends of runs: %w", err)
	}
	if ended != n || attempts != n || held != 0 {
		return fmt.Errorf("of %d runs %d ended in %d attempts and %d are held", n, ended, attempts, held)
	}
	return nil
}

// riverQueue is River on the same PostgreSQL.
type riverQueue struct {
	pool *pgxpool.Pool
}

// riverSchema keeps River's tables apart from ours.
const riverSchema = "bench_river"

func openRiver(ctx context.Context, b *backing) (*riverQueue, error) {
	cfg, err := pgxpool.ParseConfig(b.postgres.URL())
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	cfg.MaxConns = poolSize
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening a pool: %w", err)
	}
	q := &riverQueue{pool: pool}
	if err := q.migrate(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return q, nil
}

func (q *riverQueue) migrate(ctx context.Context) error {
	if _, err := q.pool.Exec(ctx, `create schema if not exists `+riverSchema); err != nil {
		return fmt.Errorf("making River's schema: %w", err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(q.pool), &rivermigrate.Config{Schema: riverSchema, Logger: logger()})
	if err != nil {
		return fmt.Errorf("migrating River: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrating River: %w", err)
	}
	return nil
}

// nothing is a job that does nothing.
type nothing struct {
	N int `json:"n"`
}

// Kind implements river.JobArgs.
func (nothing) Kind() string { return "nothing" }

// idle does nothing, and notes what it did it for.
type idle struct {
	river.WorkerDefaults[nothing]
	mu   sync.Mutex
	seen map[int64]int
}

// Work implements river.Worker.
func (w *idle) Work(_ context.Context, job *river.Job[nothing]) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[job.ID]++
	return nil
}

func (q *riverQueue) client(w *idle, cooldown time.Duration) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, w)
	client, err := river.NewClient(riverpgxv5.New(q.pool), &river.Config{
		Schema: riverSchema, Workers: workers, Logger: logger(), FetchCooldown: cooldown,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: queueSlots}},
	})
	if err != nil {
		return nil, fmt.Errorf("making a client of River: %w", err)
	}
	return client, nil
}

func (q *riverQueue) fill(ctx context.Context, n int) error {
	if _, err := q.pool.Exec(ctx, `truncate `+riverSchema+`.river_job`); err != nil {
		return fmt.Errorf("emptying River's queue: %w", err)
	}
	client, err := q.client(&idle{}, river.FetchCooldownDefault)
	if err != nil {
		return err
	}
	jobs := make([]river.InsertManyParams, n)
	for i := range jobs {
		jobs[i].Args = nothing{N: i}
	}
	if _, err := client.InsertManyFast(ctx, jobs); err != nil {
		return fmt.Errorf("filling River's queue: %w", err)
	}
	return nil
}

// drain runs a client until every job is completed in the database, as its
// events tell. The time begins when the client is started.
func (q *riverQueue) drain(ctx context.Context, n int, cooldown time.Duration) (took time.Duration, err error) {
	w := &idle{seen: make(map[int64]int, n)}
	client, err := q.client(w, cooldown)
	if err != nil {
		return 0, err
	}
	completed, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{ChanSize: n, Kinds: []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed}})
	defer unsubscribe()
	began := time.Now()
	if err := client.Start(ctx); err != nil {
		return 0, fmt.Errorf("starting River: %w", err)
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if stopped := client.Stop(stopping); stopped != nil {
			err = errors.Join(err, fmt.Errorf("stopping River: %w", stopped))
		}
	}()
	for range n {
		select {
		case e := <-completed:
			if e.Kind != river.EventKindJobCompleted {
				return 0, fmt.Errorf("River says %s of a job", e.Kind)
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for River: %w", ctx.Err())
		}
	}
	took = time.Since(began)
	return took, q.check(ctx, w, n)
}

func (q *riverQueue) check(ctx context.Context, w *idle, n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for job, times := range w.seen {
		if times != 1 {
			return fmt.Errorf("River ran job %d %d times", job, times)
		}
	}
	var ended int
	if err := q.pool.QueryRow(ctx, `select count(*) from `+riverSchema+`.river_job where state = 'completed'`).Scan(&ended); err != nil {
		return fmt.Errorf("looking for the ends of River's jobs: %w", err)
	}
	if ended != n || len(w.seen) != n {
		return fmt.Errorf("River ran %d of %d jobs and completed %d", len(w.seen), n, ended)
	}
	return nil
}
