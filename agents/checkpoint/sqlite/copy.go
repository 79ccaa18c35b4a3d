package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/fault"
)

const (
	sqlThreadAdd = `insert into threads (id, token) values (@thread, 0) on conflict (id) do nothing returning no`

	sqlLineSet = `update lines set first = @first, step = @step where no = @line`

	// sqlCheckpointsCopy and sqlMessagesCopy keep their order. lines pairs the old
	// lines with the new.
	sqlCheckpointsCopy = `insert into checkpoints
			(thread, line, step, run, source, ops, deltas, snapshot, rollup, next, wrote, metadata, made_at)
		select @to, l.value ->> 1, c.step, c.run, c.source, c.ops, c.deltas, c.snapshot, c.rollup, c.next, c.wrote, c.metadata, c.made_at
		from checkpoints c join json_each(@lines) l on l.value ->> 0 = c.line
		where c.thread = @from order by c.no`

	sqlMessagesCopy = `insert into messages (thread, id, revision, body)
		select @to, id, revision, body from messages where thread = @from order by no`

	sqlThreadDelete = `delete from threads where id = @thread`
)

// Copy implements graph.Checkpointer.
func (c *Checkpointer) Copy(ctx context.Context, from, to agents.ThreadID) error {
	return c.write(ctx, "copying a thread", func(tx *conn) error {
		old, err := tx.thread(from)
		if err != nil {
			return err
		}
		var copied int64
		free, err := tx.one(sqlThreadAdd, args{"thread": string(to)}, func(r row) error {
			copied = r.ColumnInt64(0)
			return nil
		})
		if err != nil {
			return err
		}
		if !free {
			return fault.Conflict("The thread exists already.").WithCode("thread_exists")
		}
		pairs, err := c.copyLines(tx, old, copied)
		if err != nil {
			return fmt.Errorf("copying lines: %w", err)
		}
		for _, sql := range []string{sqlMessagesCopy, sqlCheckpointsCopy} {
			a := args{"from": old.no, "to": copied}
			if sql == sqlCheckpointsCopy {
				a["lines"] = pairs
			}
			if err := tx.exec(sql, a); err != nil {
				return fmt.Errorf("copying messages and steps: %w", err)
			}
		}
		return nil
	})
}

// copyLines makes the thread's own lines anew and pairs the old with the new, as
// JSON. A line has a higher number than what it stands on.
func (c *Checkpointer) copyLines(tx *conn, old thread, to int64) (string, error) {
	lines, err := tx.lines(sqlLines, args{"thread": old.no})
	if err != nil {
		return "", err
	}
	pairs, names := [][2]int64{}, map[int64]int64{}
	for _, l := range lines {
		var parent any
		if l.parent != 0 {
			parent = names[l.parent]
		}
		no, err := tx.addLine(to, agents.LineID(c.o.NewID()), parent, l.parentStep, nil)
		if err != nil {
			return "", err
		}
		if err := tx.exec(sqlLineSet, args{"line": no, "first": l.first, "step": l.step}); err != nil {
			return "", err
		}
		names[l.no], pairs = no, append(pairs, [2]int64{l.no, no})
	}
	if err := tx.exec(sqlThreadActivate, args{"thread": to, "line": names[old.active]}); err != nil {
		return "", err
	}
	text, err := json.Marshal(pairs)
	return string(text), err
}

// Delete implements graph.Checkpointer.
func (c *Checkpointer) Delete(ctx context.Context, id agents.ThreadID) error {
	return c.write(ctx, "deleting a thread", func(tx *conn) error {
		return tx.exec(sqlThreadDelete, args{"thread": string(id)})
	})
}
