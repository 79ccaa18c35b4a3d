package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

type checkpointRow struct {
	LineID     string
	Step       int
	RunID      *string
	Source     string
	Ops        []agents.Op
	Deltas     map[string][]agents.Delta
	Snapshot   *agents.Snapshot
	Rollup     *agents.Rollup
	Next       []agents.Due
	Wrote      []agents.Wrote
	Interrupts []agents.Interrupt
	Metadata   json.RawMessage
	EventSeq   int64
	CreatedAt  time.Time
}

func (r checkpointRow) checkpoint() agents.Checkpoint {
	c := agents.Checkpoint{
		ID: agents.CheckpointID(agents.LineID(r.LineID), r.Step), Line: agents.LineID(r.LineID), Step: r.Step,
		Source: agents.CheckpointSource(r.Source), Ops: r.Ops, Deltas: r.Deltas, Next: r.Next, Wrote: r.Wrote, Interrupts: r.Interrupts,
		Metadata: r.Metadata, EventSeq: r.EventSeq, Snapshot: r.Snapshot, Rollup: r.Rollup, CreatedAt: r.CreatedAt.UTC(),
	}
	if r.RunID != nil {
		c.Run = agents.RunID(*r.RunID)
	}
	return c
}

const checkpointColumns = `c.line_id, c.step, c.run_id, c.source, c.ops, c.deltas, c.snapshot, c.rollup, c.next, c.wrote, c.interrupts,
		c.metadata, c.event_seq, c.created_at`

// sqlCheckpoints reads the steps of a line that its state at a step is made of,
// up to its head without one. The steps are numbers that need no search: see
// agents.StepsFor, whose sum this is.
const sqlCheckpoints = `with head as (
		select least(coalesce(@upto::int, l.step), l.step) as step from lines l where l.org_id = @org and l.id = @line
	), wanted as (
		select generate_series(step - step % @whole, step - step % @part - 1, @part) as step from head
		union all select step - 1 from head where step % @part = 0
		union all select generate_series(step - step % @part, step) from head
	)
	select ` + checkpointColumns + ` from wanted w join checkpoints c on c.line_id = @line and c.step = w.step
	where c.org_id = @org order by c.step`

const sqlLineParent = `select parent_line, parent_step, step from lines where org_id = @org and id = @line`

type lineRow struct {
	ParentLine *string
	ParentStep *int
	Step       int
}

// sqlMessagesByRef reads revisions of messages; the caller puts them in order.
// The offset keeps the look-up one probe of the key for each reference: joined,
// every message of the thread is compared with every reference. The limit is
// no limit; a plan for any number of references estimates few rows by it, and is
// kept instead of made anew for each call.
const sqlMessagesByRef = `select m.id, m.revision, m.body, m.created_at
	from unnest(@ids::text[], @revs::bigint[]) as w(id, rev)
	cross join lateral (select * from messages
		where org_id = @org and thread_id = @thread and id = w.id and revision = w.rev offset 0) m
	limit @count`

type messageRow struct {
	ID        string
	Revision  int64
	Body      json.RawMessage
	CreatedAt time.Time
}

// maxLineage bounds how many forks a line may stand on.
const maxLineage = 1000

// State loads the state at the head of a thread's active line. The scope must
// be able to read the thread.
func (db *DB) State(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.State, error) {
	if err := checkScope(scope); err != nil {
		return agents.State{}, err
	}
	if !id.Valid(string(thread)) {
		return agents.State{}, threadNotFound()
	}
	key := stateKey{scope.Org, thread}
	if kept, ok := db.states.get(key); ok {
		if state, ok, err := db.stateSince(ctx, scope, key, kept); ok || err != nil {
			return state, err
		}
	}
	t, err := db.Thread(ctx, scope, thread)
	if err != nil {
		return agents.State{}, err
	}
	var state agents.State
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		load := stateLoad{org: string(scope.Org), thread: string(t.ID), line: string(t.Line)}
		var batch pgx.Batch
		load.queueLine(&batch)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("reading a line: %w", translate(err))
		}
		if err := load.fold(ctx, tx); err != nil {
			return err
		}
		var bodies pgx.Batch
		load.queueMessages(&bodies)
		if err := tx.SendBatch(ctx, &bodies).Close(); err != nil {
			return fmt.Errorf("reading messages: %w", err)
		}
		if state, err = load.finish(); err != nil {
			return err
		}
		db.keepState(key, keptState{state: state, refs: load.refs, size: sizeOf(load.messages, state.Values)})
		return nil
	})
	return state, err
}

// stateLoad reads a line's head inside a transaction that has the organisation
// set, in as few round trips as its parts depend on each other: queueLine, fold,
// queueMessages, finish. What the caller needs beside it may share the batches.
type stateLoad struct {
	org, thread, line string
	// upto is the step to load; nil is the line's head.
	upto *int

	lines    []lineRow
	segment  []checkpointRow // of the line itself
	pending  []pendingRow
	state    agents.State
	refs     []agents.Ref
	messages []messageRow
	known    map[agents.Ref]agents.Message // need not be read
}

func (l *stateLoad) queueLine(b *pgx.Batch) {
	collect(b, &l.lines, sqlLineParent, pgx.NamedArgs{"org": l.org, "line": l.line})
	collect(b, &l.segment, sqlCheckpoints, checkpointArgs(l.org, l.line, l.upto))
	collect(b, &l.pending, sqlPending, pgx.NamedArgs{"org": l.org, "line": l.line})
}

func checkpointArgs(org, line string, upto *int) pgx.NamedArgs {
	return pgx.NamedArgs{"org": org, "line": line, "upto": upto, "whole": agents.SnapshotEvery, "part": agents.RollupEvery}
}

// fold goes back through the line's parents to a snapshot and replays the
// checkpoints onto the state.
func (l *stateLoad) fold(ctx context.Context, tx pgx.Tx) error {
	if len(l.lines) != 1 {
		return fmt.Errorf("reading a line: %w", translate(pgx.ErrNoRows))
	}
	parent := l.lines[0]
	l.state = agents.State{Line: agents.LineID(l.line), Step: parent.Step, Values: map[string]json.RawMessage{}}
	if l.upto != nil {
		l.state.Step = min(l.state.Step, *l.upto)
	}
	if n := len(l.segment); n > 0 {
		// A step may have been committed between the batch's two statements.
		l.state.Step = l.segment[n-1].Step
	}
	step := l.state.Step
	segments, upto := [][]checkpointRow{l.segment}, l.state.Step
	for range maxLineage {
		newest := segments[len(segments)-1]
		if parent.ParentLine == nil || slices.ContainsFunc(newest, func(r checkpointRow) bool { return r.Snapshot != nil }) {
			break
		}
		at := *parent.ParentLine
		upto = min(upto, *parent.ParentStep)
		var next []lineRow
		var segment []checkpointRow
		var batch pgx.Batch
		collect(&batch, &next, sqlLineParent, pgx.NamedArgs{"org": l.org, "line": at})
		collect(&batch, &segment, sqlCheckpoints, checkpointArgs(l.org, at, &upto))
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("reading a parent line: %w", err)
		}
		if len(next) != 1 {
			return fmt.Errorf("reading a parent line: %w", pgx.ErrNoRows)
		}
		parent, segments = next[0], append(segments, segment)
	}
	for i := len(segments) - 1; i >= 0; i-- {
		rows := make([]agents.Checkpoint, len(segments[i]))
		for j, r := range segments[i] {
			rows[j] = r.checkpoint()
		}
		var err error
		if l.refs, err = agents.Replay(&l.state, l.refs, rows); err != nil {
			return fmt.Errorf("replaying a line: %w", err)
		}
	}
	l.state.Step = step
	l.state.Pending = pendingOf(l.pending, step)
	if h := l.state.Head; h != nil && string(h.Line) != l.line {
		// A fork asks again: what was open here is open on the parent line only.
		own := *h
		own.Interrupts = nil
		l.state.Head = &own
	}
	return nil
}

func (l *stateLoad) queueMessages(b *pgx.Batch) {
	ids, revs := make([]string, 0, len(l.refs)), make([]int64, 0, len(l.refs))
	for _, r := range l.refs {
		if _, ok := l.known[r]; !ok {
			ids, revs = append(ids, string(r.ID)), append(revs, r.Rev)
		}
	}
	if len(ids) == 0 {
		return
	}
	collect(b, &l.messages, sqlMessagesByRef, pgx.NamedArgs{"org": l.org, "thread": l.thread, "ids": ids, "revs": revs, "count": len(ids)})
}

func (l *stateLoad) finish() (agents.State, error) {
	var err error
	l.state.Messages, err = inOrder(l.refs, l.known, l.messages)
	return l.state, err
}

// inOrder gives the messages that the references name, in their order.
func inOrder(refs []agents.Ref, known map[agents.Ref]agents.Message, found []messageRow) ([]agents.Message, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	byRef := make(map[agents.Ref]agents.Message, len(found))
	for _, r := range found {
		var m agents.Message
		if err := json.Unmarshal(r.Body, &m); err != nil {
			return nil, fmt.Errorf("reading the body of message %s: %w", r.ID, err)
		}
		m.ID, m.Revision, m.CreatedAt = agents.MessageID(r.ID), r.Revision, r.CreatedAt.UTC()
		byRef[agents.Ref{ID: m.ID, Rev: r.Revision}] = m
	}
	out := make([]agents.Message, 0, len(refs))
	for _, r := range refs {
		m, ok := byRef[r]
		if !ok {
			m, ok = known[r]
		}
		if !ok {
			return nil, fmt.Errorf("loading a state: message %s revision %d is missing", r.ID, r.Rev)
		}
		out = append(out, m)
	}
	return out, nil
}

// pgxOne reads exactly one row inside a transaction.
func pgxOne[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) (T, error) {
	rows, _ := tx.Query(ctx, sql, args...)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
}
