//go:build !chaos

package app

import (
	"context"

	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/realtime"
)

// The parts of the store that runs and watchers stand on. Builds for the fault
// protocol have others, with a promise taken away: see parts_chaos.go.

func (a *App) runStore() run.Store { return a.db }

func (a *App) appender() run.Appender { return a.db }

func (a *App) ledger() review.Ledger { return a.db }

func (a *App) logReader() realtime.LogReader { return logReader{a.db} }

func (a *App) arrive(ctx context.Context, name string) (run.Presence, error) {
	return a.db.Arrive(ctx, name)
}
