package realtime

import (
	"context"
	"fmt"
	"sync"

	"github.com/heddle/heddle/internal/fault"
)

// ResetError says that the numbers do not continue: the watcher takes a
// snapshot at At or later and goes on with the same subscription, whose next
// number follows At.
type ResetError struct{ At Position }

// Error names the position.
func (e *ResetError) Error() string {
	return fmt.Sprintf("the log was cut; it continues after %d", e.At.Seq)
}

// Subscription lets one goroutine pull a topic. However slow it is, it gets
// every number once and in order, since what no longer waits in memory is read
// from the log; of notices it may miss some.
type Subscription struct {
	// At is where the subscription starts.
	At Position
	// Cut says that the numbers do not continue from where the watcher stood.
	Cut bool

	hub   *Hub
	a     *Attachment
	first []*Delivery
	sent  int64
	ready chan struct{}

	mu sync.Mutex
	w  window
}

// Subscribe watches topic from its newest number on.
func (h *Hub) Subscribe(ctx context.Context, topic string) (*Subscription, error) {
	return h.SubscribeFrom(ctx, topic, Start{})
}

// SubscribeFrom watches topic from the given place. Close the subscription
// when done.
func (h *Hub) SubscribeFrom(ctx context.Context, topic string, start Start) (*Subscription, error) {
	s := &Subscription{hub: h, ready: make(chan struct{}, 1)}
	a, err := h.Attach(ctx, topic, (*subscriptionSink)(s))
	if err != nil {
		return nil, err
	}
	r, err := h.resolve(ctx, a, start)
	if err != nil {
		a.Detach()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.a, s.At, s.Cut, s.first, s.sent = a, r.at, r.reset, r.first, r.at.Seq
	s.w.heard = max(s.w.heard, a.At.Seq)
	s.signal()
	return s, nil
}

// Close ends the subscription.
func (s *Subscription) Close() { s.a.Detach() }

// Next waits for the next deliveries. It returns a *[ResetError] when the log
// was cut; any other error ends the wait only, and Next may be called again.
func (s *Subscription) Next(ctx context.Context) ([]*Delivery, error) {
	for {
		ds, err := s.Poll(ctx)
		if len(ds) > 0 || err != nil {
			return ds, err
		}
		select {
		case <-s.ready:
		case <-s.hub.stop:
			return nil, fault.Unavailable("The server is stopping.", ErrStopped)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Ready receives when [Subscription.Poll] may have something.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Poll returns what there is, waiting for nothing but the log.
func (s *Subscription) Poll(ctx context.Context) ([]*Delivery, error) {
	if ds := s.first; len(ds) > 0 {
		s.first = nil
		return s.hand(ds, s.a.At)
	}
	s.mu.Lock()
	if at := s.w.reset; at != nil {
		s.w.reset, s.sent = nil, at.Seq
		s.mu.Unlock()
		s.signal()
		return nil, &ResetError{At: *at}
	}
	ds, gap := s.w.take(s.sent)
	s.mu.Unlock()
	if len(ds) > 0 {
		for _, d := range ds {
			s.sent = max(s.sent, d.Seq)
		}
		s.signal()
		return ds, nil
	}
	if !gap {
		return nil, nil
	}
	ds, at, err := s.hub.history(ctx, s.a.topic, s.sent)
	if err != nil {
		s.signal()
		return nil, err
	}
	if len(ds) == 0 && at.Seq > s.sent {
		return s.hand(nil, at) // cut: the numbers in between are gone
	}
	if len(ds) == 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.hub.opt.Clock.After(retryAfter):
		}
		s.hub.check(s.a.topic)
		s.signal()
		if at.Seq < s.sent {
			return nil, &ResetError{At: at}
		}
		return nil, nil
	}
	return s.hand(ds, at)
}

// hand gives out a page of the log, as far as it goes on from what was sent.
func (s *Subscription) hand(ds []*Delivery, head Position) ([]*Delivery, error) {
	defer s.signal()
	ds = following(ds, s.sent)
	if len(ds) == 0 {
		s.sent = head.Seq
		return nil, &ResetError{At: head}
	}
	s.sent = ds[len(ds)-1].Seq
	return ds, nil
}

func (s *Subscription) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// subscriptionSink is the side of a subscription that its topic sees.
type subscriptionSink Subscription

func (s *subscriptionSink) Deliver(d *Delivery) {
	s.mu.Lock()
	s.w.add(d)
	s.mu.Unlock()
	(*Subscription)(s).signal()
}

func (s *subscriptionSink) Reset(at Position) {
	s.mu.Lock()
	s.w.clear(at)
	s.mu.Unlock()
	(*Subscription)(s).signal()
}
