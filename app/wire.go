package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/channel"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/store"
)

// The control topics of the hub: hints between nodes, lost without harm.
const (
	topicWake = "sys:wake"
	topicStop = "sys:stop"
)

// wire joins the rooms that must not know each other: runs, which publish what
// the log accepted, and the hub, which knows topics and bytes.
type wire struct {
	hub *realtime.Hub
	log *slog.Logger
}

// publishLimit bounds one round of publishing; what is not published in time is
// read from the log by whoever watches.
const publishLimit = 2 * time.Second

// PublishLogged implements run.Publisher.
func (w *wire) PublishLogged(ctx context.Context, events []run.Logged) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
	defer cancel()
	for len(events) > 0 {
		first, n := events[0], 1
		for n < len(events) && events[n].Org == first.Org && events[n].Thread == first.Thread {
			n++
		}
		w.publish(ctx, channel.ThreadTopic(auth.OrgID(first.Org), first.Thread), events[:n])
		events = events[n:]
	}
}

func (w *wire) publish(ctx context.Context, topic string, events []run.Logged) {
	messages := make([]realtime.Message, len(events))
	listed := false
	for i, e := range events {
		messages[i] = realtime.Message{Event: channel.EnvelopeEvent, Seq: e.Seq, Epoch: e.Epoch, Payload: e.Payload}
		listed = listed || e.User != "" && changesList(e.Type)
	}
	if err := w.hub.Publish(ctx, topic, messages...); err != nil {
		w.log.DebugContext(ctx, "envelopes reached only this node", "topic", topic, "err", err)
	}
	for _, e := range events {
		if e.Name == event.ReviewRequested || e.Name == event.ReviewDecided {
			w.ReviewsChanged(ctx, auth.OrgID(e.Org))
			break
		}
	}
	if !listed {
		return
	}
	last := events[len(events)-1]
	payload := fmt.Appendf(nil, `{"kind":"thread.changed","thread_id":%q}`, last.Thread)
	user := channel.UserTopic(auth.OrgID(last.Org), last.User)
	if err := w.hub.Publish(ctx, user, realtime.Message{Event: channel.NoticeEvent, Payload: payload}); err != nil {
		w.log.DebugContext(ctx, "notice reached only this node", "topic", user, "err", err)
	}
}

// ReviewsChanged implements run.Publisher.
func (w *wire) ReviewsChanged(ctx context.Context, org auth.OrgID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
	defer cancel()
	topic := channel.ReviewsTopic(org)
	if err := w.hub.Publish(ctx, topic, realtime.Message{Event: channel.NoticeEvent, Payload: []byte(`{"kind":"reviews.changed"}`)}); err != nil {
		w.log.DebugContext(ctx, "notice reached only this node", "topic", topic, "err", err)
	}
}

// changesList says whether an envelope may change how its thread is listed.
func changesList(t event.Type) bool {
	switch t {
	case event.RunStarted, event.RunFinished, event.RunError, event.Custom:
		return true
	default:
		return false
	}
}

// Wake implements run.Signals.
func (w *wire) Wake(ctx context.Context) { w.signal(ctx, topicWake, `{}`) }

// Stop implements run.Signals.
func (w *wire) Stop(ctx context.Context, r agents.RunID) {
	w.signal(ctx, topicStop, fmt.Sprintf("%q", string(r)))
}

func (w *wire) signal(ctx context.Context, topic, payload string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
	defer cancel()
	if err := w.hub.Publish(ctx, topic, realtime.Message{Event: "signal", Payload: []byte(payload)}); err != nil {
		w.log.DebugContext(ctx, "signal reached only this node", "topic", topic, "err", err)
	}
}

// Watch implements run.Watcher: one subscription per waiting caller, read by
// one goroutine that ends with it.
func (w *wire) Watch(ctx context.Context, org auth.OrgID, thread agents.ThreadID) (<-chan struct{}, func(), error) {
	sub, err := w.hub.Subscribe(ctx, channel.ThreadTopic(org, thread))
	if err != nil {
		return nil, nil, fmt.Errorf("watching a thread: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			deliveries, err := sub.Next(ctx)
			if err != nil && ctx.Err() == nil && len(deliveries) == 0 {
				// A cut log or a stopping hub: let the caller ask the database.
				select {
				case ended <- struct{}{}:
				case <-ctx.Done():
				}
				continue
			}
			for _, d := range deliveries {
				if endsRun(d.Payload) {
					select {
					case ended <- struct{}{}:
					default:
					}
				}
			}
		}
	}()
	return ended, func() { cancel(); <-done; sub.Close() }, nil
}

// endsRun looks for what ends a run, in payloads that are written by us: the
// type stands in the head, the name of a CUSTOM at the start of its data.
func endsRun(payload []byte) bool {
	head := string(payload[:min(len(payload), 400)])
	return strings.Contains(head, `"type":"RUN_FINISHED"`) || strings.Contains(head, `"type":"RUN_ERROR"`) ||
		strings.Contains(head, `"data":{"name":"`+string(event.MessageUnqueued)+`"`)
}

// logReader lets the hub read the logs of threads; other topics have none.
type logReader struct{ db *store.DB }

// ReadLog implements realtime.LogReader.
func (l logReader) ReadLog(ctx context.Context, topic string, after int64, limit int) (realtime.Page, error) {
	org, thread, ok := channel.ParseThreadTopic(topic)
	if !ok {
		return realtime.Page{}, nil
	}
	rows, head, err := l.db.LogOf(ctx, org, thread, after, limit)
	if err != nil {
		return realtime.Page{}, err
	}
	page := realtime.Page{Head: head.Seq, Epoch: head.Epoch}
	for _, r := range rows {
		page.Messages = append(page.Messages, realtime.Message{
			Event: channel.EnvelopeEvent, Seq: r.Seq, From: r.From, Epoch: head.Epoch, Payload: r.Payload(head.Epoch)})
	}
	if n := len(rows); n > 0 {
		page.More = rows[n-1].Seq < head.Seq
	}
	return page, nil
}

// stoppedRun reads which run a stop signal means.
func stoppedRun(m realtime.Message) agents.RunID {
	var r agents.RunID
	if json.Unmarshal(m.Payload, &r) != nil {
		return ""
	}
	return r
}
