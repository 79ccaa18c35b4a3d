package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
)

// Many states are read with as few statements as one: what one load asks for one
// line, these ask for many. A load is known by its place n among those that are
// read together. The offsets keep each look-up one probe of the key: without them
// whole tables are hashed for a few rows.

const sqlHeadLines = `select w.n::int as n, l.parent_line, l.parent_step, l.step
	from unnest(@lines::uuid[]) with ordinality as w(id, n)
	cross join lateral (select * from lines where org_id = @org and id = w.id offset 0) l`

type headLineRow struct {
	N int
	lineRow
}

// sqlHeadCheckpoints is sqlCheckpoints for many lines.
const sqlHeadCheckpoints = `with head as (
		select w.n::int as n, w.id, least(coalesce(w.upto, l.step), l.step) as step
		from unnest(@lines::uuid[], @uptos::int[]) with ordinality as w(id, upto, n)
		cross join lateral (select * from lines where org_id = @org and id = w.id offset 0) l
	), wanted as (
		select n, id, generate_series(step - step % @whole::int, step - step % @part::int - 1, @part::int) as step from head
		union all select n, id, step - 1 from head where step % @part::int = 0
		union all select n, id, generate_series(step - step % @part::int, step) from head
	)
	select w.n, ` + checkpointColumns + ` from wanted w cross join lateral (select * from checkpoints
		where org_id = @org and line_id = w.id and step = w.step offset 0) c
	order by w.n, c.step`

const sqlHeadPending = `select w.n::int as n, p.step, p.task, p.line, p.result
	from unnest(@lines::uuid[]) with ordinality as w(id, n)
	cross join lateral (select * from pending_writes where org_id = @org and line_id = w.id offset 0) p order by w.n, p.task`

type headPendingRow struct {
	N int
	pendingRow
}

// sqlHeadMessages is sqlMessagesByRef for several threads.
const sqlHeadMessages = `select w.n, ` + messageColumns + `
	from unnest(@threads::uuid[], @ids::text[], @revs::bigint[]) with ordinality as w(thread, id, rev, n)
	cross join lateral (select * from messages
		where org_id = @org and thread_id = w.thread and id = w.id and revision = w.rev offset 0) m
	limit @count`

// foldAll makes the states of all loads but for their messages, one statement of a
// kind for all lines at the same height. A line that is gone by now leaves its load
// without a head.
func foldAll(ctx context.Context, send sends, org string, loads []*stateLoad) error {
	var climbing []*stateLoad
	if err := readHeads(ctx, send, org, loads); err != nil {
		return err
	}
	for _, l := range loads {
		if len(l.lines) == 0 {
			continue
		}
		if err := l.begin(); err != nil {
			return err
		}
		climbing = append(climbing, l)
	}
	for len(climbing) > 0 {
		var ups []*stateLoad
		var lines []string
		var uptos []*int
		for _, l := range climbing {
			at, upto, more := l.above()
			if more {
				ups, lines, uptos = append(ups, l), append(lines, at), append(uptos, &upto)
			} else if err := l.replay(); err != nil {
				return err
			}
		}
		if len(ups) == 0 {
			return nil
		}
		found, segments, err := readLines(ctx, send, nil, named{"org": org, "lines": lines, "uptos": uptos})
		if err != nil {
			return err
		}
		climbing = climbing[:0]
		for i, l := range ups {
			if found[i] != nil {
				l.reached(*found[i], segments[i])
				climbing = append(climbing, l)
			}
		}
	}
	return nil
}

// readHeads reads what queueLine does, for all loads.
func readHeads(ctx context.Context, send sends, org string, loads []*stateLoad) error {
	lines, uptos := make([]string, len(loads)), make([]*int, len(loads))
	for i, l := range loads {
		lines[i], uptos[i] = l.line, l.upto
	}
	args := named{"org": org, "lines": lines, "uptos": uptos}
	var pending []headPendingRow
	var batch pgx.Batch
	batch.Queue(sqlNoJIT)
	collect(&batch, &pending, sqlHeadPending, args)
	found, segments, err := readLines(ctx, send, &batch, args)
	if err != nil {
		return err
	}
	for i, l := range loads {
		if found[i] != nil {
			l.lines, l.segment = []lineRow{*found[i]}, segments[i]
		}
	}
	for _, p := range pending {
		l := loads[p.N-1]
		l.pending = append(l.pending, p.pendingRow)
	}
	return nil
}

// readLines reads lines and their steps, in the places of args["lines"]; what the
// caller has queued goes with them.
func readLines(ctx context.Context, send sends, batch *pgx.Batch, args named) ([]*lineRow, [][]checkpointRow, error) {
	if batch == nil {
		batch = &pgx.Batch{}
		batch.Queue(sqlNoJIT)
	}
	n := len(args["lines"].([]string))
	args["whole"], args["part"] = agents.SnapshotEvery, agents.RollupEvery
	found, segments := make([]*lineRow, n), make([][]checkpointRow, n)
	var rows []headLineRow
	collect(batch, &rows, sqlHeadLines, args)
	batch.Queue(sqlHeadCheckpoints, args).Query(func(rows pgx.Rows) error {
		known := names{}
		return eachRow(rows, func(w *wire) error {
			i := w.int4() - 1
			if i < 0 || i >= n {
				return errMissing
			}
			segments[i] = append(segments[i], readCheckpoint(w, known))
			return nil
		})
	})
	if err := send(ctx, batch); err != nil {
		return nil, nil, fmt.Errorf("reading lines: %w", translate(err))
	}
	for _, r := range rows {
		line := r.lineRow
		found[r.N-1] = &line
	}
	return found, segments, nil
}

// bodiesOfAll reads the messages of all loads. A thread that is gone by now keeps a
// state without a head.
func bodiesOfAll(ctx context.Context, send sends, org string, loads []*stateLoad) error {
	var of []*stateLoad
	var threads, ids []string
	var revs []int64
	count := 0
	for _, l := range loads {
		count += len(l.refs)
	}
	lists, places := make(map[*stateLoad][]agents.Message, len(loads)), make([]int, 0, count)
	for _, l := range loads {
		lists[l] = make([]agents.Message, len(l.refs))
		for i, r := range l.refs {
			of, places = append(of, l), append(places, i)
			threads, ids, revs = append(threads, l.thread), append(ids, string(r.ID)), append(revs, r.Rev)
		}
	}
	if count == 0 {
		return nil
	}
	read := make(map[*stateLoad]int, len(loads))
	known := names{}
	var batch pgx.Batch
	batch.Queue(sqlNoJIT)
	batch.Queue(sqlHeadMessages, named{"org": org, "threads": threads, "ids": ids, "revs": revs, "count": count}).Query(func(rows pgx.Rows) error {
		return eachRow(rows, func(w *wire) error {
			n := int(w.int8()) - 1
			if n < 0 || n >= count {
				return errMissing
			}
			l, i := of[n], places[n]
			read[l]++
			w.at += 2 // the id and revision it was asked by
			return readMessage(w, &lists[l][i], l.refs[i], known)
		})
	})
	if err := send(ctx, &batch); err != nil {
		return fmt.Errorf("reading messages: %w", translate(err))
	}
	for _, l := range loads {
		if read[l] < len(l.refs) {
			l.state = agents.State{}
			continue
		}
		if len(l.refs) > 0 {
			l.state.Messages = lists[l]
		}
	}
	return nil
}

// errTooMuch says that the states of a list are too much for one answer.
var errTooMuch = errors.New("the states have too many messages")
