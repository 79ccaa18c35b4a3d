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
	// that after lies in comes first. limit is at least 1. A topic that has no log
	// yields the zero Page.
	ReadLog(ctx context.Context, topic string, after int64, limit int) (Page, error)
	// ReadHeads tells head and epoch of topics, in their order, as pages without
	// messages.
	ReadHeads(ctx context.Context, topics []string) ([]Page, error)
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
func (h *Hub) readLog(ctx context.Context, topic string, after int64, limit int) (page Page, err error) {
	if h.opt.Log == nil || isControl(topic) {
		return Page{}, nil
	}
	err = h.reading(ctx, topic, func(ctx context.Context) error {
		page, err = h.opt.Log.ReadLog(ctx, topic, after, limit)
		return err
	})
	if err != nil {
		return Page{}, fmt.Errorf("reading the log of %s after %d: %w", topic, after, err)
	}
	return page, nil
}

// readHeads reads how far the logs of topics go, as readLog does.
func (h *Hub) readHeads(ctx context.Context, topics []string) (pages []Page, err error) {
	err = h.reading(ctx, topics[0], func(ctx context.Context) error {
		pages, err = h.opt.Log.ReadHeads(ctx, topics)
		return err
	})
	if err == nil && len(pages) != len(topics) {
		err = fmt.Errorf("the log told of %d", len(pages))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the heads of %d logs: %w", len(topics), err)
	}
	return pages, nil
}

func (h *Hub) reading(ctx context.Context, topic string, read func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case h.reads <- struct{}{}:
		defer func() { <-h.reads }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for a turn: %w", ctx.Err())
	}
	if err := read(ctx); err != nil {
		// One line per outage: every watched topic tries again and again.
		if h.logAway.CompareAndSwap(false, true) {
			h.opt.Logger.Warn("log cannot be read by the hub", "topic", topic, "err", err)
		}
		return err
	}
	if h.logAway.CompareAndSwap(true, false) {
		h.opt.Logger.Info("log can be read by the hub again")
	}
	return nil
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
