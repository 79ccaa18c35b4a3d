package realtime

import "context"

// windowSize bounds what waits for one watcher inside the hub. Beyond it
// numbers are dropped here and read from the log again; notices are lost.
const windowSize = 512

// window holds what a topic delivered to a watcher that is still busy with
// older numbers.
type window struct {
	waiting []*Delivery
	heard   int64 // the highest number delivered so far
	reset   *Position
}

func (w *window) add(d *Delivery) {
	w.heard = max(w.heard, d.Seq)
	if len(w.waiting) >= windowSize {
		w.waiting = nil
	}
	w.waiting = append(w.waiting, d)
}

func (w *window) clear(at Position) {
	w.waiting, w.heard, w.reset = nil, at.Seq, &at
}

// take removes and returns what goes on from the number sent. With gap, some
// numbers after sent have to be read from the log before anything else.
func (w *window) take(sent int64) (ds []*Delivery, gap bool) {
	for i, d := range w.waiting {
		switch {
		case d.Seq == 0:
		case d.Seq <= sent:
			continue
		case d.First() != sent+1:
			w.waiting = w.waiting[i:]
			return ds, true
		default:
			sent = d.Seq
		}
		ds = append(ds, d)
	}
	w.waiting = nil
	return ds, w.heard > sent
}

// Start says from where a watcher wants a topic.
type Start struct {
	// After is the last number the watcher has; it counts only with HasAfter.
	// Without it the watcher starts at the newest number.
	After    int64
	HasAfter bool
	// Epoch is the incarnation that After belongs to, "" if unknown.
	Epoch string
}

// resolved is where a watcher really starts.
type resolved struct {
	at    Position
	reset bool
	first []*Delivery // read while finding out, to be handed out first
}

// resolve finds out whether the log goes on from where the watcher stands.
func (h *Hub) resolve(ctx context.Context, a *Attachment, s Start) (resolved, error) {
	head := resolved{at: a.At}
	if !s.HasAfter || (s.After == a.At.Seq && (s.Epoch == "" || s.Epoch == a.At.Epoch)) {
		return head, nil
	}
	anew := resolved{at: a.At, reset: true}
	if s.Epoch != "" && s.Epoch != a.At.Epoch && a.At != (Position{}) {
		h.check(a.topic) // it may be this node that has not heard of a cut
		return anew, nil
	}
	there := resolved{at: Position{Seq: s.After, Epoch: a.At.Epoch}}
	if s.After > a.At.Seq {
		// The watcher may know more than this node, which hears of it now.
		page, err := h.readLog(ctx, a.topic.name, s.After, 0)
		if err != nil {
			return resolved{}, err
		}
		if page.Head < s.After || (s.Epoch != "" && s.Epoch != page.Epoch) {
			return resolved{at: Position{Seq: page.Head, Epoch: page.Epoch}, reset: true}, nil
		}
		h.check(a.topic)
		there.at.Epoch = page.Epoch
		return there, nil
	}
	ds, at, err := h.history(ctx, a.topic, s.After)
	switch {
	case err != nil:
		return resolved{}, err
	case at.Epoch != a.At.Epoch, len(ds) == 0 && at.Seq > s.After, len(ds) > 0 && ds[0].First() != s.After+1:
		// The log was cut, or After lies inside what was compacted since: no
		// message continues exactly from there.
		return anew, nil
	}
	there.first = ds
	return there, nil
}

// following returns the part of a page that goes on from sent without a gap.
func following(ds []*Delivery, sent int64) []*Delivery {
	for i, d := range ds {
		if d.First() != sent+1 {
			return ds[:i]
		}
		sent = d.Seq
	}
	return ds
}
