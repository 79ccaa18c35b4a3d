// Package retention removes what has lived its time: old checkpoints with the
// messages that only they refer to, old rows of logs, threads that nobody
// touched. What may go is for the store to decide, thread by thread; here is who
// asks it, and when.
//
// Invariants: at most one node of an installation sweeps at a time; each thread
// goes in transactions of its own, so a sweep may end anywhere; one thread that
// fails stops no other.
//
// app wires it. It imports the domain and declares what it needs of the store.
package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
)

// Store is what a sweep needs of the database.
type Store interface {
	// SweepTurn calls do if no other node sweeps and the last turn began at least
	// every ago, and reports whether it did.
	SweepTurn(ctx context.Context, every time.Duration, do func(context.Context) error) (bool, error)
	SweepPage(ctx context.Context, cuts agents.Cuts, after agents.ThreadKey, limit int) ([]agents.SweepCandidate, error)
	SweepThread(ctx context.Context, cuts agents.Cuts, key agents.ThreadKey, dry bool) (agents.Swept, error)
}

// ErrUnderWay says that another node sweeps at this moment.
var ErrUnderWay = errors.New("another node sweeps at this moment")

const (
	// page is how many threads one look covers.
	page = 200
	// look is how often a node asks whether it is time: it may have been started a
	// moment before the next sweep is due.
	look = time.Minute
)

// Options configure a sweeper.
type Options struct {
	Store  Store
	Policy agents.Retention
	// Every is how often the installation is swept; default 1 h.
	Every time.Duration
	// Changed, if given, is told of each thread whose log was cut or that went.
	Changed func(context.Context, agents.ThreadKey)
	Clock   clock.Clock
	Logger  *slog.Logger
}

// Sweeper sweeps an installation.
type Sweeper struct{ o Options }

// New makes a sweeper; a policy that can't hold is refused.
func New(o Options) (*Sweeper, error) {
	if err := o.Policy.Check(); err != nil {
		return nil, fmt.Errorf("checking what is kept: %w", err)
	}
	if o.Every == 0 {
		o.Every = time.Hour
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	return &Sweeper{o: o}, nil
}

// Report is what a sweep did, or would do.
type Report struct {
	// Threads is how many were looked at.
	Threads int
	Orgs    map[auth.OrgID]agents.Swept
	// Failed counts threads of which nothing went because of an error; Err is the
	// first.
	Failed int
	Err    error
}

// Total adds up all organisations.
func (r Report) Total() agents.Swept {
	var out agents.Swept
	for _, s := range r.Orgs {
		out.Add(s)
	}
	return out
}

// Run sweeps whenever it is time, until ctx ends; a sweep under way stops at the
// thread it is at.
func (s *Sweeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.turn(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "sweep ended early, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-s.o.Clock.After(min(look, s.o.Every)):
		}
	}
}

func (s *Sweeper) turn(ctx context.Context) error {
	began := s.o.Clock.Now()
	var report Report
	took, err := s.o.Store.SweepTurn(ctx, s.o.Every, func(ctx context.Context) error {
		var err error
		report, err = s.all(ctx, began, false)
		return err
	})
	if !took {
		return err
	}
	went := report.Total()
	level := slog.LevelInfo
	if went.Nothing() && report.Failed == 0 {
		level = slog.LevelDebug
	}
	s.o.Logger.Log(ctx, level, "swept", "looked_at", report.Threads, "threads", went.Threads, "checkpoints", went.Checkpoints, "messages", went.Messages,
		"log_rows", went.Events, "bytes", went.Bytes, "failed", report.Failed, "took", s.o.Clock.Now().Sub(began).Round(time.Millisecond))
	return err
}

// Sweep sweeps now, with what is old at a moment; [ErrUnderWay] says that another
// node does. A dry run changes nothing and needs no turn.
func (s *Sweeper) Sweep(ctx context.Context, now time.Time, dry bool) (Report, error) {
	if dry {
		return s.all(ctx, now, dry)
	}
	var report Report
	took, err := s.o.Store.SweepTurn(ctx, 0, func(ctx context.Context) error {
		var err error
		report, err = s.all(ctx, now, false)
		return err
	})
	if err == nil && !took {
		err = ErrUnderWay
	}
	return report, err
}

// all goes through the threads of all organisations. An error says that it did
// not come to the end.
func (s *Sweeper) all(ctx context.Context, now time.Time, dry bool) (Report, error) {
	report := Report{Orgs: map[auth.OrgID]agents.Swept{}}
	cuts := s.o.Policy.At(now)
	var last agents.ThreadKey
	for {
		found, err := s.o.Store.SweepPage(ctx, cuts, last, page)
		if err != nil {
			return report, err
		}
		for _, c := range found {
			report.Threads++
			if !c.Due {
				continue
			}
			went, err := s.thread(ctx, cuts, c.ThreadKey, dry)
			if !went.Nothing() {
				sum := report.Orgs[c.Org]
				sum.Add(went)
				report.Orgs[c.Org] = sum
			}
			if ctx.Err() != nil {
				return report, ctx.Err()
			}
			if err != nil {
				report.Failed++
				if report.Err == nil {
					report.Err = err
				}
				s.o.Logger.ErrorContext(ctx, "thread could not be swept", "org_id", c.Org, "thread_id", c.Thread, "err", err)
			}
		}
		if len(found) < page {
			return report, nil
		}
		last = found[len(found)-1].ThreadKey
	}
}

// thread removes batch after batch until nothing old is left.
func (s *Sweeper) thread(ctx context.Context, cuts agents.Cuts, key agents.ThreadKey, dry bool) (agents.Swept, error) {
	var sum agents.Swept
	for {
		went, err := s.o.Store.SweepThread(ctx, cuts, key, dry)
		if err != nil {
			return sum, err
		}
		sum.Add(went)
		if s.o.Changed != nil && !dry && (went.Events > 0 || went.Threads > 0) {
			s.o.Changed(ctx, key)
		}
		if dry || went.Nothing() || went.Threads > 0 {
			return sum, nil
		}
	}
}
