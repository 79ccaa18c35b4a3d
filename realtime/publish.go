package realtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// errAway is what a publish gets at once while Redis is known to be away.
var errAway = errors.New("redis is away")

// Publish tells every watcher of topic, on every node, what was committed.
// Watchers of this node get numbered messages at once, whatever Redis does; the
// error says that other nodes did not get them yet. They will: from a reminder
// when Redis is back and from their own comparison with the log. So callers may
// log the error and go on. A notice that Redis did not take reaches this node
// only.
func (h *Hub) Publish(ctx context.Context, topic string, ms ...Message) error {
	for _, m := range ms {
		if err := m.check(); err != nil {
			return fmt.Errorf("publishing on %s: %w", topic, err)
		}
	}
	t := h.lookup(topic)
	if t != nil {
		h.deliver(t, ms, func(m Message) bool { return m.Seq > 0 })
	}
	err := h.say(ctx, topic, ms)
	if t != nil && (err != nil || !h.hears(t)) {
		h.deliver(t, ms, func(m Message) bool { return m.Seq == 0 })
	}
	if err != nil {
		return fmt.Errorf("publishing on %s: %w", topic, err)
	}
	return nil
}

func (h *Hub) deliver(t *topic, ms []Message, which func(Message) bool) {
	for _, m := range ms {
		if !which(m) {
			continue
		}
		if got := t.offer(m); got == ahead || got == strange {
			h.request(t)
		}
	}
}

// hears says whether what Redis accepts on t's channel comes back to this node.
func (h *Hub) hears(t *topic) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return h.state.Connected && t.heard == h.session
}

// say sends messages through Redis in one round trip. After a failure nobody
// tries again but [Hub.remind]: only the first publish of an outage waits.
func (h *Hub) say(ctx context.Context, topic string, ms []Message) error {
	if len(ms) == 0 {
		return nil
	}
	h.sayMu.Lock()
	away := h.away
	h.sayMu.Unlock()
	err := errAway
	if !away {
		err = h.pipe(ctx, topic, ms)
	}
	if err == nil {
		return nil
	}
	h.sayMu.Lock()
	defer h.sayMu.Unlock()
	h.away = true
	if !isControl(topic) && len(h.unsaid) < maxUnsaid {
		h.unsaid[topic] = struct{}{}
	}
	return err
}

func (h *Hub) pipe(ctx context.Context, topic string, ms []Message) error {
	// The commit has happened: whoever gave up waiting must not keep the news
	// from the others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.opt.PublishTimeout)
	defer cancel()
	_, err := h.opt.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range ms {
			p.Publish(ctx, channelPrefix+topic, m.encode())
		}
		return nil
	})
	return err
}

// remind waits for Redis after an outage and then tells the other nodes which
// topics to compare with their logs.
func (h *Hub) remind(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.opt.Clock.After(tick):
		}
		h.sayMu.Lock()
		away := h.away
		h.sayMu.Unlock()
		if !away || !h.answers(ctx) {
			continue
		}
		h.sayMu.Lock()
		h.away = false
		topics := h.unsaid
		h.unsaid = map[string]struct{}{}
		h.sayMu.Unlock()
		for topic := range topics {
			// One that fails again is noted again.
			_ = h.say(ctx, topic, []Message{{Event: checkEvent, Payload: []byte("{}")}})
		}
	}
}

func (h *Hub) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, h.opt.PublishTimeout)
	defer cancel()
	return h.opt.Redis.Ping(ctx).Err() == nil
}
