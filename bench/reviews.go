//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/heddle/heddle/internal/id"
)

// The sizes of the rows of reviews.
const (
	decisions    = 100
	openRequests = 10_000
	queueReads   = 300
	queuePage    = 50
)

// measureReviews prints two tables: how long after a decision the resumed run
// shows itself, and what the page of a long queue costs.
func measureReviews(ctx context.Context, b *backing, s settings) (err error) {
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
	if err := measureDecisions(ctx, p, floor, s); err != nil {
		return fmt.Errorf("decisions: %w: %s", err, p.said())
	}
	if err := measureQueue(ctx, p, floor, s); err != nil {
		return fmt.Errorf("the queue: %w: %s", err, p.said())
	}
	return nil
}

// commitsPerDecision is how many transactions lie between a decision and the
// first envelope of the run that goes on: the decision, the claim, and the step
// that begins the run.
const commitsPerDecision = 3

// measureDecisions has one person ask for mail and a reviewer approve it.
func measureDecisions(ctx context.Context, p *product, floor *bare, s settings) (err error) {
	client := &fasthttp.HostClient{Addr: p.Addr, MaxConns: 20, NoDefaultUserAgentHeader: true}
	defer client.CloseIdleConnections()
	asker, err := newPatron(ctx, p, client, p.Keys[0], 20)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, asker.close()) }()
	var shown, bare []time.Duration
	var ratio []float64
	for i := -1; i < s.rounds; i++ { // round -1 warms up
		if err := floor.settle(ctx); err != nil {
			return err
		}
		var here []time.Duration
		for range decisions {
			d, err := asker.decision(p.Reviewer)
			if err != nil {
				return err
			}
			here = append(here, d)
		}
		least, err := floor.commits(ctx, decisions, commitsPerDecision)
		if err != nil {
			return err
		}
		if i >= 0 {
			shown, bare = append(shown, here...), append(bare, least...)
			ratio = append(ratio, quantile(here, .5)/quantile(least, .5))
		}
	}
	fmt.Printf("\nReviews: decision by API -> first envelope of the resumed run on the asker's socket; %d bare commits on the same PostgreSQL\n", commitsPerDecision)
	fmt.Printf("\n| %d decisions a round | p50 ms | p99 ms | of bare p50 |\n|---|---|---|---|\n", decisions)
	fmt.Printf("| bare | %.1f | %.1f | 1 |\n| decision | %.1f | %.1f | %s |\n", quantile(bare, .5), quantile(bare, .99),
		quantile(shown, .5), quantile(shown, .99), spreadOf(ratio).show("%.1f"))
	return nil
}

// commits takes how long n commits in a row take, several times.
func (b *bare) commits(ctx context.Context, times, n int) ([]time.Duration, error) {
	body := string(make200())
	out := make([]time.Duration, times)
	for i := range out {
		began := time.Now()
		for range n {
			if _, err := b.pool.Exec(ctx, `insert into bench.commits (body) values ($1)`, body); err != nil {
				return nil, fmt.Errorf("committing: %w", err)
			}
		}
		out[i] = time.Since(began)
	}
	return out, nil
}

// decision asks for a mail, has the reviewer approve it, and gives how long
// after the decision was sent the asker saw the run that goes on.
func (c *patron) decision(reviewer string) (time.Duration, error) {
	thread := c.threads[c.next%len(c.threads)]
	c.next++
	if err := c.heartbeat(); err != nil {
		return 0, err
	}
	guide := id.Named(id.GraphNamespace, "heddle guide")
	asked := &watch{topic: "thread:" + thread, began: time.Now(), end: make(chan struct{})}
	c.watch.Store(asked)
	if _, err := c.call("/api/threads/"+thread+"/runs", fmt.Appendf(nil,
		`{"assistant_id":%q,"input":{"messages":[{"type":"human","content":"email bob@example.com that we ship"}]}}`, guide)); err != nil {
		return 0, err
	}
	if err := c.ended(asked); err != nil {
		return 0, err
	}
	decided := &watch{topic: asked.topic, mark: `"type":"RUN_STARTED"`, began: time.Now(), end: make(chan struct{})}
	c.watch.Store(decided)
	judge := &patron{http: c.http, key: reviewer}
	if _, err := judge.call("/api/threads/"+thread+"/runs", fmt.Appendf(nil,
		`{"assistant_id":%q,"command":{"resume":{"decisions":[{"type":"approve"}]}}}`, guide)); err != nil {
		return 0, err
	}
	if err := c.ended(decided); err != nil {
		return 0, err
	}
	first := time.Duration(decided.first.Load())
	if first == 0 {
		return 0, errors.New("the socket saw no run go on")
	}
	return first, nil
}

// ended waits for the end of the watched run.
func (c *patron) ended(w *watch) error {
	if err := c.wait(w.end); err != nil {
		return fmt.Errorf("waiting for a run's end on the socket: %w", err)
	}
	return nil
}

// wait waits for what the socket's reader says.
func (c *patron) wait(said <-chan struct{}) error {
	timeout := time.NewTimer(callLimit)
	defer timeout.Stop()
	select {
	case <-said:
		return nil
	case <-c.done:
		return c.err()
	case <-timeout.C:
		return errors.New("the socket was not told")
	}
}

const sqlManyRequests = `insert into reviews (org_id, id, thread_id, line_id, run_id, interrupt_id, call_id, requester_id, assistant_id,
		assistant_version, tool, args, args_hash, allowed, reason, rule, effect, created_at, due_at)
	select t.org_id, gen_random_uuid(), t.id, t.line_id, gen_random_uuid(), 'bench', 'call-' || n, t.owner_id, $3::uuid, 1, 'send_email',
		json_build_object('to', 'bob@example.com', 'subject', 'Subject ' || n, 'body', 'Text'), sha256('x'), array['approve', 'reject'],
		'bench', 'default', 'outbound', now(), now() + interval '1 day' + n * interval '1 second'
	from generate_series(1, $1::int) n, threads t where t.id = $2::uuid`

// sqlQueueFloor is the least that the page needs: its rows, and the count.
const sqlQueueFloor = `select v.id::text, v.tool, v.args::text, v.due_at, (select count(*) from (select 1 from reviews w
		where w.org_id = v.org_id and w.status = 'open' limit 1000) x)
	from reviews v where v.org_id = (select id from orgs where slug = 'acme') and v.status = 'open' order by v.due_at, v.id limit $1`

// measureQueue reads the first page of a queue of 10,000 as a signed-in reviewer.
func measureQueue(ctx context.Context, p *product, floor *bare, s settings) error {
	ray, err := signIn("http://"+p.Addr, "ray@acme.test")
	if err != nil {
		return err
	}
	conn, err := floor.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("taking a connection: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "set role heddle_system"); err != nil {
		return fmt.Errorf("taking a role: %w", err)
	}
	if _, err := conn.Exec(ctx, sqlManyRequests, openRequests, p.AcmeThread, id.Named(id.GraphNamespace, "heddle guide")); err != nil {
		return fmt.Errorf("filling the queue: %w", err)
	}
	if err := floor.settle(ctx); err != nil {
		return err
	}
	var pages, rows []time.Duration
	var ratio []float64
	for i := -1; i < s.rounds; i++ {
		var here, least []time.Duration
		for range queueReads {
			began := time.Now()
			n, err := ray.read("http://" + p.Addr + "/reviews")
			if err != nil {
				return err
			}
			if n < 10_000 {
				return fmt.Errorf("the page of the queue has %d bytes only", n)
			}
			here = append(here, time.Since(began))
			began = time.Now()
			found, err := conn.Query(ctx, sqlQueueFloor, queuePage)
			if err != nil {
				return fmt.Errorf("reading rows: %w", err)
			}
			count := 0
			for found.Next() {
				count++
			}
			if err := found.Err(); err != nil {
				return fmt.Errorf("reading rows: %w", err)
			}
			if count != queuePage {
				return fmt.Errorf("reading rows: %d of %d", count, queuePage)
			}
			least = append(least, time.Since(began))
		}
		if i >= 0 {
			pages, rows = append(pages, here...), append(rows, least...)
			ratio = append(ratio, quantile(here, .5)/quantile(least, .5))
		}
	}
	fmt.Printf("\n| queue page, %d open, one client | p50 ms | p99 ms | of rows p50 |\n|---|---|---|---|\n", openRequests)
	fmt.Printf("| %d rows and the count by pgx | %.1f | %.1f | 1 |\n| GET /reviews | %.1f | %.1f | %s |\n", queuePage,
		quantile(rows, .5), quantile(rows, .99), quantile(pages, .5), quantile(pages, .99), spreadOf(ratio).show("%.1f"))
	return nil
}

// browser is a signed-in person of the demo.
type browser struct{ http *http.Client }

func signIn(base, email string) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("making a cookie jar: %w", err)
	}
	b := &browser{http: &http.Client{Jar: jar, Timeout: callLimit}}
	if _, err := b.read(base + "/auth/dev?login_hint=" + email); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *browser) read(url string) (int, error) {
	response, err := b.http.Get(url)
	if err != nil {
		return 0, fmt.Errorf("reading a page: %w", err)
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("reading %s: status %d", url, response.StatusCode)
	}
	return int(n), nil
}
