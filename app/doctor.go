package app

import (
	"context"
	"fmt"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/internal/fault"
)

// Stuck is an open run that this binary could not go on with.
type Stuck struct {
	Org    string
	Thread agents.ThreadID
	Run    agents.RunID
	Status agents.RunStatus
	Graph  string
	// Reason says what is missing, and what a person can do.
	Reason string
}

// Diagnosis is what [App.Diagnose] found.
type Diagnosis struct {
	// Open counts the runs that wait, run or stand in line.
	Open  int
	Stuck []Stuck
}

// diagnosed is how many runs are read at once.
const diagnosed = 100

// Diagnose looks at every open run and finds those that this binary could not
// resume: because their graph is gone, lacks a node that is due, or merges in
// another way than the version they were started with.
func (a *App) Diagnose(ctx context.Context) (Diagnosis, error) {
	var out Diagnosis
	var last agents.Run
	for {
		page, err := a.db.OpenWork(ctx, last, diagnosed)
		if err != nil {
			return out, err
		}
		for _, w := range page {
			out.Open++
			stuck, err := a.diagnose(ctx, w)
			if err != nil {
				return out, err
			}
			if stuck != nil {
				out.Stuck = append(out.Stuck, *stuck)
			}
		}
		if len(page) < diagnosed {
			return out, nil
		}
		last = page[len(page)-1].Run
	}
}

func (a *App) diagnose(ctx context.Context, w agents.OpenWork) (*Stuck, error) {
	assistant, state, err := a.db.OpenWorkState(ctx, w.Run)
	if fault.Is(err, fault.KindNotFound) {
		return nil, nil // it ended, or its thread was deleted, meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("reading run %s: %w", w.Run.ID, err)
	}
	if w.Run.Status == agents.RunPending && w.Run.Input.Resume == nil && w.Run.Attempt == 0 {
		// It begins anew: nothing that an older version left concerns it.
		state = agents.State{}
	}
	err = run.Resumable(a.registry, assistant.Graph, state)
	if err == nil {
		return nil, nil
	}
	return &Stuck{Org: w.OrgSlug, Thread: w.Run.Thread, Run: w.Run.ID, Status: w.Run.Status, Graph: assistant.Graph, Reason: fault.Public(err)}, nil
}
