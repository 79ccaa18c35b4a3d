package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// sqlPrunable gives, for each line of a thread, up to which step its checkpoints
// may go: not the newest @keep, nothing that waits for answers, nothing at or
// after which a fork begins. It is a multiple of @part, because there the state
// can be kept whole where every load looks for it.
const sqlPrunable = `with bound as (
	select l.id, least(l.step - @keep::int + 1,
		coalesce((select min(f.parent_step) from lines f where f.org_id = @org and f.parent_line = l.id and f.ns is null), l.step)) as step
	from lines l where l.org_id = @org and l.thread_id = @thread and l.ns is null
)
select b.id, b.step - b.step % @part::int as step from bound b
where exists (select 1 from checkpoints c where c.org_id = @org and c.line_id = b.id and c.step = b.step - b.step % @part::int)
	and exists (select 1 from checkpoints c where c.org_id = @org and c.line_id = b.id and c.step < b.step - b.step % @part::int)`

const sqlKeepWhole = `update checkpoints set snapshot = @snapshot where org_id = @org and line_id = @line and step = @step and snapshot is null`

const sqlPrune = `delete from checkpoints where org_id = @org and line_id = @line and step < @step`

// sqlPruneSubLines removes the lines of subgraphs whose task is over.
const sqlPruneSubLines = `delete from lines s using lines l
	where s.org_id = @org and s.thread_id = @thread and s.ns is not null and l.org_id = @org and l.id = s.parent_line
		and s.parent_step < l.step
		and not exists (select 1 from pending_writes p where p.org_id = @org and p.line_id = l.id and p.line = s.id)`

// sqlKeptSteps reads what the steps that stay refer to.
const sqlKeptSteps = `select c.ops, c.snapshot from lines l join checkpoints c on c.line_id = l.id and c.org_id = @org
	where l.org_id = @org and l.thread_id = @thread and (c.ops is not null or c.snapshot is not null)`

// sqlPruneMessages removes forms of messages that no step refers to any more.
const sqlPruneMessages = `delete from messages m where m.org_id = @org and m.thread_id = @thread
	and not exists (select 1 from unnest(@ids::text[], @revs::bigint[]) as u(id, rev) where u.id = m.id and u.rev = m.revision)`

type keptRow struct {
	Ops      []byte
	Snapshot *agents.Snapshot
}

// pruneMessages removes the messages that nothing refers to.
func pruneMessages(ctx context.Context, tx pgx.Tx, args named) error {
	rows, err := pgxMany[keptRow](ctx, tx, sqlKeptSteps, args)
	if err != nil {
		return fmt.Errorf("reading what stays: %w", err)
	}
	used := map[agents.Ref]bool{}
	for _, r := range rows {
		if r.Ops != nil {
			ops, err := agents.DecodeOps(r.Ops)
			if err != nil {
				return fmt.Errorf("reading what stays: %w", err)
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
	if _, err := tx.Exec(ctx, sqlPruneMessages, args); err != nil {
		return fmt.Errorf("removing messages: %w", translate(err))
	}
	return nil
}

// PruneThread removes a thread's oldest checkpoints, all but at least the newest
// keep of each line, and what only they refer to; it returns how many
// checkpoints went. The scope must be able to write to the thread.
func (db *DB) PruneThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, keep int) (int, error) {
	if err := scope.Require(auth.PermChat); err != nil {
		return 0, err
	}
	if keep < 1 {
		return 0, fault.Invalid("keep", "must be 1 or more")
	}
	removed := 0
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		args := named{"org": string(scope.Org), "thread": string(thread), "keep": keep, "part": agents.RollupEvery}
		if _, err := tx.Exec(ctx, sqlPruneSubLines, args); err != nil {
			return fmt.Errorf("removing lines of subgraphs: %w", translate(err))
		}
		lines, err := pgxMany[threadLineRow](ctx, tx, sqlPrunable, args)
		if err != nil {
			return fmt.Errorf("finding what may go: %w", err)
		}
		for _, l := range lines {
			n, err := pruneLine(ctx, tx, args, l)
			if err != nil {
				return err
			}
			removed += n
		}
		if removed == 0 {
			return nil
		}
		return pruneMessages(ctx, tx, args)
	})
	if err != nil {
		return 0, fmt.Errorf("pruning a thread: %w", err)
	}
	db.states.drop(stateKey{scope.Org, thread})
	return removed, nil
}

// pruneLine keeps the state at a step whole and removes what lies before.
func pruneLine(ctx context.Context, tx pgx.Tx, args named, l threadLineRow) (int, error) {
	load := stateLoad{org: args["org"].(string), thread: args["thread"].(string), line: l.ID, upto: &l.Step}
	if err := load.head(ctx, inside(tx)); err != nil {
		return 0, err
	}
	args["line"], args["step"] = l.ID, l.Step
	args["snapshot"] = agents.Snapshot{Messages: load.refs, Values: load.state.Values}
	if _, err := tx.Exec(ctx, sqlKeepWhole, args); err != nil {
		return 0, fmt.Errorf("keeping a state whole: %w", translate(err))
	}
	done, err := tx.Exec(ctx, sqlPrune, args)
	if err != nil {
		return 0, fmt.Errorf("removing checkpoints: %w", translate(err))
	}
	return int(done.RowsAffected()), nil
}
