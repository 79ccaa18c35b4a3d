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

// checkpointRow is a checkpoint with its JSON as it is stored: what a state is
// made of is read of every one, the rest of the newest only.
type checkpointRow struct {
	LineID     string
	Step       int
	RunID      *string
	Source     string
	Ops        []byte
	Deltas     []byte
	Snapshot   []byte
	Rollup     []byte
	Next       []byte
	Wrote      []byte
	Interrupts []byte
	Metadata   []byte
	EventSeq   int64
	CreatedAt  time.Time
}

// checkpoint reads the row whole.
func (r checkpointRow) checkpoint() (agents.Checkpoint, error) {
	c, err := r.changes()
	if err == nil {
		err = r.read(part{"next", r.Next, &c.Next}, part{"wrote", r.Wrote, &c.Wrote}, part{"interrupts", r.Interrupts, &c.Interrupts})
	}
	c.ID, c.Metadata = agents.CheckpointID(c.Line, c.Step), r.Metadata
	return c, err
}

// changes reads of the row what its step changed.
func (r checkpointRow) changes() (agents.Checkpoint, error) {
	c := agents.Checkpoint{
		Line: agents.LineID(r.LineID), Step: r.Step,
		Source: agents.CheckpointSource(r.Source), EventSeq: r.EventSeq, CreatedAt: r.CreatedAt.UTC(),
	}
	if r.RunID != nil {
		c.Run = agents.RunID(*r.RunID)
	}
	if len(r.Ops) > 0 {
		var err error
		if c.Ops, err = agents.DecodeOps(r.Ops); err != nil {
			return c, fmt.Errorf("reading ops of step %d: %w", r.Step, err)
		}
	}
	if len(r.Rollup) > 0 {
		c.Rollup = &agents.Rollup{}
		if err := c.Rollup.UnmarshalJSON(r.Rollup); err != nil { // by itself: it looks at the text once
			return c, fmt.Errorf("reading the rollup of step %d: %w", r.Step, err)
		}
	}
	return c, r.read(part{"deltas", r.Deltas, &c.Deltas}, part{"snapshot", r.Snapshot, &c.Snapshot})
}

// part is a column of JSON and where it goes.
type part struct {
	name string
	raw  []byte
	into any
}

func (r checkpointRow) read(parts ...part) error {
	for _, p := range parts {
		if len(p.raw) == 0 {
			continue
		}
		if err := json.Unmarshal(p.raw, p.into); err != nil {
			return fmt.Errorf("reading %s of step %d: %w", p.name, r.Step, err)
		}
	}
	return nil
}

// checkpointsOf reads rows that are replayed: the last two whole.
func checkpointsOf(rows []checkpointRow) ([]agents.Checkpoint, error) {
	out := make([]agents.Checkpoint, len(rows))
	for i, r := range rows {
		var err error
		if i < len(rows)-2 {
			out[i], err = r.changes()
		} else {
			out[i], err = r.checkpoint()
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

const checkpointColumns = `c.line_id, c.step, c.run_id, c.source, c.ops, c.deltas, c.snapshot, c.rollup, c.next, c.wrote, c.interrupts,
		c.metadata, c.event_seq, c.created_at`

// sqlCheckpoints reads the steps of a line that its state at a step is made of,
// up to its head without one. The steps are numbers that need no search: see
// agents.StepsFor, whose sum this is. The offset and the limit, which is none, keep
// it one probe of the key for each step.
const sqlCheckpoints = `with head as (
		select least(coalesce(@upto::int, l.step), l.step) as step from lines l where l.org_id = @org and l.id = @line
	), wanted as (
		select generate_series(step - step % @whole, step - step % @part - 1, @part) as step from head
		union all select step - 1 from head where step % @part = 0
		union all select generate_series(step - step % @part, step) from head
	)
	select ` + checkpointColumns + ` from wanted w cross join lateral (select * from checkpoints
		where org_id = @org and line_id = @line and step = w.step offset 0) c
	order by c.step limit 2 * @part::int + @whole::int / @part::int`

const sqlLineParent = `select parent_line, parent_step, step from lines where org_id = @org and id = @line`

type lineRow struct {
	ParentLine *string
	ParentStep *int
	Step       int
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
	// One that was kept as it was written does not know what its first step stands on.
	if kept, ok := db.states.get(key); ok && kept.state.Step > 0 {
		if state, ok, err := db.stateSince(ctx, scope, key, kept); ok || err != nil {
			return state, err
		}
	}
	load, err := db.headOf(ctx, scope, key)
	if err != nil {
		return agents.State{}, err
	}
	if err := load.bodies(ctx, db.batches(scope)); err != nil {
		return agents.State{}, err
	}
	db.keepState(key, keptState{state: load.state, refs: load.refs, size: sizeOf(load.state)})
	return load.state, nil
}

// Outline loads what State does but for the messages.
func (db *DB) Outline(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.State, error) {
	if err := checkScope(scope); err != nil {
		return agents.State{}, err
	}
	if !id.Valid(string(thread)) {
		return agents.State{}, threadNotFound()
	}
	load, err := db.headOf(ctx, scope, stateKey{scope.Org, thread})
	if err != nil {
		return agents.State{}, err
	}
	return load.state, nil
}

// headOf reads a thread and the head of its active line: in one round trip where
// the line is still the one it had when it was last read.
func (db *DB) headOf(ctx context.Context, scope auth.Scope, key stateKey) (*stateLoad, error) {
	send := db.batches(scope)
	var threads []threadRow
	var batch pgx.Batch
	collect(&batch, &threads, sqlThreadByID, readerArgs(scope, named{"id": string(key.thread)}))
	load := &stateLoad{org: string(scope.Org), thread: string(key.thread)}
	if line, ok := db.active.get(key); ok {
		load.line = string(line)
		load.queueLine(&batch)
	}
	if err := send(ctx, &batch); err != nil {
		return nil, fmt.Errorf("reading a thread and its line: %w", translate(err))
	}
	if len(threads) != 1 {
		return nil, threadNotFound()
	}
	if line := threads[0].LineID; line != load.line {
		db.active.put(key, agents.LineID(line))
		load = &stateLoad{org: load.org, thread: load.thread, line: line}
		return load, load.head(ctx, send)
	}
	return load, load.fold(ctx, send)
}

// sends sends a batch under an organisation: inside a transaction that has it
// set, or alone, with the setting as its first statement.
type sends func(ctx context.Context, b *pgx.Batch) error

// batches sends each batch alone. What steps and messages say never changes, so
// readings that follow each other agree without a transaction around them.
func (db *DB) batches(scope auth.Scope) sends {
	return func(ctx context.Context, b *pgx.Batch) error {
		var all pgx.Batch
		all.Queue(sqlSetOrg, string(scope.Org))
		all.QueuedQueries = append(all.QueuedQueries, b.QueuedQueries...)
		return db.app.SendBatch(ctx, &all).Close()
	}
}

func inside(tx pgx.Tx) sends {
	return func(ctx context.Context, b *pgx.Batch) error { return tx.SendBatch(ctx, b).Close() }
}

// stateLoad reads a line's head in as few round trips as its parts depend on each
// other: queueLine, fold, bodies. What the caller needs beside it may share the
// batches.
type stateLoad struct {
	org, thread, line string
	// upto is the step to load; nil is the line's head.
	upto *int
	// until is a line that begins with nothing of its parent's; empty for none.
	until string

	lines   []lineRow
	segment []checkpointRow // of the line itself
	pending []pendingRow
	state   agents.State
	refs    []agents.Ref
	known   map[agents.Ref]agents.Message // need not be read

	climb climb
}

// climb is how far a load has come on its way through the line's parents to a
// snapshot.
type climb struct {
	parent   lineRow
	segments [][]checkpointRow // the line's own first
	top      string            // the line that was reached
	upto     int
	whole    bool
	read     int
}

func (l *stateLoad) queueLine(b *pgx.Batch) {
	collect(b, &l.lines, sqlLineParent, named{"org": l.org, "line": l.line})
	collectCheckpoints(b, &l.segment, sqlCheckpoints, checkpointArgs(l.org, l.line, l.upto))
	collect(b, &l.pending, sqlPending, named{"org": l.org, "line": l.line})
}

// collectCheckpoints queues a reading of checkpointColumns.
func collectCheckpoints(b *pgx.Batch, into *[]checkpointRow, sql string, args named) {
	b.Queue(sql, args).Query(func(rows pgx.Rows) error {
		known := names{}
		return eachRow(rows, func(w *wire) error {
			*into = append(*into, readCheckpoint(w, known))
			return nil
		})
	})
}

// readCheckpoint reads checkpointColumns of a row.
func readCheckpoint(w *wire, known names) checkpointRow {
	var r checkpointRow
	line, _ := w.uuid()
	r.LineID, r.Step = known.of(line), w.int4()
	if run, ok := w.uuid(); ok {
		name := known.of(run)
		r.RunID = &name
	}
	r.Source = w.text()
	for _, column := range []*[]byte{&r.Ops, &r.Deltas, &r.Snapshot, &r.Rollup, &r.Next, &r.Wrote, &r.Interrupts, &r.Metadata} {
		*column = w.bytes()
	}
	r.EventSeq, r.CreatedAt = w.int8(), w.time()
	return r
}

func checkpointArgs(org, line string, upto *int) named {
	return named{"org": org, "line": line, "upto": upto, "whole": agents.SnapshotEvery, "part": agents.RollupEvery}
}

// fold goes back through the line's parents to a snapshot and replays the
// checkpoints onto the state.
func (l *stateLoad) fold(ctx context.Context, send sends) error {
	if err := l.begin(); err != nil {
		return err
	}
	for {
		at, upto, more := l.above()
		if !more {
			return l.replay()
		}
		var next []lineRow
		var segment []checkpointRow
		var batch pgx.Batch
		collect(&batch, &next, sqlLineParent, named{"org": l.org, "line": at})
		collectCheckpoints(&batch, &segment, sqlCheckpoints, checkpointArgs(l.org, at, &upto))
		if err := send(ctx, &batch); err != nil {
			return fmt.Errorf("reading a parent line: %w", translate(err))
		}
		if len(next) != 1 {
			return fmt.Errorf("reading a parent line: %w", pgx.ErrNoRows)
		}
		l.reached(next[0], segment)
	}
}

// begin takes what queueLine read.
func (l *stateLoad) begin() error {
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
	l.climb = climb{upto: l.state.Step, top: l.line}
	l.reached(parent, l.segment)
	return nil
}

// reached takes a line on the way up with its steps.
func (l *stateLoad) reached(line lineRow, segment []checkpointRow) {
	c := &l.climb
	c.parent, c.segments = line, append(c.segments, segment)
	c.whole = c.whole || slices.ContainsFunc(segment, func(r checkpointRow) bool { return r.Snapshot != nil })
	c.read += len(segment)
}

// above says which line is to be read next, and up to which step; false once
// there is enough.
func (l *stateLoad) above() (line string, upto int, more bool) {
	c := &l.climb
	if c.parent.ParentLine == nil || c.top == l.until || c.whole && c.read > 1 || len(c.segments) >= maxLineage { // one more, for the step before the head
		return "", 0, false
	}
	c.top, c.upto = *c.parent.ParentLine, min(c.upto, *c.parent.ParentStep)
	return c.top, c.upto, true
}

// replay makes the state of all that was read.
func (l *stateLoad) replay() error {
	step, segments := l.state.Step, l.climb.segments
	for i := len(segments) - 1; i >= 0; i-- {
		rows, err := checkpointsOf(segments[i])
		if err != nil {
			return err
		}
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
	l.beginning()
	return nil
}

// beginning names what lies before a first step, or before the one that a line will
// have that begins there anew.
func (l *stateLoad) beginning() {
	s, c := &l.state, &l.climb
	if c.parent.ParentLine != nil || s.Parent != nil || s.Head != nil && s.Head.Step > 0 || s.Head == nil && c.top == l.line {
		return
	}
	s.Parent = &agents.Checkpoint{ID: agents.CheckpointID(agents.LineID(c.top), agents.BeforeFirst), Line: agents.LineID(c.top), Step: agents.BeforeFirst}
}

// bodies reads the messages of the state.
func (l *stateLoad) bodies(ctx context.Context, send sends) error {
	var err error
	l.state.Messages, err = loadMessages(ctx, send, l.org, l.thread, l.refs, l.known)
	return err
}

// all reads the whole state.
func (l *stateLoad) all(ctx context.Context, send sends) error {
	if err := l.head(ctx, send); err != nil {
		return err
	}
	return l.bodies(ctx, send)
}

// head reads all but the messages.
func (l *stateLoad) head(ctx context.Context, send sends) error {
	var batch pgx.Batch
	l.queueLine(&batch)
	if err := send(ctx, &batch); err != nil {
		return fmt.Errorf("reading a line: %w", translate(err))
	}
	return l.fold(ctx, send)
}

// pgxOne reads exactly one row inside a transaction.
func pgxOne[T any](ctx context.Context, tx pgx.Tx, sql string, args ...any) (T, error) {
	rows, _ := tx.Query(ctx, sql, args...)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
}
