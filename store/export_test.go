package store

import (
	"context"
	"fmt"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// Apart lets tests have everything written step by step.
func (db *DB) Apart() {
	db.steps.send = func(context.Context, auth.OrgID, []*entry) error { return nil }
	db.places.send = func(context.Context, auth.OrgID, []*placing) error { return nil }
}

// Together lets tests have everything written by the statements for several, or
// not at all. One step alone has a shorter statement: beside it goes one of a thread
// that isn't there.
func (db *DB) Together() {
	db.steps.send = func(ctx context.Context, org auth.OrgID, some []*entry) error {
		beside := &entry{end: named{"thread": id.New(), "run": id.New(), "holder": id.New(), "token": int64(1), "events": 0}}
		if err := db.writeTogether(ctx, org, append([]*entry{beside}, some...)); err != nil {
			return err
		}
		for _, e := range some {
			if e.at == nil {
				return fmt.Errorf("a step or an end of thread %s was not written together", e.thread())
			}
		}
		return nil
	}
	db.places.send = func(ctx context.Context, org auth.OrgID, some []*placing) error {
		if err := db.placeTogether(ctx, org, some); err != nil {
			return err
		}
		for _, p := range some {
			if p.placed == nil {
				return fmt.Errorf("a run on thread %s was not placed together", p.thread())
			}
		}
		return nil
	}
}
