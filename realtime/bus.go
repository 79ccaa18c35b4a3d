package realtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// steerBatch bounds the channels of one SUBSCRIBE command.
	steerBatch = 500
	// The pause between two attempts to reach Redis grows between these.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// steerLocked notes a subscription to send. The caller holds h.mu.
func (h *Hub) steerLocked(c change) {
	h.changes = append(h.changes, c)
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// listen keeps one subscription connection to Redis, whatever happens to it.
func (h *Hub) listen(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		err := h.hear(ctx)
		if ctx.Err() != nil {
			break
		}
		if h.State().Connected {
			pause = firstPause
		}
		h.setState(false, err.Error())
		select {
		case <-ctx.Done():
		case <-h.opt.Clock.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
	h.setState(false, stopped)
}

// hear runs one session on one connection and returns why it ended. Its loop
// never waits for a watcher: one that did would stop the whole server where
// Redis is the embedded one.
func (h *Hub) hear(ctx context.Context) error {
	h.mu.Lock()
	h.session++
	session := h.session
	h.changes = []change{{ownTopic, true}}
	for name := range h.topics {
		h.changes = append(h.changes, change{name, true})
	}
	h.mu.Unlock()

	ps := h.opt.Redis.Subscribe(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.steer(ctx, ps); err != nil {
			cancel(err)
		}
		// Closing is what wakes a receiver that waits.
		_ = ps.Close()
	})
	defer wg.Wait()
	defer cancel(nil)

	for {
		got, err := ps.ReceiveTimeout(ctx, 2*h.opt.PingEvery)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("receiving from redis: %w", err)
		}
		switch got := got.(type) {
		case *redis.Message:
			h.arrive(strings.TrimPrefix(got.Channel, channelPrefix), []byte(got.Payload))
		case *redis.Subscription:
			if got.Kind == "subscribe" {
				h.confirmed(strings.TrimPrefix(got.Channel, channelPrefix), session)
			}
		}
	}
}

// steer sends what is to be subscribed and left, and pings, until ctx ends or
// the connection fails.
func (h *Hub) steer(ctx context.Context, ps *redis.PubSub) error {
	for {
		h.mu.Lock()
		changes := h.changes
		h.changes = nil
		h.mu.Unlock()
		for len(changes) > 0 {
			n := 1
			for n < len(changes) && n < steerBatch && changes[n].on == changes[0].on {
				n++
			}
			names := make([]string, n)
			for i, c := range changes[:n] {
				names[i] = channelPrefix + c.name
			}
			send := ps.Unsubscribe
			if changes[0].on {
				send = ps.Subscribe
			}
			if err := send(ctx, slices.Compact(names)...); err != nil {
				return fmt.Errorf("subscribing at redis: %w", err)
			}
			changes = changes[n:]
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.changed:
		case <-h.opt.Clock.After(h.opt.PingEvery):
			if err := ps.Ping(ctx); err != nil {
				return fmt.Errorf("pinging redis: %w", err)
			}
		}
	}
}

// confirmed notes that what is published on a topic from now on arrives here,
// and looks for what was published before.
func (h *Hub) confirmed(name string, session uint64) {
	if name == ownTopic {
		h.setState(true, "")
		return
	}
	t := h.lookup(name)
	if t == nil {
		return
	}
	t.mu.Lock()
	t.heard = session
	t.mu.Unlock()
	h.check(t)
}

// arrive takes one body from Redis.
func (h *Hub) arrive(name string, body []byte) {
	t := h.lookup(name)
	if t == nil && name != ownTopic {
		return
	}
	ms, err := unbundle(body)
	if err != nil {
		h.opt.Logger.Warn("unreadable message from redis", "topic", name, "err", err)
		return
	}
	for _, m := range ms {
		h.heard(t, m)
	}
}

// heard takes one message that was said on a topic, or to this node where there is
// none.
func (h *Hub) heard(t *topic, m Message) {
	switch {
	case t == nil:
		if m.Event == checkEvent {
			h.checkAll()
		}
	case m.Event == checkEvent && m.Seq == 0:
		h.check(t)
	default:
		if got := t.offer(m); got == ahead || got == strange {
			h.request(t)
		}
	}
}
