package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/id"
)

// Changes is what one super-step did to the state, in storable form.
type Changes struct {
	// Messages are the new messages and revisions; Ops says where they go.
	Messages []agents.Message
	Ops      []agents.Op
	Deltas   map[string][]agents.Delta
	// Wrote says which task made which of them.
	Wrote []agents.Wrote
}

// With gives these changes followed by others.
func (c Changes) With(more Changes) Changes {
	out := Changes{
		Messages: slices.Concat(c.Messages, more.Messages), Ops: slices.Concat(c.Ops, more.Ops), Wrote: slices.Concat(c.Wrote, more.Wrote),
		Deltas: maps.Clone(c.Deltas),
	}
	for channel, deltas := range more.Deltas {
		if out.Deltas == nil {
			out.Deltas = map[string][]agents.Delta{}
		}
		out.Deltas[channel] = slices.Concat(out.Deltas[channel], deltas)
	}
	return out
}

// merger applies writes in their order, which the caller fixes, to a state. The
// old state is untouched.
type merger struct {
	// g knows the reducers; nil allows messages only.
	g       *Graph
	next    State
	changes Changes
	all     []agents.Change // what was written, in stored form
	// copied says that nobody else has next.messages: they may be changed in place.
	copied bool
	// place names the step among all of the thread: revisions are made of it.
	place   string
	revised int
	// lenient passes over what the graph can't merge.
	lenient bool
	// fresh says that whatever is added gets a revision of its own: ids that
	// clients choose may stand on another line with another text. The same holds
	// for ids that a node made up, which are no UUIDs.
	fresh bool
}

func newMerger(g *Graph, s State, place string, fresh bool) *merger {
	m := &merger{g: g, place: place, fresh: fresh, next: State{messages: s.grow(), values: maps.Clone(s.values), room: new(atomic.Bool)}}
	if m.next.values == nil {
		m.next.values = map[string]json.RawMessage{}
	}
	return m
}

// take applies the writes of one task, or of the engine where node is empty.
func (m *merger) take(node string, writes []agents.Change) error {
	ops, deltas := len(m.changes.Ops), map[string]int{}
	for _, w := range writes {
		if err := m.one(w); err != nil {
			if m.lenient && (errors.As(err, new(*InputError)) || errors.As(err, new(*PanicError))) {
				continue
			}
			return err
		}
		if w.Delta != nil {
			deltas[w.Channel]++
		}
	}
	if node != "" {
		w := agents.Wrote{Node: node, Ops: len(m.changes.Ops) - ops}
		if len(deltas) > 0 {
			w.Deltas = deltas
		}
		m.changes.Wrote = append(m.changes.Wrote, w)
	}
	return nil
}

func (m *merger) one(w agents.Change) error {
	switch {
	case w.Message != nil:
		m.put(*w.Message)
	case w.Remove != "":
		if at := m.find(w.Remove); at >= 0 {
			m.change()
			m.next.messages = slices.Delete(m.next.messages, at, at+1)
			m.changes.Ops = append(m.changes.Ops, agents.Op{Kind: agents.OpRemove, ID: w.Remove})
			m.all = append(m.all, w)
		}
	case w.Delta != nil:
		return m.delta(w.Channel, *w.Delta)
	}
	return nil
}

// delta merges a write to a channel by its reducer.
func (m *merger) delta(name string, d agents.Delta) error {
	value, stored, err := m.reduced(name, d)
	if err != nil {
		return err
	}
	if value == nil {
		delete(m.next.values, name)
	} else {
		m.next.values[name] = value
	}
	if m.changes.Deltas == nil {
		m.changes.Deltas = map[string][]agents.Delta{}
	}
	m.changes.Deltas[name] = append(m.changes.Deltas[name], stored)
	m.all = append(m.all, agents.Change{Channel: name, Delta: &stored})
	return nil
}

func (m *merger) reduced(name string, d agents.Delta) (value json.RawMessage, stored agents.Delta, err error) {
	declared, err := m.g.fits(name, d)
	switch {
	case err != nil:
		return nil, d, err
	case d.Op == agents.DeltaDrop:
		return nil, d, nil
	case engineChannel(name):
		return d.Value, d, nil
	case d.Op == agents.DeltaReduce:
		if value, err = m.reduce(declared, name, d.Value); err != nil {
			return nil, d, err
		}
		return value, agents.Delta{Op: agents.DeltaSet, Value: value, From: d.Value}, nil
	}
	value, err = agents.ApplyDeltas(m.next.values[name], []agents.Delta{d})
	if err != nil {
		return nil, d, m.g.refuseWrite(name, ErrWrongType, err)
	}
	return value, d, nil
}

// reduce calls a graph's own reducer, which may panic.
func (m *merger) reduce(d declaration, name string, in json.RawMessage) (out json.RawMessage, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("merging channel %s: %w", name, panicked(v))
		}
	}()
	out, err = d.reduce(m.next.values[name], in)
	if err != nil {
		return nil, m.g.refuseWrite(name, ErrWrongType, err)
	}
	return out, nil
}

// fits checks that the graph can merge a write, whatever the channel holds. A nil
// graph has no channels.
func (g *Graph) fits(name string, d agents.Delta) (declaration, error) {
	var declared declaration
	known := false
	if g != nil {
		declared, known = g.channels[name]
	}
	switch {
	case g != nil && (engineChannel(name) || known && d.Op == agents.DeltaDrop):
		return declared, nil
	case !known:
		return declared, g.refuseWrite(name, ErrUnknownChannel, nil)
	case d.Op != declared.op && !(d.Op == agents.DeltaRemove && declared.op == agents.DeltaUpsert):
		return declared, g.refuseWrite(name, ErrWrongType, fmt.Errorf("the write asks for %s, the channel is merged by %s", d.Op, declared.label))
	case d.Op == agents.DeltaReduce:
		return declared, nil
	}
	if _, err := agents.ApplyDeltas(nil, []agents.Delta{d}); err != nil {
		return declared, g.refuseWrite(name, ErrWrongType, err)
	}
	return declared, nil
}

// takes checks that what a node gave can be merged and leads somewhere, before
// it is kept: a step could never be completed with it.
func (g *Graph) takes(r agents.Result) error {
	for _, w := range r.Writes {
		if w.Delta == nil {
			continue
		}
		if engineChannel(w.Channel) {
			return g.refuseWrite(w.Channel, ErrUnknownChannel, nil)
		}
		if _, err := g.fits(w.Channel, *w.Delta); err != nil {
			return err
		}
	}
	if err := g.Known("goto", append(slices.Clone(r.Goto), r.Also...)...); err != nil {
		return err
	}
	return g.Known("send", agents.Nodes(r.Send)...)
}

func (g *Graph) refuseWrite(channel string, rule, cause error) error {
	e := &InputError{Field: "values." + channel, Rule: rule, cause: cause}
	if g != nil {
		e.Graph = g.name
	}
	if cause != nil {
		e.Detail = cause.Error()
	}
	return e
}

// engineChannel reports whether the engine keeps a channel for itself.
func engineChannel(name string) bool { return len(name) > 1 && name[0] == '_' && name[1] == '_' }

// put adds a message or a revision of one.
func (m *merger) put(msg agents.Message) {
	at := m.find(msg.ID)
	op := agents.Op{Kind: agents.OpAppend, ID: msg.ID}
	msg.Revision = 0
	if at >= 0 || m.fresh || !id.Valid(string(msg.ID)) {
		msg.Revision = m.revision(msg.ID)
	}
	if at < 0 {
		m.next.messages = append(m.next.messages, msg)
	} else {
		m.change()
		m.next.messages[at] = msg
		op.Kind = agents.OpReplace
	}
	op.Rev = msg.Revision
	m.changes.Messages = append(m.changes.Messages, msg)
	m.changes.Ops = append(m.changes.Ops, op)
	m.all = append(m.all, agents.Change{Message: &msg})
}

// find gives the place of a message, -1 if it is not there.
func (m *merger) find(id agents.MessageID) int {
	for i := range m.next.messages { // a message is too large to be handed about a thousand times
		if m.next.messages[i].ID == id {
			return i
		}
	}
	return -1
}

// change copies the messages before the first change in place.
func (m *merger) change() {
	if !m.copied {
		m.next.messages, m.copied = slices.Clone(m.next.messages), true
	}
}

// revision numbers a form of a message so that no other form of the thread has
// the number, on whatever line: a place is committed once. It fits the integers
// of JSON.
func (m *merger) revision(id agents.MessageID) int64 {
	m.revised++
	sum := sha256.Sum256([]byte(m.place + ":" + strconv.Itoa(m.revised) + ":" + string(id)))
	return int64(binary.BigEndian.Uint64(sum[:8])>>12) | 1
}

// place names a step of a line among all steps of a thread.
func place(line agents.LineID, step int) string { return string(line) + ":" + strconv.Itoa(step) }

// Apply applies writes to a state outside a run: a run's input, a change by a
// client. line and step are where it will be committed. The error is an
// [*InputError].
func (g *Graph) Apply(s State, line agents.LineID, step int, writes []Write) (State, Changes, error) {
	return g.apply(s, line, step, nil, writes)
}

// apply is Apply after writes of the engine's own.
func (g *Graph) apply(s State, line agents.LineID, step int, own []agents.Change, writes []Write) (State, Changes, error) {
	changes, err := storable(writes)
	if err != nil {
		return s, Changes{}, err
	}
	for _, c := range changes {
		if engineChannel(c.Channel) {
			return s, Changes{}, g.refuseWrite(c.Channel, ErrUnknownChannel, nil)
		}
	}
	m := newMerger(g, s, place(line, step), true)
	if err := m.take("", append(own, changes...)); err != nil {
		return s, Changes{}, err
	}
	return m.next, m.changes, nil
}

// ApplyMessages is [Graph.Apply] where there is no graph: writes to messages only.
func ApplyMessages(s State, line agents.LineID, step int, writes []Write) (State, Changes, error) {
	return (*Graph)(nil).Apply(s, line, step, writes)
}

// Settle applies the results of the tasks of a step that will not be completed,
// because something else comes in its place, so that nothing they did is lost. A
// write that this version of the graph can't merge is passed over: it must not
// keep a thread from going on with something else.
func (g *Graph) Settle(s State, line agents.LineID, step int, due []agents.Due, known []agents.Pending) (State, Changes, error) {
	m := newMerger(g, s, place(line, step)+":settled", false)
	m.lenient = true
	for i, d := range due {
		if p, ok := agents.PendingOf(known, i); ok && p.Result != nil {
			if err := m.take(d.Node, p.Result.Writes); err != nil {
				return s, Changes{}, err
			}
		}
	}
	return m.next, m.changes, nil
}

func storable(writes []Write) ([]agents.Change, error) {
	out := make([]agents.Change, 0, len(writes))
	for _, w := range writes {
		if w.err != nil {
			return nil, fmt.Errorf("writing channel %s as JSON: %w", w.Channel, w.err)
		}
		out = append(out, w.Change)
	}
	return out, nil
}

// Decode reads what a client wants to write, a JSON object of channels, into
// writes in the order of names. The error joins an [*InputError] for each
// channel that is unknown, private, or not of the type the graph declares; the
// key "messages" is the caller's affair and refused here as unknown.
func (g *Graph) Decode(values map[string]json.RawMessage) ([]Write, error) {
	var out []Write
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		field := "values." + name
		d, ok := g.channels[name]
		switch {
		case agents.Hidden(name):
			errs = append(errs, g.refuse(field, ErrPrivateChannel, ""))
		case !ok:
			errs = append(errs, g.refuse(field, ErrUnknownChannel, ""))
		default:
			if err := d.check(values[name]); err != nil {
				errs = append(errs, g.refuse(field, ErrWrongType, err.Error()))
				continue
			}
			out = append(out, Write{Change: agents.Change{Channel: name, Delta: &agents.Delta{Op: d.op, Value: values[name]}}})
		}
	}
	return out, errors.Join(errs...)
}

// forget makes the writes that clear what a finished run kept in private, for
// the run that begins with new input.
func (g *Graph) forget(s State) []agents.Change {
	var out []agents.Change
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		_, declared := g.channels[name]
		if agents.Hidden(name) && (declared || engineChannel(name)) && name != reducersChannel {
			out = append(out, agents.Change{Channel: name, Delta: &agents.Delta{Op: agents.DeltaDrop}})
		}
	}
	return out
}

// restore replays changes in their stored form onto a state.
func restore(s State, changes []agents.Change) (State, error) {
	next := State{messages: slices.Clone(s.messages), values: maps.Clone(s.values)}
	if next.values == nil {
		next.values = map[string]json.RawMessage{}
	}
	for _, c := range changes {
		switch {
		case c.Message != nil:
			at := slices.IndexFunc(next.messages, func(have agents.Message) bool { return have.ID == c.Message.ID })
			if at < 0 {
				next.messages = append(next.messages, *c.Message)
			} else {
				next.messages[at] = *c.Message
			}
		case c.Remove != "":
			next.messages = slices.DeleteFunc(next.messages, func(m agents.Message) bool { return m.ID == c.Remove })
		case c.Delta != nil:
			if err := agents.Fold(next.values, c.Channel, []agents.Delta{*c.Delta}); err != nil {
				return s, err
			}
		}
	}
	return next, nil
}
