package realtime

import (
	"context"
	"sync"
	"time"
)

// retryAfter is the pause before the log is asked again for a number that it
// does not show yet.
const retryAfter = 50 * time.Millisecond

// Feed pushes a topic into a [Sink]: first what the sink missed, from the log
// and at the sink's pace, then live from the goroutine that delivers to the
// whole node. Every number after At arrives once and in order.
type Feed struct {
	// At is where the feed starts: everything after it is delivered.
	At Position
	// Cut says that the numbers do not continue from where the watcher stood:
	// it has to take a snapshot at At or later.
	Cut bool

	hub  *Hub
	a    *Attachment
	sink Sink

	first []*Delivery
	mu    sync.Mutex
	live  bool
	done  bool
	sent  int64
	w     window
}

// Feed attaches sink to topic. Nothing is delivered before [Feed.CatchUp].
func (h *Hub) Feed(ctx context.Context, topic string, start Start, sink Sink) (*Feed, error) {
	f := &Feed{hub: h, sink: sink}
	a, err := h.Attach(ctx, topic, (*feedSink)(f))
	if err != nil {
		return nil, err
	}
	r, err := h.resolve(ctx, a, start)
	if err != nil {
		a.Detach()
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.a, f.At, f.Cut, f.first, f.sent = a, r.at, r.reset, r.first, r.at.Seq
	f.w.heard = max(f.w.heard, a.At.Seq)
	return f, nil
}

// CatchUp delivers what the sink missed and then goes live. Before each
// delivery it calls room, which waits until the sink has some or ctx ends. It
// returns when the feed is live, was closed, or failed.
func (f *Feed) CatchUp(ctx context.Context, room func(context.Context) error) error {
	first := f.first
	f.first = nil
	if done, err := f.replay(ctx, first, room); done || err != nil {
		return err
	}
	for {
		f.mu.Lock()
		if f.done || f.goLive() {
			f.mu.Unlock()
			return nil
		}
		f.mu.Unlock()
		ds, at, err := f.hub.history(ctx, f.a.topic, f.sent)
		switch {
		case err != nil:
			return err
		case at.Epoch != f.At.Epoch, len(ds) == 0 && at.Seq > f.sent:
			f.giveUp(at) // cut: the numbers in between are gone
			return nil
		case len(ds) == 0:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-f.hub.opt.Clock.After(retryAfter):
			}
		}
		if done, err := f.replay(ctx, ds, room); done || err != nil {
			return err
		}
	}
}

// goLive hands over what waits and reports whether nothing was missing.
func (f *Feed) goLive() bool {
	if f.w.reset != nil {
		f.live = true
		f.sink.Reset(*f.w.reset)
		return true
	}
	ds, gap := f.w.take(f.sent)
	for _, d := range ds {
		f.sent = max(f.sent, d.Seq)
		f.sink.Deliver(d)
	}
	f.live = !gap
	return f.live
}

// replay delivers a page; done says that the log did not continue.
func (f *Feed) replay(ctx context.Context, ds []*Delivery, room func(context.Context) error) (done bool, err error) {
	whole := following(ds, f.sent)
	for _, d := range whole {
		if err := room(ctx); err != nil {
			return false, err
		}
		f.mu.Lock()
		done := f.done
		f.mu.Unlock()
		if done {
			return true, nil
		}
		f.sink.Deliver(d)
		f.sent = d.Seq
	}
	if len(whole) < len(ds) {
		f.giveUp(f.At)
		return true, nil
	}
	return false, nil
}

func (f *Feed) giveUp(at Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done {
		f.live = true
		f.sink.Reset(at)
	}
}

// Close ends the deliveries. It must not be called from the sink's methods.
func (f *Feed) Close() {
	f.mu.Lock()
	f.done = true
	f.mu.Unlock()
	f.a.Detach()
}

// feedSink is the side of a feed that its topic sees.
type feedSink Feed

func (s *feedSink) Deliver(d *Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
	case !s.live:
		s.w.add(d)
	case d.Seq == 0:
		s.sink.Deliver(d)
	case d.Seq > s.sent:
		s.sent = d.Seq
		s.sink.Deliver(d)
	}
}

func (s *feedSink) Reset(at Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
	case s.live:
		s.sent = at.Seq
		s.sink.Reset(at)
	default:
		s.w.clear(at)
	}
}
