// Package run is the life of runs: accepting them, claiming them from the
// queue, executing their graphs under a lease, cancelling, handing over, and
// taking over what dead workers left.
//
// Invariants: every write of an attempt carries its token; whoever holds an old
// one writes nothing; what watchers see is in the log first; each run has one
// goroutine and a worker waits for all of its own.
//
// app wires it; handlers call [Service]. It imports graph, transcript and the
// domain, never store or realtime: it declares what it needs of them.
package run

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/failpoint"
)

// Store is what a worker needs of the database.
type Store interface {
	Claim(ctx context.Context, worker agents.WorkerID, limit int, lease time.Duration) ([]agents.Claimed, error)
	DueWithin(ctx context.Context, within time.Duration) (after time.Duration, some bool, err error)
	Renew(ctx context.Context, worker agents.WorkerID, runs []agents.RunID, lease time.Duration) ([]agents.Held, error)
	TakeOver(ctx context.Context) (agents.TakenOver, error)
	ClaimCancelled(ctx context.Context, key agents.RunKey, lease time.Duration) (*agents.Claimed, error)
	HandBack(ctx context.Context, org auth.OrgID, lease agents.Lease) error
	State(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.State, error)
	// StateOf gives the state that a claimed run begins with, from memory where that
	// is the same.
	StateOf(ctx context.Context, scope auth.Scope, c agents.Claimed) (agents.State, error)
	View(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.View, error)
	AssistantVersion(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version int) (agents.Assistant, error)
	CommitSteps(ctx context.Context, scope auth.Scope, lease agents.Lease, steps []agents.Step, finish *agents.Finish) (stepped agents.Appended, finished agents.Finished, err error)
	Pend(ctx context.Context, scope auth.Scope, lease agents.Lease, w agents.PendingWrites) error
	Fork(ctx context.Context, scope auth.Scope, lease agents.Lease, checkpoint string) (agents.LineID, error)
	SubLine(ctx context.Context, scope auth.Scope, lease agents.Lease, sub agents.SubLine) (agents.State, error)
	FinishRun(ctx context.Context, scope auth.Scope, lease agents.Lease, finish agents.Finish) (agents.Finished, error)
	Outcomes
}

// Presence is a worker's sign of life in the database.
type Presence interface {
	Worker() agents.WorkerID
	Alive(ctx context.Context) error
	Leave(ctx context.Context) error
}

// Graphs finds compiled graphs by name.
type Graphs interface {
	Graph(name string) (*graph.Graph, bool)
}

// Signals are hints between nodes. Losing one costs milliseconds: the queue is
// polled and cancel requests are read with every renewal.
type Signals interface {
	// Wake tells workers that a run may be due.
	Wake(ctx context.Context)
	// Stop tells the worker that executes a run to cancel it.
	Stop(ctx context.Context, run agents.RunID)
	// Recheck tells whoever watches anything to compare it with the log: a worker
	// is gone, and may have committed what it did not publish any more.
	Recheck(ctx context.Context)
}

// Options configure a worker. The times' defaults are those of the design.
type Options struct {
	Store   Store
	Arrive  func(ctx context.Context, name string) (Presence, error)
	Graphs  Graphs
	Log     *Log
	Publish Publisher
	Signals Signals
	Clock   clock.Clock
	Logger  *slog.Logger
	// Runs bounds how many runs execute at once; default 10 (LG-47).
	Runs int
	// Lease, Renew, Sweep and Poll default to 15 s, 5 s, 2 s and 1 s.
	Lease, Renew, Sweep, Poll time.Duration
	// RunTimeout ends a run as timeout; default 1 h (LG-56).
	RunTimeout time.Duration
	// Drain is how long running steps may go on after a stop; default 180 s.
	Drain time.Duration
	// SettleTimeout bounds the writing of a run's end; default 30 s.
	SettleTimeout time.Duration
	// Expire ends requests for review that ran out; optional. It is called with
	// every sweep.
	Expire func(ctx context.Context) (int, error)
	// Tidy removes what runs that are over have left behind; optional. It is called
	// with every sweep.
	Tidy func(ctx context.Context) (int, error)
	// Version is the program's, for manifests of runs.
	Version string
	// Break are a developer's breakpoints, for every run that this node executes;
	// graphs without the nodes are not affected.
	Break agents.Breakpoints
	// Merge is how long pieces of one message's text are gathered before they go
	// to the log as one; default 80 ms, negative sends each by itself.
	Merge time.Duration
	// MaxAttempts is how often one step is tried; default 3.
	MaxAttempts int
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Lease, 15*time.Second)
	def(&o.Renew, 5*time.Second)
	def(&o.Sweep, 2*time.Second)
	def(&o.Poll, time.Second)
	def(&o.RunTimeout, time.Hour)
	def(&o.Merge, mergeWindow)
	def(&o.Drain, 180*time.Second)
	def(&o.SettleTimeout, 30*time.Second)
	if o.Runs == 0 {
		o.Runs = 10
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 3
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	return o
}

// Worker executes runs.
type Worker struct {
	o    Options
	wake chan struct{}

	mu       sync.Mutex
	active   map[agents.RunID]*active
	present  bool // claims runs
	drain    bool
	finished sync.WaitGroup
	// claims are session's; what executes takes their slots.
	claims *Claims
	// over runs a function when a drain has lasted all it may, which endOver says.
	over    func(func()) (stop func() bool)
	endOver context.CancelFunc
}

type active struct {
	token  int64
	cancel context.CancelCauseFunc
}

// NewWorker makes a worker; [Worker.Run] starts it.
func NewWorker(o Options) *Worker {
	w := &Worker{o: o.withDefaults(), wake: make(chan struct{}, 1), active: map[agents.RunID]*active{}}
	w.claims = NewClaims(w.o.Runs)
	over, end := context.WithCancel(context.Background())
	w.over, w.endOver = func(f func()) func() bool { return context.AfterFunc(over, f) }, end
	return w
}

// Wake makes the worker look at the queue now.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Offer wakes the worker if it claims runs and has a slot for one, and says whether
// it did: then nobody else need be told of a run. Where more come than it has slots
// for it tells the others itself.
func (w *Worker) Offer() bool {
	w.mu.Lock()
	claims := w.present && !w.drain
	w.mu.Unlock()
	if !claims || w.claims.Free() == 0 {
		return false
	}
	w.Wake()
	return true
}

func (w *Worker) isPresent(is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.present = is
}

// Stop cancels a run if this worker executes it.
func (w *Worker) Stop(run agents.RunID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, ok := w.active[run]; ok {
		a.cancel(errCancelled)
	}
}

func (w *Worker) draining() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drain
}

// Run works until ctx ends, then drains: it claims nothing more, lets running
// steps reach their end and hands the rest of each run back. It returns once
// every run of this worker has stopped.
func (w *Worker) Run(ctx context.Context) error {
	defer w.endOver()
	defer w.finish()
	for ctx.Err() == nil {
		err := w.session(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		w.o.Logger.WarnContext(ctx, "worker lost the database, trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-w.o.Clock.After(w.o.Poll):
		}
	}
	return nil
}

// session works under one presence: when its connection is gone so is the
// lock, others take over, and this worker's attempts are void.
func (w *Worker) session(ctx context.Context) error {
	host, _ := os.Hostname()
	arriving, arrived := w.limited(ctx)
	presence, err := w.o.Arrive(arriving, host)
	arrived()
	if err != nil {
		return err
	}
	w.isPresent(true)
	defer func() {
		w.isPresent(false)
		if ctx.Err() == nil {
			w.abandon(ctx)
		} else {
			w.finish()
		}
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		defer w.over(cancel)()
		if err := presence.Leave(leave); err != nil {
			w.o.Logger.DebugContext(leave, "worker could not sign off", "err", err)
		}
	}()
	renew, sweep, poll := time.NewTicker(w.o.Renew), time.NewTicker(w.o.Sweep), time.NewTicker(w.o.Poll)
	defer renew.Stop()
	defer sweep.Stop()
	defer poll.Stop()
	w.Wake()
	var again <-chan time.Time // when the next claim may be, if it was put off
	var due <-chan time.Time   // when a run is due that waits for its time, if before the next poll
	for {
		claims, do := true, w.claim
		select {
		case <-ctx.Done():
			return w.drainUnder(ctx, presence)
		case <-w.wake:
		case <-w.claims.Freed():
			if !w.claims.Full() {
				continue
			}
		case <-poll.C:
			do = func(ctx context.Context, presence Presence) (err error) {
				due, err = w.poll(ctx, presence)
				return err
			}
		case <-due:
			due = nil
		case <-again:
			again = nil
		case <-renew.C:
			claims, do = false, w.alive
		case <-sweep.C:
			claims, do = false, w.sweep
		}
		if claims {
			if wait := w.claims.Wait(); wait > 0 {
				if again == nil {
					again = time.After(wait)
				}
				continue
			}
		}
		if err := w.within(ctx, presence, do); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// limited bounds one question to the database: a worker that has no answer within
// a lease has lost its runs, and must not wait on.
func (w *Worker) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, w.o.Lease)
}

func (w *Worker) within(ctx context.Context, presence Presence, do func(context.Context, Presence) error) error {
	ctx, cancel := w.limited(ctx)
	defer cancel()
	return do(ctx, presence)
}

// alive shows that this worker lives and keeps what it executes.
func (w *Worker) alive(ctx context.Context, presence Presence) error {
	if err := presence.Alive(ctx); err != nil {
		return err
	}
	return w.renew(ctx, presence)
}

// sweep takes back the runs of lost workers, ends requests that ran out and removes
// what nobody needs any more.
func (w *Worker) sweep(ctx context.Context, _ Presence) error {
	err := w.takeOver(ctx)
	if err == nil && w.o.Expire != nil {
		if _, failed := w.o.Expire(ctx); failed != nil && ctx.Err() == nil {
			w.o.Logger.WarnContext(ctx, "requests for review could not all be ended", "err", failed)
		}
	}
	if err == nil && w.o.Tidy != nil {
		if _, failed := w.o.Tidy(ctx); failed != nil && ctx.Err() == nil {
			w.o.Logger.WarnContext(ctx, "temporary threads could not all be removed", "err", failed)
		}
	}
	return err
}

// takeOver takes back the runs of lost workers.
func (w *Worker) takeOver(ctx context.Context) error {
	taken, err := w.o.Store.TakeOver(ctx)
	if err != nil {
		return err
	}
	if taken.Workers > 0 {
		w.o.Signals.Recheck(ctx)
	}
	if taken.Runs > 0 {
		w.o.Logger.InfoContext(ctx, "took back runs of lost workers", "runs", taken.Runs)
		w.o.Signals.Wake(ctx)
	}
	if len(taken.Cancelled) > 0 {
		ending := context.WithoutCancel(ctx) // the sweep ends before that does
		w.finished.Go(func() { w.endCancelled(ending, taken.Cancelled) })
	}
	return nil
}

// drainUnder keeps renewing while the last steps end.
func (w *Worker) drainUnder(ctx context.Context, presence Presence) error {
	w.mu.Lock()
	w.drain = true
	w.mu.Unlock()
	stopped := make(chan struct{})
	go func() { w.finished.Wait(); close(stopped) }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.o.Drain)
	defer cancel()
	renew := time.NewTicker(w.o.Renew)
	defer renew.Stop()
	for {
		select {
		case <-stopped:
			return nil
		case <-renew.C:
			if err := w.within(ctx, presence, w.renew); err != nil {
				w.o.Logger.WarnContext(ctx, "lease could not be renewed while draining", "err", err)
			}
		case <-ctx.Done():
			w.finish()
			return nil
		}
	}
}

// lastWords is how long what ends may still wait for a database that does not
// answer, once nobody waits for it: what it can't hand back is taken over.
const lastWords = 750 * time.Millisecond

// finish ends whatever still runs and waits for it.
func (w *Worker) finish() {
	w.endAll(errShutdown)
	hurry := time.AfterFunc(lastWords, w.giveUp)
	defer hurry.Stop()
	w.finished.Wait()
}

// abandon voids all attempts after the presence was lost.
func (w *Worker) abandon(ctx context.Context) {
	w.endAll(agents.ErrFenced)
	defer context.AfterFunc(ctx, w.giveUp)()
	w.finished.Wait()
}

// giveUp cuts what the worker still asks of the database.
func (w *Worker) giveUp() {
	w.endOver()
	w.o.Log.GiveUp()
}

func (w *Worker) endAll(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.active {
		a.cancel(cause)
	}
}

// poll looks for what nobody told of, and for what becomes due before it is called
// again.
func (w *Worker) poll(ctx context.Context, presence Presence) (<-chan time.Time, error) {
	if err := w.claim(ctx, presence); err != nil {
		return nil, err
	}
	after, some, err := w.o.Store.DueWithin(ctx, w.o.Poll)
	if err != nil || !some {
		return nil, err
	}
	return w.o.Clock.After(after), nil
}

func (w *Worker) claim(ctx context.Context, presence Presence) error {
	was := w.claims.Full()
	err := w.claims.Fill(func(free int) ([]agents.Claimed, error) {
		return w.o.Store.Claim(ctx, presence.Worker(), free, w.o.Lease)
	}, func(c agents.Claimed) { w.start(ctx, c) })
	if w.claims.Full() && !was { // others may have slots for what is left
		w.finished.Go(func() { w.o.Signals.Wake(ctx) })
	}
	return err
}

func (w *Worker) start(ctx context.Context, c agents.Claimed) {
	failpoint.Reach(failpoint.AfterClaim, string(c.Run.ID))
	// The attempt outlives the signal to stop: draining lets its step end.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	w.mu.Lock()
	if old, ok := w.active[c.Run.ID]; ok {
		// A worker whose presence was cut takes its own run back before it
		// notices: nobody else would end the attempt that lost it.
		old.cancel(agents.ErrFenced)
	}
	w.active[c.Run.ID] = &active{token: c.Run.Token, cancel: cancel}
	w.finished.Add(1)
	w.mu.Unlock()
	slot := w.claims.Take()
	go func() {
		defer w.finished.Done()
		defer slot.Gone()
		defer cancel(nil)
		timed, stop := context.WithTimeoutCause(ctx, w.o.RunTimeout, errTimeout)
		defer stop()
		attempt := w.newAttempt(c, cancel)
		attempt.slot = slot
		attempt.execute(timed)
		w.mu.Lock()
		defer w.mu.Unlock()
		if a, ok := w.active[c.Run.ID]; ok && a.token == c.Run.Token {
			delete(w.active, c.Run.ID)
		}
	}()
}

// renew extends the leases of what runs here and ends what was lost or asked
// to stop.
func (w *Worker) renew(ctx context.Context, presence Presence) error {
	w.mu.Lock()
	runs := make([]agents.RunID, 0, len(w.active))
	for id := range w.active {
		runs = append(runs, id)
	}
	w.mu.Unlock()
	if len(runs) == 0 {
		return nil
	}
	held, err := w.o.Store.Renew(ctx, presence.Worker(), runs, w.o.Lease)
	if err != nil {
		return err
	}
	byRun := make(map[agents.RunID]agents.Held, len(held))
	for _, h := range held {
		byRun[h.Run] = h
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range runs {
		a, running := w.active[id]
		h, ours := byRun[id]
		switch {
		case !running:
		case !ours || h.Token != a.token:
			a.cancel(agents.ErrFenced)
		case h.CancelRequested:
			a.cancel(errCancelled)
		}
	}
	return nil
}
