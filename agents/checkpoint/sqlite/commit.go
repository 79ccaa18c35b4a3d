package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/heddle/heddle/agents"
)

const (
	// sqlLineStep is what makes a commit the only one of its step, under the
	// newest lease.
	sqlLineStep = `update lines set step = @step
		where id = @line and step = @step - 1 and thread = (select no from threads where id = @thread and token = @token)
		returning no, thread`

	sqlMessageAdd = `insert into messages (thread, id, revision, body) values (@thread, @id, @revision, @body)
		on conflict (thread, id, revision) do nothing`

	sqlCheckpointAdd = `insert into checkpoints
			(thread, line, step, run, source, ops, deltas, snapshot, rollup, next, wrote, interrupts, metadata, made_at)
		values (@thread, @line, @step, @run, @source, @ops, @deltas, @snapshot, @rollup, @next, @wrote, @interrupts, @metadata, @made_at)`

	// sqlChanges reads what the steps of a line from one on changed.
	sqlChanges = `select ops, deltas from checkpoints where line = @line and step >= @from and step <= @to order by step`
)

// Commit implements graph.Checkpointer.
func (c *Checkpointer) Commit(ctx context.Context, lease agents.Lease, step agents.Step) error {
	values, err := c.stepArgs(lease, step)
	if err != nil {
		return fmt.Errorf("writing step %d: %w", step.Step, err)
	}
	return c.write(ctx, fmt.Sprintf("committing step %d", step.Step), func(tx *conn) error {
		var line, thread int64
		found, err := tx.one(sqlLineStep, args{"line": string(step.Line), "step": step.Step, "thread": string(lease.Thread), "token": lease.Token},
			func(r row) error {
				line, thread = r.ColumnInt64(0), r.ColumnInt64(1)
				return nil
			})
		if err != nil {
			return err
		}
		if !found {
			if _, err := tx.held(lease); err != nil {
				return err
			}
			return agents.ErrFenced
		}
		if err := tx.addMessages(thread, step.Messages); err != nil {
			return err
		}
		values["thread"], values["line"] = thread, line
		if rolledUp(step) {
			if values["rollup"], err = tx.rollup(line, step); err != nil {
				return fmt.Errorf("rolling up: %w", err)
			}
		}
		if err := tx.exec(sqlCheckpointAdd, values); err != nil {
			return err
		}
		if err := tx.exec(sqlPendingClear, args{"line": line}); err != nil {
			return err
		}
		return tx.pend(line, step.Pending)
	})
}

// stepArgs gives the columns of a step's row.
func (c *Checkpointer) stepArgs(lease agents.Lease, step agents.Step) (args, error) {
	if step.Snapshot == nil && len(step.NS) == 0 && step.Step > 0 && step.Step%agents.SnapshotEvery == 0 {
		return nil, fmt.Errorf("a step that %d divides must come with a snapshot", agents.SnapshotEvery)
	}
	run, at := step.Run, step.At
	if run == "" {
		run = lease.Run
	}
	if at.IsZero() {
		at = c.o.Clock.Now()
	}
	out := args{"step": step.Step, "run": string(run), "source": string(step.Source), "rollup": nil, "metadata": nil, "made_at": at.UnixMicro()}
	if len(step.Metadata) > 0 {
		out["metadata"] = string(step.Metadata)
	}
	var err error
	put := func(name string, empty bool, value any) {
		if err != nil || empty {
			out[name] = nil
			return
		}
		if out[name], err = encode(value); err != nil {
			err = fmt.Errorf("writing its %s: %w", name, err)
		}
	}
	put("ops", len(step.Ops) == 0, step.Ops)
	put("deltas", len(step.Deltas) == 0, step.Deltas)
	put("snapshot", step.Snapshot == nil, step.Snapshot)
	put("next", len(step.Next) == 0, step.Next)
	put("wrote", len(step.Wrote) == 0, step.Wrote)
	put("interrupts", len(step.Interrupts) == 0, step.Interrupts)
	return out, err
}

func (c *conn) addMessages(thread int64, messages []agents.Message) error {
	for _, m := range messages {
		body, err := encode(m)
		if err != nil {
			return fmt.Errorf("writing message %s: %w", m.ID, err)
		}
		if err := c.exec(sqlMessageAdd, args{"thread": thread, "id": string(m.ID), "revision": m.Revision, "body": body}); err != nil {
			return fmt.Errorf("keeping message %s: %w", m.ID, err)
		}
	}
	return nil
}

// rolledUp reports whether a step's row holds the changes of those before it, too.
func rolledUp(step agents.Step) bool {
	return step.Step > 0 && step.Step%agents.RollupEvery == 0 && len(step.NS) == 0 && step.Snapshot == nil
}

// rollup puts the changes of the line's steps since the last rollup together, and
// those of the step that is committed.
func (c *conn) rollup(line int64, step agents.Step) (any, error) {
	out, err := c.changed(line, step.Step-agents.RollupEvery+1, step.Step-1)
	if err != nil {
		return nil, err
	}
	out.Add(step.Ops, step.Deltas)
	return encode(out)
}

func (c *conn) changed(line int64, from, to int) (out agents.Rollup, err error) {
	err = c.each(sqlChanges, args{"line": line, "from": from, "to": to}, func(r row) error {
		var ops []agents.Op
		var deltas map[string][]agents.Delta
		if err := decode(r, 0, &ops); err != nil {
			return err
		}
		if err := decode(r, 1, &deltas); err != nil {
			return err
		}
		out.Add(ops, deltas)
		return nil
	})
	return out, err
}

// decode reads a column of JSON; null leaves into as it is.
func decode(r row, column int, into any) error {
	if r.ColumnType(column) == sqlite3.NULL {
		return nil
	}
	if err := json.Unmarshal(r.ColumnRawText(column), into); err != nil {
		return fmt.Errorf("reading %s: %w", r.ColumnName(column), err)
	}
	return nil
}

const (
	sqlPending      = `select task, sub, result from pending where line = @line order by task`
	sqlPendingClear = `delete from pending where line = @line`
	sqlPendingPut   = `insert into pending (line, task, sub, result) values (@line, @task, @sub, @result)
		on conflict (line, task) do update set sub = excluded.sub, result = excluded.result`
)

// Pend implements graph.Checkpointer.
func (c *Checkpointer) Pend(ctx context.Context, lease agents.Lease, w agents.PendingWrites) error {
	return c.write(ctx, "keeping results of a step", func(tx *conn) error {
		t, err := tx.held(lease)
		if err != nil {
			return err
		}
		l, found, err := tx.line(sqlLineByID, args{"thread": t.no, "id": string(w.Line)})
		if err != nil {
			return err
		}
		if !found || l.step != w.Step {
			return agents.ErrFenced
		}
		return tx.pend(l.no, w.Pending)
	})
}

func (c *conn) pend(line int64, all []agents.Pending) error {
	for _, p := range all {
		a := args{"line": line, "task": p.Task, "sub": nil, "result": nil}
		if p.Line != "" {
			a["sub"] = string(p.Line)
		}
		if p.Result != nil {
			var err error
			if a["result"], err = encode(p.Result); err != nil {
				return fmt.Errorf("writing the result of task %d: %w", p.Task, err)
			}
		}
		if err := c.exec(sqlPendingPut, a); err != nil {
			return fmt.Errorf("keeping the result of task %d: %w", p.Task, err)
		}
	}
	return nil
}

func (c *conn) pending(line int64) (out []agents.Pending, err error) {
	err = c.each(sqlPending, args{"line": line}, func(r row) error {
		p := agents.Pending{Task: r.ColumnInt(0), Line: agents.LineID(r.ColumnText(1))}
		err := decode(r, 2, &p.Result)
		out = append(out, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading results of a step: %w", err)
	}
	return out, nil
}
