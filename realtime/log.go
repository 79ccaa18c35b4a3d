package realtime

import (
	"context"
	"fmt"
	"time"
)

// LogReader is the log the hub fills holes from. Implementations are safe for
// concurrent use.
type LogReader interface {
	// ReadLog returns up to limit messages of topic that end after the number
	// after, oldest first and without a hole between them; a compacted message
	// that after lies in comes first. With limit 0 it only tells head and epoch.
	// A topic that has no log yields the zero Page.
	ReadLog(ctx context.Context, topic string, after int64, limit int) (Page, error)
}

// Page is a stretch of a log.
type Page struct {
	Messages []Message
	// Head is the newest number in the log, 0 if it is empty.
	Head int64
	// Epoch is the log's incarnation: it changes only when the log was cut.
	Epoch string
	// More says that the log goes on after the last message of the page.
	More bool
}

const (
	pageSize    = 256
	readTimeout = 5 * time.Second
)

// readLog reads one page under a deadline and a bound on concurrent reads, so
// that a storm of reconnects cannot take the whole database pool.
func (h *Hub) readLog(ctx context.Context, topic string, after int64, limit int) (Page, error) {
	if h.opt.Log == nil || isControl(topic) {
		return Page{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case h.reads <- struct{}{}:
		defer func() { <-h.reads }()
	case <-ctx.Done():
		return Page{}, fmt.Errorf("waiting to read the log of %s: %w", topic, ctx.Err())
	}
	page, err := h.opt.Log.ReadLog(ctx, topic, after, limit)
	if err != nil {
		// One line per outage: every watched topic tries again and again.
		if h.logAway.CompareAndSwap(false, true) {
			h.opt.Logger.Warn("log cannot be read by the hub", "topic", topic, "err", err)
		}
		return Page{}, fmt.Errorf("reading the log of %s after %d: %w", topic, after, err)
	}
	if h.logAway.CompareAndSwap(true, false) {
		h.opt.Logger.Info("log can be read by the hub again")
	}
	return page, nil
}

// history returns up to pageSize deliveries after the number after: from
// memory when the topic still has them, so that many watchers who come back at
// once share one copy, otherwise from the log.
func (h *Hub) history(ctx context.Context, t *topic, after int64) ([]*Delivery, Position, error) {
	if ds, at, ok := t.remembered(after); ok {
		return ds, at, nil
	}
	page, err := h.readLog(ctx, t.name, after, pageSize)
	if err != nil {
		return nil, Position{}, err
	}
	ds := make([]*Delivery, len(page.Messages))
	for i, m := range page.Messages {
		ds[i] = &Delivery{Message: m}
	}
	return ds, Position{Seq: page.Head, Epoch: page.Epoch}, nil
}
