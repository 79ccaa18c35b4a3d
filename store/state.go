package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

type checkpointRow struct {
	ID         string
	LineID     string
	Step       int
	RunID      *string
	Source     string
	Ops        []agents.Op
	Deltas     map[string][]agents.Delta
	Snapshot   *agents.Snapshot
	Next       []string
	Interrupts []agents.Interrupt
	Metadata   json.RawMessage
	EventSeq   int64
	CreatedAt  time.Time
	ParentLine *string
	ParentStep *int
}

func (r checkpointRow) checkpoint() agents.Checkpoint {
	c := agents.Checkpoint{
		ID: r.ID, Line: agents.LineID(r.LineID), Step: r.Step, Source: agents.CheckpointSource(r.Source), Ops: r.Ops,
		Deltas: r.Deltas, Next: r.Next, Interrupts: r.Interrupts, Metadata: r.Metadata, EventSeq: r.EventSeq, Snapshot: r.Snapshot,
		CreatedAt: r.CreatedAt.UTC(),
	}
	if r.RunID != nil {
		c.Run = agents.RunID(*r.RunID)
	}
	return c
}

// sqlCheckpoints reads one line from its newest snapshot at or below a step, or
// up to its head without one.
// The snapshot is looked for by the arguments rather than by l's columns, so
// that it is found once and not again for every row.
const sqlCheckpoints = `select c.id, c.line_id, c.step, c.run_id, c.source, c.ops, c.deltas, c.snapshot, c.next,
		c.interrupts, c.metadata, c.event_seq, c.created_at, l.parent_line, l.parent_step
	from lines l left join checkpoints c on c.org_id = l.org_id and c.line_id = l.id and c.step <= coalesce(@upto::int, c.step)
		and c.step >= coalesce((select max(s.step) from checkpoints s
			where s.org_id = @org and s.line_id = @line and s.step <= coalesce(@upto::int, s.step) and s.snapshot is not null), 0)
	where l.org_id = @org and l.id = @line and c.id is not null
	order by c.step`

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
	from unnest(@ids::text[], @revs::int[]) as w(id, rev)
	cross join lateral (select * from messages
		where org_id = @org and thread_id = @thread and id = w.id and revision = w.rev offset 0) m
	limit @count`

type messageRow struct {
	ID        string
	Revision  int
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

	lines    []lineRow
	segment  []checkpointRow // of the line itself
	state    agents.State
	refs     []agents.Ref
	messages []messageRow
	known    map[agents.Ref]agents.Message // need not be read
}

func (l *stateLoad) queueLine(b *pgx.Batch) {
	collect(b, &l.lines, sqlLineParent, pgx.NamedArgs{"org": l.org, "line": l.line})
	collect(b, &l.segment, sqlCheckpoints, pgx.NamedArgs{"org": l.org, "line": l.line, "upto": nil})
}

// fold goes back through the line's parents to a snapshot and replays the
// checkpoints onto the state.
func (l *stateLoad) fold(ctx context.Context, tx pgx.Tx) error {
	if len(l.lines) != 1 {
		return fmt.Errorf("reading a line: %w", translate(pgx.ErrNoRows))
	}
	parent := l.lines[0]
	l.state = agents.State{Line: agents.LineID(l.line), Step: parent.Step, Values: map[string]json.RawMessage{}}
	if n := len(l.segment); n > 0 {
		// A step may have been committed between the batch's two statements.
		l.state.Step = l.segment[n-1].Step
	}
	segments, upto := [][]checkpointRow{l.segment}, l.state.Step
	for range maxLineage {
		newest := segments[len(segments)-1]
		if len(newest) > 0 && newest[0].Snapshot != nil || parent.ParentLine == nil {
			break
		}
		at := *parent.ParentLine
		upto = min(upto, *parent.ParentStep)
		var next []lineRow
		var segment []checkpointRow
		var batch pgx.Batch
		collect(&batch, &next, sqlLineParent, pgx.NamedArgs{"org": l.org, "line": at})
		collect(&batch, &segment, sqlCheckpoints, pgx.NamedArgs{"org": l.org, "line": at, "upto": upto})
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("reading a parent line: %w", err)
		}
		if len(next) != 1 {
			return fmt.Errorf("reading a parent line: %w", pgx.ErrNoRows)
		}
		parent, segments = next[0], append(segments, segment)
	}
	var err error
	l.refs, err = foldCheckpoints(&l.state, nil, segments)
	return err
}

func (l *stateLoad) queueMessages(b *pgx.Batch) {
	ids, revs := make([]string, 0, len(l.refs)), make([]int, 0, len(l.refs))
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

// foldCheckpoints replays segments, oldest last in the slice, onto the state
// and the references of its messages.
func foldCheckpoints(state *agents.State, refs []agents.Ref, segments [][]checkpointRow) ([]agents.Ref, error) {
	for i := len(segments) - 1; i >= 0; i-- {
		for _, row := range segments[i] {
			c := row.checkpoint()
			if c.Snapshot != nil {
				refs = c.Snapshot.Messages
				state.Values = map[string]json.RawMessage{}
				for k, v := range c.Snapshot.Values {
					state.Values[k] = v
				}
			} else {
				refs = agents.ApplyOps(refs, c.Ops)
				for channel, deltas := range c.Deltas {
					value, err := agents.ApplyDeltas(state.Values[channel], deltas)
					if err != nil {
						return nil, fmt.Errorf("replaying channel %s at step %d: %w", channel, c.Step, err)
					}
					state.Values[channel] = value
				}
			}
			state.Parent, state.Head = state.Head, &c
		}
	}
	return refs, nil
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
