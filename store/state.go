package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
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
	Metadata   json.RawMessage
	EventSeq   int64
	CreatedAt  time.Time
	ParentLine *string
	ParentStep *int
}

func (r checkpointRow) checkpoint() agents.Checkpoint {
	c := agents.Checkpoint{
		ID: r.ID, Line: agents.LineID(r.LineID), Step: r.Step, Source: agents.CheckpointSource(r.Source), Ops: r.Ops,
		Deltas: r.Deltas, Next: r.Next, Metadata: r.Metadata, EventSeq: r.EventSeq, Snapshot: r.Snapshot,
		CreatedAt: r.CreatedAt.UTC(),
	}
	if r.RunID != nil {
		c.Run = agents.RunID(*r.RunID)
	}
	return c
}

// sqlCheckpoints reads one line from its newest snapshot at or below a step.
// The snapshot is looked for by the arguments rather than by l's columns, so
// that it is found once and not again for every row.
const sqlCheckpoints = `select c.id, c.line_id, c.step, c.run_id, c.source, c.ops, c.deltas, c.snapshot, c.next,
		c.metadata, c.event_seq, c.created_at, l.parent_line, l.parent_step
	from lines l left join checkpoints c on c.org_id = l.org_id and c.line_id = l.id and c.step <= @upto
		and c.step >= coalesce((select max(s.step) from checkpoints s
			where s.org_id = @org and s.line_id = @line and s.step <= @upto and s.snapshot is not null), 0)
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
// every message of the thread is compared with every reference.
const sqlMessagesByRef = `select m.id, m.revision, m.body, m.created_at
	from unnest(@ids::text[], @revs::int[]) as w(id, rev)
	cross join lateral (select * from messages
		where org_id = @org and thread_id = @thread and id = w.id and revision = w.rev offset 0) m`

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
	t, err := db.Thread(ctx, scope, thread)
	if err != nil {
		return agents.State{}, err
	}
	var state agents.State
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		state, err = loadState(ctx, tx, scope, t.ID, t.Line)
		return err
	})
	return state, err
}

// loadState reads a line's head inside a transaction that has the organisation
// set: segments of checkpoints back to a snapshot, then the messages they name.
func loadState(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID, line agents.LineID) (agents.State, error) {
	head, err := pgxOne[lineRow](ctx, tx, sqlLineParent, pgx.NamedArgs{"org": string(scope.Org), "line": string(line)})
	if err != nil {
		return agents.State{}, fmt.Errorf("reading a line: %w", translate(err))
	}
	state := agents.State{Line: line, Step: head.Step, Values: map[string]json.RawMessage{}}
	var segments [][]checkpointRow
	at, upto, parent := string(line), head.Step, head
	for range maxLineage {
		rows, _ := tx.Query(ctx, sqlCheckpoints, pgx.NamedArgs{"org": string(scope.Org), "line": at, "upto": upto})
		segment, err := pgx.CollectRows(rows, pgx.RowToStructByName[checkpointRow])
		if err != nil {
			return agents.State{}, fmt.Errorf("reading checkpoints: %w", err)
		}
		segments = append(segments, segment)
		if len(segment) > 0 && segment[0].Snapshot != nil || parent.ParentLine == nil {
			break
		}
		at, upto = *parent.ParentLine, min(upto, *parent.ParentStep)
		parent, err = pgxOne[lineRow](ctx, tx, sqlLineParent, pgx.NamedArgs{"org": string(scope.Org), "line": at})
		if err != nil {
			return agents.State{}, fmt.Errorf("reading a parent line: %w", err)
		}
	}
	refs, err := foldCheckpoints(&state, segments)
	if err != nil {
		return agents.State{}, err
	}
	state.Messages, err = loadMessages(ctx, tx, scope, thread, refs)
	return state, err
}

// foldCheckpoints replays segments, oldest last in the slice, onto the state.
func foldCheckpoints(state *agents.State, segments [][]checkpointRow) ([]agents.Ref, error) {
	var refs []agents.Ref
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

func loadMessages(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID, refs []agents.Ref) ([]agents.Message, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	ids, revs := make([]string, len(refs)), make([]int, len(refs))
	for i, r := range refs {
		ids[i], revs[i] = string(r.ID), r.Rev
	}
	rows, _ := tx.Query(ctx, sqlMessagesByRef, pgx.NamedArgs{
		"org": string(scope.Org), "thread": string(thread), "ids": ids, "revs": revs})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[messageRow])
	if err != nil {
		return nil, fmt.Errorf("reading messages: %w", err)
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
