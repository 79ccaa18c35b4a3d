package graph

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// RunnerOptions configure a [Runner]. Only Checkpointer is required.
type RunnerOptions struct {
	Checkpointer Checkpointer
	// Scope and Assistant are what nodes see of who asks, and by which
	// configuration.
	Scope     auth.Scope
	Assistant agents.Assistant
	// Sink is told every envelope, in order, before anybody else is. It must
	// return soon. See graphtest.Sink.
	Sink func(event.Envelope)
	// The others are as of an [Execution].
	RecursionLimit                    int
	Parallel                          int
	OnFailure                         FailurePolicy
	Timeout, StepTimeout, NodeTimeout time.Duration
	Clock                             Clock
	IDs                               IDs
	Logger                            *slog.Logger
}

// Runner runs one graph on threads that a checkpointer keeps, inside this
// process: the engine as a library. The server has its own, durable way
// (agents/run). Safe for concurrent use; a thread's newest run wins over an older
// one that is still under way, which then ends with [agents.ErrFenced].
type Runner struct {
	g *Graph
	o RunnerOptions
}

// NewRunner makes a runner.
func NewRunner(g *Graph, o RunnerOptions) *Runner {
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	if o.IDs == nil {
		o.IDs = RandomIDs
	}
	return &Runner{g: g, o: o}
}

// RunOption changes one run.
type RunOption func(*runOptions)

type runOptions struct {
	from    string
	run     agents.RunID
	breaks  Breakpoints
	limit   *int
	subs    bool
	context map[string]json.RawMessage
	attempt int
}

// From begins at an older checkpoint of the thread: the run writes a line of its
// own from there, which becomes the active one, and later nodes, tools and
// interrupts run again.
func From(checkpoint string) RunOption { return func(o *runOptions) { o.from = checkpoint } }

// RunID names the run; default a fresh id.
func RunID(run agents.RunID) RunOption { return func(o *runOptions) { o.run = run } }

// BreakAt pauses the run at nodes, see [Breakpoints].
func BreakAt(b Breakpoints) RunOption { return func(o *runOptions) { o.breaks = b } }

// RecursionLimit bounds this run's super-steps, 1 to [MaxRecursionLimit].
func RecursionLimit(n int) RunOption { return func(o *runOptions) { o.limit = &n } }

// WithContext gives the run its context, see [Builder.Context].
func WithContext(fields map[string]json.RawMessage) RunOption {
	return func(o *runOptions) { o.context = fields }
}

// Subgraphs streams what happens inside subgraphs in every mode.
func Subgraphs() RunOption { return func(o *runOptions) { o.subs = true } }

// Invoke runs to the end, or to a pause ([*Interrupted]), and returns the state
// then; [StateOf] makes it readable for channels. Other errors are those of
// [Graph.Run] and [Graph.Begin], and the checkpointer's.
func (r *Runner) Invoke(ctx context.Context, thread agents.ThreadID, in Input, options ...RunOption) (agents.State, error) {
	err := r.run(ctx, thread, in, options, nil, nil)
	if err != nil && !errors.As(err, new(*Interrupted)) {
		return agents.State{}, err
	}
	state, readErr := r.State(ctx, thread)
	return state, errors.Join(err, readErr)
}

// Stream runs like Invoke and gives frames of the modes as they come. The last
// element carries the run's error, if any; breaking off the loop stops the run
// at once.
func (r *Runner) Stream(ctx context.Context, thread agents.ThreadID, in Input, modes []Mode, options ...RunOption) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		frames, done := make(chan Frame), make(chan error, 1)
		go func() {
			err := r.run(ctx, thread, in, options, modes, func(f Frame) {
				select {
				case frames <- f:
				case <-ctx.Done():
				}
			})
			close(frames)
			done <- err
		}()
		// However the loop is left, the run has ended by then.
		defer func() {
			cancel(errStreamClosed)
			for range frames { //nolint:revive // until the run has seen that nobody reads
			}
		}()
		for f := range frames {
			if !yield(f, nil) {
				return
			}
		}
		if err := <-done; err != nil {
			yield(Frame{}, err)
		}
	}
}

var errStreamClosed = errors.New("nobody reads the stream any more")

// State gives the newest state of a thread's active line.
func (r *Runner) State(ctx context.Context, thread agents.ThreadID) (agents.State, error) {
	return r.o.Checkpointer.State(ctx, thread, "")
}

// StateAt gives the state at a checkpoint.
func (r *Runner) StateAt(ctx context.Context, thread agents.ThreadID, checkpoint string) (agents.State, error) {
	return r.o.Checkpointer.State(ctx, thread, checkpoint)
}

// History lists states of all lines, the newest first.
func (r *Runner) History(ctx context.Context, thread agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error) {
	return r.o.Checkpointer.History(ctx, thread, q)
}

// Change is a change of a thread's state from outside.
type Change struct {
	Writes []Write
	// AsNode is the node in whose name it is made: what follows that is due
	// next; [End] ends the turn. Empty keeps what is due.
	AsNode string
	// From is the checkpoint to begin a new line at; empty is the newest one.
	From string
	// With are changes of the same step, made in the names of other nodes.
	With []Change
}

// parts lists a change and those that go with it.
func (c Change) parts() []Change { return append([]Change{c}, c.With...) }

// Update changes the state by a checkpoint of its own, through the reducers, and
// returns the new checkpoint's id. A run that is under way loses the thread.
func (r *Runner) Update(ctx context.Context, thread agents.ThreadID, c Change) (string, error) {
	return r.BulkUpdate(ctx, thread, []Change{c})
}

// BulkUpdate makes several changes one after the other, a checkpoint each; only
// the first may name another checkpoint. It checks all of them before it stores
// any, and returns the last one's id.
func (r *Runner) BulkUpdate(ctx context.Context, thread agents.ThreadID, changes []Change) (string, error) {
	if len(changes) == 0 {
		return "", r.g.refuse("changes", ErrOutOfRange, "there is none")
	}
	for _, c := range changes[1:] {
		if c.From != "" {
			return "", r.g.refuse("changes", ErrOutOfRange, "only the first may name a checkpoint")
		}
	}
	lease, state, err := r.enter(ctx, thread, changes[0].From, func(s agents.State) error {
		_, err := r.changed(s, changes)
		return err
	})
	if err != nil {
		return "", err
	}
	if state.Line, err = r.lineFor(ctx, lease, changes[0].From, state.Line); err != nil {
		return "", err
	}
	steps, err := r.changed(state, changes)
	if err != nil {
		return "", err
	}
	for _, s := range steps {
		if err := r.o.Checkpointer.Commit(ctx, lease, s); err != nil {
			return "", err
		}
	}
	return agents.CheckpointID(state.Line, steps[len(steps)-1].Step), nil
}

// changed computes the steps of changes that follow each other.
func (r *Runner) changed(state agents.State, changes []Change) ([]agents.Step, error) {
	steps := make([]agents.Step, len(changes))
	for i, c := range changes {
		var err error
		if steps[i], state, err = r.g.Changed(state, c); err != nil {
			return nil, err
		}
		steps[i].At = r.o.Clock.Now()
	}
	return steps, nil
}

// Changed computes the step by which a change from outside is kept, and the state
// after it. Errors are [*InputError]s.
func (g *Graph) Changed(loaded agents.State, c Change) (agents.Step, agents.State, error) {
	state := StateOf(loaded)
	number := loaded.Step + 1
	var settled Changes
	var err error
	var writes []Write
	var nodes []string
	for _, p := range c.parts() {
		writes = append(writes, p.Writes...)
		if p.AsNode != "" {
			nodes = append(nodes, p.AsNode)
		}
	}
	if len(nodes) > 0 && loaded.Head != nil {
		// The step that is due will not be completed: what finished of it stands.
		if state, settled, err = g.Settle(state, loaded.Line, number, loaded.Head.Next, loaded.Pending); err != nil {
			return agents.Step{}, loaded, err
		}
	}
	state, changes, err := g.Apply(state, loaded.Line, number, writes)
	if err != nil {
		return agents.Step{}, loaded, err
	}
	changes = settled.With(changes)
	var next []agents.Due
	for i, node := range nodes {
		if node == End {
			continue
		}
		at := place(loaded.Line, number)
		if i > 0 {
			at += ":" + node
		}
		due, after, marks, err := g.follow(node, state, at)
		if err != nil {
			return agents.Step{}, loaded, err
		}
		state, changes = after, changes.With(marks)
		for _, d := range due {
			if d.Input != nil || !slices.ContainsFunc(next, func(have agents.Due) bool { return have.Input == nil && have.Node == d.Node }) {
				next = append(next, d)
			}
		}
	}
	step := agents.Step{
		Line: loaded.Line, Step: number, Source: agents.SourceUpdate, Messages: changes.Messages, Ops: changes.Ops,
		Deltas: changes.Deltas, Wrote: changes.Wrote, Clear: true,
	}
	if len(nodes) == 1 {
		step.Metadata = event.Data(map[string]string{"as_node": nodes[0]})
	} else if len(nodes) > 1 {
		step.Metadata = event.Data(map[string][]string{"as_node": nodes})
	}
	step.Snapshot = SnapshotOf(step, state)
	switch {
	case len(nodes) > 0:
		step.Next = next
	case loaded.Head != nil:
		step.Next, step.Interrupts, step.Pending = loaded.Head.Next, loaded.Head.Interrupts, loaded.Pending
	}
	after := agents.State{
		Line: loaded.Line, Step: number, Messages: state.Messages(), Values: state.values, Pending: step.Pending,
		Head: &agents.Checkpoint{Line: loaded.Line, Step: number, Next: step.Next, Interrupts: step.Interrupts},
	}
	return step, after, nil
}

// Fork begins a line at a checkpoint and makes it the active one.
func (r *Runner) Fork(ctx context.Context, thread agents.ThreadID, checkpoint string) error {
	if _, err := r.o.Checkpointer.State(ctx, thread, checkpoint); err != nil {
		return err
	}
	lease, err := r.o.Checkpointer.Acquire(ctx, thread)
	if err != nil {
		return err
	}
	_, err = r.o.Checkpointer.Fork(ctx, lease, checkpoint)
	return err
}

// Copy makes a thread with the history of another.
func (r *Runner) Copy(ctx context.Context, from, to agents.ThreadID) error {
	return r.o.Checkpointer.Copy(ctx, from, to)
}

// Delete removes a thread with all that belongs to it.
func (r *Runner) Delete(ctx context.Context, thread agents.ThreadID) error {
	return r.o.Checkpointer.Delete(ctx, thread)
}

// enter takes a thread's lease and reads where to begin. It checks twice: first
// without the lease, since what is refused must neither take the thread from
// whoever holds it nor make one.
func (r *Runner) enter(ctx context.Context, thread agents.ThreadID, from string, check func(agents.State) error) (agents.Lease, agents.State, error) {
	state, err := r.o.Checkpointer.State(ctx, thread, from)
	if from == "" && fault.Is(err, fault.KindNotFound) {
		state, err = agents.State{Step: -1}, nil
	}
	if err == nil {
		err = check(asForked(state, from))
	}
	if err != nil {
		return agents.Lease{}, state, err
	}
	lease, err := r.o.Checkpointer.Acquire(ctx, thread)
	if err != nil {
		return lease, state, err
	}
	if state, err = r.o.Checkpointer.State(ctx, thread, from); err != nil {
		return lease, state, err
	}
	state = asForked(state, from)
	return lease, state, check(state)
}

// asForked is a state as a line that begins there has it: a fork runs everything
// again.
func asForked(state agents.State, from string) agents.State {
	if from == "" || state.Head == nil {
		return state
	}
	head := *state.Head
	head.Interrupts, state.Head, state.Pending = nil, &head, nil
	return state
}

// lineFor begins the line that a run from an older checkpoint writes.
func (r *Runner) lineFor(ctx context.Context, lease agents.Lease, from string, active agents.LineID) (agents.LineID, error) {
	if from == "" {
		return active, nil
	}
	return r.o.Checkpointer.Fork(ctx, lease, from)
}

// run is one run from its input to its end. nothing is stored before all that can
// be checked is.
func (r *Runner) run(ctx context.Context, thread agents.ThreadID, in Input, options []RunOption, modes []Mode, tell func(Frame)) error {
	o := runOptions{attempt: 1}
	for _, set := range options {
		set(&o)
	}
	limit := r.o.RecursionLimit
	if o.limit != nil {
		if limit = *o.limit; limit < 1 || limit > MaxRecursionLimit {
			return r.g.refuse("recursion_limit", ErrOutOfRange, "it must be from 1 to 10000")
		}
	}
	if err := r.g.Known("interrupt", breakNodes(r.g, o.breaks)...); err != nil {
		return err
	}
	if err := r.g.CheckContext(o.context); err != nil {
		return err
	}
	lease, loaded, err := r.enter(ctx, thread, o.from, func(s agents.State) error {
		_, err := r.g.Begin(s, in)
		return err
	})
	if err != nil {
		return err
	}
	if loaded.Line, err = r.lineFor(ctx, lease, o.from, loaded.Line); err != nil {
		return err
	}
	if o.run == "" {
		// By the place where it begins: another line may have had a run at this step.
		o.run = agents.RunID(r.o.IDs("run:" + string(thread) + ":" + place(loaded.Line, loaded.Step))())
	}
	b, err := r.g.Begin(loaded, in)
	if err != nil {
		return err
	}
	h := &runnerHost{r: r, lease: lease, run: o.run, thread: thread, attempt: o.attempt, tell: tell, was: map[agents.LineID][]agents.Due{}}
	h.projection = NewProjection(modes, o.subs, h.at)
	h.Emit(event.Envelope{Type: event.RunStarted, Step: b.Commit.Step, Data: event.Data(event.RunStartedData{
		ThreadID: string(thread), RunID: string(o.run), MessageIDs: broughtBy(in), Assistant: string(r.o.Assistant.ID),
		Version: r.o.Assistant.Version, Graph: r.g.Name(), Line: string(loaded.Line)})})
	err = h.commit(ctx, b.Commit, agents.SourceInput)
	if err == nil && len(b.Commit.Next) > 0 {
		_, err = r.g.Run(ctx, Execution{
			Info: Info{Scope: r.o.Scope, Thread: thread, Run: o.run, Attempt: o.attempt, Assistant: r.o.Assistant, Line: loaded.Line, Token: lease.Token,
				StartedAt: r.o.Clock.Now(), Context: o.context},
			State: b.Commit.State, Next: b.Commit.Next, Pending: b.Commit.Pending, Step: b.Commit.Step, Resume: b.Resume, Host: h,
			RecursionLimit: limit, Parallel: r.o.Parallel, OnFailure: r.o.OnFailure, Timeout: r.o.Timeout, StepTimeout: r.o.StepTimeout,
			NodeTimeout: r.o.NodeTimeout, Break: o.breaks, Clock: r.o.Clock, IDs: r.o.IDs, Logger: r.o.Logger,
		})
	}
	h.finish(err)
	return err
}

func broughtBy(in Input) []string {
	ids := []string{}
	for _, w := range in.Writes {
		if w.Message != nil {
			ids = append(ids, string(w.Message.ID))
		}
	}
	return ids
}

// breakNodes are those of this graph that breakpoints name.
func breakNodes(g *Graph, b Breakpoints) []string {
	var out []string
	for _, points := range [][]string{b.Before, b.After} {
		for _, p := range points {
			if p != "*" && !inSubgraph(g, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// inSubgraph reports whether SUB/NODE names a node of a subgraph.
func inSubgraph(g *Graph, path string) bool {
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		sub := g.Subgraph(path[:i])
		return sub != nil && (sub.Has(path[i+1:]) || inSubgraph(sub, path[i+1:]))
	}
	return false
}

// runnerHost stores steps by the checkpointer and tells of them.
type runnerHost struct {
	r       *Runner
	lease   agents.Lease
	run     agents.RunID
	thread  agents.ThreadID
	attempt int
	tell    func(Frame)

	mu         sync.Mutex
	seq        int64
	projection *Projection
	// was are the tasks due at the newest step of each line, last the step that is
	// being told of.
	was  map[agents.LineID][]agents.Due
	last Stepped
	err  error
}

// Emit implements [Host].
func (h *runnerHost) Emit(e event.Envelope) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.emit(e)
}

func (h *runnerHost) emit(e event.Envelope) {
	h.seq++
	e.V, e.Seq, e.Time = event.Version, h.seq, h.r.o.Clock.Now()
	e.ThreadID, e.RunID, e.Attempt = string(h.thread), string(h.run), h.attempt
	if h.r.o.Sink != nil {
		h.r.o.Sink(e)
	}
	if h.tell == nil {
		return
	}
	frames, err := h.projection.Frames(e)
	if err != nil && h.err == nil {
		h.err = err
	}
	for _, f := range frames {
		h.tell(f)
	}
}

// at gives the step that was just committed.
func (h *runnerHost) at(agents.LineID, int) (Stepped, error) { return h.last, nil }

// Commit implements [Host].
func (h *runnerHost) Commit(ctx context.Context, c Commit) error {
	return h.commit(ctx, c, agents.SourceLoop)
}

func (h *runnerHost) commit(ctx context.Context, c Commit, source agents.CheckpointSource) error {
	step := c.AsStep(source)
	step.Run, step.At, step.Clear = h.run, h.r.o.Clock.Now(), true
	// A commit must not be torn by the end of the run's context.
	if err := h.r.o.Checkpointer.Commit(context.WithoutCancel(ctx), h.lease, step); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = Stepped{Messages: c.Changes.Messages, Was: h.was[c.Line], State: agents.State{
		Line: c.Line, Step: c.Step, Messages: c.State.Messages(), Values: c.State.values, Pending: c.Pending,
		Head: &agents.Checkpoint{
			ID: agents.CheckpointID(c.Line, c.Step), Line: c.Line, Step: c.Step, Run: h.run, Source: source, Ops: step.Ops,
			Deltas: step.Deltas, Next: step.Next, Wrote: step.Wrote, Interrupts: step.Interrupts, CreatedAt: step.At,
		}}}
	h.was[c.Line] = c.Next
	for _, i := range c.Interrupts {
		if len(c.NS) == 0 {
			h.emit(event.Envelope{Type: event.Custom, Node: i.Node, Step: c.Step, Data: event.NewCustom(event.ReviewRequested,
				event.RequestedValue{InterruptID: i.ID, Kind: string(i.Kind), Node: i.Node, Value: i.Value})})
		}
	}
	h.emit(event.Envelope{Type: event.Custom, Step: c.Step, NS: c.NS, Data: event.NewCustom(event.CheckpointMade,
		event.CheckpointValue{Line: lineOf(c), Step: c.Step, Source: string(source), Next: agents.Nodes(c.Next)})})
	return h.err
}

// lineOf names the line of a step where it is not the run's own.
func lineOf(c Commit) string {
	if len(c.NS) == 0 {
		return ""
	}
	return string(c.Line)
}

// Pend implements [Host].
func (h *runnerHost) Pend(ctx context.Context, p agents.PendingWrites) error {
	return h.r.o.Checkpointer.Pend(ctx, h.lease, p)
}

// Sub implements [Host].
func (h *runnerHost) Sub(ctx context.Context, s agents.SubLine) (agents.State, error) {
	state, err := h.r.o.Checkpointer.SubLine(ctx, h.lease, s)
	if err == nil && state.Head != nil {
		h.mu.Lock()
		h.was[s.Line] = state.Head.Next
		h.mu.Unlock()
	}
	return state, err
}

// finish tells how the run ended.
func (h *runnerHost) finish(err error) {
	end := event.RunFinishedData{ThreadID: string(h.thread), RunID: string(h.run), Outcome: event.OutcomeSuccess}
	switch {
	case errors.As(err, new(*Interrupted)):
		end.Outcome = event.OutcomeInterrupt
	case errors.Is(err, context.Canceled), errors.Is(err, errStreamClosed):
		end.Outcome = event.OutcomeCancelled
	case err != nil:
		var node *NodeError
		d := event.RunErrorData{Message: publicText(err), Code: codeOf(err)}
		if errors.As(err, &node) {
			d.Node = node.Node
		}
		h.Emit(event.Envelope{Type: event.RunError, Data: event.Data(d)})
		return
	}
	h.Emit(event.Envelope{Type: event.RunFinished, Data: event.Data(end)})
}

// AsStep gives a super-step in the form in which it is stored.
func (c Commit) AsStep(source agents.CheckpointSource) agents.Step {
	step := agents.Step{
		Line: c.Line, NS: c.NS, Step: c.Step, Source: source, Messages: c.Changes.Messages, Ops: c.Changes.Ops, Deltas: c.Changes.Deltas,
		Wrote: c.Changes.Wrote, Next: c.Next, Pending: c.Pending, Interrupts: c.Interrupts, Reviews: c.Reviews, Metadata: c.Metadata,
	}
	step.Snapshot = SnapshotOf(step, c.State)
	return step
}

// SnapshotOf gives the whole state where a step has to keep it, nil elsewhere.
func SnapshotOf(step agents.Step, s State) *agents.Snapshot {
	if step.Step == 0 || step.Step%agents.SnapshotEvery != 0 || len(step.NS) > 0 {
		return nil
	}
	whole := agents.State{Messages: s.Messages()}
	return &agents.Snapshot{Messages: whole.Refs(), Values: s.values}
}

// NewIDs makes a run's ids from a source that isn't shared by tasks that run side
// by side; for one that is safe for concurrent use.
func NewIDs(source id.Source) IDs { return func(string) id.Source { return source } }
