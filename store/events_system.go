package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// sqlAppendBatch appends groups of entries of any number of threads in one
// statement: lock the heads in the order of their keys (so that two nodes can't
// deadlock), accept the groups whose token is the thread's, number them, add
// their counts to the counter.
const sqlAppendBatch = `with input as (
	select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::int[], $6::bytea[])
		with ordinality as i(org_id, thread_id, run_id, token, n, pack, ord)
), locked as (
	select h.org_id, h.thread_id, h.token from thread_heads h
	where (h.org_id, h.thread_id) in (select org_id, thread_id from input)
	order by h.org_id, h.thread_id for update
), accepted as (
	select i.*, sum(i.n) over (partition by i.org_id, i.thread_id order by i.ord) as upto
	from input i join locked l on l.org_id = i.org_id and l.thread_id = i.thread_id and l.token = i.token
), counts as (
	select org_id, thread_id, sum(n) as n from accepted group by org_id, thread_id
), heads as (
	update thread_heads h set seq = h.seq + c.n from counts c
	where h.org_id = c.org_id and h.thread_id = c.thread_id
	returning h.org_id, h.thread_id, h.seq - c.n as base, h.epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, pack)
	select a.org_id, a.thread_id, heads.base + a.upto, heads.base + a.upto - a.n + 1, a.run_id, a.pack
	from accepted a join heads on heads.org_id = a.org_id and heads.thread_id = a.thread_id
)
select a.ord, (heads.base + a.upto - a.n)::bigint as base, heads.epoch::text as epoch
from accepted a join heads on heads.org_id = a.org_id and heads.thread_id = a.thread_id`

// group is what one attempt appends to one thread: one row.
type group struct {
	first   agents.Entry
	entries []int // places among all
	bodies  []string
}

// groups puts entries of one attempt together, in their order.
func groups(entries []agents.Entry) []group {
	type key struct {
		org    auth.OrgID
		thread agents.ThreadID
		run    agents.RunID
		token  int64
	}
	at := map[key]int{}
	var out []group
	for i, e := range entries {
		k := key{e.Org, e.Thread, e.Run, e.Token}
		g, ok := at[k]
		if !ok {
			g = len(out)
			at[k] = g
			out = append(out, group{first: e})
		}
		out[g].entries, out[g].bodies = append(out[g].entries, i), append(out[g].bodies, string(e.Body))
	}
	return out
}

// Append writes a batch of entries and returns their numbers in the same
// order. Entries of an old token come back with number zero.
func (db *DB) Append(ctx context.Context, entries []agents.Entry) ([]agents.Numbered, error) {
	all := groups(entries)
	n := len(all)
	orgs, threads, runs := make([]string, n), make([]string, n), make([]string, n)
	tokens, counts, rowsOf := make([]int64, n), make([]int, n), make([][]byte, n)
	for i, g := range all {
		orgs[i], threads[i], runs[i] = string(g.first.Org), string(g.first.Thread), string(g.first.Run)
		tokens[i], counts[i] = g.first.Token, len(g.entries)
		var err error
		if rowsOf[i], err = db.packs.pack(threads[i], runs[i], g.bodies); err != nil {
			return nil, err
		}
	}
	out := make([]agents.Numbered, len(entries))
	var batch pgx.Batch
	batch.Queue(sqlProbe)
	batch.Queue(sqlAppendBatch, orgs, threads, runs, tokens, counts, rowsOf).Query(func(rows pgx.Rows) error {
		var ord, base int64
		var epoch string
		_, err := pgx.ForEachRow(rows, []any{&ord, &base, &epoch}, func() error {
			for i, at := range all[ord-1].entries {
				out[at] = agents.Numbered{Seq: base + int64(i) + 1, Epoch: epoch}
			}
			return nil
		})
		return err
	})
	if err := db.system.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("appending %d events: %w", len(entries), err)
	}
	return out, nil
}

// sqlHeadsOf tells how far logs go, each by a probe of its key.
const sqlHeadsOf = `select w.n::int as n, h.seq, h.epoch::text as epoch
	from unnest(@orgs::uuid[], @threads::uuid[]) with ordinality as w(org_id, thread_id, n)
	cross join lateral (select * from thread_heads where org_id = w.org_id and thread_id = w.thread_id offset 0) h`

// HeadsOf tells the hub how far the logs of threads go, in their order: the zero
// position of one that is gone.
func (db *DB) HeadsOf(ctx context.Context, threads []agents.ThreadKey) ([]agents.Position, error) {
	orgs, ids := make([]string, len(threads)), make([]string, len(threads))
	for i, t := range threads {
		orgs[i], ids[i] = string(t.Org), string(t.Thread)
	}
	rows, _ := db.system.Query(ctx, sqlHeadsOf, named{"orgs": orgs, "threads": ids}) // its error comes back from ForEachRow
	out := make([]agents.Position, len(threads))
	var n int
	var at agents.Position
	_, err := pgx.ForEachRow(rows, []any{&n, &at.Seq, &at.Epoch}, func() error {
		out[n-1] = at
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the heads of logs: %w", err)
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
		rows, head, err = db.readLog(ctx, tx, string(org), thread, after, limit)
		return err
	})
	return rows, head, err
}
