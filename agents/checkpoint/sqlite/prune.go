package sqlite

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

const (
	// sqlSubLinesOver removes lines of subgraphs whose tasks are over: the step
	// they were due at is complete.
	sqlSubLinesOver = `delete from lines as l where l.thread = @thread and l.ns is not null
		and l.parent_step < (select p.step from lines p where p.no = l.parent)
		and not exists (select 1 from pending w where w.line = l.parent and w.sub = l.id)`

	sqlChildren = `select min(parent_step) from lines where parent = @line`

	// sqlBase makes the row of the newest step that is removed the state that the
	// line now begins with.
	sqlBase = `update checkpoints set snapshot = @snapshot, ops = null, deltas = null, rollup = null, interrupts = null
		where line = @line and step = @step`

	sqlCut    = `delete from checkpoints where line = @line and step < @base`
	sqlFirst  = `update lines set first = @first where no = @line`
	sqlRollup = `update checkpoints set rollup = @rollup where line = @line and step = @step and rollup is not null`

	// sqlSweep removes forms of messages that no step and no whole state names.
	// The steps of a rollup and of a snapshot that is not a line's base are kept
	// themselves, or in the base before them. A whole state lists its messages as
	// texts, each followed by its revision as a number unless that is 0.
	sqlSweep = `delete from messages where thread = @thread and (id, revision) not in (
		select o.value ->> 'id', coalesce(o.value ->> 'rev', 0) from checkpoints c, json_each(c.ops) o
			where c.thread = @thread and o.value ->> 'op' <> 'remove'
		union all
		select id, revision from (
			select o.value as id, o.type, case when lead(o.type) over following = 'integer' then lead(o.value) over following else 0 end as revision
			from lines l join checkpoints c on c.line = l.no and c.step = l.first - 1, json_each(c.snapshot, '$.messages') o
			where l.thread = @thread window following as (partition by l.no order by o.key))
			where type = 'text')`
)

// Prune implements graph.Checkpointer.
func (c *Checkpointer) Prune(ctx context.Context, id agents.ThreadID, keep int) (removed int, err error) {
	if keep < 1 {
		return 0, fault.Invalid("keep", "must be 1 or more")
	}
	err = c.write(ctx, "pruning a thread", func(tx *conn) error {
		t, err := tx.thread(id)
		if err != nil {
			return err
		}
		if err := tx.exec(sqlSubLinesOver, args{"thread": t.no}); err != nil {
			return fmt.Errorf("removing lines of subgraphs: %w", err)
		}
		lines, err := tx.lines(sqlLines, args{"thread": t.no})
		if err != nil {
			return err
		}
		for _, l := range lines {
			n, err := tx.prune(t.no, l, keep)
			if err != nil {
				return fmt.Errorf("removing steps: %w", err)
			}
			removed += n
		}
		if err := tx.exec(sqlSweep, args{"thread": t.no}); err != nil {
			return fmt.Errorf("removing messages: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// prune removes a line's oldest steps but for the newest keep and what forks
// stand on. What waits for answers is always a line's newest step.
func (c *conn) prune(thread int64, l line, keep int) (int, error) {
	first := l.step - keep + 1 // that is kept
	if err := c.each(sqlChildren, args{"line": l.no}, func(r row) error {
		if children := r.ColumnInt(0); r.ColumnType(0) != sqlite3.NULL {
			first = min(first, children)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if first <= l.first {
		return 0, nil
	}
	s, refs, err := newLoad(c, thread).fold(l, first-1)
	if err != nil {
		return 0, err
	}
	snapshot, err := encode(agents.Snapshot{Messages: refs, Values: s.Values})
	if err != nil {
		return 0, err
	}
	if err := c.exec(sqlBase, args{"line": l.no, "step": first - 1, "snapshot": snapshot}); err != nil {
		return 0, err
	}
	if err := c.exec(sqlCut, args{"line": l.no, "base": first - 1}); err != nil {
		return 0, err
	}
	if err := c.exec(sqlFirst, args{"line": l.no, "first": first}); err != nil {
		return 0, err
	}
	return first - l.first, c.rollAgain(l.no, first)
}

// rollAgain leaves in the first rollup of a line what its steps from first on
// changed: those before are in the line's base.
func (c *conn) rollAgain(line int64, first int) error {
	at := (first + agents.RollupEvery - 1) / agents.RollupEvery * agents.RollupEvery
	rollup, err := c.changed(line, first, at)
	if err != nil {
		return err
	}
	text, err := encode(rollup)
	if err != nil {
		return err
	}
	return c.exec(sqlRollup, args{"line": line, "step": at, "rollup": text})
}
