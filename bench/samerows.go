//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/heddle/heddle/internal/id"
)

// The row `same rows`: what a run of one step leaves in the database, written by
// hand. The values are those of a run that the product has just made, only the
// ids are new; the tables are copies of the product's with all their indexes,
// checks and settings; there are as many transactions, in the same order, each
// one pgx batch of prepared statements that change one row each by its key: one
// round trip. It does not read, and it has no row-level security, no foreign
// keys, no look-up of what is due, no condition on a token, no packing and no
// JSON to make: so the ratio of a run to it is what all that and the rest of our
// code cost beyond the data itself.

// tablesOfRuns are what a run writes to, with what CREATE TABLE … LIKE leaves
// behind.
var tablesOfRuns = map[string]string{
	"threads": "", "thread_heads": " with (fillfactor = 50)", "lines": "", "messages": "", "checkpoints": "", "runs": "", "events": "",
}

// sample is one run as the product stored it.
type sample struct {
	org, owner                     string
	assistant                      string
	version                        int
	key                            *string
	input, request, metadata, meta string
	manifest                       *string
	events                         []sampleEvents
	messages                       []sampleMessage
	checkpoints                    []sampleCheckpoint
	threadMetadata                 string
}

type sampleEvents struct {
	N    int64
	Pack []byte
}

type sampleMessage struct {
	Role   string
	Text   *string
	Author *string
	Rest   *string
}

type sampleCheckpoint struct {
	Source                                         string
	Ops, Deltas, Next, Wrote, Interrupts, Metadata *string
}

// sqlSampleRun finds the newest run of a graph whose log took the usual two
// rows: that it is queued, and its steps with what the node said.
const sqlSampleRun = `select r.org_id::text, r.user_id::text, r.id::text, r.thread_id::text, r.assistant_id::text, r.assistant_version, r.key_id::text,
		r.input::text, r.request::text, r.metadata::text, r.manifest::text, t.metadata::text, t.line_id::text
	from runs r join threads t on t.org_id = r.org_id and t.id = r.thread_id
	join assistants a on a.org_id = r.org_id and a.id = r.assistant_id
	where a.graph = $1 and r.status = 'success' and r.key_id is not null
		and (select count(*) from events e where e.org_id = r.org_id and e.thread_id = r.thread_id and e.run_id = r.id) = 2
	order by r.ended_at desc limit 1`

const sqlSampleEvents = `select seq - from_seq + 1 as n, pack from events where run_id = $1 and thread_id = $2 and org_id = $3 order by seq`

const sqlSampleMessages = `select role, text, author_id::text as author, rest::text as rest from messages
	where run_id = $1 and thread_id = $2 and org_id = $3 order by created_at, role desc`

const sqlSampleCheckpoints = `select source, ops::text, deltas::text, next::text, wrote::text, interrupts::text, metadata::text
	from checkpoints where run_id = $1 and line_id = $2 and org_id = $3 order by step`

// byHand writes the rows of runs.
type byHand struct {
	pool *pgxpool.Pool
	of   *sample
	// lines are each client's threads, by number of clients.
	lines map[int][][]*handLine
}

// handLine is one thread that is written by hand.
type handLine struct {
	thread, line string
	seq, token   int64
	step         int
}

// openByHand copies the tables, and takes a run as the sample.
func openByHand(ctx context.Context, floor *bare) (*byHand, error) {
	h := &byHand{pool: floor.pool, lines: map[int][][]*handLine{}}
	for table, settings := range tablesOfRuns {
		sql := fmt.Sprintf("drop table if exists bench.%[1]s; create table bench.%[1]s (like public.%[1]s including all)%[2]s", table, settings)
		if _, err := h.pool.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return nil, fmt.Errorf("copying the table %s: %w", table, err)
		}
	}
	return h, nil
}

// take takes the newest run of a graph as the sample. The reading role is the
// one that sees every organisation.
func (h *byHand) take(ctx context.Context, org, graph string) error {
	return pgx.BeginFunc(ctx, h.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local role heddle_app"); err != nil {
			return fmt.Errorf("taking a role: %w", err)
		}
		if _, err := tx.Exec(ctx, "select set_config('heddle.org', $1, true)", org); err != nil {
			return fmt.Errorf("taking an organisation: %w", err)
		}
		s := &sample{}
		var run, thread, line string
		err := tx.QueryRow(ctx, sqlSampleRun, graph).Scan(&s.org, &s.owner, &run, &thread, &s.assistant, &s.version, &s.key,
			&s.input, &s.request, &s.metadata, &s.manifest, &s.threadMetadata, &line)
		if err != nil {
			return fmt.Errorf("reading a run of %s: %w", graph, err)
		}
		rows, _ := tx.Query(ctx, sqlSampleEvents, run, thread, s.org)
		if s.events, err = pgx.CollectRows(rows, pgx.RowToStructByPos[sampleEvents]); err != nil {
			return fmt.Errorf("reading the log of a run: %w", err)
		}
		rows, _ = tx.Query(ctx, sqlSampleMessages, run, thread, s.org)
		if s.messages, err = pgx.CollectRows(rows, pgx.RowToStructByPos[sampleMessage]); err != nil {
			return fmt.Errorf("reading the messages of a run: %w", err)
		}
		rows, _ = tx.Query(ctx, sqlSampleCheckpoints, run, line, s.org)
		if s.checkpoints, err = pgx.CollectRows(rows, pgx.RowToStructByPos[sampleCheckpoint]); err != nil {
			return fmt.Errorf("reading the steps of a run: %w", err)
		}
		if len(s.events) != 2 || len(s.messages) != 2 || len(s.checkpoints) != 2 || s.messages[0].Role != "user" {
			return fmt.Errorf("a run of %s has %d rows of the log, %d messages and %d steps", graph, len(s.events), len(s.messages), len(s.checkpoints))
		}
		h.of = s
		return nil
	})
}

// slice writes the rows of total runs from clients side by side.
func (h *byHand) slice(ctx context.Context, clients, total int) (round, error) {
	lines := h.lines[clients]
	for len(lines) < clients {
		var own []*handLine
		for range max(1, threadsPerLevel/clients) {
			l, err := h.begin(ctx)
			if err != nil {
				return round{}, err
			}
			own = append(own, l)
		}
		lines = append(lines, own)
	}
	h.lines[clients] = lines
	next := make([]int, clients)
	return inParallel(clients, total, func(client int) (outcome, error) {
		l := lines[client][next[client]%len(lines[client])]
		next[client]++
		return h.run(ctx, l)
	})
}

// begin makes a thread.
func (h *byHand) begin(ctx context.Context) (*handLine, error) {
	l := &handLine{thread: id.New(), line: id.New()}
	var b pgx.Batch
	b.Queue(`insert into bench.threads (org_id, id, owner_id, line_id) values ($1, $2, $3, $4)`, h.of.org, l.thread, h.of.owner, l.line)
	b.Queue(`insert into bench.thread_heads (org_id, thread_id, epoch) values ($1, $2, $3)`, h.of.org, l.thread, id.New())
	b.Queue(`insert into bench.lines (org_id, id, thread_id) values ($1, $2, $3)`, h.of.org, l.line, l.thread)
	if err := h.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("making a thread by hand: %w", err)
	}
	return l, nil
}

// The statements of a run.
const (
	handRun = `insert into bench.runs (org_id, id, thread_id, assistant_id, assistant_version, user_id, key_id, input, request, metadata)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	handBusy = `update bench.threads set status = 'busy', updated_at = now(), assistant_id = $3, assistant_version = $4, metadata = $5
		where org_id = $1 and id = $2`
	handSeq    = `update bench.thread_heads set seq = $3 where org_id = $1 and thread_id = $2`
	handEvents = `insert into bench.events (org_id, thread_id, seq, from_seq, run_id, pack) values ($1, $2, $3, $4, $5, $6)`
	handLease  = `update bench.thread_heads set token = $3, run_id = $4, worker_id = $5, lease_until = now() + interval '15 s'
		where org_id = $1 and thread_id = $2`
	handStart = `update bench.runs set status = 'running', token = $3, attempt = 1, started_at = now(), updated_at = now()
		where org_id = $1 and id = $2`
	handMessage = `insert into bench.messages (org_id, thread_id, id, revision, role, text, author_id, rest, run_id)
		values ($1, $2, $3, 0, $4, $5, $6, $7, $8)`
	handStep       = `update bench.lines set step = $3 where org_id = $1 and id = $2`
	handCheckpoint = `insert into bench.checkpoints (org_id, line_id, step, run_id, source, ops, deltas, next, wrote, interrupts, metadata, event_seq)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
	handFree = `update bench.thread_heads set seq = $3, run_id = null, worker_id = null, lease_until = null where org_id = $1 and thread_id = $2`
	handEnd  = `update bench.runs set status = 'success', manifest = $3, ended_at = now(), updated_at = now() where org_id = $1 and id = $2`
	handIdle = `update bench.threads set status = 'idle', updated_at = now() where org_id = $1 and id = $2`
)

// handWorker stands for the worker that holds the leases.
const handWorker = "00000000-0000-7000-8000-000000000001"

// run writes the transactions of a run.
func (h *byHand) run(ctx context.Context, l *handLine) (outcome, error) {
	s, run := h.of, id.New()
	began := time.Now()
	var out outcome
	for i, fill := range []func(b *pgx.Batch){
		func(b *pgx.Batch) {
			b.Queue(handRun, s.org, run, l.thread, s.assistant, s.version, s.owner, s.key, s.input, s.request, s.metadata)
			b.Queue(handBusy, s.org, l.thread, s.assistant, s.version, s.threadMetadata)
			h.log(b, l, run, 0, handSeq)
		},
		func(b *pgx.Batch) {
			l.token++
			b.Queue(handLease, s.org, l.thread, l.token, run, handWorker)
			b.Queue(handStart, s.org, run, l.token)
		},
		func(b *pgx.Batch) {
			h.log(b, l, run, 1, handFree)
			h.step(b, l, run, 0)
			h.step(b, l, run, 1)
			b.Queue(handStep, s.org, l.line, l.step-1)
			b.Queue(handEnd, s.org, run, s.manifest)
			b.Queue(handIdle, s.org, l.thread)
		},
	} {
		var b pgx.Batch
		fill(&b)
		if err := h.pool.SendBatch(ctx, &b).Close(); err != nil {
			return out, fmt.Errorf("writing rows by hand, commit %d: %w", i+1, err)
		}
		if i == commitsPerRun-1 {
			out.first = time.Since(began)
		}
	}
	out.total = time.Since(began)
	return out, nil
}

// log writes one row of the log and moves its counter.
func (h *byHand) log(b *pgx.Batch, l *handLine, run string, i int, counter string) {
	e := h.of.events[i]
	from := l.seq + 1
	l.seq += e.N
	b.Queue(counter, h.of.org, l.thread, l.seq)
	b.Queue(handEvents, h.of.org, l.thread, l.seq, from, run, e.Pack)
}

// step writes a step with its message.
func (h *byHand) step(b *pgx.Batch, l *handLine, run string, i int) {
	m, c := h.of.messages[i], h.of.checkpoints[i]
	b.Queue(handMessage, h.of.org, l.thread, id.New(), m.Role, m.Text, m.Author, m.Rest, run)
	b.Queue(handCheckpoint, h.of.org, l.line, l.step, run, c.Source, c.Ops, c.Deltas, c.Next, c.Wrote, c.Interrupts, c.Metadata, l.seq)
	l.step++
}
