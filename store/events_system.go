package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// sqlAppendBatch appends entries of any number of threads in one statement:
// lock the heads in the order of their keys (so that two nodes can't deadlock),
// accept the entries whose token is the thread's, number them, add their count
// to the counter.
const sqlAppendBatch = `with input as (
	select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[])
		with ordinality as i(org_id, thread_id, run_id, token, type, body, ord)
), locked as (
	select h.org_id, h.thread_id, h.token from thread_heads h
	where (h.org_id, h.thread_id) in (select org_id, thread_id from input)
	order by h.org_id, h.thread_id for update
), accepted as (
	select i.*, row_number() over (partition by i.org_id, i.thread_id order by i.ord) as nth
	from input i join locked l on l.org_id = i.org_id and l.thread_id = i.thread_id and l.token = i.token
), counts as (
	select org_id, thread_id, count(*) as n from accepted group by org_id, thread_id
), heads as (
	update thread_heads h set seq = h.seq + c.n from counts c
	where h.org_id = c.org_id and h.thread_id = c.thread_id
	returning h.org_id, h.thread_id, h.seq - c.n as base, h.epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, type, body)
	select a.org_id, a.thread_id, heads.base + a.nth, heads.base + a.nth, a.run_id, a.type, a.body
	from accepted a join heads on heads.org_id = a.org_id and heads.thread_id = a.thread_id
)
select a.ord, heads.base + a.nth as seq, heads.epoch::text as epoch
from accepted a join heads on heads.org_id = a.org_id and heads.thread_id = a.thread_id`

// Append writes a batch of entries and returns their numbers in the same
// order. Entries of an old token come back with number zero.
func (db *DB) Append(ctx context.Context, entries []agents.Entry) ([]agents.Numbered, error) {
	n := len(entries)
	orgs, threads, runs := make([]string, n), make([]string, n), make([]string, n)
	tokens, types, bodies := make([]int64, n), make([]string, n), make([]string, n)
	for i, e := range entries {
		orgs[i], threads[i], runs[i] = string(e.Org), string(e.Thread), string(e.Run)
		tokens[i], types[i], bodies[i] = e.Token, string(e.Type), string(e.Body)
	}
	rows, err := db.system.Query(ctx, sqlAppendBatch, orgs, threads, runs, tokens, types, bodies)
	if err != nil {
		return nil, fmt.Errorf("appending %d events: %w", n, err)
	}
	defer rows.Close()
	out := make([]agents.Numbered, n)
	for rows.Next() {
		var ord, seq int64
		var epoch string
		if err := rows.Scan(&ord, &seq, &epoch); err != nil {
			return nil, fmt.Errorf("appending %d events: %w", n, err)
		}
		out[ord-1] = agents.Numbered{Seq: seq, Epoch: epoch}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("appending %d events: %w", n, err)
	}
	return out, nil
}

// LogOf reads a thread's log for the hub, whose subscriptions were authorised
// when a socket joined.
func (db *DB) LogOf(ctx context.Context, org auth.OrgID, thread agents.ThreadID, after int64, limit int) ([]agents.LogRow, agents.Position, error) {
	if limit < 1 || limit > maxLogPage {
		limit = maxLogPage
	}
	var rows []agents.LogRow
	var head agents.Position
	err := pgx.BeginTxFunc(ctx, db.system, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var err error
		rows, head, err = readLog(ctx, tx, string(org), thread, after, limit)
		return err
	})
	return rows, head, err
}
