package run

import (
	"context"
	"fmt"

	"github.com/heddle/heddle/agents"
)

// Ender ends runs that somebody asked to stop and that nobody executes (any more).
type Ender interface {
	// EndCancelled ends the run as cancelled, here and now, unless somebody executes
	// it; it reports whether it did.
	EndCancelled(ctx context.Context, key agents.RunKey) (bool, error)
}

// EndCancelled implements [Ender], on a node that executes runs or not: nothing of
// the graph is executed for it. The run's lease is taken first, so a holder that is
// not gone after all can write nothing more.
func (w *Worker) EndCancelled(ctx context.Context, key agents.RunKey) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.o.SettleTimeout)
	defer cancel()
	claimed, err := w.o.Store.ClaimCancelled(ctx, key, w.o.SettleTimeout)
	if err != nil || claimed == nil {
		return false, err
	}
	a := w.newAttempt(*claimed, func(error) {})
	err = a.out.close() // it says nothing but its end
	if err == nil {
		err = a.settle(ctx, errCancelled)
	}
	if err == nil {
		return true, nil
	}
	err = fmt.Errorf("ending a cancelled run: %w", err)
	if back := w.o.Store.HandBack(ctx, key.Org, a.lease); back != nil {
		a.logger.WarnContext(ctx, "cancelled run waits for its lease to expire", "err", back)
	}
	return false, err
}

// endCancelled ends the runs of lost workers that somebody had asked to stop. One that
// can't be ended stands in line, and whoever claims it ends it.
func (w *Worker) endCancelled(ctx context.Context, runs []agents.RunKey) {
	for _, key := range runs {
		if _, err := w.EndCancelled(ctx, key); err != nil {
			w.o.Logger.WarnContext(ctx, "cancelled run of a lost worker could not be ended at once", "run_id", key.Run, "err", err)
		}
	}
	w.o.Signals.Wake(ctx)
}

// stop ends a run that was asked to stop, if nobody executes it, or tells whoever
// does. It reports whether the run is over.
func (s *Service) stop(ctx context.Context, key agents.RunKey) bool {
	if s.ender != nil {
		over, err := s.ender.EndCancelled(ctx, key)
		if over {
			return true
		}
		if err != nil {
			s.logger.WarnContext(ctx, "run could not be ended at once, a worker will", "run_id", key.Run, "err", err)
		}
	}
	s.signals.Stop(ctx, key.Run)
	return false
}
