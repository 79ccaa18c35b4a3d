package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
)

const checkpointColumns = `c.step, c.run, c.source, c.ops, c.deltas, c.snapshot, c.rollup, c.next, c.wrote, c.interrupts, c.metadata, c.made_at`

// checkpointOf reads a step. Only whole ones have what is known of tasks, which is
// asked of heads and their parents alone.
func checkpointOf(r row, line agents.LineID, whole bool) (agents.Checkpoint, error) {
	c := agents.Checkpoint{Line: line, Step: r.ColumnInt(0), Run: agents.RunID(r.ColumnText(1)), Source: agents.CheckpointSource(r.ColumnText(2)),
		CreatedAt: time.UnixMicro(r.ColumnInt64(11)).UTC()}
	c.ID = agents.CheckpointID(line, c.Step)
	if metadata := r.ColumnText(10); metadata != "" {
		c.Metadata = json.RawMessage(metadata)
	}
	columns := []any{&c.Ops, &c.Deltas, &c.Snapshot, &c.Rollup, &c.Next, &c.Wrote, &c.Interrupts}
	if !whole {
		columns = columns[:4]
	}
	for i, into := range columns {
		if err := decode(r, 3+i, into); err != nil {
			return c, fmt.Errorf("reading step %d: %w", c.Step, err)
		}
	}
	return c, nil
}

const (
	// sqlCheckpoints reads the steps of a line whose numbers are a JSON list, and
	// sqlMessages the messages of [id, revision]s. The order of the joins is
	// fixed: one look-up for each.
	sqlCheckpoints = `select ` + checkpointColumns + ` from json_each(@steps) w
		cross join checkpoints c on c.line = @line and c.step = w.value`

	sqlMessages = `select m.body from json_each(@refs) w
		cross join messages m on m.thread = @thread and m.id = w.value ->> 0 and m.revision = w.value ->> 1`
)

// load reads states of a thread within one transaction and keeps what it read.
type load struct {
	tx       *conn
	thread   int64
	lines    map[int64]line
	steps    map[place]kept
	messages map[agents.Ref]agents.Message
}

type place struct {
	line int64
	step int
}

type kept struct {
	agents.Checkpoint
	whole bool
}

func newLoad(tx *conn, thread int64) *load {
	return &load{tx: tx, thread: thread, lines: map[int64]line{}, steps: map[place]kept{}, messages: map[agents.Ref]agents.Message{}}
}

// State implements graph.Checkpointer.
func (c *Checkpointer) State(ctx context.Context, id agents.ThreadID, checkpoint string) (out agents.State, err error) {
	err = c.read(ctx, "reading a state", func(tx *conn) error {
		t, err := tx.thread(id)
		if err != nil {
			return err
		}
		l := newLoad(tx, t.no)
		if checkpoint == "" {
			active, err := l.line(t.active)
			if err != nil {
				return err
			}
			out, err = l.state(active, active.step)
			return err
		}
		at, step, err := tx.find(t.no, checkpoint)
		if err != nil {
			return err
		}
		out, err = l.state(at, step)
		return err
	})
	return out, err
}

func (l *load) line(no int64) (line, error) {
	if known, ok := l.lines[no]; ok {
		return known, nil
	}
	at, found, err := l.tx.line(sqlLine, args{"line": no})
	if err == nil && !found {
		err = fmt.Errorf("line %d is missing", no)
	}
	if err != nil {
		return line{}, fmt.Errorf("reading a line: %w", err)
	}
	l.lines[no] = at
	return at, nil
}

// state loads the state of a line at one of its steps.
func (l *load) state(at line, step int) (agents.State, error) {
	s, refs, err := l.fold(at, step)
	if err != nil {
		return s, err
	}
	s.Line, s.Step = at.id, step
	if s.Messages, err = l.bodies(refs); err != nil {
		return s, err
	}
	if s.Head != nil && s.Head.Line != at.id {
		head := *s.Head
		head.Interrupts = nil
		s.Head = &head
	}
	if step == at.step {
		s.Pending, err = l.tx.pending(at.no)
	}
	return s, err
}

// fold goes back through the lines that a line stands on to a whole state, and
// replays their steps from there.
func (l *load) fold(at line, step int) (agents.State, []agents.Ref, error) {
	s := agents.State{Values: map[string]json.RawMessage{}}
	var segments [][]agents.Checkpoint
	whole, read := false, 0
	for {
		rows, err := l.segment(at, step)
		if err != nil {
			return s, nil, fmt.Errorf("reading a line's steps: %w", err)
		}
		segments = append(segments, rows)
		whole = whole || slices.ContainsFunc(rows, func(c agents.Checkpoint) bool { return c.Snapshot != nil })
		read += len(rows)
		if at.parent == 0 || whole && read > 1 { // one more, for the step before the head
			break
		}
		step = min(step, at.parentStep)
		if at, err = l.line(at.parent); err != nil {
			return s, nil, err
		}
	}
	var refs []agents.Ref
	for i := len(segments) - 1; i >= 0; i-- {
		var err error
		if refs, err = agents.Replay(&s, refs, segments[i]); err != nil {
			return s, nil, fmt.Errorf("replaying a line: %w", err)
		}
	}
	return s, refs, nil
}

// segment reads the steps of a line that its state at a step is made of.
func (l *load) segment(at line, step int) ([]agents.Checkpoint, error) {
	var wanted, missing []int
	if at.based() && at.first > step-step%agents.SnapshotEvery {
		wanted = append(wanted, at.first-1)
	}
	for _, s := range agents.StepsFor(step) {
		if s >= at.first {
			wanted = append(wanted, s)
		}
	}
	for _, s := range wanted {
		if known, ok := l.steps[place{at.no, s}]; !ok || s >= step-1 && !known.whole {
			missing = append(missing, s)
		}
	}
	if len(missing) > 0 {
		list, err := json.Marshal(missing)
		if err != nil {
			return nil, err
		}
		if err := l.tx.each(sqlCheckpoints, args{"line": at.no, "steps": string(list)}, func(r row) error {
			whole := r.ColumnInt(0) >= step-1
			c, err := checkpointOf(r, at.id, whole)
			l.steps[place{at.no, c.Step}] = kept{c, whole}
			return err
		}); err != nil {
			return nil, err
		}
	}
	rows := make([]agents.Checkpoint, len(wanted))
	for i, s := range wanted {
		c, ok := l.steps[place{at.no, s}]
		if !ok {
			return nil, fmt.Errorf("step %d is missing", s)
		}
		rows[i] = c.Checkpoint
	}
	return rows, nil
}

// bodies gives the messages of references, in their order.
func (l *load) bodies(refs []agents.Ref) ([]agents.Message, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	var missing [][2]any
	for _, r := range refs {
		if _, ok := l.messages[r]; !ok {
			missing = append(missing, [2]any{r.ID, r.Rev})
		}
	}
	if len(missing) > 0 {
		list, err := json.Marshal(missing)
		if err != nil {
			return nil, err
		}
		if err := l.tx.each(sqlMessages, args{"thread": l.thread, "refs": string(list)}, func(r row) error {
			var m agents.Message
			err := decode(r, 0, &m)
			l.messages[agents.Ref{ID: m.ID, Rev: m.Revision}] = m
			return err
		}); err != nil {
			return nil, fmt.Errorf("reading messages: %w", err)
		}
	}
	out := make([]agents.Message, len(refs))
	for i, r := range refs {
		m, ok := l.messages[r]
		if !ok {
			return nil, fmt.Errorf("message %s in its form %d is missing", r.ID, r.Rev)
		}
		out[i] = m
	}
	return out, nil
}

const (
	sqlCheckpointNo = `select no from checkpoints where line = @line and step = @step`

	sqlHistory = `select c.line, c.step from checkpoints c join lines l on l.no = c.line
		where c.thread = @thread and c.no < @before and l.ns is null and c.step >= l.first
		order by c.no desc limit @limit`
)

// History implements graph.Checkpointer.
func (c *Checkpointer) History(ctx context.Context, id agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	out := []agents.State{}
	err := c.read(ctx, "reading a history", func(tx *conn) error {
		t, err := tx.thread(id)
		if err != nil {
			return err
		}
		before, err := tx.orderOf(t.no, q.Before)
		if err != nil {
			return err
		}
		var places []place
		if err := tx.each(sqlHistory, args{"thread": t.no, "before": before, "limit": q.Limit}, func(r row) error {
			places = append(places, place{r.ColumnInt64(0), r.ColumnInt(1)})
			return nil
		}); err != nil {
			return fmt.Errorf("listing checkpoints: %w", err)
		}
		l := newLoad(tx, t.no)
		for _, p := range places {
			at, err := l.line(p.line)
			if err != nil {
				return err
			}
			s, err := l.state(at, p.step)
			if err != nil {
				return err
			}
			out = append(out, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// orderOf gives the number that all older checkpoints of a thread are below.
func (c *conn) orderOf(thread int64, checkpoint string) (no int64, err error) {
	if checkpoint == "" {
		return 1<<63 - 1, nil
	}
	at, step, err := c.find(thread, checkpoint)
	if err != nil {
		return 0, err
	}
	_, err = c.one(sqlCheckpointNo, args{"line": at.no, "step": step}, func(r row) error {
		no = r.ColumnInt64(0)
		return nil
	})
	return no, err
}
