package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/heddle/heddle/agents"
)

const (
	sqlNextToken = `update leases set token = token + 1 returning token`

	sqlThreadTake = `insert into threads (id, token) values (@thread, @token)
		on conflict (id) do update set token = excluded.token returning no, active is null`

	sqlThreadActivate = `update threads set active = @line where no = @thread`

	sqlThread = `select no, token, active from threads where id = @thread`

	sqlLineAdd = `insert into lines (thread, id, parent, parent_step, ns, first, step)
		values (@thread, @id, @parent, @parent_step, @ns, @parent_step + 1, @parent_step) returning no`

	lineColumns = `l.no, l.id, l.parent, l.parent_step, l.ns is not null, l.first, l.step`

	sqlLine = `select ` + lineColumns + ` from lines l where l.no = @line`

	sqlLineByID = `select ` + lineColumns + ` from lines l where l.thread = @thread and l.id = @id`

	// sqlLinesLike finds the lines whose checkpoints' ids begin alike.
	sqlLinesLike = `select ` + lineColumns + ` from lines l
		where l.thread = @thread and l.id >= @prefix and l.id < @prefix || 'g' and l.ns is null`

	sqlLines = `select ` + lineColumns + ` from lines l where l.thread = @thread and l.ns is null order by l.no`
)

// thread is a thread's row.
type thread struct {
	no, token, active int64
}

// line is a line's row; parent is 0 where there is none.
type line struct {
	no         int64
	id         agents.LineID
	parent     int64
	parentStep int
	sub        bool
	first      int
	step       int
}

func lineOf(r row) line {
	return line{no: r.ColumnInt64(0), id: agents.LineID(r.ColumnText(1)), parent: r.ColumnInt64(2), parentStep: r.ColumnInt(3),
		sub: r.ColumnBool(4), first: r.ColumnInt(5), step: r.ColumnInt(6)}
}

// based reports whether older steps were removed: the row before first holds the
// state there.
func (l line) based() bool { return l.first > l.parentStep+1 }

func (c *conn) thread(id agents.ThreadID) (t thread, err error) {
	found, err := c.one(sqlThread, args{"thread": string(id)}, func(r row) error {
		t = thread{no: r.ColumnInt64(0), token: r.ColumnInt64(1), active: r.ColumnInt64(2)}
		return nil
	})
	if err == nil && !found {
		err = agents.ErrThreadNotFound
	}
	return t, err
}

// held gives the lease's thread if no newer lease was taken.
func (c *conn) held(l agents.Lease) (thread, error) {
	t, err := c.thread(l.Thread)
	if err == nil && t.token != l.Token {
		err = agents.ErrFenced
	}
	return t, err
}

func (c *conn) line(sql string, a args) (l line, found bool, err error) {
	found, err = c.one(sql, a, func(r row) error {
		l = lineOf(r)
		return nil
	})
	return l, found, err
}

func (c *conn) lines(sql string, a args) (out []line, err error) {
	err = c.each(sql, a, func(r row) error {
		out = append(out, lineOf(r))
		return nil
	})
	return out, err
}

// addLine makes a line; parent is nil for a thread's first.
func (c *conn) addLine(thread int64, id agents.LineID, parent any, parentStep int, ns any) (no int64, err error) {
	_, err = c.one(sqlLineAdd, args{"thread": thread, "id": string(id), "parent": parent, "parent_step": parentStep, "ns": ns}, func(r row) error {
		no = r.ColumnInt64(0)
		return nil
	})
	return no, err
}

// find gives the line of a checkpoint that is kept, and its step.
func (c *conn) find(thread int64, checkpoint string) (line, int, error) {
	if len(checkpoint) == 36 {
		like, err := c.lines(sqlLinesLike, args{"thread": thread, "prefix": strings.ToLower(checkpoint[:28])})
		if err != nil {
			return line{}, 0, fmt.Errorf("looking for a checkpoint's line: %w", err)
		}
		for _, l := range like {
			if at, ok := agents.StepOf(checkpoint, l.id); ok && l.first <= at && at <= l.step {
				return l, at, nil
			}
		}
	}
	return line{}, 0, agents.ErrCheckpointNotFound
}

// Acquire implements graph.Checkpointer.
func (c *Checkpointer) Acquire(ctx context.Context, id agents.ThreadID) (agents.Lease, error) {
	lease := agents.Lease{Thread: id}
	err := c.write(ctx, "taking a thread's lease", func(tx *conn) error {
		if _, err := tx.one(sqlNextToken, nil, func(r row) error {
			lease.Token = r.ColumnInt64(0)
			return nil
		}); err != nil {
			return err
		}
		var no int64
		fresh := false
		if _, err := tx.one(sqlThreadTake, args{"thread": string(id), "token": lease.Token}, func(r row) error {
			no, fresh = r.ColumnInt64(0), r.ColumnBool(1)
			return nil
		}); err != nil || !fresh {
			return err
		}
		first, err := tx.addLine(no, agents.LineID(c.o.NewID()), nil, -1, nil)
		if err != nil {
			return err
		}
		return tx.exec(sqlThreadActivate, args{"thread": no, "line": first})
	})
	if err != nil {
		return agents.Lease{}, err
	}
	return lease, nil
}

// Fork implements graph.Checkpointer.
func (c *Checkpointer) Fork(ctx context.Context, lease agents.Lease, checkpoint string) (agents.LineID, error) {
	var fork agents.LineID
	err := c.write(ctx, "forking a thread", func(tx *conn) error {
		t, err := tx.held(lease)
		if err != nil {
			return err
		}
		from, at, err := tx.find(t.no, checkpoint)
		if err != nil {
			return err
		}
		fork = agents.LineID(c.o.NewID())
		no, err := tx.addLine(t.no, fork, from.no, at, nil)
		if err != nil {
			return err
		}
		return tx.exec(sqlThreadActivate, args{"thread": t.no, "line": no})
	})
	if err != nil {
		return "", err
	}
	return fork, nil
}

const sqlLineSteps = `select ` + checkpointColumns + ` from checkpoints c where c.line = @line order by c.step`

// SubLine implements graph.Checkpointer.
func (c *Checkpointer) SubLine(ctx context.Context, lease agents.Lease, sub agents.SubLine) (agents.State, error) {
	out := agents.State{Line: sub.Line}
	err := c.write(ctx, "reading a subgraph's line", func(tx *conn) error {
		t, err := tx.held(lease)
		if err != nil {
			return err
		}
		l, found, err := tx.line(sqlLineByID, args{"thread": t.no, "id": string(sub.Line)})
		if err != nil {
			return err
		}
		if !found {
			return tx.addSubLine(t.no, sub, &out)
		}
		if !l.sub {
			return agents.ErrFenced // its step is the thread's own
		}
		var steps []agents.Checkpoint
		if err := tx.each(sqlLineSteps, args{"line": l.no}, func(r row) error {
			s, err := checkpointOf(r, l.id, r.ColumnInt(0) == l.step)
			steps = append(steps, s)
			return err
		}); err != nil {
			return fmt.Errorf("reading a line's steps: %w", err)
		}
		out.Step = l.step
		if out.Pending, err = tx.pending(l.no); err != nil {
			return err
		}
		if n := len(steps); n > 0 {
			out.Head = &steps[n-1]
		}
		out.Own, err = tx.changes(t.no, steps)
		return err
	})
	if err != nil {
		return agents.State{}, err
	}
	return out, nil
}

func (c *conn) addSubLine(thread int64, sub agents.SubLine, out *agents.State) error {
	parent, found, err := c.line(sqlLineByID, args{"thread": thread, "id": string(sub.Parent)})
	if err != nil {
		return err
	}
	if !found {
		return agents.ErrCheckpointNotFound
	}
	ns, err := json.Marshal(sub.NS)
	if err != nil {
		return err
	}
	out.Step = sub.ParentStep
	_, err = c.addLine(thread, sub.Line, parent.no, sub.ParentStep, string(ns))
	return err
}

// changes gives all that steps changed, with the messages.
func (c *conn) changes(thread int64, steps []agents.Checkpoint) ([]agents.Change, error) {
	var refs []agents.Ref
	for _, s := range steps {
		for _, op := range s.Ops {
			if op.Kind != agents.OpRemove {
				refs = append(refs, agents.Ref{ID: op.ID, Rev: op.Rev})
			}
		}
	}
	messages, err := newLoad(c, thread).bodies(refs)
	if err != nil {
		return nil, err
	}
	var out []agents.Change
	for _, s := range steps {
		out = append(out, agents.ChangesOf(s.Ops, s.Deltas, &messages)...)
	}
	return out, nil
}
