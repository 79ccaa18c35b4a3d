package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/channel"
	"github.com/heddle/heddle/internal/fault"
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
	// offer wakes this node's worker if that has a slot for a run; nil without one.
	offer func() bool
}

// publishLimit bounds one round of publishing; what is not published in time is
// read from the log by whoever watches.
const publishLimit = 2 * time.Second

// PublishLogged implements run.Publisher: all of it in one round trip.
func (w *wire) PublishLogged(ctx context.Context, events []run.Logged) {
	var all []realtime.Publication
	for len(events) > 0 {
		first, n := events[0], 1
		for n < len(events) && events[n].Org == first.Org && events[n].Thread == first.Thread {
			n++
		}
		all = append(all, publications(events[:n])...)
		events = events[n:]
	}
	if len(all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
	defer cancel()
	if err := w.hub.PublishAll(ctx, all...); err != nil {
		w.log.DebugContext(ctx, "envelopes reached only this node", "err", err)
	}
}

// publications says what is told of one thread's envelopes: to who watches it, to
// the list of who caused them, and to the organisation's queue of reviews.
func publications(events []run.Logged) []realtime.Publication {
	messages := make([]realtime.Message, len(events))
	listed, reviews := false, false
	for i, e := range events {
		messages[i] = realtime.Message{Event: channel.EnvelopeEvent, Seq: e.Seq, Epoch: e.Epoch, Payload: e.Payload}
		listed = listed || e.User != "" && changesList(e.Type)
		reviews = reviews || e.Name == event.ReviewRequested || e.Name == event.ReviewDecided
	}
	last := events[len(events)-1]
	org := auth.OrgID(last.Org)
	out := []realtime.Publication{{Topic: channel.ThreadTopic(org, last.Thread), Messages: messages}}
	if reviews {
		out = append(out, reviewsChanged(org))
	}
	if listed {
		payload := fmt.Appendf(nil, `{"kind":"thread.changed","thread_id":%q}`, last.Thread)
		out = append(out, realtime.Publication{Topic: channel.UserTopic(org, last.User),
			Messages: []realtime.Message{{Event: channel.NoticeEvent, Payload: payload}}})
	}
	return out
}

func reviewsChanged(org auth.OrgID) realtime.Publication {
	return realtime.Publication{Topic: channel.ReviewsTopic(org),
		Messages: []realtime.Message{{Event: channel.NoticeEvent, Payload: []byte(`{"kind":"reviews.changed"}`)}}}
}

// ReviewsChanged implements run.Publisher.
func (w *wire) ReviewsChanged(ctx context.Context, org auth.OrgID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
	defer cancel()
	told := reviewsChanged(org)
	if err := w.hub.PublishAll(ctx, told); err != nil {
		w.log.DebugContext(ctx, "notice reached only this node", "topic", told.Topic, "err", err)
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

// Wake implements run.Signals: other nodes are woken if this one has no slot free.
func (w *wire) Wake(ctx context.Context) {
	if w.offer == nil || !w.offer() {
		w.signal(ctx, topicWake, `{}`)
	}
}

// Recheck implements run.Signals.
func (w *wire) Recheck(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
	defer cancel()
	w.hub.RecheckAll(ctx)
}

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

// recheck tells every node that a thread's log was cut, or is gone with the thread.
func (w *wire) recheck(ctx context.Context, org auth.OrgID, thread agents.ThreadID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishLimit)
	defer cancel()
	w.hub.Recheck(ctx, channel.ThreadTopic(org, thread))
}

// Watch implements run.Watcher: one subscription per waiting caller, read by
// one goroutine that ends with it. It is the hub's to find out what was missed: it
// reads the log after a number was skipped and after Redis was away. Only while
// Redis is away does it compare with the log on a clock, once a second: nobody
// else could wake it then.
func (w *wire) Watch(ctx context.Context, org auth.OrgID, thread agents.ThreadID) (<-chan run.End, func(), error) {
	sub, err := w.hub.Subscribe(ctx, channel.ThreadTopic(org, thread))
	if err != nil {
		return nil, nil, fmt.Errorf("watching a thread: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ends, done := make(chan run.End, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer close(ends)
		for ctx.Err() == nil {
			deliveries, err := sub.Next(ctx)
			if errors.Is(err, realtime.ErrStopped) {
				return
			}
			if err != nil && ctx.Err() == nil && len(deliveries) == 0 {
				// A log that was cut, is gone or cannot be read: let the caller ask
				// the database.
				select {
				case ends <- run.End{}:
				case <-ctx.Done():
				}
				continue
			}
			for _, d := range deliveries {
				if end, some := endOf(d.Payload); some {
					tellEnd(ends, end)
				}
			}
		}
	}()
	return ends, func() { cancel(); <-done; sub.Close() }, nil
}

// tellEnd gives an end to a reader who may be slow: two that it did not take become
// one of which it has to ask the database.
func tellEnd(ends chan run.End, end run.End) {
	select {
	case ends <- end:
		return
	default:
	}
	select {
	case <-ends:
	default: // it has just taken the first
	}
	ends <- run.End{} // nobody else writes: there is room
}

// endOf looks for what ends a run, in payloads that are written by us: the type
// stands in the head, the name of a CUSTOM at the start of its data. So the others
// need not be parsed.
func endOf(payload []byte) (run.End, bool) {
	head := string(payload[:min(len(payload), 400)])
	if !strings.Contains(head, `"type":"RUN_FINISHED"`) && !strings.Contains(head, `"type":"RUN_ERROR"`) &&
		!strings.Contains(head, `"data":{"name":"`+string(event.MessageUnqueued)+`"`) {
		return run.End{}, false
	}
	e, err := event.Parse(payload)
	if err != nil {
		return run.End{}, true
	}
	return run.EndOf(e)
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
	switch {
	case fault.Is(err, fault.KindNotFound):
		return realtime.Page{}, nil // gone: whoever watches is told, and may not join again
	case err != nil:
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

// ReadHeads implements realtime.LogReader.
func (l logReader) ReadHeads(ctx context.Context, topics []string) ([]realtime.Page, error) {
	var keys []agents.ThreadKey
	var places []int
	for i, topic := range topics {
		if org, thread, ok := channel.ParseThreadTopic(topic); ok {
			keys, places = append(keys, agents.ThreadKey{Org: org, Thread: thread}), append(places, i)
		}
	}
	pages := make([]realtime.Page, len(topics))
	if len(keys) == 0 {
		return pages, nil
	}
	heads, err := l.db.HeadsOf(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i, head := range heads {
		pages[places[i]] = realtime.Page{Head: head.Seq, Epoch: head.Epoch}
	}
	return pages, nil
}

// stoppedRun reads which run a stop signal means.
func stoppedRun(m realtime.Message) agents.RunID {
	var r agents.RunID
	if json.Unmarshal(m.Payload, &r) != nil {
		return ""
	}
	return r
}
