package realtime

import (
	"slices"
	"sync"
	"time"
)

// Sink takes what a topic delivers. Its methods are called in order, one at a
// time per topic, while the topic is locked: they must not block and must not
// call the hub.
type Sink interface {
	// Deliver takes a notice or the next number.
	Deliver(d *Delivery)
	// Reset says that the numbers did not go on: the log was cut or has a gap.
	// Deliveries continue after the given position.
	Reset(at Position)
}

// Bounds of what a topic remembers for watchers who come back soon.
const (
	rememberCount = 256
	rememberBytes = 256 << 10
)

// topic keeps one order for all watchers of this node.
type topic struct {
	name string

	mu    sync.Mutex
	sinks []Sink
	// at is the position delivered so far; it means nothing before known.
	at     Position
	known  bool
	primed chan struct{} // closed when known, or when primeErr says why not
	// target is the highest number heard of; beyond at.Seq it is a hole.
	target int64
	// look asks the filler to compare with the log even without a hole.
	look    bool
	filling bool
	// stuck is since when the log has not shown a number that was announced.
	stuck time.Time
	// heard is the Redis session that confirmed the subscription.
	heard     uint64
	idleSince time.Time

	recent      []*Delivery
	recentBytes int
}

// outcome of offering a message to a topic.
type outcome int

const (
	taken    outcome = iota
	repeated         // its number was delivered before
	ahead            // numbers before it are missing
	strange          // it belongs to another incarnation of the log
)

// offer delivers m if it is a notice or the next number. Otherwise it leaves a
// mark for the filler and says so.
func (t *topic) offer(m Message) outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.offerLocked(m)
}

func (t *topic) offerLocked(m Message) outcome {
	if m.Seq == 0 {
		t.emit(&Delivery{Message: m})
		return taken
	}
	if !t.known {
		t.target = max(t.target, m.Seq)
		return ahead
	}
	if t.at == (Position{}) {
		t.at.Epoch = m.Epoch
	}
	switch {
	case m.Epoch != t.at.Epoch:
		t.look = true
		return strange
	case m.Seq <= t.at.Seq:
		return repeated
	case m.First() != t.at.Seq+1:
		t.target = max(t.target, m.Seq)
		t.look = true
		return ahead
	}
	d := &Delivery{Message: m}
	t.at.Seq = m.Seq
	t.remember(d)
	t.emit(d)
	return taken
}

func (t *topic) emit(d *Delivery) {
	for _, s := range t.sinks {
		s.Deliver(d)
	}
}

// reset starts the order anew at the given position.
func (t *topic) reset(at Position) {
	t.at, t.target = at, at.Seq
	t.recent, t.recentBytes = nil, 0
	for _, s := range t.sinks {
		s.Reset(at)
	}
}

func (t *topic) remember(d *Delivery) {
	t.recent = append(t.recent, d)
	t.recentBytes += len(d.Payload)
	drop := 0
	for len(t.recent)-drop > rememberCount || (t.recentBytes > rememberBytes && drop < len(t.recent)) {
		t.recentBytes -= len(t.recent[drop].Payload)
		drop++
	}
	t.recent = slices.Delete(t.recent, 0, drop)
}

// remembered returns the deliveries after the number after if memory reaches
// back that far.
func (t *topic) remembered(after int64) ([]*Delivery, Position, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || after > t.at.Seq {
		return nil, Position{}, false
	}
	if after == t.at.Seq {
		return nil, t.at, true
	}
	i, _ := slices.BinarySearchFunc(t.recent, after+1, func(d *Delivery, want int64) int {
		return int(d.Seq - want)
	})
	if i == len(t.recent) || t.recent[i].First() != after+1 {
		return nil, Position{}, false
	}
	return slices.Clone(t.recent[i:]), t.at, true
}

func (t *topic) add(s Sink) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sinks = append(t.sinks, s)
}

func (t *topic) remove(s Sink, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.sinks, s); i >= 0 {
		last := len(t.sinks) - 1
		t.sinks[i] = t.sinks[last]
		t.sinks[last] = nil
		t.sinks = t.sinks[:last]
	}
	if len(t.sinks) == 0 {
		t.idleSince = now
	}
}
