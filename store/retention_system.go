package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

const (
	// sweepBatch is how much goes in one transaction.
	sweepBatch = 5000
	// sweepUnlock bounds the giving back of the lock.
	sweepUnlock = 5 * time.Second
)

const sqlSweepLock = `select pg_try_advisory_lock(@class::int, 0)`

const sqlSweepUnlock = `select pg_advisory_unlock(@class::int, 0)`

// sqlSweepBegin takes the turn if the last one began long enough ago.
const sqlSweepBegin = `insert into sweeps as s (name, began_at) values ('retention', now())
	on conflict (name) do update set began_at = excluded.began_at where s.began_at <= now() - @every::interval`

// sqlSweepGiveBack lets the next node begin at once.
const sqlSweepGiveBack = `delete from sweeps where name = 'retention'`

// SweepTurn calls do if no other node sweeps and the last turn began at least
// every ago, and reports whether it did; every of zero asks for the lock alone. A
// turn that ends with an error counts as none. The lock belongs to a connection,
// so it is free once its process is gone.
func (db *DB) SweepTurn(ctx context.Context, every time.Duration, do func(context.Context) error) (bool, error) {
	conn, err := db.system.Acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("connecting to sweep: %w", err)
	}
	defer conn.Release()
	class := named{"class": sweepLockClass}
	var locked bool
	if err := conn.QueryRow(ctx, sqlSweepLock, class).Scan(&locked); err != nil {
		return false, fmt.Errorf("taking the lock of sweeps: %w", err)
	}
	if !locked {
		return false, nil
	}
	defer unlockSweeps(ctx, conn, class)
	begun, err := conn.Exec(ctx, sqlSweepBegin, named{"every": every})
	if err != nil {
		return false, fmt.Errorf("beginning a sweep: %w", err)
	}
	if begun.RowsAffected() == 0 {
		return false, nil
	}
	if err := do(ctx); err != nil {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepUnlock)
		defer cancel()
		if _, failed := conn.Exec(back, sqlSweepGiveBack); failed != nil {
			err = errors.Join(err, fmt.Errorf("giving back a turn: %w", failed))
		}
		return true, err
	}
	return true, nil
}

// unlockSweeps gives the lock back, with its connection if need be.
func unlockSweeps(ctx context.Context, conn *pgxpool.Conn, class named) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepUnlock)
	defer cancel()
	if _, err := conn.Exec(ctx, sqlSweepUnlock, class); err != nil {
		_ = conn.Conn().Close(ctx) // the lock ends with it
	}
}

// sqlNoJIT is for the statement that follows in its batch: it is estimated to be
// worth compiling, which takes longer than it.
const sqlNoJIT = `select set_config('jit', 'off', true)`

// sqlSweepPage looks at a page of all threads. The newest checkpoint of the active
// line says up to where the log is covered. The offsets keep each look-up to one
// thread: without them whole tables are hashed for every page.
const sqlSweepPage = `with page as materialized (
	select t.org_id, t.id, t.line_id, t.created_at, t.updated_at, t.ttl_minutes, t.ttl_swept_at from threads t
	where (t.org_id, t.id) > (@org::uuid, @thread::uuid) and (@all::bool or t.ttl_minutes is not null) order by t.org_id, t.id limit @limit
)
select t.org_id::text as org, t.id::text as thread, (
		t.updated_at < @threads::timestamptz
		or ` + threadExpired + `
		or coalesce(t.created_at < @events::timestamptz, false) and exists (
			select 1 from (select e.seq, e.created_at from events e where e.org_id = t.org_id and e.thread_id = t.id order by e.seq limit 1) e
			where e.created_at < @events::timestamptz and e.seq <= ` + coveredTo + `)
		or coalesce(t.created_at < @before::timestamptz, false) and (
			exists (select 1 from lines l where l.org_id = t.org_id and l.thread_id = t.id and l.ns is null and l.step >= @part::int
				and ` + prunableTo + ` is not null offset 0)
			or exists (select 1 from lines s where s.org_id = t.org_id and s.thread_id = t.id and ` + subLineOver + ` offset 0))
	) is true and not ` + threadOpen + ` as due
from page t order by t.org_id, t.id`

// threadExpired holds for a thread t whose own lifetime is over, unless nobody wrote
// to it since its old steps went for that.
const threadExpired = `coalesce(t.updated_at + t.ttl_minutes * interval '1 minute' < @now::timestamptz
			and (t.ttl_swept_at is null or t.ttl_swept_at < t.updated_at), false)`

// coveredTo is the number up to which the state of a thread t reflects the log;
// nothing where the active line has no step of its own.
const coveredTo = `(select c.event_seq from checkpoints c where c.org_id = t.org_id and c.line_id = t.line_id order by c.step desc limit 1)`

// threadOpen holds for a thread t that somebody works on or waits for.
const threadOpen = `(exists (select 1 from runs r where r.org_id = t.org_id and r.thread_id = t.id and r.status in ('pending', 'running', 'waiting') offset 0)
		or exists (select 1 from thread_heads h where h.org_id = t.org_id and h.thread_id = t.id and h.run_id is not null offset 0)
		or exists (select 1 from reviews v where v.org_id = t.org_id and v.thread_id = t.id and v.status = 'open' offset 0))`

type sweepRow struct {
	Org, Thread string
	Due         bool
}

const noID = "00000000-0000-0000-0000-000000000000"

// SweepPage looks at the threads of all organisations after a key, in the order
// of keys, at most limit, and says of which something may go.
func (db *DB) SweepPage(ctx context.Context, cuts agents.Cuts, after agents.ThreadKey, limit int) ([]agents.SweepCandidate, error) {
	if after == (agents.ThreadKey{}) {
		after = agents.ThreadKey{Org: noID, Thread: noID}
	}
	args := sweepArgs(after, cuts)
	args["limit"] = limit
	var batch pgx.Batch
	var found []sweepRow
	batch.Queue(sqlNoJIT)
	collect(&batch, &found, sqlSweepPage, args)
	if err := db.system.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("looking for what is old: %w", err)
	}
	out := make([]agents.SweepCandidate, len(found))
	for i, r := range found {
		out[i] = agents.SweepCandidate{ThreadKey: agents.ThreadKey{Org: auth.OrgID(r.Org), Thread: agents.ThreadID(r.Thread)}, Due: r.Due}
	}
	return out, nil
}

func sweepArgs(key agents.ThreadKey, cuts agents.Cuts) named {
	most := cuts.Batch
	if most == 0 {
		most = sweepBatch
	}
	return named{"org": string(key.Org), "thread": string(key.Thread), "threads": orNever(cuts.Threads), "before": orNever(cuts.Checkpoints),
		"events": orNever(cuts.Events), "keep": max(1, cuts.Keep), "part": agents.RollupEvery, "most": most, "now": orNever(cuts.Now),
		"all": !cuts.Threads.IsZero() || !cuts.Checkpoints.IsZero() || !cuts.Events.IsZero()}
}

// sqlSweepThreadLock passes over a thread whose head somebody has: it is in use.
const sqlSweepThreadLock = `select 1 from thread_heads h where h.org_id = @org and h.thread_id = @thread for update skip locked`

// sqlSweepThread reads, under the lock, what a thread is. It was touched when
// anything of it was last written.
const sqlSweepThread = `select ` + threadOpen + ` as open, coalesce((select c.interrupts is not null from checkpoints c
			where c.org_id = t.org_id and c.line_id = t.line_id order by c.step desc limit 1), false) as waits, coalesce(` + coveredTo + `, 0) as covered, greatest(t.updated_at,
		(select max(r.updated_at) from runs r where r.org_id = t.org_id and r.thread_id = t.id),
		(select e.created_at from events e where e.org_id = t.org_id and e.thread_id = t.id order by e.seq desc limit 1),
		(select max(c.created_at) from lines l cross join lateral (select created_at from checkpoints
			where org_id = l.org_id and line_id = l.id order by step desc limit 1) c where l.org_id = t.org_id and l.thread_id = t.id)) as touched,
		` + threadExpired + ` as expired, t.ttl_minutes, t.ttl_strategy
	from threads t where t.org_id = @org and t.id = @thread`

type sweepThreadRow struct {
	Open, Waits bool
	Covered     int64
	Touched     time.Time
	Expired     bool
	TTLMinutes  *float64
	TTLStrategy *string
}

// outlived reports whether a thread has lived its own lifetime by a moment, and
// what goes then.
func (r sweepThreadRow) outlived(now time.Time) (agents.RetentionStrategy, bool) {
	if !r.Expired || r.TTLMinutes == nil || r.TTLStrategy == nil {
		return "", false
	}
	ttl := agents.TTL{Strategy: agents.RetentionStrategy(*r.TTLStrategy), Minutes: *r.TTLMinutes}
	return ttl.Strategy, ttl.After(r.Touched).Before(now)
}

// errDry ends the transaction of a sweep that only counts.
var errDry = errors.New("nothing is kept of a dry run")

// SweepThread removes what is old of one thread, at most a batch of each kind, and
// says what went: in one transaction under the thread's head, which it never waits
// for. Nothing goes of a thread with an open run or an open request for review. A
// dry run does the same and takes it back.
func (db *DB) SweepThread(ctx context.Context, cuts agents.Cuts, key agents.ThreadKey, dry bool) (agents.Swept, error) {
	if dry {
		cuts.Batch = noBatch
	}
	args := sweepArgs(key, cuts)
	var out agents.Swept
	err := db.recorded(ctx, func(tx pgx.Tx) error {
		head, err := tx.Exec(ctx, sqlSweepThreadLock, args)
		if err != nil {
			return fmt.Errorf("locking a thread: %w", err)
		}
		if head.RowsAffected() == 0 {
			return nil
		}
		thread, err := pgxOne[sweepThreadRow](ctx, tx, sqlSweepThread, args)
		if err != nil {
			return fmt.Errorf("reading a thread: %w", translate(err))
		}
		own, outlived := thread.outlived(cuts.Now)
		switch {
		case thread.Open:
			return nil
		case outlived && own == agents.DeleteThread && !thread.Waits:
			out, err = dropThread(ctx, tx, key, args, "ttl")
		case outlived && own == agents.KeepLatest:
			out, err = sweepOwn(ctx, tx, args)
		case !cuts.Threads.IsZero() && !thread.Waits && thread.Touched.Before(cuts.Threads):
			out, err = dropThread(ctx, tx, key, args, "retention")
		default:
			args["covered"] = thread.Covered
			out, err = sweepParts(ctx, tx, cuts, args)
		}
		if err == nil && dry {
			return errDry
		}
		return err
	})
	if err != nil && !errors.Is(err, errDry) {
		return agents.Swept{}, fmt.Errorf("sweeping thread %s: %w", key.Thread, err)
	}
	if !dry && !out.Nothing() {
		db.states.drop(stateKey{key.Org, key.Thread})
	}
	return out, nil
}

const sqlSweepOwnDone = `update threads set ttl_swept_at = greatest(now(), updated_at) where org_id = @org and id = @thread`

// sweepOwn removes all steps but the newest of a thread that has lived its own
// lifetime, a batch at a time; the last time finds nothing, and notes it.
func sweepOwn(ctx context.Context, tx pgx.Tx, args named) (agents.Swept, error) {
	out, err := pruning{org: args["org"].(string), thread: args["thread"].(string), keep: 1, most: args["most"].(int)}.run(ctx, tx)
	if err != nil || !out.Nothing() {
		return out, err
	}
	if _, err := tx.Exec(ctx, sqlSweepOwnDone, args); err != nil {
		return out, fmt.Errorf("noting a sweep: %w", translate(err))
	}
	return out, nil
}

// sweepParts removes old checkpoints and old rows of the log of a thread that stays.
func sweepParts(ctx context.Context, tx pgx.Tx, cuts agents.Cuts, args named) (agents.Swept, error) {
	var out agents.Swept
	if !cuts.Checkpoints.IsZero() {
		var err error
		out, err = pruning{org: args["org"].(string), thread: args["thread"].(string), keep: args["keep"].(int), before: cuts.Checkpoints,
			most: args["most"].(int)}.run(ctx, tx)
		if err != nil {
			return out, err
		}
	}
	if cuts.Events.IsZero() {
		return out, nil
	}
	gone, err := pgxOne[removedRow](ctx, tx, sqlCutLog, args)
	if err != nil {
		return out, fmt.Errorf("cutting the log: %w", translate(err))
	}
	out.Events, out.Bytes = gone.Rows, out.Bytes+gone.Bytes
	return out, nil
}

// sqlCutLog removes the oldest rows of a log up to the first that is young or that
// the state does not cover. Numbers go on; the epoch changes, so that whoever
// stands before the cut is told to begin anew.
const sqlCutLog = `with oldest as materialized (
	select e.seq, e.created_at from events e where e.org_id = @org and e.thread_id = @thread and e.seq <= @covered::bigint
	order by e.seq limit @most
), stays as (
	select min(seq) as seq from oldest where created_at >= @events::timestamptz
), gone as (
	delete from events e using oldest o, stays
	where e.org_id = @org and e.thread_id = @thread and e.seq = o.seq and (stays.seq is null or o.seq < stays.seq)
	returning pg_column_size(e.*) as size
), anew as (
	update thread_heads h set epoch = gen_random_uuid()
	where h.org_id = @org and h.thread_id = @thread and exists (select 1 from gone)
)
select count(*)::int as rows, coalesce(sum(size), 0)::bigint as bytes from gone`

// sqlThreadWhole counts what a thread has.
const sqlThreadWhole = `select c.rows as checkpoints, m.rows as messages, e.rows as events, c.bytes + m.bytes + e.bytes as bytes
	from (select count(*)::int as rows, coalesce(sum(pg_column_size(c.*)), 0)::bigint as bytes from lines l
			join checkpoints c on c.org_id = l.org_id and c.line_id = l.id where l.org_id = @org and l.thread_id = @thread) c,
		(select count(*)::int as rows, coalesce(sum(pg_column_size(m.*)), 0)::bigint as bytes from messages m where m.org_id = @org and m.thread_id = @thread) m,
		(select count(*)::int as rows, coalesce(sum(pg_column_size(e.*)), 0)::bigint as bytes from events e where e.org_id = @org and e.thread_id = @thread) e`

type threadWholeRow struct {
	Checkpoints, Messages, Events int
	Bytes                         int64
}

const sqlThreadDrop = `delete from threads where org_id = @org and id = @thread`

// dropThread removes a thread with all it has, and records it: its title, which
// may say what it was about, is not kept.
func dropThread(ctx context.Context, tx pgx.Tx, key agents.ThreadKey, args named, rule string) (agents.Swept, error) {
	has, err := pgxOne[threadWholeRow](ctx, tx, sqlThreadWhole, args)
	if err != nil {
		return agents.Swept{}, fmt.Errorf("counting what a thread has: %w", translate(err))
	}
	if _, err := tx.Exec(ctx, sqlThreadDrop, args); err != nil {
		return agents.Swept{}, fmt.Errorf("removing a thread: %w", translate(err))
	}
	err = appendAudit(tx, auth.Scope{Org: key.Org}, auth.AuditEntry{Via: auth.ViaSystem, Action: "thread.deleted", ObjectKind: "thread",
		ObjectID: string(key.Thread), ObjectName: string(key.Thread), Rule: rule, Before: auditDetail(map[string]any{"messages": has.Messages, "checkpoints": has.Checkpoints})})
	return agents.Swept{Threads: 1, Checkpoints: has.Checkpoints, Messages: has.Messages, Events: has.Events, Bytes: has.Bytes}, err
}
