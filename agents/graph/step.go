package graph

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
)

// outcome is what came of one task of a step.
type outcome struct {
	task   int
	result agents.Result
	// asked are the pauses of the task; a subgraph may have several.
	asked   []agents.Interrupt
	reviews []agents.Review
	// line is where the task's subgraph stands.
	line agents.LineID
	err  error
}

// superStep runs what is due on one frozen state and commits the merge.
func (e *engine) superStep(ctx context.Context, due []agents.Due, known []agents.Pending, resume []agents.Interrupt) ([]agents.Due, error) {
	for _, d := range due {
		if !e.g.Has(d.Node) {
			return nil, e.g.refuse("next", ErrNotResumable, "it has no node "+d.Node+" any more")
		}
	}
	if stops := e.breaks(due, resume); len(stops) > 0 {
		return nil, e.commitPause(ctx, due, known, stops, nil)
	}
	stepCtx, release := within(ctx, e.x.Clock, e.x.StepTimeout, &StepTimeoutError{Limit: e.x.StepTimeout})
	defer release()
	done, err := e.tasks(stepCtx, due, known, resume)
	if err != nil {
		if cause := context.Cause(stepCtx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	var asked []agents.Interrupt
	var reviews []agents.Review
	var kept []agents.Pending
	for _, o := range done {
		asked, reviews = append(asked, o.asked...), append(reviews, o.reviews...)
		if len(o.asked) == 0 {
			kept = append(kept, agents.Pending{Task: o.task, Result: &o.result})
		} else if o.line != "" {
			kept = append(kept, agents.Pending{Task: o.task, Line: o.line})
		}
	}
	if len(asked) > 0 {
		return nil, e.commitPause(ctx, due, kept, asked, reviews)
	}
	return e.complete(ctx, due, done)
}

// breaks finds the breakpoints before the tasks; none of a step that has begun,
// which is one that the run goes on from.
func (e *engine) breaks(due []agents.Due, resume []agents.Interrupt) []agents.Interrupt {
	begun := slices.ContainsFunc(resume, func(r agents.Interrupt) bool { return r.Break != breakAfter || !slices.Equal(r.NS, e.ns) })
	if begun {
		return nil
	}
	var out []agents.Interrupt
	for i, d := range due {
		if hits(e.x.Break.Before, e.path+d.Node) {
			out = append(out, e.breakAt(breakBefore, i, d.Node))
		}
	}
	return out
}

// commitPause commits that the run waits: nothing is merged, and what finished
// is kept for when the step goes on.
func (e *engine) commitPause(ctx context.Context, due []agents.Due, kept []agents.Pending, asked []agents.Interrupt, reviews []agents.Review) error {
	c := Commit{Line: e.line, NS: e.ns, Step: e.step + 1, State: e.state, Next: due, Pending: kept, Interrupts: asked, Reviews: reviews}
	if len(e.ns) > 0 {
		c.Reviews = nil // they are asked for once, by the run's own line
	}
	if err := e.x.Host.Commit(ctx, c); err != nil {
		return err
	}
	e.step++
	return &interruptedWith{Interrupted: Interrupted{Interrupts: asked}, reviews: reviews}
}

// interruptedWith carries a subgraph's requests to the run's own line.
type interruptedWith struct {
	Interrupted
	reviews []agents.Review
}

// Unwrap gives what callers look for.
func (e *interruptedWith) Unwrap() error { return &e.Interrupted }

// complete merges what the tasks gave and commits the step.
func (e *engine) complete(ctx context.Context, due []agents.Due, done []outcome) ([]agents.Due, error) {
	m := newMerger(e.g, e.state, place(e.line, e.step+1), false)
	for _, o := range done {
		if err := m.take(due[o.task].Node, o.result.Writes); err != nil {
			return nil, &NodeError{Node: e.path + due[o.task].Node, Tries: 1, Err: err}
		}
	}
	w := walk{g: e.g, state: m.next, path: e.path}
	for _, o := range done {
		if err := w.after(due[o.task].Node, o.result); err != nil {
			return nil, err
		}
	}
	next := w.due()
	if err := m.take("", w.writes()); err != nil {
		return nil, err
	}
	c := Commit{Line: e.line, NS: e.ns, Step: e.step + 1, Changes: m.changes, State: m.next, Next: next}
	if len(next) > 0 || len(e.ns) > 0 { // after a subgraph's end something else follows
		for i, d := range due {
			if hits(e.x.Break.After, e.path+d.Node) {
				c.Interrupts = append(c.Interrupts, e.breakAt(breakAfter, i, d.Node))
			}
		}
	}
	if err := e.x.Host.Commit(ctx, c); err != nil {
		return nil, err
	}
	e.step++
	e.state = m.next
	if len(e.ns) > 0 {
		e.own = append(e.own, m.all...)
	}
	if len(c.Interrupts) > 0 {
		return nil, &Interrupted{Interrupts: c.Interrupts}
	}
	return next, nil
}

// tasks runs those whose result is not known, at most Parallel at once, and
// gives all outcomes in the order of the tasks. What finishes before the rest is
// stored at once. The error is that of the failure policy, the host or the
// context.
func (e *engine) tasks(ctx context.Context, due []agents.Due, known []agents.Pending, resume []agents.Interrupt) ([]outcome, error) {
	out := make([]outcome, len(due))
	var todo []int
	for i := range due {
		p, ok := agents.PendingOf(known, i)
		switch {
		case ok && p.Result != nil:
			out[i] = outcome{task: i, result: *p.Result}
		case e.staysPaused(i, resume):
			out[i] = outcome{task: i, asked: e.openOf(i, resume), line: p.Line}
		default:
			out[i] = outcome{task: i, line: p.Line}
			todo = append(todo, i)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan outcome)
	slots := min(e.x.Parallel, len(todo))
	queue := make(chan int, len(todo))
	for _, i := range todo {
		queue <- i
	}
	close(queue)
	for range slots {
		go func() {
			for i := range queue {
				if context.Cause(ctx) != nil {
					results <- outcome{task: i, err: context.Cause(ctx)}
					continue
				}
				results <- e.task(ctx, i, due[i], out[i].line, resume)
			}
		}()
	}
	var failed *NodeError // the first
	var hostErr error
	for left := len(todo); left > 0; {
		fresh := []outcome{<-results}
		for left > len(fresh) {
			select {
			case o := <-results:
				fresh = append(fresh, o)
				continue
			default:
			}
			break
		}
		left -= len(fresh)
		var keep []agents.Pending
		for _, o := range fresh {
			out[o.task] = o
			var node *NodeError
			switch {
			case o.err == nil && len(o.asked) == 0:
				keep = append(keep, agents.Pending{Task: o.task, Result: &out[o.task].result})
			case errors.As(o.err, &node):
				if failed == nil {
					failed = node
				}
				if e.x.OnFailure == Panic {
					cancel(errSibling)
				}
			case o.err != nil && hostErr == nil && !errors.Is(o.err, errSibling):
				hostErr = o.err
				cancel(o.err)
			}
		}
		// With nothing left to run the step itself is committed next.
		if len(keep) > 0 && (left > 0 || failed != nil) && hostErr == nil {
			hostErr = e.x.Host.Pend(context.WithoutCancel(ctx), agents.PendingWrites{Line: e.line, Step: e.step, Pending: keep})
			if hostErr != nil {
				cancel(hostErr)
			}
		}
	}
	switch {
	case hostErr != nil:
		return out, hostErr
	case failed == nil:
		return out, nil
	case e.x.OnFailure == Panic:
		return out, failed
	default:
		return out, &StepError{Step: e.step + 1, Failed: failuresOf(out)}
	}
}

// failuresOf lists what failed in the order of the tasks.
func failuresOf(all []outcome) []*NodeError {
	var out []*NodeError
	for _, o := range all {
		var node *NodeError
		if errors.As(o.err, &node) {
			out = append(out, node)
		}
	}
	return out
}

// errSibling stops the other tasks of a step in which one failed.
var errSibling = errors.New("another node of the step failed")

// below reports whether an interrupt belongs to a task of this line, or to the
// subgraph that the task stands for.
func (e *engine) below(i agents.Interrupt, task int) bool {
	if slices.Equal(i.NS, e.ns) {
		return i.Task == task && i.Break != breakAfter
	}
	return len(i.NS) > len(e.ns) && slices.Equal(i.NS[:len(e.ns)], e.ns) && i.Root[len(e.ns)] == task
}

// openOf lists the pauses of a task.
func (e *engine) openOf(task int, resume []agents.Interrupt) []agents.Interrupt {
	var out []agents.Interrupt
	for _, r := range resume {
		if e.below(r, task) {
			out = append(out, r)
		}
	}
	return out
}

// staysPaused reports whether a task need not start again: somebody answered
// other questions, none of its own.
func (e *engine) staysPaused(task int, resume []agents.Interrupt) bool {
	if !slices.ContainsFunc(resume, func(r agents.Interrupt) bool { return r.Answer != nil }) {
		return false
	}
	mine := e.openOf(task, resume)
	return len(mine) > 0 && !slices.ContainsFunc(mine, func(r agents.Interrupt) bool {
		return r.Answer != nil || r.Kind != agents.Question || r.Break != ""
	})
}

// task runs one task to its outcome: with retries, and with the handler of its
// failure.
func (e *engine) task(ctx context.Context, i int, due agents.Due, line agents.LineID, resume []agents.Interrupt) outcome {
	n := e.g.nodes[due.Node]
	if n.sub != nil {
		return e.subTask(ctx, i, due, line, resume)
	}
	newID := e.x.IDs(e.taskID(i))
	for try := 1; ; try++ {
		t := &Task{
			Info: e.x.Info, ID: e.taskID(i), Node: due.Node, Index: i, NS: e.ns, Step: e.step + 1, Try: try, State: e.state, Input: due.Input,
			Clock: e.x.Clock, NewID: newID, emit: e.x.Host.Emit, pause: pauseOf(resume, i, e.ns),
		}
		o := e.once(ctx, n, t)
		o.task = i
		if o.err == nil {
			return o
		}
		if cause := context.Cause(ctx); cause != nil {
			t.end()
			return outcome{task: i, err: cause}
		}
		pause, again := n.retry.again(try, o.err)
		if again || n.handler != "" {
			t.takeBack()
		}
		t.end()
		if again {
			if err := wait(ctx, e.x.Clock, pause); err != nil {
				return outcome{task: i, err: err}
			}
			continue
		}
		if n.handler != "" {
			return e.handle(i, n, due, try, o.err)
		}
		if f, ok := Failed(t); ok && e.g.nodes[f.Node].handler == due.Node {
			o.err = &HandlerError{Node: f.Node, Failure: f.Message, Err: o.err}
		}
		o.err = &NodeError{Node: e.path + due.Node, Tries: try, Err: o.err}
		return o
	}
}

// handle makes a failure the input of its handler.
func (e *engine) handle(i int, n node, due agents.Due, tries int, err error) outcome {
	e.log("node failed, its handler follows", due.Node, err)
	d, marshalErr := Send{Node: n.handler, Input: handled{Failure: &NodeFailure{
		Node: due.Node, Message: publicText(err), Tries: tries, Input: due.Input}}}.task()
	if marshalErr != nil {
		return outcome{task: i, err: &NodeError{Node: e.path + due.Node, Tries: tries, Err: errors.Join(err, marshalErr)}}
	}
	return outcome{task: i, result: agents.Result{Jump: true, Send: []agents.Due{d}}}
}

// once executes a node a single time.
func (e *engine) once(ctx context.Context, n node, t *Task) (o outcome) {
	limit := n.timeout
	if limit <= 0 {
		limit = e.x.NodeTimeout
	}
	ctx, release := within(ctx, e.x.Clock, limit, &NodeTimeoutError{Limit: limit})
	defer release()
	t.Emit(event.StepStarted, event.StepData{StepName: t.Node, Task: t.Index})
	cmd, err := guard(func() (Command, error) { return n.run(ctx, t) })
	var panicked *PanicError
	if errors.As(err, &panicked) {
		e.log("node panicked", t.Node, fmt.Errorf("%w\n%s", err, panicked.Stack))
	}
	// A node that asked has paused, whatever it returned afterwards: an error it
	// swallowed must not turn a question into a result.
	if p := t.pause; p.asked != nil && panicked == nil && context.Cause(ctx) == nil {
		t.takeBack()
		t.end()
		return outcome{asked: []agents.Interrupt{*p.asked}, reviews: p.reviews}
	}
	if cause := context.Cause(ctx); cause != nil {
		return outcome{err: cause}
	}
	if err != nil {
		return outcome{err: err}
	}
	if o.result, err = cmd.result(); err == nil {
		err = e.g.takes(o.result)
	}
	if err != nil {
		return outcome{err: err}
	}
	t.Emit(event.StepFinished, event.StepData{StepName: t.Node, Task: t.Index})
	t.end()
	return o
}

func (e *engine) log(text, name string, err error) {
	if e.x.Logger != nil {
		e.x.Logger.Error(text, "run_id", e.x.Info.Run, "node", e.path+name, "err", err)
	}
}

// guard turns a panic of a graph's code into an error.
func guard[T any](f func() (T, error)) (out T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
	}()
	return f()
}

func panicked(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

func itoa(n int) string { return strconv.Itoa(n) }
