package run

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/heddle/heddle/agents"
)

// Discards removes the threads of runs that need none.
type Discards interface {
	// DiscardThreads removes those whose runs are over.
	DiscardThreads(ctx context.Context, threads []agents.RunKey) (int, error)
}

const (
	// discardQueue bounds how many threads wait to be removed; what finds no place is
	// found by the sweep.
	discardQueue = 1024
	// discardTogether bounds one statement, discardLimit the wait for it.
	discardTogether = 32
	discardLimit    = 10 * time.Second
)

// LeftFor is how long the thread of a run that needs none stays after its end where
// nobody removes it: long enough for whoever looks for what the run said.
const LeftFor = time.Minute

// Discarder removes threads that nobody needs any more, behind the back of those who
// needed them: they have their answer and wait for nothing. A thread that is not
// removed here, because the process ends, is found by the sweep.
type Discarder struct {
	store  Discards
	logger *slog.Logger
	queue  chan agents.RunKey
	stop   chan struct{}
	once   sync.Once
	done   chan struct{}
}

// NewDiscarder starts the goroutine; Close ends it.
func NewDiscarder(store Discards, logger *slog.Logger) *Discarder {
	d := &Discarder{store: store, logger: logger, queue: make(chan agents.RunKey, discardQueue), stop: make(chan struct{}), done: make(chan struct{})}
	go d.run()
	return d
}

// Discard removes a thread soon.
func (d *Discarder) Discard(thread agents.RunKey) {
	select {
	case d.queue <- thread:
	default:
	}
}

// Close waits for what is in flight.
func (d *Discarder) Close() {
	d.once.Do(func() { close(d.stop) })
	<-d.done
}

func (d *Discarder) run() {
	defer close(d.done)
	for {
		select {
		case first := <-d.queue:
			d.remove(d.gather(first))
		case <-d.stop:
			return
		}
	}
}

func (d *Discarder) gather(first agents.RunKey) []agents.RunKey {
	some := []agents.RunKey{first}
	for len(some) < discardTogether {
		select {
		case next := <-d.queue:
			some = append(some, next)
		default:
			return some
		}
	}
	return some
}

func (d *Discarder) remove(threads []agents.RunKey) {
	ctx, cancel := context.WithTimeout(context.Background(), discardLimit)
	defer cancel()
	if _, err := d.store.DiscardThreads(ctx, threads); err != nil {
		d.logger.WarnContext(ctx, "temporary threads are left to the sweep", "threads", len(threads), "err", err)
	}
}

// Discard removes the temporary thread of a run whose caller has its answer. One of a
// run with a webhook stays until the sweep, for whoever has still to tell of it.
func (s *Service) Discard(r agents.Run) {
	if s.discard != nil && r.Webhook == "" {
		s.discard.Discard(agents.RunKey{Org: r.Org, Thread: r.Thread, Run: r.ID})
	}
}
