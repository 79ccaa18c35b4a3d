package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// sqlLineOfThread finds a line of a thread, of a subgraph, too.
const sqlLineOfThread = `select l.id, l.step from lines l where l.org_id = @org and l.thread_id = @thread and l.id = @line`

// StateOfStep loads the state at a step of a line of the thread, a subgraph's
// included: what an envelope names. alone is the innermost line around it, or it itself,
// that begins with nothing of its parent's; empty for none. Bodies of messages that are kept from an
// earlier reading are not read again. The scope must be able to read the thread.
func (db *DB) StateOfStep(ctx context.Context, scope auth.Scope, thread agents.ThreadID, line agents.LineID, step int, alone agents.LineID) (agents.State, error) {
	if err := checkScope(scope); err != nil {
		return agents.State{}, err
	}
	if !id.Valid(string(thread)) {
		return agents.State{}, threadNotFound()
	}
	if !id.Valid(string(line)) || step < 0 {
		return agents.State{}, agents.ErrCheckpointNotFound
	}
	key := stateKey{scope.Org, thread}
	load := &stateLoad{org: string(scope.Org), thread: string(thread), line: string(line), upto: &step, until: string(alone), known: db.knownBodies(key)}
	send := db.batches(scope)
	var threads []threadRow
	var lines []threadLineRow
	var batch pgx.Batch
	collect(&batch, &threads, sqlThreadByID, readerArgs(scope, named{"id": load.thread}))
	collect(&batch, &lines, sqlLineOfThread, named{"org": load.org, "thread": load.thread, "line": load.line})
	load.queueLine(&batch)
	if err := send(ctx, &batch); err != nil {
		return agents.State{}, fmt.Errorf("reading a step: %w", translate(err))
	}
	switch {
	case len(threads) != 1:
		return agents.State{}, threadNotFound()
	case len(lines) != 1 || lines[0].Step < step:
		return agents.State{}, agents.ErrCheckpointNotFound
	}
	if err := load.fold(ctx, send); err != nil {
		return agents.State{}, fmt.Errorf("reading a step: %w", shortened(err))
	}
	if h := load.state.Head; h == nil || h.Line != line || h.Step != step {
		return agents.State{}, agents.ErrCheckpointNotFound // removed
	}
	if err := load.bodies(ctx, send); err != nil {
		return agents.State{}, fmt.Errorf("reading a step: %w", shortened(err))
	}
	if kept, ok := db.states.get(key); line == agents.LineID(threads[0].LineID) && (!ok || kept.state.Line != line || kept.state.Step < step) {
		db.keepState(key, keptState{state: load.state, refs: load.refs, size: sizeOf(load.state)})
	}
	return load.state, nil
}

// knownBodies gives the messages that are kept of a thread.
func (db *DB) knownBodies(key stateKey) map[agents.Ref]agents.Message {
	kept, ok := db.states.get(key)
	if !ok {
		return nil
	}
	out := make(map[agents.Ref]agents.Message, len(kept.state.Messages))
	for _, m := range kept.state.Messages {
		out[agents.Ref{ID: m.ID, Rev: m.Revision}] = m
	}
	return out
}

// sqlRunFirst finds where a run's envelopes begin.
const sqlRunFirst = `select e.from_seq from events e where e.org_id = @org and e.thread_id = @thread and e.run_id = @run order by e.seq limit 1`

// RunFirst gives the number of a run's first envelope that the log still holds,
// zero if it holds none. The scope must be able to read the thread.
func (db *DB) RunFirst(ctx context.Context, scope auth.Scope, thread agents.ThreadID, run agents.RunID) (int64, error) {
	if !id.Valid(string(run)) {
		return 0, fault.NotFound("Run")
	}
	if _, err := db.Thread(ctx, scope, thread); err != nil {
		return 0, err
	}
	rows, err := many[struct{ FromSeq int64 }](ctx, db, scope, "finding a run's first envelope", sqlRunFirst,
		named{"org": string(scope.Org), "thread": string(thread), "run": string(run)})
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].FromSeq, nil
}
