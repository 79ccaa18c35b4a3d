package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// prunableTo gives, for a line l, up to which step its checkpoints may go: not the
// newest @keep, so nothing that waits for answers; nothing at or after which a
// fork begins; nothing younger than @before, since steps of a line are as old as
// their order; and from its first at most @most. It is a multiple of @part, because
// there the state can be kept whole where every load looks for it. The offset keeps
// it one probe of the key for each of those.
const prunableTo = `(select max(s.step) from (select min(c.step) as step from checkpoints c where c.org_id = l.org_id and c.line_id = l.id) first
	cross join lateral generate_series(least(l.step - @keep::int + 1, first.step + @most::int, (select min(f.parent_step) from lines f
			where f.org_id = l.org_id and f.thread_id = l.thread_id and f.parent_line = l.id and f.ns is null)) / @part::int * @part::int,
		first.step + 1, -@part::int) as s(step)
	cross join lateral (select 1 from checkpoints c where c.org_id = l.org_id and c.line_id = l.id and c.step = s.step
		and (@before::timestamptz is null or c.created_at < @before::timestamptz) offset 0) old)`

// subLineOver holds for the line s of a subgraph whose task is over, where all
// that it did is old.
const subLineOver = `s.ns is not null
	and not exists (select 1 from lines p where p.org_id = s.org_id and p.id = s.parent_line and p.step <= s.parent_step)
	and not exists (select 1 from pending_writes w where w.org_id = s.org_id and w.line_id = s.parent_line and w.line = s.id)
	and (@before::timestamptz is null or s.created_at < @before::timestamptz and not exists (select 1 from checkpoints c
		where c.org_id = s.org_id and c.line_id = s.id and c.created_at >= @before::timestamptz))`

const sqlPrunable = `select b.id, b.step from (
		select l.id, ` + prunableTo + ` as step from lines l where l.org_id = @org and l.thread_id = @thread and l.ns is null
	) b where b.step is not null order by b.id`

const sqlKeepWhole = `update checkpoints set snapshot = @snapshot where org_id = @org and line_id = @line and step = @step and snapshot is null`

const sqlPrune = `with gone as (
	delete from checkpoints c where c.org_id = @org and c.line_id = @line and c.step < @step returning pg_column_size(c.*) as size
)
select count(*)::int as rows, coalesce(sum(size), 0)::bigint as bytes from gone`

const sqlPruneSubLines = `with over as (
	select s.id from lines s where s.org_id = @org and s.thread_id = @thread and ` + subLineOver + `
), steps as (
	delete from checkpoints c using over where c.org_id = @org and c.line_id = over.id returning pg_column_size(c.*) as size
), lines_gone as (
	delete from lines l using over where l.org_id = @org and l.id = over.id
)
select count(*)::int as rows, coalesce(sum(size), 0)::bigint as bytes from steps`

// sqlKeptSteps reads what the steps that stay refer to.
const sqlKeptSteps = `select c.ops, c.snapshot from lines l join checkpoints c on c.line_id = l.id and c.org_id = @org
	where l.org_id = @org and l.thread_id = @thread and (c.ops is not null or c.snapshot is not null)`

// sqlPruneMessages removes forms of messages that no step refers to any more.
const sqlPruneMessages = `with gone as (
	delete from messages m where m.org_id = @org and m.thread_id = @thread
		and not exists (select 1 from unnest(@ids::text[], @revs::bigint[]) as u(id, rev) where u.id = m.id and u.rev = m.revision)
	returning pg_column_size(m.*) as size
)
select count(*)::int as rows, coalesce(sum(size), 0)::bigint as bytes from gone`

// removedRow counts what a statement removed.
type removedRow struct {
	Rows  int
	Bytes int64
}

type keptRow struct {
	Ops      []byte
	Snapshot *agents.Snapshot
}

// noBatch is a bound that no thread reaches.
const noBatch = 1 << 30

// pruning is what may go of one thread. The transaction holds the thread's head.
type pruning struct {
	org, thread string
	keep        int
	// before is zero where age does not count.
	before time.Time
	most   int
}

// PruneThread removes a thread's oldest checkpoints, all but at least the newest
// keep of each line, and what only they refer to; it returns how many
// checkpoints went. The scope must be able to write to the thread.
func (db *DB) PruneThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, keep int) (int, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return 0, err
	}
	if keep < 1 {
		return 0, fault.Invalid("keep", "must be 1 or more")
	}
	var went agents.Swept
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		var err error
		went, err = pruning{org: string(scope.Org), thread: string(thread), keep: keep, most: noBatch}.run(ctx, tx)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("pruning a thread: %w", err)
	}
	db.states.drop(stateKey{scope.Org, thread})
	return went.Checkpoints, nil
}

func (p pruning) run(ctx context.Context, tx pgx.Tx) (agents.Swept, error) {
	args := named{"org": p.org, "thread": p.thread, "keep": p.keep, "part": agents.RollupEvery, "before": orNever(p.before), "most": p.most}
	var out agents.Swept
	gone, err := pgxOne[removedRow](ctx, tx, sqlPruneSubLines, args)
	if err != nil {
		return out, fmt.Errorf("removing lines of subgraphs: %w", translate(err))
	}
	out.Checkpoints, out.Bytes = gone.Rows, gone.Bytes
	lines, err := pgxMany[threadLineRow](ctx, tx, sqlPrunable, args)
	if err != nil {
		return out, fmt.Errorf("finding what may go: %w", err)
	}
	for _, l := range lines {
		if gone, err = pruneLine(ctx, tx, args, l); err != nil {
			return out, err
		}
		out.Checkpoints, out.Bytes = out.Checkpoints+gone.Rows, out.Bytes+gone.Bytes
	}
	if out.Checkpoints == 0 {
		return out, nil
	}
	if gone, err = pruneMessages(ctx, tx, args); err != nil {
		return out, err
	}
	out.Messages, out.Bytes = gone.Rows, out.Bytes+gone.Bytes
	return out, nil
}

// pruneLine keeps the state at a step whole and removes what lies before.
func pruneLine(ctx context.Context, tx pgx.Tx, args named, l threadLineRow) (removedRow, error) {
	load := stateLoad{org: args["org"].(string), thread: args["thread"].(string), line: l.ID, upto: &l.Step}
	if err := load.head(ctx, inside(tx)); err != nil {
		return removedRow{}, err
	}
	args["line"], args["step"] = l.ID, l.Step
	args["snapshot"] = agents.Snapshot{Messages: load.refs, Values: load.state.Values}
	if _, err := tx.Exec(ctx, sqlKeepWhole, args); err != nil {
		return removedRow{}, fmt.Errorf("keeping a state whole: %w", translate(err))
	}
	gone, err := pgxOne[removedRow](ctx, tx, sqlPrune, args)
	if err != nil {
		return removedRow{}, fmt.Errorf("removing checkpoints: %w", translate(err))
	}
	return gone, nil
}

// pruneMessages removes the messages that nothing refers to.
func pruneMessages(ctx context.Context, tx pgx.Tx, args named) (removedRow, error) {
	rows, err := pgxMany[keptRow](ctx, tx, sqlKeptSteps, args)
	if err != nil {
		return removedRow{}, fmt.Errorf("reading what stays: %w", err)
	}
	used := map[agents.Ref]bool{}
	for _, r := range rows {
		if r.Ops != nil {
			ops, err := agents.DecodeOps(r.Ops)
			if err != nil {
				return removedRow{}, fmt.Errorf("reading what stays: %w", err)
			}
			for _, op := range ops {
				used[agents.Ref{ID: op.ID, Rev: op.Rev}] = true
			}
		}
		if r.Snapshot != nil {
			for _, ref := range r.Snapshot.Messages {
				used[ref] = true
			}
		}
	}
	ids, revs := make([]string, 0, len(used)), make([]int64, 0, len(used))
	for ref := range used {
		ids, revs = append(ids, string(ref.ID)), append(revs, ref.Rev)
	}
	args["ids"], args["revs"] = ids, revs
	gone, err := pgxOne[removedRow](ctx, tx, sqlPruneMessages, args)
	if err != nil {
		return removedRow{}, fmt.Errorf("removing messages: %w", translate(err))
	}
	return gone, nil
}

// orNever passes a moment, or null for the zero time.
func orNever(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
