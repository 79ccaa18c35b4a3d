package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// sqlLinesOfThread lists a thread's own lines; those of subgraphs are no part of
// its history.
const sqlLinesOfThread = `select l.id, l.step from lines l
	where l.org_id = @org and l.thread_id = @thread and l.ns is null`

type threadLineRow struct {
	ID   string
	Step int
}

// findCheckpoint gives the line and step of a checkpoint's id.
func findCheckpoint(lines []threadLineRow, checkpoint string) (agents.LineID, int, error) {
	for _, l := range lines {
		if step, ok := agents.StepOf(checkpoint, agents.LineID(l.ID)); ok && step <= l.Step {
			return agents.LineID(l.ID), step, nil
		}
	}
	return "", 0, agents.ErrCheckpointNotFound
}

// StateAt loads the state at a checkpoint of any of the thread's lines. The scope
// must be able to read the thread.
func (db *DB) StateAt(ctx context.Context, scope auth.Scope, thread agents.ThreadID, checkpoint string) (agents.State, error) {
	if _, err := db.Thread(ctx, scope, thread); err != nil {
		return agents.State{}, err
	}
	var state agents.State
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := named{"org": string(scope.Org), "thread": string(thread)}
		lines, err := pgxMany[threadLineRow](ctx, tx, sqlLinesOfThread, args)
		if err != nil {
			return fmt.Errorf("listing a thread's lines: %w", err)
		}
		line, step, err := findCheckpoint(lines, checkpoint)
		if err != nil {
			return err
		}
		load := stateLoad{org: string(scope.Org), thread: string(thread), line: string(line), upto: &step}
		if err := load.all(ctx, inside(tx)); err != nil {
			return shortened(err)
		}
		if state = load.state; state.Head == nil || state.Head.Line != line || state.Head.Step != step {
			return agents.ErrCheckpointNotFound // the parent's, or removed
		}
		return nil
	})
	if err != nil {
		return agents.State{}, fmt.Errorf("reading a state: %w", err)
	}
	return state, nil
}

// sqlHistory lists checkpoints of all lines of a thread, the newest first.
const sqlHistory = `select ` + checkpointColumns + ` from lines l
	cross join lateral (select * from checkpoints where org_id = @org and line_id = l.id
		and (@at::timestamptz is null or (created_at, step) < (@at::timestamptz, @step::int))
		order by step desc limit @limit) c
	where l.org_id = @org and l.thread_id = @thread and l.ns is null
	order by c.created_at desc, c.step desc limit @limit`

const sqlCheckpointTime = `select c.created_at from checkpoints c where c.org_id = @org and c.line_id = @line and c.step = @step`

// History lists states of all lines of a thread, the newest first. The scope must
// be able to read the thread.
func (db *DB) History(ctx context.Context, scope auth.Scope, thread agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	if !id.Valid(string(thread)) {
		return nil, threadNotFound()
	}
	args := readerArgs(scope, named{"id": string(thread), "thread": string(thread), "limit": q.Limit, "at": nil, "step": nil})
	if q.Before != "" {
		if _, err := db.Thread(ctx, scope, thread); err != nil {
			return nil, err
		}
		err := db.scoped(ctx, scope, func(tx pgx.Tx) error { return beforeArgs(ctx, tx, args, q.Before) })
		if err != nil {
			return nil, fmt.Errorf("reading a thread's history: %w", err)
		}
	}
	send := db.batches(scope)
	var threads []threadRow
	var rows []checkpointRow
	var batch pgx.Batch
	collect(&batch, &threads, sqlThreadByID, args)
	collectCheckpoints(&batch, &rows, sqlHistory, args)
	if err := send(ctx, &batch); err != nil {
		return nil, fmt.Errorf("listing a thread's checkpoints: %w", translate(err))
	}
	if len(threads) != 1 {
		return nil, threadNotFound()
	}
	out, err := statesOf(ctx, send, string(scope.Org), string(thread), rows)
	if err != nil {
		return nil, fmt.Errorf("reading a thread's history: %w", shortened(err))
	}
	return out, nil
}

// shortened tells a reader of old states that they went while they were read. The
// newest state can't: it always stays.
func shortened(err error) error {
	if !errors.Is(err, errMissing) {
		return err
	}
	return fault.Conflict("The thread's history was shortened while it was read. Try again.").WithCode("history_shortened").WithCause(err)
}

// beforeArgs finds where a page of history begins.
func beforeArgs(ctx context.Context, tx pgx.Tx, args named, before string) error {
	lines, err := pgxMany[threadLineRow](ctx, tx, sqlLinesOfThread, args)
	if err != nil {
		return fmt.Errorf("listing a thread's lines: %w", err)
	}
	line, step, err := findCheckpoint(lines, before)
	if err != nil {
		return err
	}
	args["line"], args["step"] = string(line), step
	at, err := pgxMany[struct{ CreatedAt time.Time }](ctx, tx, sqlCheckpointTime, args)
	if err != nil {
		return fmt.Errorf("finding a checkpoint: %w", err)
	}
	if len(at) == 0 {
		return agents.ErrCheckpointNotFound
	}
	args["at"] = at[0].CreatedAt
	return nil
}

// statesOf gives the states at checkpoints, in their order. Those of one line
// follow each other without a gap, so that only the oldest has to be loaded.
func statesOf(ctx context.Context, send sends, org, thread string, rows []checkpointRow) ([]agents.State, error) {
	byLine := map[string][]int{}
	for i, r := range rows {
		byLine[r.LineID] = append(byLine[r.LineID], i)
	}
	out, refs := make([]agents.State, len(rows)), make([][]agents.Ref, len(rows))
	var all []agents.Ref // each once, in the order of a thread
	wanted := map[agents.Ref]bool{}
	for line, at := range byLine {
		slices.SortFunc(at, func(a, b int) int { return rows[a].Step - rows[b].Step })
		oldest := rows[at[0]].Step
		load := stateLoad{org: org, thread: thread, line: line, upto: &oldest}
		if err := load.head(ctx, send); err != nil {
			return nil, err
		}
		state := load.state
		if state.Head == nil || string(state.Head.Line) != line || state.Head.Step != oldest {
			return nil, fmt.Errorf("loading a state: step %d is %w", oldest, errMissing)
		}
		for n, i := range at {
			if n > 0 {
				r := rows[i]
				r.Snapshot, r.Rollup = nil, nil
				state.Values = maps.Clone(state.Values)
				c, err := r.checkpoint()
				if err != nil {
					return nil, err
				}
				if load.refs, err = agents.Replay(&state, load.refs, []agents.Checkpoint{c}); err != nil {
					return nil, fmt.Errorf("replaying a line: %w", err)
				}
				state.Pending = pendingOf(load.pending, r.Step)
			}
			out[i], refs[i] = state, load.refs
			from := 0
			if n > 0 {
				from = common(refs[at[n-1]], load.refs)
			}
			for _, ref := range load.refs[from:] {
				if !wanted[ref] {
					wanted[ref] = true
					all = append(all, ref)
				}
			}
		}
	}
	messages, err := loadMessages(ctx, send, org, thread, all, nil)
	if err != nil {
		return nil, err
	}
	var found map[agents.Ref]*agents.Message
	for i, r := range refs {
		if n := len(r); common(all, r) == n { // a thread that only grew
			out[i].Messages = messages[:n:n]
			continue
		}
		if found == nil {
			found = make(map[agents.Ref]*agents.Message, len(all))
			for j, r := range all {
				found[r] = &messages[j]
			}
		}
		list := make([]agents.Message, len(r))
		for j, ref := range r {
			list[j] = *found[ref]
		}
		out[i].Messages = list
	}
	return out, nil
}

// common counts with how many elements both lists begin.
func common(a, b []agents.Ref) int {
	n := min(len(a), len(b))
	if n > 0 && &a[0] == &b[0] {
		return n
	}
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

const sqlAcquireBusy = `select count(*) from runs r
	where r.org_id = @org and r.thread_id = @thread and r.status in ('pending', 'running', 'waiting')`

// Acquire makes a thread if it is new and takes its lease, so that steps can be
// committed that no run makes. The scope must be able to write to the thread. A
// thread with an open run is a conflict.
func (db *DB) Acquire(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.Lease, error) {
	args, err := newThreadArgs(scope, agents.NewThread{ID: thread})
	if err != nil {
		return agents.Lease{}, err
	}
	lease := agents.Lease{Thread: thread}
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlThreadInsert, args); err != nil {
			return fmt.Errorf("making a thread: %w", translate(err))
		}
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		args := named{"org": string(scope.Org), "thread": string(thread)}
		open, err := pgxScalar[int](ctx, tx, sqlAcquireBusy, args)
		if err != nil {
			return fmt.Errorf("counting runs: %w", err)
		}
		if open > 0 {
			return errThreadBusy()
		}
		lease.Token, err = pgxScalar[int64](ctx, tx, sqlHeadTake, args)
		return err
	})
	if err != nil {
		return agents.Lease{}, fmt.Errorf("taking a thread: %w", err)
	}
	return lease, nil
}

const sqlForkLock = `select 1 from thread_heads where org_id = @org and thread_id = @thread and token = @token for update`

// sqlFork begins a line and makes it the active one, if what it is to stand on is
// still there. The run it is for keeps which line was the active one.
const sqlFork = `with made as (
	insert into lines (org_id, id, thread_id, parent_line, parent_step, step)
	select @org::uuid, @line::uuid, @thread::uuid, c.line_id, c.step, c.step
	from checkpoints c where c.org_id = @org and c.line_id = @parent and c.step = @parent_step returning id
), based as (
	update runs r set base_line = t.line_id from made, threads t
	where r.org_id = @org and r.id = @run::uuid and t.org_id = @org and t.id = @thread
)
update threads t set line_id = made.id, updated_at = now() from made where t.org_id = @org and t.id = @thread`

// Fork begins a line at a checkpoint and makes it the active one; what was open
// at the old one stays with it. agents.ErrFenced means that the lease is gone.
func (db *DB) Fork(ctx context.Context, scope auth.Scope, lease agents.Lease, checkpoint string) (agents.LineID, error) {
	state, err := db.StateAt(ctx, scope, lease.Thread, checkpoint)
	if err != nil {
		return "", err
	}
	line := agents.LineID(id.New())
	err = db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := named{"org": string(scope.Org), "thread": string(lease.Thread), "token": lease.Token, "line": string(line), "run": orNull(string(lease.Run)),
			"parent": string(state.Line), "parent_step": state.Step}
		for _, step := range []struct {
			sql     string
			refused error
		}{{sqlForkLock, agents.ErrFenced}, {sqlFork, agents.ErrCheckpointNotFound}, {sqlWentBack, agents.ErrFenced}} {
			done, err := tx.Exec(ctx, step.sql, args)
			if err != nil {
				return translate(err)
			}
			if done.RowsAffected() == 0 {
				return step.refused
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("forking a thread: %w", err)
	}
	return line, nil
}

// pgxMany collects rows inside a transaction.
func pgxMany[T any](ctx context.Context, tx pgx.Tx, sql string, args named) ([]T, error) {
	rows, _ := tx.Query(ctx, sql, args) // its error comes back from CollectRows
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		return nil, translate(err)
	}
	return out, nil
}
