package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// The bounds of what a process keeps of rows that never change: at most 32 MiB
// of states' text, and a thousand versions of assistants (LG-44).
const (
	maxKeptStates    = 500
	maxKeptStateSize = 64 << 10
	maxKeptVersions  = 1000
)

// versionKey names an immutable version of an assistant.
type versionKey struct {
	org       auth.OrgID
	assistant agents.AssistantID
	version   int
}

// lineKey names a line of history.
type lineKey struct {
	org  auth.OrgID
	line agents.LineID
}

// keptState is a state as of a committed step. Checkpoints and messages never
// change, so it stays true of that step; what is newer is read and folded onto
// it. Whether the scope may read the thread is asked anew each time.
type keptState struct {
	state agents.State
	refs  []agents.Ref
	size  int
}

// copied shares messages and checkpoints, which nobody changes, and no slice or
// map that a caller may grow.
func (k keptState) copied() agents.State {
	s := k.state
	s.Messages, s.Values = slices.Clone(s.Messages), maps.Clone(s.Values)
	return s
}

func (db *DB) keepState(key lineKey, k keptState) {
	if k.state.Head == nil || k.size > maxKeptStateSize {
		db.states.drop(key)
		return
	}
	k.state = k.copied()
	db.states.put(key, k)
}

func sizeOf(messages []messageRow, values map[string]json.RawMessage) int {
	n := 0
	for _, m := range messages {
		n += len(m.Body)
	}
	for _, v := range values {
		n += len(v)
	}
	return n
}

const sqlCheckpointsSince = `select c.id, c.line_id, c.step, c.run_id, c.source, c.ops, c.deltas, c.snapshot, c.next,
		c.metadata, c.event_seq, c.created_at, null::text as parent_line, null::int as parent_step
	from checkpoints c where c.org_id = @org and c.line_id = @line and c.step >= @step
	order by c.step limit @limit`

// stateSince brings a kept state up to its line's head. It reports false where
// the line no longer holds the kept step, or holds so many newer ones that
// loading from a snapshot costs less.
func (db *DB) stateSince(ctx context.Context, scope auth.Scope, thread agents.Thread, key lineKey, kept keptState) (agents.State, bool, error) {
	rows, err := many[checkpointRow](ctx, db, scope, "reading a line's newest steps", sqlCheckpointsSince, pgx.NamedArgs{
		"org": string(key.org), "line": string(key.line), "step": kept.state.Step, "limit": agents.SnapshotEvery})
	if err != nil {
		return agents.State{}, false, err
	}
	if len(rows) == 0 || len(rows) == agents.SnapshotEvery || rows[0].ID != kept.state.Head.ID {
		return agents.State{}, false, nil
	}
	if len(rows) == 1 {
		return kept.copied(), true, nil
	}
	load := stateLoad{org: string(key.org), thread: string(thread.ID), line: string(key.line), state: kept.copied()}
	load.known = make(map[agents.Ref]agents.Message, len(kept.state.Messages))
	for _, m := range kept.state.Messages {
		load.known[agents.Ref{ID: m.ID, Rev: m.Revision}] = m
	}
	load.state.Step = rows[len(rows)-1].Step
	if load.refs, err = foldCheckpoints(&load.state, kept.refs, [][]checkpointRow{rows[1:]}); err != nil {
		return agents.State{}, false, err
	}
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	load.queueMessages(&batch)
	if batch.Len() > 1 {
		if err := db.app.SendBatch(ctx, &batch).Close(); err != nil {
			return agents.State{}, false, fmt.Errorf("reading messages: %w", err)
		}
	}
	state, err := load.finish()
	if err != nil {
		return agents.State{}, false, err
	}
	db.keepState(key, keptState{state: state, refs: load.refs, size: kept.size + sizeOf(load.messages, state.Values)})
	return state, true, nil
}
