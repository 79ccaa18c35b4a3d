package api

import (
	"context"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// begun are the statuses of runs that did something, or do.
func begun() []agents.RunStatus {
	return []agents.RunStatus{agents.RunRunning, agents.RunWaiting, agents.RunSuccess, agents.RunFailed, agents.RunTimeout, agents.RunCancelled}
}

// tellFailure notes with the state at which the thread's newest run failed why it
// did. Who opens a thread anew knows of a failure by its task alone: clients take
// what is due without an error and without an interrupt for a breakpoint. newest
// says that the first state is the thread's own.
func (a *API) tellFailure(ctx context.Context, scope auth.Scope, thread agents.ThreadID, states []agents.State, newest bool) error {
	if !slices.ContainsFunc(states, stoppedShort) {
		return nil
	}
	runs, _, err := a.recorded.Runs(ctx, scope, thread, agents.RunQuery{Statuses: begun(), Limit: 1})
	if err != nil || len(runs) == 0 {
		return err
	}
	last := runs[0]
	for i := range states {
		s := &states[i]
		// A run that began at an older checkpoint may have failed before its first step.
		if stoppedShort(*s) && (s.Head.Run == last.ID || newest && i == 0 && !s.Head.CreatedAt.After(last.EndedAt)) {
			s.Failed = last.Error
		}
	}
	return nil
}

// stoppedShort reports whether something is due at a state that nobody was asked
// about and that has not been done, as far as is known.
func stoppedShort(s agents.State) bool {
	return s.Head != nil && len(s.Head.Next) > 0 && len(s.Head.Interrupts) == 0 && s.Followed == nil
}

// failureOf is what the task i of a state failed with: {"error", "message"} as
// text, or nil. A failure outside of nodes is the last task's, which is where
// clients look.
func failureOf(s agents.State, i int) any {
	if s.Failed == nil {
		return nil
	}
	at := slices.IndexFunc(s.Head.Next, func(d agents.Due) bool { return d.Node == s.Failed.Node })
	if at < 0 {
		at = len(s.Head.Next) - 1
	}
	if i != at {
		return nil
	}
	return string(errorData(s.Failed.Code, s.Failed.Message))
}
