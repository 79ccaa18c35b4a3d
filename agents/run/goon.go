package run

import (
	"context"
	"errors"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// CurrentCheckpoint reads what a client means by a checkpoint: empty where the run
// goes on from where the thread stands, which is also so where all that came after
// the checkpoint is of runs that still go on; the checkpoint itself where it is an
// older one, at which the run begins a line of its own. A checkpoint that the thread
// does not have is not found.
func (s *Service) CurrentCheckpoint(ctx context.Context, scope auth.Scope, thread agents.ThreadID, checkpoint string) (string, error) {
	if checkpoint == "" {
		return "", nil
	}
	older, err := s.queue.Older(ctx, scope, thread, checkpoint)
	if err != nil || !older {
		return "", err
	}
	return checkpoint, nil
}

// errOldCheckpoint refuses an answer at a checkpoint where nothing is open any more.
var errOldCheckpoint = fault.Conflict("An answer goes to what is open now. From an older checkpoint, run again with input null: it asks again, and can be answered then.").
	WithCode("checkpoint_old")

// errNothingBefore refuses to go on with nothing from where a thread has nothing.
var errNothingBefore = fault.Invalid("input", "is required: the checkpoint is the one before the thread's first step")

// GoOn starts a run that brings no new input: it answers what is open or, without an
// answer, goes on with what is due, on other nodes, or from an older checkpoint,
// which r.Input names. What it brings otherwise is r's.
func (s *Service) GoOn(ctx context.Context, scope auth.Scope, r Request, c Command) (agents.Run, error) {
	old := r.Input.Checkpoint != ""
	switch {
	case old && c.Answer != nil:
		return agents.Run{}, errOldCheckpoint
	case r.After > 0 && c.Answer != nil:
		return agents.Run{}, fault.Invalid("after_seconds", "must not be given with an answer, which takes the place of what waits")
	}
	if old && len(c.Goto)+len(c.Sends) == 0 {
		at, err := s.queue.History(ctx, scope, r.Thread, agents.HistoryQuery{Limit: 1, Only: r.Input.Checkpoint, Bare: true})
		if err != nil {
			return agents.Run{}, err
		}
		if len(at) == 1 && at[0].Step == agents.BeforeFirst {
			return agents.Run{}, errNothingBefore
		}
	}
	if !old {
		c.Input, c.Raw, c.Metadata, c.Webhook = r.Input, r.Raw, r.Metadata, r.Webhook
		made, err := s.Resume(ctx, scope, r.Thread, c)
		if !errors.Is(err, agents.ErrNotInterrupted) || c.Answer != nil {
			return made, err
		}
		state, err := s.queue.State(ctx, scope, r.Thread)
		if err != nil {
			return agents.Run{}, err
		}
		if state.Head == nil && len(c.Goto)+len(c.Sends) == 0 {
			return agents.Run{}, fault.Invalid("input", "is required: the thread has nothing to go on with")
		}
	}
	r.Input.Resume = &agents.Resume{Goto: c.Goto, Sends: c.Sends}
	return s.Submit(ctx, scope, r)
}
