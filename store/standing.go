package store

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// A node that executes a thread's runs one after the other knows its state already:
// nobody else writes to a thread while its lease is held, a claim says where it
// stands then, and what this node commits it can fold itself. So a run in the middle
// of a conversation reads nothing before it begins, and whoever waits for its end
// nothing after it.

// StateOf gives the state that a claimed run begins with: State, from memory where
// that stands where the claim says. The lease must still be held, or what is written
// on it will be refused; no message may be changed in place.
func (db *DB) StateOf(ctx context.Context, scope auth.Scope, c agents.Claimed) (agents.State, error) {
	if err := checkScope(scope); err != nil {
		return agents.State{}, err
	}
	at := c.Head
	if at == nil || at.Pending || c.Run.Org != scope.Org {
		return db.State(ctx, scope, c.Run.Thread)
	}
	if at.Step < 0 {
		return agents.State{Line: at.Line, Step: -1, Values: map[string]json.RawMessage{}}, nil
	}
	if kept, ok := db.states.get(stateKey{scope.Org, c.Run.Thread}); ok && kept.state.Line == at.Line && kept.state.Step == at.Step {
		return kept.lent(), nil
	}
	return db.State(ctx, scope, c.Run.Thread)
}

// EndState gives the state that a run ended with, for whoever has just been told
// of its end and may read its thread: from memory, if this node executed it.
func (db *DB) EndState(ctx context.Context, scope auth.Scope, r agents.Run) (agents.State, error) {
	if err := checkScope(scope); err != nil {
		return agents.State{}, err
	}
	if kept, ok := db.states.get(stateKey{scope.Org, r.Thread}); ok && r.Org == scope.Org {
		if h := kept.state.Head; h.Step > 0 && h.Run == r.ID && (len(h.Next) == 0 || len(h.Interrupts) > 0) {
			return kept.lent(), nil
		}
	}
	return db.State(ctx, scope, r.Thread)
}

// keepStep folds a step that was written onto the state that is kept of its thread.
// It is read from what was sent to the database, so that it is what a reader would
// find there.
func (db *DB) keepStep(key stateKey, e *entry) {
	line, step := e.args["line"], e.args["step"].(int)
	if e.at.Written < len(e.messages) {
		db.states.drop(key) // one of them was there already, and stays as it was
		return
	}
	kept := keptState{state: agents.State{Line: agents.LineID(line.(string)), Step: -1, Values: map[string]json.RawMessage{}}}
	if step > 0 {
		found, ok := db.states.get(key)
		if !ok || found.state.Line != kept.state.Line || found.state.Step != step-1 {
			return // somebody reads it when it is needed
		}
		kept = keptState{state: found.lent(), refs: found.refs, size: found.size}
	}
	row := checkpointRow{LineID: line.(string), Step: step, Source: e.args["source"].(string), EventSeq: e.at.Base + int64(e.args["events"].(int)),
		CreatedAt: e.at.At}
	if run := textOf(e.args["run"]); run != nil {
		row.RunID = run
	}
	for _, column := range []struct {
		into *[]byte
		name string
	}{{&row.Ops, "ops"}, {&row.Deltas, "deltas"}, {&row.Snapshot, "snapshot"}, {&row.Next, "next"}, {&row.Wrote, "wrote"}, {&row.Interrupts, "interrupts"},
		{&row.Metadata, "metadata"}} {
		if text := textOf(e.args[column.name]); text != nil {
			*column.into = []byte(*text)
		}
	}
	db.foldKept(key, kept, row, e)
}

func (db *DB) foldKept(key stateKey, kept keptState, row checkpointRow, e *entry) {
	c, err := row.checkpoint()
	if err == nil && c.Snapshot == nil {
		kept.refs, err = agents.Replay(&kept.state, kept.refs, []agents.Checkpoint{c})
	}
	if err != nil || c.Snapshot != nil {
		db.states.drop(key)
		return
	}
	if grown, ok := onlyGrew(kept, c, e.messages); ok {
		for _, f := range e.messages {
			m, err := f.message(row)
			if err != nil {
				db.states.drop(key)
				return
			}
			grown = append(grown, m)
		}
		added := agents.State{Messages: grown[len(grown)-len(e.messages):]}
		kept.state.Messages, kept.size = grown, kept.size+sizeOf(added)
		db.keepOwn(key, kept)
		return
	}
	bodies := make(map[agents.Ref]agents.Message, len(kept.state.Messages)+len(e.messages))
	for _, m := range kept.state.Messages {
		bodies[agents.Ref{ID: m.ID, Rev: m.Revision}] = m
	}
	for _, f := range e.messages {
		m, err := f.message(row)
		if err != nil {
			db.states.drop(key)
			return
		}
		bodies[agents.Ref{ID: m.ID, Rev: m.Revision}] = m
	}
	kept.state.Messages = make([]agents.Message, len(kept.refs))
	for i, ref := range kept.refs {
		m, ok := bodies[ref]
		if !ok {
			db.states.drop(key)
			return
		}
		kept.state.Messages[i] = m
	}
	kept.size = sizeOf(kept.state)
	db.keepOwn(key, kept)
}

// onlyGrew reports whether a step did nothing but append its messages, and gives
// those before.
func onlyGrew(kept keptState, c agents.Checkpoint, forms []messageForm) ([]agents.Message, bool) {
	if len(c.Deltas) > 0 || len(c.Ops) != len(forms) || len(kept.refs) != len(kept.state.Messages)+len(forms) {
		return nil, false
	}
	for i, op := range c.Ops {
		at := kept.refs[len(kept.state.Messages)+i]
		if op.Kind != agents.OpAppend || at.ID != forms[i].ID || at.Rev != forms[i].Revision {
			return nil, false
		}
	}
	return slices.Clip(kept.state.Messages), true
}

// message reads a form as readMessage reads its row.
func (f messageForm) message(of checkpointRow) (agents.Message, error) {
	var m agents.Message
	if f.Rest != nil {
		if err := json.Unmarshal(f.Rest, &m); err != nil {
			return m, err
		}
	}
	m.ID, m.Revision, m.Role, m.Text, m.CreatedAt = f.ID, f.Revision, f.Role, f.Text, of.CreatedAt.UTC()
	if f.Author != nil {
		m.Author = *f.Author
	}
	if of.RunID != nil && m.Run == "" {
		m.Run = agents.RunID(*of.RunID)
	}
	return m, nil
}
