package realtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// errAway is what a publish gets at once while Redis is known to be away.
var errAway = errors.New("redis is away")

// Publication is what is published on one topic.
type Publication struct {
	Topic    string
	Messages []Message
}

// Publish is [Hub.PublishAll] of one topic.
func (h *Hub) Publish(ctx context.Context, topic string, ms ...Message) error {
	return h.PublishAll(ctx, Publication{Topic: topic, Messages: ms})
}

// PublishAll tells every watcher of the topics, on every node, what was committed,
// all of it in one round trip to Redis. Watchers of this node get numbered messages
// at once, whatever Redis does; the error says that other nodes did not get them
// yet. They will: from a reminder when Redis is back and from their own comparison
// with the log. So callers may log the error and go on. A notice that Redis did not
// take reaches this node only.
func (h *Hub) PublishAll(ctx context.Context, ps ...Publication) error {
	for _, p := range ps {
		for _, m := range p.Messages {
			if err := m.check(); err != nil {
				return fmt.Errorf("publishing on %s: %w", p.Topic, err)
			}
		}
	}
	topics := make([]*topic, len(ps))
	for i, p := range ps {
		if topics[i] = h.lookup(p.Topic); topics[i] != nil {
			h.deliver(topics[i], p.Messages, func(m Message) bool { return m.Seq > 0 })
		}
	}
	err := h.say(ctx, ps)
	for i, p := range ps {
		if t := topics[i]; t != nil && (err != nil || !h.hears(t)) {
			h.deliver(t, p.Messages, func(m Message) bool { return m.Seq == 0 })
		}
	}
	if err != nil {
		return fmt.Errorf("publishing on %s: %w", ps[0].Topic, err)
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

// say sends messages through Redis. After a failure nobody tries again but
// [Hub.remind]: only the first publish of an outage waits.
func (h *Hub) say(ctx context.Context, ps []Publication) error {
	ps = slices.DeleteFunc(slices.Clone(ps), func(p Publication) bool { return len(p.Messages) == 0 })
	if len(ps) == 0 {
		return nil
	}
	return h.pipe(ctx, ps)
}

// noteLocked remembers what was not said. Whoever finds Redis away must do so while
// it holds sayMu: else [Hub.remind] may have passed by already.
func (h *Hub) noteLocked(all []*spoken) {
	for _, s := range all {
		for _, p := range s.ps {
			if !isControl(p.Topic) && len(h.unsaid) < maxUnsaid {
				h.unsaid[p.Topic] = struct{}{}
			}
		}
	}
}

// spoken is what one caller waits to have said.
type spoken struct {
	ps   []Publication
	done chan error
}

// pipe sends in one round trip what everybody has to say at this moment: one
// caller at a time speaks, for all who came while the one before it spoke. So the
// order of each caller is kept, and the more there is to say the less each costs.
func (h *Hub) pipe(ctx context.Context, ps []Publication) error {
	own := &spoken{ps: ps, done: make(chan error, 1)}
	h.sayMu.Lock()
	h.waiting = append(h.waiting, own)
	h.sayMu.Unlock()
	select {
	case err := <-own.done:
		return err
	case h.turn <- struct{}{}:
	}
	h.sayMu.Lock()
	all, away := h.waiting, h.away
	h.waiting = nil
	if away {
		h.noteLocked(all)
	}
	h.sayMu.Unlock()
	if len(all) > 0 {
		err := errAway // it went away while they waited
		if !away {
			if err = h.send(ctx, all); err != nil {
				h.sayMu.Lock()
				h.away = true
				h.noteLocked(all)
				h.sayMu.Unlock()
			}
		}
		for _, s := range all {
			s.done <- err
		}
	}
	<-h.turn
	return <-own.done
}

func (h *Hub) send(ctx context.Context, all []*spoken) error {
	// The commit has happened: whoever gave up waiting must not keep the news
	// from the others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.opt.PublishTimeout)
	defer cancel()
	_, err := h.opt.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range all {
			for _, one := range s.ps {
				for _, body := range bundles(one.Messages) {
					p.Publish(ctx, channelPrefix+one.Topic, body)
				}
			}
		}
		return nil
	})
	return err
}

// Recheck asks every node to compare a topic with its log, which changed in a way
// that no message tells: it was cut, or is gone. Without Redis the others find
// out by themselves.
func (h *Hub) Recheck(ctx context.Context, topic string) {
	if t := h.lookup(topic); t != nil {
		h.check(t)
	}
	_ = h.say(ctx, checkOf(topic)) // one that fails is noted and said again
}

// RecheckAll asks every node to compare all it watches with the logs: a node is
// gone that may not have published all it committed.
func (h *Hub) RecheckAll(ctx context.Context) {
	h.checkAll()
	_ = h.say(ctx, checkOf(ownTopic)) // without Redis the others compare by themselves
}

// checkOf asks whoever watches a topic to compare it with its log.
func checkOf(topic string) []Publication {
	return []Publication{{Topic: topic, Messages: []Message{{Event: checkEvent, Payload: []byte("{}")}}}}
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
			_ = h.say(ctx, checkOf(topic))
		}
	}
}

func (h *Hub) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, h.opt.PublishTimeout)
	defer cancel()
	return h.opt.Redis.Ping(ctx).Err() == nil
}
