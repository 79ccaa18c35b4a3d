package store

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

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

// keepSteps folds steps that were written onto the state that is kept of their
// thread. They are read from what was sent to the database, so that it is what a
// reader would find there.
func (db *DB) keepSteps(key stateKey, e *entry) {
	first, messages := e.steps[0], 0
	for _, s := range e.steps {
		messages += len(s["messages"].([]messageForm))
	}
	if e.at.Written < messages {
		db.states.drop(key) // one of them was there already, and stays as it was
		return
	}
	line, stands := first["line"].(string), first["step"].(int)-1
	kept := keptState{state: agents.State{Line: agents.LineID(line), Step: -1, Values: map[string]json.RawMessage{}}, room: new(atomic.Bool)}
	if stands >= 0 {
		found, ok := db.states.get(key)
		if !ok || found.state.Line != kept.state.Line || found.state.Step != stands {
			return // somebody reads it when it is needed
		}
		kept = found.grown()
	}
	upto := e.at.Base
	for _, s := range e.steps {
		upto += int64(s["events"].(int))
		var ok bool
		if kept, ok = folded(kept, rowOf(s, upto, e.at.At), s["messages"].([]messageForm)); !ok {
			db.states.drop(key)
			return
		}
	}
	db.keepOwn(key, kept)
}

// rowOf gives a step as a reader finds it.
func rowOf(args named, upto int64, at time.Time) checkpointRow {
	row := checkpointRow{LineID: args["line"].(string), Step: args["step"].(int), Source: args["source"].(string), EventSeq: upto, CreatedAt: at}
	if run := textOf(args["run"]); run != nil {
		row.RunID = run
	}
	for _, column := range []struct {
		into *[]byte
		name string
	}{{&row.Ops, "ops"}, {&row.Deltas, "deltas"}, {&row.Snapshot, "snapshot"}, {&row.Next, "next"}, {&row.Wrote, "wrote"}, {&row.Interrupts, "interrupts"},
		{&row.Metadata, "metadata"}} {
		if text := textOf(args[column.name]); text != nil {
			*column.into = []byte(*text)
		}
	}
	return row
}

// folded folds one step and its messages onto a state; false where only a reader can.
func folded(kept keptState, row checkpointRow, forms []messageForm) (keptState, bool) {
	c, err := row.checkpoint()
	if err != nil || c.Snapshot != nil {
		return kept, false
	}
	if kept.refs, err = agents.Replay(&kept.state, kept.refs, []agents.Checkpoint{c}); err != nil {
		return kept, false
	}
	added := make([]agents.Message, len(forms))
	for i, f := range forms {
		if added[i], err = f.message(row); err != nil {
			return kept, false
		}
	}
	if before, ok := onlyGrew(kept, c, forms); ok {
		kept.state.Messages = append(before, added...)
		kept.size += sizeOf(agents.State{Messages: added})
		return kept, true
	}
	bodies := make(map[agents.Ref]agents.Message, len(kept.state.Messages)+len(added))
	for _, m := range slices.Concat(kept.state.Messages, added) {
		bodies[agents.Ref{ID: m.ID, Rev: m.Revision}] = m
	}
	kept.state.Messages = make([]agents.Message, len(kept.refs))
	for i, ref := range kept.refs {
		m, ok := bodies[ref]
		if !ok {
			return kept, false
		}
		kept.state.Messages[i] = m
	}
	kept.size = sizeOf(kept.state)
	return kept, true
}

// onlyGrew reports whether a step did nothing but append its messages, and gives
// those before, behind which there may be room.
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
	return kept.state.Messages, true
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
