package app

import (
	"context"
	"fmt"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/replay"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// Record makes a recording of a thread that the scope may read: its runs, its log
// and its state, all as of one moment. A name names it in reports.
func (a *App) Record(ctx context.Context, scope auth.Scope, thread agents.ThreadID, name string) (replay.Recording, error) {
	view, err := a.db.View(ctx, scope, thread)
	if err != nil {
		return replay.Recording{}, err
	}
	if err := a.db.Opened(ctx, scope, view.Thread, clock.System{}.Now()); err != nil {
		return replay.Recording{}, err
	}
	source := replay.Source{Name: name, State: view.State, Tools: a.workshop.Tools()}
	if source.Events, err = a.logUntil(ctx, scope, thread, view.Head); err != nil {
		return replay.Recording{}, err
	}
	if source.Roles, err = a.db.Askers(ctx, scope, thread); err != nil {
		return replay.Recording{}, err
	}
	if view.Head.Seq > 0 && (len(source.Events) == 0 || source.Events[0].Seq > 1) {
		return replay.Recording{}, &replay.UnrepeatableError{Why: replay.WhyCut}
	}
	for _, e := range source.Events {
		if e.Type != event.RunStarted {
			continue
		}
		r, err := a.db.Run(ctx, scope, thread, agents.RunID(e.RunID))
		if err != nil {
			return replay.Recording{}, err
		}
		source.Runs = append(source.Runs, r)
	}
	if len(source.Runs) == 0 {
		return replay.Recording{}, fault.Invalid("thread", "has no run to record")
	}
	last := source.Runs[len(source.Runs)-1]
	if source.Assistant, err = a.db.AssistantVersion(ctx, scope, last.Assistant, last.AssistantVersion); err != nil {
		return replay.Recording{}, err
	}
	return replay.Record(source)
}

// logUntil reads a thread's log up to a position, as far back as it goes.
func (a *App) logUntil(ctx context.Context, scope auth.Scope, thread agents.ThreadID, head agents.Position) ([]event.Envelope, error) {
	var out []event.Envelope
	for after := int64(0); after < head.Seq; {
		rows, now, err := a.db.Log(ctx, scope, thread, after, 0)
		if err != nil {
			return nil, err
		}
		switch {
		case now.Epoch != head.Epoch, after > 0 && (len(rows) == 0 || rows[0].From > after+1):
			return nil, fault.Conflict("The thread's log was cut while it was read. Try again.")
		case len(rows) == 0:
			return nil, nil // it was cut before
		}
		for _, row := range rows {
			if row.Seq > head.Seq {
				return out, nil
			}
			e, err := event.Parse(row.Payload(head.Epoch))
			if err != nil {
				return nil, fmt.Errorf("reading the log of thread %s: %w", thread, err)
			}
			// A row may stand for several numbers.
			if len(out) == 0 {
				e.Seq = row.From
			}
			out = append(out, e)
		}
		after = rows[len(rows)-1].Seq
	}
	return out, nil
}
