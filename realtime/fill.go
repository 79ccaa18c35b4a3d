package realtime

import (
	"context"
	"maps"
	"slices"
	"time"
)

// request hands t to a filler unless one has it already.
func (h *Hub) request(t *topic) {
	t.mu.Lock()
	busy := t.filling
	t.filling = true
	t.mu.Unlock()
	if busy {
		return
	}
	select {
	case h.fillq <- t:
	default:
		h.later(t)
	}
}

// later puts t aside for the next tick.
func (h *Hub) later(t *topic) {
	t.mu.Lock()
	t.filling = false
	t.mu.Unlock()
	h.retryMu.Lock()
	h.retry[t] = struct{}{}
	h.retryMu.Unlock()
}

// filler compares topics with their logs and fills holes, all that wait at a time;
// several of them run side by side.
func (h *Hub) filler(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-h.fillq:
			some := []*topic{t}
			for more := true; more && len(some) < maxHeads; {
				select {
				case t := <-h.fillq:
					some = append(some, t)
				default:
					more = false
				}
			}
			h.compare(ctx, some)
		}
	}
}

// compare finds out how far the logs of topics go, and fills those that lack
// something.
func (h *Hub) compare(ctx context.Context, some []*topic) {
	var ask, lack []*topic
	var names []string
	for _, t := range some {
		t.mu.Lock()
		hole := t.known && t.target > t.at.Seq
		if !hole {
			t.look = false
		}
		t.mu.Unlock()
		if hole {
			lack = append(lack, t)
		} else {
			ask, names = append(ask, t), append(names, t.name)
		}
	}
	if len(ask) > 0 {
		heads, err := h.readHeads(ctx, names)
		for i, t := range ask {
			switch {
			case err != nil:
				t.mu.Lock()
				t.look = true
				t.mu.Unlock()
				h.later(t)
			case !t.compared(heads[i]):
				lack = append(lack, t)
			}
		}
	}
	for _, t := range lack {
		h.fill(ctx, t)
	}
}

// compared reports whether a topic has all that its log has. One whose position was
// not known stands at the log's head now.
func (t *topic) compared(head Page) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.known:
		t.at = Position{Seq: head.Head, Epoch: head.Epoch}
		t.known = true
		close(t.primed)
	case head.Head > t.at.Seq || t.target > t.at.Seq || head.Epoch != t.at.Epoch && t.at != (Position{}):
		t.look = true
		return false
	}
	if t.look || t.target > t.at.Seq {
		return false
	}
	t.stuck = time.Time{}
	t.filling = false
	return true
}

// fill reads the log until t has all that was heard of.
func (h *Hub) fill(ctx context.Context, t *topic) {
	for ctx.Err() == nil {
		t.mu.Lock()
		if !t.look && t.target <= t.at.Seq {
			t.filling = false
			t.mu.Unlock()
			return
		}
		t.look = false
		after := t.at.Seq
		t.mu.Unlock()

		page, err := h.readLog(ctx, t.name, after, pageSize)
		if err != nil {
			t.mu.Lock()
			t.look = true
			t.mu.Unlock()
			h.later(t)
			return
		}
		if !h.absorb(t, page) {
			h.later(t)
			return
		}
	}
}

// absorb delivers what a page adds. It returns false when a number that was
// announced is not in the log yet.
func (h *Hub) absorb(t *topic, page Page) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if page.Epoch != t.at.Epoch && t.at != (Position{}) {
		h.opt.Logger.Info("log was cut, watchers start anew", "topic", t.name)
		t.reset(Position{Seq: page.Head, Epoch: page.Epoch})
		return true
	}
	before := t.at.Seq
	if len(page.Messages) == 0 && page.Head > before {
		h.opt.Logger.Info("log was cut, watchers start anew", "topic", t.name)
		t.reset(Position{Seq: page.Head, Epoch: page.Epoch})
		return true
	}
	for _, m := range page.Messages {
		if m.Seq <= t.at.Seq {
			continue
		}
		m.Epoch = page.Epoch
		if t.offerLocked(m) != taken {
			h.opt.Logger.Error("log has a gap", "topic", t.name)
			t.reset(Position{Seq: page.Head, Epoch: page.Epoch})
			return true
		}
	}
	if page.More && t.at.Seq > before {
		t.look = true
	}
	if t.at.Seq > before || t.target <= t.at.Seq {
		t.stuck = time.Time{}
		return true
	}
	now := h.opt.Clock.Now()
	if t.stuck.IsZero() {
		t.stuck = now
	}
	if now.Sub(t.stuck) < h.opt.Patience {
		return false
	}
	h.opt.Logger.Error("a number was announced that the log does not have", "topic", t.name)
	t.target, t.stuck = t.at.Seq, time.Time{}
	return true
}

// tend repeats what was put aside, compares watched topics with their logs,
// and drops topics nobody watches.
func (h *Hub) tend(ctx context.Context) {
	checked := h.opt.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.opt.Clock.After(tick):
		}
		h.retryMu.Lock()
		again := h.retry
		h.retry = map[*topic]struct{}{}
		h.retryMu.Unlock()
		for t := range again {
			h.request(t)
		}

		now := h.opt.Clock.Now()
		idle := h.dropIdle(now)
		every := h.opt.CheckEvery
		if !h.State().Connected {
			every = h.opt.DegradedEvery
		}
		if now.Sub(checked) < every {
			continue
		}
		checked = now
		for _, t := range idle {
			h.check(t)
		}
	}
}

// check asks for a comparison of t with its log.
func (h *Hub) check(t *topic) {
	if isControl(t.name) || h.opt.Log == nil {
		return
	}
	t.mu.Lock()
	t.look = true
	t.mu.Unlock()
	h.request(t)
}

// checkAll asks for a comparison of every topic with its log.
func (h *Hub) checkAll() {
	h.mu.RLock()
	topics := slices.Collect(maps.Values(h.topics))
	h.mu.RUnlock()
	for _, t := range topics {
		h.check(t)
	}
}

// dropIdle forgets topics that nobody has watched for a while and returns the
// watched ones.
func (h *Hub) dropIdle(now time.Time) []*topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropIdleProjections(now)
	watched := make([]*topic, 0, len(h.topics))
	for name, t := range h.topics {
		t.mu.Lock()
		sinks, since := len(t.sinks), t.idleSince
		t.mu.Unlock()
		switch {
		case sinks > 0:
			watched = append(watched, t)
		case now.Sub(since) >= h.opt.Linger:
			delete(h.topics, name)
			h.steerLocked(change{name, false})
		}
	}
	return watched
}
