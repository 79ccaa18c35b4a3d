package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/failpoint"
)

// The ways an attempt's context ends before the graph does.
var (
	errCancelled = errors.New("the run was cancelled")
	errTimeout   = errors.New("the run exceeded its time limit")
	errHandBack  = errors.New("the worker is draining")
	errShutdown  = errors.New("the worker is shutting down")
)

// exhaustedError ends a run whose workers were lost too often at one step.
type exhaustedError struct{ times int }

func (e *exhaustedError) Error() string {
	return fmt.Sprintf("The run was tried %d times at the same step, and its worker was lost each time.", e.times)
}

// attempt is one try of a run under one token.
type attempt struct {
	w      *Worker
	claim  agents.Claimed
	scope  auth.Scope
	lease  agents.Lease
	logger *slog.Logger
	out    *emitter

	assistant agents.Assistant
	line      agents.LineID
	step      int
	// begins is given with the step that begins the run.
	begins *agents.Manifest
	// slot is where it executes; nil where nothing is executed.
	slot *Slot
	// kept says that something may be pending of the step in flight. Subgraphs that stand
	// beside each other note it at the same time.
	kept atomic.Bool
	// stepped says that this attempt committed a step: those before it were at
	// another one.
	stepped atomic.Bool
}

func (w *Worker) newAttempt(claim agents.Claimed, fail context.CancelCauseFunc) *attempt {
	r := claim.Run
	role := claim.Role
	if !role.Valid() {
		// The membership has ended: the run only gets an end, and writing that
		// needs no more than a member's scope.
		role = auth.RoleMember
	}
	a := &attempt{
		w: w, claim: claim, lease: agents.Lease{Thread: r.Thread, Run: r.ID, Token: r.Token},
		scope:  auth.Scope{User: r.User, Org: r.Org, Role: role, RequestID: string(r.ID)},
		logger: w.o.Logger.With("org_id", r.Org, "thread_id", r.Thread, "run_id", r.ID, "attempt", r.Attempt),
	}
	a.out = newEmitter(claim, w.o, a.beginAlone, fail)
	return a
}

// beginAlone commits the step that begins the run where the next one takes longer.
func (a *attempt) beginAlone(step agents.Step) error {
	return a.write(context.Background(), []agents.Step{step}, nil) // it has a limit of its own
}

// execute carries the run to its end, or to where another attempt goes on.
func (a *attempt) execute(ctx context.Context) {
	err := a.guarded(ctx)
	if lost := a.out.close(); lost != nil && !errors.Is(err, errHandBack) && !errors.Is(err, errShutdown) {
		err = lost // the run's beginning may be what was lost: another attempt makes it
	}
	// What follows must not be cut short by the reason the attempt ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.w.o.SettleTimeout)
	defer cancel()
	defer a.w.over(cancel)()
	var storage *agents.StorageError
	switch {
	case err == nil:
	case errors.Is(err, agents.ErrFenced):
		a.logger.WarnContext(ctx, "attempt lost its thread to another")
	case errors.Is(err, errHandBack), errors.Is(err, errShutdown):
		if err := a.w.o.Store.HandBack(ctx, a.scope.Org, a.lease); err != nil {
			a.logger.ErrorContext(ctx, "run could not be handed back", "err", err)
			return
		}
		a.w.o.Signals.Wake(ctx)
	case errors.As(err, &storage):
		a.logger.ErrorContext(ctx, "attempt ended without storage, another will follow", "err", err)
	default:
		if err := a.settle(ctx, err); err != nil && !errors.Is(err, agents.ErrFenced) {
			a.logger.ErrorContext(ctx, "run's end could not be written, another attempt will follow", "err", err)
		}
	}
}

// guarded ends this run, and nothing else, when code outside a node panics: a
// branch that routes, a reducer, or our own (BW-14). Nodes guard themselves.
func (a *attempt) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			stack := debug.Stack()
			a.logger.ErrorContext(ctx, "attempt panicked", "err", p, "stack", string(stack))
			err = &graph.PanicError{Value: p, Stack: stack}
		}
	}()
	return a.run(ctx)
}

func (a *attempt) run(ctx context.Context) error {
	r := a.claim.Run
	loaded, err := a.w.o.Store.StateOf(ctx, a.scope, a.claim)
	if err != nil {
		return unread(ctx, err)
	}
	a.line, a.step = loaded.Line, loaded.Step
	if a.assistant, err = a.w.o.Store.AssistantVersion(ctx, a.scope, r.Assistant, r.AssistantVersion); err != nil {
		return unread(ctx, err)
	}
	g, ok := a.w.o.Graphs.Graph(a.assistant.Graph)
	if !ok {
		return graph.Fail("The graph " + a.assistant.Graph + " is not available on this server.")
	}
	state := graph.NewState(loaded.Messages, loaded.Values)
	from := beginning{state: state, pending: loaded.Pending}
	if r.Input.Resume != nil {
		from.resume = r.Input.Resume.Interrupts
	}
	if head := loaded.Head; head != nil && head.Run == r.ID {
		if err := a.goOn(ctx, loaded); err != nil {
			return err
		}
		if err := g.Resumable(loaded); err != nil {
			return notResumable(err)
		}
		from.next = head.Next
		if head.Source != agents.SourceInput {
			from.resume = nil // the step that the answers are for is committed
		}
	} else {
		if err := a.mayStart(); err != nil {
			return err
		}
		if loaded, err = a.branch(ctx, loaded); err != nil {
			return err
		}
		from.state, from.pending = graph.NewState(loaded.Messages, loaded.Values), loaded.Pending
		if from, err = a.begin(ctx, g, loaded, from); err != nil {
			return notResumable(err)
		}
	}
	if len(from.next) == 0 {
		return nil // the beginning was the end, and is committed as such
	}
	a.kept.Store(len(from.pending) > 0)
	breaks := a.w.o.Break
	if own := r.Input.Break; own != nil {
		breaks = graph.Breakpoints{Before: slices.Concat(breaks.Before, own.Before), After: slices.Concat(breaks.After, own.After)}
	}
	_, err = g.Run(ctx, graph.Execution{
		Info: graph.Info{Scope: a.scope, Thread: r.Thread, Run: r.ID, Attempt: r.Attempt, Assistant: a.assistant,
			UserName: a.claim.UserName, StartedAt: r.StartedAt, Context: a.assistant.ContextOf(r.Input.Context), Line: a.line, Token: r.Token},
		State: from.state, Next: from.next, Pending: from.pending, Step: a.step, Resume: from.resume, Host: a, Break: breaks, Clock: a.w.o.Clock,
		Logger: a.logger, RecursionLimit: cmp.Or(r.Input.RecursionLimit, a.assistant.Config.RecursionLimit),
	})
	if errors.Is(err, graph.ErrNotResumable) {
		return notResumable(err)
	}
	if errors.As(err, new(*graph.Interrupted)) {
		return nil // the step that paused is committed with the run's end
	}
	return err
}

// mayStart checks, before anything is done, what may have changed since the
// run was accepted.
func (a *attempt) mayStart() error {
	switch {
	case !a.claim.Role.Valid():
		return graph.Fail("The person who asked no longer belongs to this organisation.")
	case a.claim.Run.CancelRequested:
		return errCancelled
	case a.claim.Run.Failures >= a.w.o.MaxAttempts:
		return &exhaustedError{a.claim.Run.Failures}
	default:
		return nil
	}
}

// goOn tells watchers that a new attempt continues, after it has closed and
// taken back what the lost one left beyond the last checkpoint.
func (a *attempt) goOn(ctx context.Context, loaded agents.State) error {
	if err := a.mayStart(); err != nil {
		return err
	}
	view, err := a.w.o.Store.View(ctx, a.scope, a.claim.Run.Thread)
	if err != nil {
		return &agents.StorageError{Err: err}
	}
	t, err := transcriptOf(view)
	if err != nil {
		return err
	}
	kept, err := a.keptMessages(ctx, loaded, nil)
	if err != nil {
		return err
	}
	left := t.Unfinished(a.claim.Run.ID)
	discarded := []string{}
	for _, e := range left.Entries {
		if kept[e.ID] {
			continue
		}
		discarded = append(discarded, string(e.ID))
		if e.State == transcript.EntryStreaming && e.Text != "" {
			a.Emit(event.Envelope{Type: event.TextMessageEnd, Step: a.step, Data: event.Data(event.TextEndData{MessageID: string(e.ID), Broken: true})})
		}
	}
	for _, c := range left.Calls {
		if c.State == transcript.CallWriting {
			a.Emit(event.Envelope{Type: event.ToolCallEnd, Step: a.step, Data: event.Data(event.ToolEndData{ToolCallID: c.ID, Broken: true})})
		}
	}
	a.Emit(event.Envelope{Type: event.Custom, Step: a.step, Data: event.NewCustom(event.RunContinued,
		event.ContinuedValue{Attempt: a.claim.Run.Attempt, Discarded: discarded})})
	return a.out.flush(ctx)
}

func transcriptOf(view agents.View) (*transcript.Transcript, error) {
	t := transcript.New(transcript.BaseOf(view))
	for _, row := range view.Tail {
		e, err := event.Parse(row.Payload(view.Head.Epoch))
		if err != nil {
			return nil, err
		}
		if _, err := t.Apply(e); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Emit implements [graph.Host].
func (a *attempt) Emit(e event.Envelope) { a.out.emit(e) }

// Pend implements [graph.Host].
func (a *attempt) Pend(ctx context.Context, p agents.PendingWrites) error {
	if p.Line == a.line {
		a.kept.Store(true)
	}
	if err := a.out.begun(ctx); err != nil {
		return err
	}
	return a.stored(ctx, a.w.o.Store.Pend(ctx, a.scope, a.lease, p))
}

// Sub implements [graph.Host].
func (a *attempt) Sub(ctx context.Context, s agents.SubLine) (agents.State, error) {
	if err := a.out.begun(ctx); err != nil {
		return agents.State{}, err
	}
	state, err := a.w.o.Store.SubLine(ctx, a.scope, a.lease, s)
	return state, a.stored(ctx, err)
}

// unread sorts an error of reading what a run begins with. A reading changes nothing:
// what has ended the attempt meanwhile, such as a wish to cancel, ends the run.
func unread(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return &agents.StorageError{Err: err}
}

// stored sorts an error of the store: a lost lease ends the attempt as such, any
// other failure leaves the run for another attempt.
func (a *attempt) stored(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case err == nil, errors.Is(err, agents.ErrFenced):
		return err
	case cause != nil:
		// It may or may not have happened; whoever goes on reads the truth.
		return &agents.StorageError{Err: errors.Join(cause, err)}
	default:
		return &agents.StorageError{Err: err}
	}
}

// Commit implements [graph.Host]: one transaction for the step and, if nothing
// is due any more or people have to answer first, for the run's end. A step of a
// subgraph never ends its run.
func (a *attempt) Commit(ctx context.Context, c graph.Commit) error {
	if len(c.NS) > 0 {
		return a.commitSub(ctx, c)
	}
	finish, asked := a.finishOf(c), []event.Envelope(nil)
	for _, i := range c.Interrupts {
		asked = append(asked, a.requested(i, c.Reviews))
	}
	if err := a.commit(ctx, agents.SourceLoop, c, asked, finish); err != nil {
		return err
	}
	if finish == nil && a.w.draining() {
		return errHandBack
	}
	return nil
}

// finishOf says how a step ends its run, or nil if the run goes on.
func (a *attempt) finishOf(c graph.Commit) *agents.Finish {
	switch {
	case len(c.Interrupts) > 0:
		return &agents.Finish{Status: agents.RunWaiting, Events: []event.Envelope{a.finished(event.OutcomeInterrupt, "")}}
	case len(c.Next) == 0:
		return &agents.Finish{Status: agents.RunSuccess, Events: []event.Envelope{a.finished(event.OutcomeSuccess, "")}}
	default:
		return nil
	}
}

func (a *attempt) finished(outcome event.Outcome, reason string) event.Envelope {
	r := a.claim.Run
	return a.envelope(event.RunFinished, event.Data(event.RunFinishedData{
		ThreadID: string(r.Thread), RunID: string(r.ID), Outcome: outcome, Reason: reason}))
}

// envelope makes an envelope that is written with a step rather than emitted.
func (a *attempt) envelope(t event.Type, data []byte) event.Envelope {
	r := a.claim.Run
	return event.Envelope{
		Type: t, Time: a.w.o.Clock.Now(), ThreadID: string(r.Thread), RunID: string(r.ID), Attempt: r.Attempt,
		Step: a.step + 1, Data: data,
	}
}

// commit stores a step together with all that was emitted before it and is not in
// the log yet, with the step that begins the run, if that is not stored yet, and with
// the run's end, if it is one.
func (a *attempt) commit(ctx context.Context, source agents.CheckpointSource, c graph.Commit, events []event.Envelope, finish *agents.Finish) error {
	waits, err := a.out.take(ctx)
	if err != nil {
		return err
	}
	step, err := a.stepOf(source, c, append(waits.said, events...), finish)
	if err != nil {
		return err
	}
	steps := []agents.Step{step}
	if waits.opening != nil {
		steps = []agents.Step{*waits.opening, step}
	}
	end := finish
	if finish != nil {
		a.slot.Ending()
		alone := *finish
		alone.Events, end = nil, &alone
	}
	if err := a.write(ctx, steps, end); err != nil {
		return err
	}
	a.moved(step)
	return nil
}

// ended wakes the workers for runs in line: the thread is free, and bounds have room.
func (a *attempt) ended(ctx context.Context, at agents.Finished) {
	if at.Next {
		a.w.o.Signals.Wake(ctx)
	}
}

// stepOf makes the step that a commit stores, with what tells of it and of the run's
// end.
func (a *attempt) stepOf(source agents.CheckpointSource, c graph.Commit, events []event.Envelope, finish *agents.Finish) (agents.Step, error) {
	step := c.AsStep(source)
	step.Clear, step.Manifest = a.kept.Load(), a.begins
	step.Events = append(events, a.envelope(event.Custom, event.NewCustom(event.CheckpointMade, checkpointValue(step))))
	if finish != nil {
		step.Events = append(step.Events, finish.Events...)
	}
	var err error
	for i, e := range step.Events { // for the log and for who watches
		if step.Events[i], err = e.Sealed(); err != nil {
			return step, err
		}
	}
	return step, nil
}

// moved notes that the thread stands at a step, or will once what waits is committed.
func (a *attempt) moved(step agents.Step) {
	a.kept.Store(len(step.Pending) > 0)
	a.begins = nil
	a.step = step.Step
}

// write commits steps that follow each other, and tells of them.
func (a *attempt) write(ctx context.Context, steps []agents.Step, end *agents.Finish) error {
	var events []event.Envelope
	for _, s := range steps {
		failpoint.Reach(failpoint.BeforeCommit, string(s.Source))
		events = append(events, s.Events...)
	}
	stepped, finished, err := a.committed(ctx, steps, end)
	if err = a.stored(ctx, err); err != nil {
		return err
	}
	for _, s := range steps {
		failpoint.Reach(failpoint.AfterCommit, string(s.Source))
	}
	a.stepped.Store(true)
	a.publish(ctx, stepped, events)
	a.ended(ctx, finished)
	return nil
}

// committed writes steps, whatever ends the attempt meanwhile: what was written must
// be told, and whether it was is known from the answer alone. An attempt whose end is
// written has its thread no longer, and a renewal that sees this would cut off that
// very answer. The token refuses what may not be written.
func (a *attempt) committed(ctx context.Context, steps []agents.Step, finish *agents.Finish) (stepped agents.Appended, finished agents.Finished, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.w.o.SettleTimeout)
	defer cancel()
	defer a.w.over(cancel)()
	return a.w.o.Store.CommitSteps(ctx, a.scope, a.lease, steps, finish)
}

// commitSub stores a step of a subgraph on its own line.
func (a *attempt) commitSub(ctx context.Context, c graph.Commit) error {
	if err := a.out.begun(ctx); err != nil { // it stands on another line
		return err
	}
	waits, err := a.out.take(ctx)
	if err != nil {
		return err
	}
	step := c.AsStep(agents.SourceLoop)
	step.Clear = true
	e := a.envelope(event.Custom, event.NewCustom(event.CheckpointMade, checkpointValue(step)))
	e.Step, e.NS = c.Step, c.NS
	step.Events = append(waits.said, e)
	return a.write(ctx, []agents.Step{step}, nil)
}

func checkpointValue(s agents.Step) event.CheckpointValue {
	v := event.CheckpointValue{Step: s.Step, Source: string(s.Source), Next: agents.Nodes(s.Next)}
	if len(s.NS) > 0 {
		v.Line = string(s.Line)
	}
	if s.Source == agents.SourceLoop {
		for _, m := range s.Messages {
			v.Messages = append(v.Messages, string(m.ID))
		}
	}
	return v
}

func (a *attempt) publish(ctx context.Context, at agents.Appended, events []event.Envelope) {
	a.w.o.Publish.PublishLogged(ctx, a.render(ctx, at, events))
}

// render gives what watchers are told; nothing where it can't be composed, since
// the log has it.
func (a *attempt) render(ctx context.Context, at agents.Appended, events []event.Envelope) []Logged {
	logged, err := Render(a.scope, a.claim.Run.Thread, at, events)
	if err != nil {
		a.logger.ErrorContext(ctx, "envelopes could not be rendered", "err", err)
	}
	return logged
}

// Render composes appended envelopes for publishing.
func Render(scope auth.Scope, thread agents.ThreadID, at agents.Appended, events []event.Envelope) ([]Logged, error) {
	out := make([]Logged, len(events))
	for i, e := range events {
		body, err := e.Body()
		if err != nil {
			return nil, err
		}
		seq := at.Base + int64(i) + 1
		name, _ := e.CustomName()
		out[i] = Logged{
			Org: string(scope.Org), Thread: thread, User: scope.User, Type: e.Type, Name: name, Seq: seq, Epoch: at.Epoch,
			Payload: event.Compose(seq, at.Epoch, body),
		}
	}
	return out, nil
}
