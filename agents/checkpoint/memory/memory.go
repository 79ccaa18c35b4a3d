// Package memory keeps the histories of threads in the process, for tests, for
// programs that need no more, and for trying things out. It keeps the history,
// bounded per thread, so that time travel works without a database.
//
// Programs that use agents/graph as a library import it; the server does not.
package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// DefaultCheckpoints is how many checkpoints of a line are kept unless the
// options say otherwise.
const DefaultCheckpoints = 1000

// Options configure a checkpointer; the zero value is fine.
type Options struct {
	// Checkpoints bounds what is kept of each line; default [DefaultCheckpoints],
	// negative keeps all.
	Checkpoints int
	Clock       clock.Clock
	NewID       id.Source
}

// Checkpointer implements [graph.Checkpointer].
type Checkpointer struct {
	o       Options
	mu      sync.Mutex
	threads map[agents.ThreadID]*thread
	// token is the last that was given out, of all threads: a thread that was
	// deleted may begin anew, and its old leases must not fit again.
	token int64
}

// New makes an empty one.
func New(o Options) *Checkpointer {
	if o.Checkpoints == 0 {
		o.Checkpoints = DefaultCheckpoints
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.NewID == nil {
		o.NewID = id.New
	}
	return &Checkpointer{o: o, threads: map[agents.ThreadID]*thread{}}
}

// thread is one thread. Its messages' bodies are shared by all lines.
type thread struct {
	token    int64
	active   agents.LineID
	lines    map[agents.LineID]*line
	messages map[agents.Ref]agents.Message
	made     int // counts checkpoints, to order those of all lines
}

// line is one line; base is what its first step is added to.
type line struct {
	id         agents.LineID
	parent     agents.LineID
	parentStep int
	ns         []string
	step       int
	// base is the state before the oldest step that is kept.
	base    whole
	steps   []step
	pending []agents.Pending
}

// whole is a state in references.
type whole struct {
	refs   []agents.Ref
	values map[string]json.RawMessage
	head   *agents.Checkpoint
}

// step is a kept checkpoint and when, among all of the thread, it was made.
type step struct {
	agents.Checkpoint
	made int
}

// Acquire implements [graph.Checkpointer].
func (c *Checkpointer) Acquire(_ context.Context, id agents.ThreadID) (agents.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.threads[id]
	if !ok {
		first := agents.LineID(c.o.NewID())
		t = &thread{active: first, messages: map[agents.Ref]agents.Message{},
			lines: map[agents.LineID]*line{first: {id: first, step: -1, parentStep: -1}}}
		c.threads[id] = t
	}
	c.token++
	t.token = c.token
	return agents.Lease{Thread: id, Token: t.token}, nil
}

// held gives the thread if the lease is the newest.
func (c *Checkpointer) held(l agents.Lease) (*thread, error) {
	t, ok := c.threads[l.Thread]
	if !ok {
		return nil, agents.ErrThreadNotFound
	}
	if t.token != l.Token {
		return nil, agents.ErrFenced
	}
	return t, nil
}

// State implements [graph.Checkpointer].
func (c *Checkpointer) State(_ context.Context, id agents.ThreadID, checkpoint string) (agents.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.threads[id]
	if !ok {
		return agents.State{}, agents.ErrThreadNotFound
	}
	if checkpoint == "" {
		l := t.lines[t.active]
		return t.state(l, l.step)
	}
	l, at, ok := t.find(checkpoint)
	if !ok {
		return agents.State{}, agents.ErrCheckpointNotFound
	}
	return t.state(l, at)
}

// find gives the line of a checkpoint that is kept, and its step.
func (t *thread) find(checkpoint string) (*line, int, bool) {
	for _, l := range t.lines {
		if at, ok := agents.StepOf(checkpoint, l.id); ok && l.ns == nil && l.has(at) {
			return l, at, true
		}
	}
	return nil, 0, false
}

func (l *line) has(at int) bool {
	return slices.ContainsFunc(l.steps, func(s step) bool { return s.Step == at })
}

// state loads a line's state at a step.
func (t *thread) state(l *line, at int) (agents.State, error) {
	refs, s, err := t.fold(l, at)
	if err != nil {
		return agents.State{}, err
	}
	s.Line, s.Step = l.id, at
	for _, r := range refs {
		s.Messages = append(s.Messages, t.messages[r])
	}
	if at == l.step {
		s.Pending = slices.Clone(l.pending)
	}
	if s.Head != nil && s.Head.Line != l.id {
		h := *s.Head
		h.Interrupts = nil
		s.Head = &h
	}
	return s, nil
}

// fold replays a line, and before it what it stands on.
func (t *thread) fold(l *line, at int) ([]agents.Ref, agents.State, error) {
	s := agents.State{Values: map[string]json.RawMessage{}}
	var refs []agents.Ref
	switch {
	case l.base.head != nil:
		refs, s.Head = slices.Clone(l.base.refs), l.base.head
		for k, v := range l.base.values {
			s.Values[k] = v
		}
	case l.parent != "" && l.ns == nil:
		var err error
		if refs, s, err = t.fold(t.lines[l.parent], min(l.parentStep, at)); err != nil {
			return nil, s, err
		}
	}
	for i := range l.steps {
		c := &l.steps[i].Checkpoint
		if c.Step > at {
			break
		}
		refs = agents.ApplyOps(refs, c.Ops)
		for channel, deltas := range c.Deltas {
			if err := agents.Fold(s.Values, channel, deltas); err != nil {
				return nil, s, err
			}
		}
		s.Parent, s.Head = s.Head, c
	}
	return refs, s, nil
}

// History implements [graph.Checkpointer].
func (c *Checkpointer) History(_ context.Context, id agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.threads[id]
	if !ok {
		return nil, agents.ErrThreadNotFound
	}
	var all []step
	for _, l := range t.lines {
		if l.ns == nil {
			all = append(all, l.steps...)
		}
	}
	slices.SortFunc(all, func(a, b step) int { return cmp.Compare(b.made, a.made) })
	if q.Before != "" {
		at := slices.IndexFunc(all, func(s step) bool { return s.ID == q.Before })
		if at < 0 {
			return nil, agents.ErrCheckpointNotFound
		}
		all = all[at+1:]
	}
	out := []agents.State{}
	for _, s := range all[:min(len(all), q.Limit)] {
		state, err := t.state(t.lines[s.Line], s.Step)
		if err != nil {
			return nil, err
		}
		out = append(out, state)
	}
	return out, nil
}

// Commit implements [graph.Checkpointer].
func (c *Checkpointer) Commit(_ context.Context, lease agents.Lease, s agents.Step) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.held(lease)
	if err != nil {
		return err
	}
	l, ok := t.lines[s.Line]
	if !ok || l.step != s.Step-1 {
		return agents.ErrFenced
	}
	run := s.Run
	if run == "" {
		run = lease.Run
	}
	at := s.At
	if at.IsZero() {
		at = c.o.Clock.Now()
	}
	t.made++
	l.steps = append(l.steps, step{made: t.made, Checkpoint: agents.Checkpoint{
		ID: agents.CheckpointID(l.id, s.Step), Line: l.id, Step: s.Step, Run: run, Source: s.Source, Ops: s.Ops, Deltas: s.Deltas,
		Next: s.Next, Wrote: s.Wrote, Interrupts: s.Interrupts, Metadata: s.Metadata, CreatedAt: at.Truncate(time.Microsecond).UTC(),
	}})
	l.step = s.Step
	l.pending = slices.Clone(s.Pending)
	for _, m := range s.Messages {
		ref := agents.Ref{ID: m.ID, Rev: m.Revision}
		if _, ok := t.messages[ref]; !ok {
			t.messages[ref] = m
		}
	}
	if c.o.Checkpoints > 0 && len(l.steps) > 2*c.o.Checkpoints {
		_, err = t.prune(l, c.o.Checkpoints)
	}
	return err
}

// Pend implements [graph.Checkpointer].
func (c *Checkpointer) Pend(_ context.Context, lease agents.Lease, w agents.PendingWrites) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.held(lease)
	if err != nil {
		return err
	}
	l, ok := t.lines[w.Line]
	if !ok || l.step != w.Step {
		return agents.ErrFenced
	}
	for _, p := range w.Pending {
		l.pending = slices.DeleteFunc(l.pending, func(have agents.Pending) bool { return have.Task == p.Task })
		l.pending = append(l.pending, p)
	}
	slices.SortFunc(l.pending, func(a, b agents.Pending) int { return cmp.Compare(a.Task, b.Task) })
	return nil
}

// SubLine implements [graph.Checkpointer].
func (c *Checkpointer) SubLine(_ context.Context, lease agents.Lease, sub agents.SubLine) (agents.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.held(lease)
	if err != nil {
		return agents.State{}, err
	}
	l, ok := t.lines[sub.Line]
	if !ok {
		l = &line{id: sub.Line, ns: sub.NS, parent: sub.Parent, parentStep: sub.ParentStep, step: sub.ParentStep}
		t.lines[sub.Line] = l
	}
	out := agents.State{Line: l.id, Step: l.step, Pending: slices.Clone(l.pending)}
	for i := range l.steps {
		s := &l.steps[i].Checkpoint
		var messages []agents.Message
		for _, op := range s.Ops {
			if op.Kind != agents.OpRemove {
				messages = append(messages, t.messages[agents.Ref{ID: op.ID, Rev: op.Rev}])
			}
		}
		out.Own = append(out.Own, agents.ChangesOf(s.Ops, s.Deltas, &messages)...)
		out.Head = s
	}
	return out, nil
}

// Fork implements [graph.Checkpointer].
func (c *Checkpointer) Fork(_ context.Context, lease agents.Lease, checkpoint string) (agents.LineID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.held(lease)
	if err != nil {
		return "", err
	}
	from, at, ok := t.find(checkpoint)
	if !ok {
		return "", agents.ErrCheckpointNotFound
	}
	l := &line{id: agents.LineID(c.o.NewID()), parent: from.id, parentStep: at, step: at}
	t.lines[l.id], t.active = l, l.id
	return l.id, nil
}

// Copy implements [graph.Checkpointer].
func (c *Checkpointer) Copy(_ context.Context, from, to agents.ThreadID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.threads[from]
	if !ok {
		return agents.ErrThreadNotFound
	}
	if _, taken := c.threads[to]; taken {
		return fault.Conflict("The thread exists already.").WithCode("thread_exists")
	}
	names := map[agents.LineID]agents.LineID{}
	for l := range t.lines {
		names[l] = agents.LineID(c.o.NewID())
	}
	out := &thread{active: names[t.active], lines: map[agents.LineID]*line{}, messages: maps.Clone(t.messages), made: t.made}
	for old, l := range t.lines {
		if l.ns != nil {
			continue
		}
		copied := *l
		copied.id, copied.parent, copied.pending = names[old], names[l.parent], nil
		copied.steps = slices.Clone(l.steps)
		for i := range copied.steps {
			s := &copied.steps[i]
			s.Line, s.ID, s.Interrupts = copied.id, agents.CheckpointID(copied.id, s.Step), nil
		}
		if h := l.base.head; h != nil {
			head := *h
			head.Line, head.ID, head.Interrupts = names[h.Line], agents.CheckpointID(names[h.Line], h.Step), nil
			copied.base.head = &head
		}
		out.lines[copied.id] = &copied
	}
	c.threads[to] = out
	return nil
}

// Delete implements [graph.Checkpointer].
func (c *Checkpointer) Delete(_ context.Context, id agents.ThreadID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.threads, id)
	return nil
}

// Prune implements [graph.Checkpointer].
func (c *Checkpointer) Prune(_ context.Context, id agents.ThreadID, keep int) (int, error) {
	if keep < 1 {
		return 0, fault.Invalid("keep", "must be 1 or more")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.threads[id]
	if !ok {
		return 0, agents.ErrThreadNotFound
	}
	removed := 0
	for _, l := range t.lines {
		n, err := t.prune(l, keep)
		if err != nil {
			return removed, err
		}
		removed += n
	}
	t.sweep()
	return removed, nil
}

// prune removes the oldest steps of a line but for the newest keep, what waits,
// and what forks stand on.
func (t *thread) prune(l *line, keep int) (int, error) {
	cut := len(l.steps) - keep
	for _, other := range t.lines {
		if other.ns != nil && other.parent == l.id && other.parentStep < l.step &&
			!slices.ContainsFunc(l.pending, func(p agents.Pending) bool { return p.Line == other.id }) {
			delete(t.lines, other.id) // its task is over
			continue
		}
		for i, s := range l.steps {
			if other.parent == l.id && s.Step == other.parentStep {
				cut = min(cut, i)
			}
		}
	}
	for i, s := range l.steps {
		if len(s.Interrupts) > 0 && t.waits(l, s.Step) {
			cut = min(cut, i)
		}
	}
	if cut <= 0 || l.ns != nil { // a task under way is made of all its line's steps
		return 0, nil
	}
	refs, s, err := t.fold(l, l.steps[cut-1].Step)
	if err != nil {
		return 0, err
	}
	l.base = whole{refs: refs, values: map[string]json.RawMessage{}, head: s.Head}
	for k, v := range s.Values {
		l.base.values[k] = v
	}
	l.steps = slices.Clone(l.steps[cut:])
	return cut, nil
}

// waits reports whether a paused step still waits: nothing followed it.
func (t *thread) waits(l *line, at int) bool { return l.step == at }

// sweep removes forms of messages that nothing refers to.
func (t *thread) sweep() {
	used := map[agents.Ref]bool{}
	for _, l := range t.lines {
		for _, r := range l.base.refs {
			used[r] = true
		}
		for _, s := range l.steps {
			for _, op := range s.Ops {
				used[agents.Ref{ID: op.ID, Rev: op.Rev}] = true
			}
		}
	}
	maps.DeleteFunc(t.messages, func(r agents.Ref, _ agents.Message) bool { return !used[r] })
}
