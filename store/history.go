package store

import (
	"cmp"
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

// sqlLinesOfThread lists a thread's own lines, or that of a subgraph, which is no part
// of the thread's history.
const sqlLinesOfThread = `select l.id, l.step, l.parent_line is null as first from lines l
	where l.org_id = @org and l.thread_id = @thread and l.ns is not distinct from @ns::text[]`

type threadLineRow struct {
	ID   string
	Step int
}

// historyLineRow is a line; First says that it stands on no other.
type historyLineRow struct {
	threadLineRow
	First bool
}

// findCheckpoint gives the line and step of a checkpoint's id. Before its first step
// only a line has one that stands on no other.
func findCheckpoint(lines []historyLineRow, checkpoint string) (agents.LineID, int, error) {
	for _, l := range lines {
		if step, ok := agents.StepOf(checkpoint, agents.LineID(l.ID)); ok && step <= l.Step && (step >= 0 || l.First) {
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
		args := named{"org": string(scope.Org), "thread": string(thread), "ns": nil}
		lines, err := pgxMany[historyLineRow](ctx, tx, sqlLinesOfThread, args)
		if err != nil {
			return fmt.Errorf("listing a thread's lines: %w", err)
		}
		line, step, err := findCheckpoint(lines, checkpoint)
		if err != nil {
			return err
		}
		if step == agents.BeforeFirst {
			state, err = beginningOf(ctx, tx, string(scope.Org), line)
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

const sqlFirstStep = `select ` + checkpointColumns + ` from checkpoints c where c.org_id = @org and c.line_id = @line and c.step = 0`

// beginningOf gives the state before a line's first step.
func beginningOf(ctx context.Context, tx pgx.Tx, org string, line agents.LineID) (agents.State, error) {
	var rows []checkpointRow
	var batch pgx.Batch
	collectCheckpoints(&batch, &rows, sqlFirstStep, named{"org": org, "line": string(line)})
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return agents.State{}, fmt.Errorf("reading a first step: %w", translate(err))
	}
	if len(rows) == 0 {
		return agents.State{}, agents.ErrCheckpointNotFound // it never had one, or it was removed
	}
	first, err := rows[0].checkpoint()
	return agents.Beginning(first), err
}

// sqlHistory lists checkpoints of all lines of a thread, or of a subgraph's, the newest
// first.
const sqlHistory = `select ` + checkpointColumns + ` from lines l
	cross join lateral (select * from checkpoints where org_id = @org and line_id = l.id
		and (@at::timestamptz is null or (created_at, step) < (@at::timestamptz, @step::int))
		and (@only_line::uuid is null or line_id = @only_line::uuid and step = @only_step::int)
		and (@metadata::jsonb is null or jsonb_build_object('source', source, 'step', step, 'run_id', run_id, 'thread_id', l.thread_id,
			'parents', jsonb_build_object()) || coalesce(metadata::jsonb, '{}') @> @metadata::jsonb)
		order by step desc limit @limit) c
	where l.org_id = @org and l.thread_id = @thread and l.ns is not distinct from @ns::text[]
	order by c.created_at desc, c.step desc limit @limit`

// sqlBeginnings lists the first steps of a thread's lines that stand on no other, for
// what lies before them: it is as old as they are, and comes after them.
const sqlBeginnings = `select ` + checkpointColumns + ` from lines l
	cross join lateral (select * from checkpoints where org_id = @org and line_id = l.id and step = 0
		and (@at::timestamptz is null or (created_at, -1) < (@at::timestamptz, @step::int))
		and (@only_line::uuid is null or line_id = @only_line::uuid and @only_step::int = -1)
		and (@metadata::jsonb is null or jsonb_build_object('source', 'input', 'step', -1, 'run_id', run_id, 'thread_id', l.thread_id,
			'parents', jsonb_build_object()) @> @metadata::jsonb) offset 0) c
	where l.org_id = @org and l.thread_id = @thread and l.ns is null and @ns::text[] is null and l.parent_line is null
	order by c.created_at desc limit @limit`

const sqlCheckpointTime = `select c.created_at from checkpoints c where c.org_id = @org and c.line_id = @line and c.step = greatest(@step::int, 0)`

// sqlFollowed reads steps by their places.
const sqlFollowed = `select ` + checkpointColumns + ` from unnest(@lines::uuid[], @steps::int[]) as w(line, step)
	cross join lateral (select * from checkpoints where org_id = @org and line_id = w.line and step = w.step offset 0) c`

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
	args := readerArgs(scope, named{"id": string(thread), "thread": string(thread), "limit": q.Limit, "at": nil, "step": nil,
		"only_line": nil, "only_step": nil, "metadata": nil, "ns": q.NS})
	if q.Metadata != nil {
		args["metadata"] = string(q.Metadata)
	}
	if q.Before != "" || q.Only != "" || q.NS != nil {
		if _, err := db.Thread(ctx, scope, thread); err != nil {
			return nil, err
		}
		err := db.scoped(ctx, scope, func(tx pgx.Tx) error { return placeArgs(ctx, tx, args, q) })
		if err != nil {
			return nil, fmt.Errorf("reading a thread's history: %w", err)
		}
	}
	send := db.batches(scope)
	var threads []threadRow
	var rows, firsts []checkpointRow
	var batch pgx.Batch
	collect(&batch, &threads, sqlThreadByID, args)
	collectCheckpoints(&batch, &rows, sqlHistory, args)
	if q.Beginnings || args["only_step"] == agents.BeforeFirst {
		collectCheckpoints(&batch, &firsts, sqlBeginnings, args)
	}
	if err := send(ctx, &batch); err != nil {
		return nil, fmt.Errorf("listing a thread's checkpoints: %w", translate(err))
	}
	if len(threads) != 1 {
		return nil, threadNotFound()
	}
	rows, firsts = onPage(rows, firsts, q.Limit)
	var after []*checkpointRow
	if q.Followed {
		var err error
		if after, err = followedBy(ctx, send, string(scope.Org), rows); err != nil {
			return nil, err
		}
		for i := range firsts {
			after = append(after, &firsts[i])
		}
	}
	out, err := statesOf(ctx, send, string(scope.Org), string(thread), rows, firsts, after, q)
	if err != nil {
		return nil, fmt.Errorf("reading a thread's history: %w", shortened(err))
	}
	if len(firsts) > 0 {
		slices.SortStableFunc(out, func(a, b agents.State) int { return older(a.Head.CreatedAt, b.Head.CreatedAt, a.Step, b.Step) })
	}
	return out, nil
}

// older orders a history: the newest comes first.
func older(a, b time.Time, step, other int) int {
	return cmp.Or(b.Compare(a), cmp.Compare(other, step))
}

// onPage leaves of steps, and of first steps for what lies before them, as many as
// a page has.
func onPage(rows, firsts []checkpointRow, limit int) (onPage, before []checkpointRow) {
	n := 0
	for n < len(firsts) {
		first := firsts[n]
		newer := slices.IndexFunc(rows, func(r checkpointRow) bool { return older(r.CreatedAt, first.CreatedAt, r.Step, agents.BeforeFirst) > 0 })
		if newer < 0 {
			newer = len(rows)
		}
		if newer+n >= limit {
			break
		}
		n++
	}
	return rows[:min(len(rows), limit-n)], firsts[:n]
}

// followedBy finds the step after each of some steps on its line: most are among
// them.
func followedBy(ctx context.Context, send sends, org string, rows []checkpointRow) ([]*checkpointRow, error) {
	type place struct {
		line string
		step int
	}
	known := make(map[place]*checkpointRow, len(rows))
	for i := range rows {
		known[place{rows[i].LineID, rows[i].Step}] = &rows[i]
	}
	var lines []string
	var steps []int
	for _, r := range rows {
		if known[place{r.LineID, r.Step + 1}] == nil {
			lines, steps = append(lines, r.LineID), append(steps, r.Step+1)
		}
	}
	var more []checkpointRow
	if len(lines) > 0 {
		var batch pgx.Batch
		collectCheckpoints(&batch, &more, sqlFollowed, named{"org": org, "lines": lines, "steps": steps})
		if err := send(ctx, &batch); err != nil {
			return nil, fmt.Errorf("reading the steps that followed: %w", translate(err))
		}
	}
	for i := range more {
		known[place{more[i].LineID, more[i].Step}] = &more[i]
	}
	out := make([]*checkpointRow, len(rows))
	for i, r := range rows {
		out[i] = known[place{r.LineID, r.Step + 1}]
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

// placeArgs finds where a page of history begins, and the only one that is asked for;
// the line of a subgraph must be there.
func placeArgs(ctx context.Context, tx pgx.Tx, args named, q agents.HistoryQuery) error {
	lines, err := pgxMany[historyLineRow](ctx, tx, sqlLinesOfThread, args)
	if err != nil {
		return fmt.Errorf("listing a thread's lines: %w", err)
	}
	if q.NS != nil && len(lines) == 0 {
		return agents.ErrCheckpointNotFound
	}
	if q.Only != "" {
		line, step, err := findCheckpoint(lines, q.Only)
		if err != nil {
			return err
		}
		args["only_line"], args["only_step"] = string(line), step
	}
	if q.Before == "" {
		return nil
	}
	line, step, err := findCheckpoint(lines, q.Before)
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

// stretch is steps of one line that follow each other without a gap, by their
// places in a list, the oldest first.
type stretch struct {
	load *stateLoad
	at   []int
}

// stretches takes a list of steps apart.
func stretches(org, thread string, rows []checkpointRow) []stretch {
	byLine := map[string][]int{}
	for i, r := range rows {
		byLine[r.LineID] = append(byLine[r.LineID], i)
	}
	var out []stretch
	for line, at := range byLine {
		slices.SortFunc(at, func(a, b int) int { return rows[a].Step - rows[b].Step })
		for i, n := range at {
			if i > 0 && rows[n].Step == rows[at[i-1]].Step+1 {
				last := &out[len(out)-1]
				last.at = append(last.at, n)
				continue
			}
			oldest := rows[n].Step
			out = append(out, stretch{load: &stateLoad{org: org, thread: thread, line: line, upto: &oldest}, at: []int{n}})
		}
	}
	return out
}

// statesOf gives the states at checkpoints, in their order. Of those of one line
// that follow each other only the oldest has to be loaded. Those before first steps
// come behind them. after, if given, are the steps that followed.
func statesOf(ctx context.Context, send sends, org, thread string, rows, firsts []checkpointRow, after []*checkpointRow, q agents.HistoryQuery) ([]agents.State, error) {
	parts := stretches(org, thread, rows)
	loads := make([]*stateLoad, len(parts))
	for i, p := range parts {
		loads[i] = p.load
		p.load.until = string(q.Alone)
	}
	if err := foldAll(ctx, send, org, loads); err != nil {
		return nil, err
	}
	out, refs := make([]agents.State, len(rows)), make([][]agents.Ref, len(rows))
	var all []agents.Ref // each once, in the order of a thread
	wanted := map[agents.Ref]bool{}
	want := func(refs []agents.Ref) {
		for _, ref := range refs {
			if !wanted[ref] {
				wanted[ref] = true
				all = append(all, ref)
			}
		}
	}
	for _, p := range parts {
		if err := p.unfold(rows, out, refs); err != nil {
			return nil, err
		}
		for n, i := range p.at {
			from := 0
			if n > 0 {
				from = common(refs[p.at[n-1]], refs[i])
			}
			if !q.Bare {
				want(refs[i][from:])
			}
		}
	}
	for _, r := range firsts {
		first, err := r.checkpoint()
		if err != nil {
			return nil, err
		}
		out, refs = append(out, agents.Beginning(first)), append(refs, nil)
	}
	added, err := followings(out, after)
	if err != nil {
		return nil, err
	}
	for _, list := range added {
		want(list)
	}
	messages, err := loadMessages(ctx, send, org, thread, all, nil)
	if err != nil {
		return nil, err
	}
	at := make(map[agents.Ref]int)
	find := func(refs []agents.Ref) []agents.Message {
		if len(refs) == 0 {
			return nil
		}
		if n := len(refs); common(all, refs) == n { // a thread that only grew
			return messages[:n:n]
		}
		if len(at) == 0 {
			for i, r := range all {
				at[r] = i
			}
		}
		list := make([]agents.Message, len(refs))
		for i, r := range refs {
			list[i] = messages[at[r]]
		}
		return list
	}
	for i := range out {
		out[i].NS = q.NS
		if !q.Bare {
			out[i].Messages = find(refs[i])
		}
		if out[i].Followed != nil {
			out[i].Followed.Messages = find(added[i])
		}
	}
	return out, nil
}

// unfold makes the states of a stretch from its oldest one on.
func (p stretch) unfold(rows []checkpointRow, out []agents.State, refs [][]agents.Ref) error {
	load, oldest := p.load, *p.load.upto
	state := load.state
	if state.Head == nil || string(state.Head.Line) != load.line || state.Head.Step != oldest {
		return fmt.Errorf("loading a state: step %d is %w", oldest, errMissing)
	}
	for n, i := range p.at {
		if n > 0 {
			r := rows[i]
			r.Snapshot, r.Rollup = nil, nil
			state.Values = maps.Clone(state.Values)
			c, err := r.checkpoint()
			if err != nil {
				return err
			}
			if load.refs, err = agents.Replay(&state, load.refs, []agents.Checkpoint{c}); err != nil {
				return fmt.Errorf("replaying a line: %w", err)
			}
			state.Pending = pendingOf(load.pending, r.Step)
		}
		out[i], refs[i] = state, load.refs
	}
	return nil
}

// followings notes with states what followed them, and gives what messages each of
// these steps brought.
func followings(states []agents.State, after []*checkpointRow) ([][]agents.Ref, error) {
	added := make([][]agents.Ref, len(states))
	for i, row := range after {
		if row == nil {
			continue
		}
		c, err := row.checkpoint()
		if err != nil {
			return nil, err
		}
		states[i].Followed = &agents.Followed{Checkpoint: c}
		for _, op := range c.Ops {
			if op.Kind != agents.OpRemove {
				added[i] = append(added[i], agents.Ref{ID: op.ID, Rev: op.Rev})
			}
		}
	}
	return added, nil
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
	select @org::uuid, @line::uuid, @thread::uuid, c.line_id, @parent_step::int, @parent_step::int
	from checkpoints c where c.org_id = @org and c.line_id = @parent and c.step = greatest(@parent_step::int, 0) returning id
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
