package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// The bounds of what a process keeps of rows that never change: at most 16 MiB
// of states' text, and a thousand versions of assistants (LG-44).
const (
	maxKeptStates    = 16 << 20 // bytes of them all
	maxKeptStateSize = 4 << 20  // bytes of one
	maxKeptVersions  = 1000
	maxKeptLines     = 10_000
)

// versionKey names an immutable version of an assistant.
type versionKey struct {
	org       auth.OrgID
	assistant agents.AssistantID
	version   int
}

// stateKey names a thread whose active line's state is kept.
type stateKey struct {
	org    auth.OrgID
	thread agents.ThreadID
}

// keptState is a state as of a committed step. Checkpoints and messages never
// change, so it stays true of that step; what is newer is read and folded onto
// it. Whether the scope may read the thread is asked anew each time.
type keptState struct {
	state agents.State
	refs  []agents.Ref
	size  int
	// room says whether the spare room behind the messages was given to the state
	// that goes on from this one; nil where there is none to give.
	room *atomic.Bool
}

// copied shares messages and checkpoints, which nobody changes, and no slice or
// map that a caller may grow.
func (k keptState) copied() agents.State {
	s := k.state
	s.Messages, s.Values = slices.Clone(s.Messages), maps.Clone(s.Values)
	return s
}

// lent is copied for those who change no message in place, as an engine does not: a
// long thread has a thousand.
func (k keptState) lent() agents.State {
	s := k.state
	s.Messages, s.Values = slices.Clip(s.Messages), maps.Clone(s.Values)
	return s
}

// grown is lent to what goes on from this state: what it adds is no part of this one.
func (k keptState) grown() keptState {
	out := keptState{state: k.lent(), refs: k.refs, size: k.size, room: new(atomic.Bool)}
	if k.room != nil && k.room.CompareAndSwap(false, true) {
		out.state.Messages = k.state.Messages
	}
	return out
}

// keepState keeps a state that somebody else has, too.
func (db *DB) keepState(key stateKey, k keptState) {
	k.state, k.room = k.copied(), nil
	db.keepOwn(key, k)
}

// keepOwn keeps a state that nobody else has.
func (db *DB) keepOwn(key stateKey, k keptState) {
	if k.state.Head == nil || k.size > maxKeptStateSize {
		db.states.drop(key)
		return
	}
	k.state.Pending = nil // changes while the step stands
	db.states.put(key, k)
}

// weight is about what a state takes, one without text, too.
func (k keptState) weight() int { return k.size + 1<<10 }

// sizeOf is about how much text a state is.
func sizeOf(s agents.State) int {
	n := 0
	for _, m := range s.Messages {
		n += len(m.Text) + len(m.Blocks) + len(m.Data) + 200
		for _, c := range m.ToolCalls {
			n += len(c.Args)
		}
	}
	for _, v := range s.Values {
		n += len(v)
	}
	return n
}

const sqlCheckpointsSince = `select ` + checkpointColumns + ` from checkpoints c where c.org_id = @org and c.line_id = @line and c.step >= @step
	order by c.step limit @limit`

// stateSince reads the thread and, in the same round trip, brings a kept state up
// to its line's head. It reports false where the thread has another line now,
// the line no longer holds the kept step, or holds so many newer ones that
// loading from a snapshot costs less.
func (db *DB) stateSince(ctx context.Context, scope auth.Scope, key stateKey, kept keptState) (agents.State, bool, error) {
	org, thread, line := string(key.org), string(key.thread), string(kept.state.Line)
	var threads []threadRow
	var rows []checkpointRow
	var pending []pendingRow
	var first pgx.Batch
	first.Queue(sqlSetOrg, org)
	collect(&first, &threads, sqlThreadByID, readerArgs(scope, named{"id": thread}))
	collect(&first, &rows, sqlCheckpointsSince, named{
		"org": org, "line": line, "step": kept.state.Step, "limit": agents.RollupEvery})
	collect(&first, &pending, sqlPending, named{"org": org, "line": line})
	if err := db.app.SendBatch(ctx, &first).Close(); err != nil {
		return agents.State{}, false, fmt.Errorf("reading a thread and its newest steps: %w", translate(err))
	}
	if len(threads) != 1 {
		return agents.State{}, false, threadNotFound()
	}
	if threads[0].LineID != line || len(rows) == 0 || len(rows) == agents.RollupEvery || !rows[0].CreatedAt.Equal(kept.state.Head.CreatedAt) {
		return agents.State{}, false, nil
	}
	if len(rows) == 1 {
		state := kept.copied()
		state.Pending = pendingOf(pending, state.Step)
		return state, true, nil
	}
	load := stateLoad{org: org, thread: thread, line: line, state: kept.copied()}
	load.known = make(map[agents.Ref]agents.Message, len(kept.state.Messages))
	for _, m := range kept.state.Messages {
		load.known[agents.Ref{ID: m.ID, Rev: m.Revision}] = m
	}
	for i := range rows {
		rows[i].Snapshot, rows[i].Rollup = nil, nil // the steps they stand for are read one by one
	}
	newer, err := checkpointsOf(rows[1:])
	if err != nil {
		return agents.State{}, false, err
	}
	if load.refs, err = agents.Replay(&load.state, kept.refs, newer); err != nil {
		return agents.State{}, false, fmt.Errorf("replaying a line: %w", err)
	}
	if err := load.bodies(ctx, db.batches(scope)); err != nil {
		return agents.State{}, false, err
	}
	state := load.state
	state.Pending = pendingOf(pending, state.Step)
	db.keepState(key, keptState{state: state, refs: load.refs, size: sizeOf(state)})
	return state, true, nil
}
