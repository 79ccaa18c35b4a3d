package app

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// rates are the limits this process keeps to.
func (a *App) rates() handlers.Rates {
	switch {
	case a.o.Rates != nil:
		return *a.o.Rates
	case a.o.Config.Network.RateLimits.On():
		return handlers.DefaultRates()
	default:
		return handlers.Rates{}
	}
}

// limitedRuns is the run service as pages, API and sockets see it: whoever
// starts too many runs is told when to go on, on whichever of the three ways.
type limitedRuns struct {
	*run.Service
	limit *middleware.Limiter
	// draining says that the server takes nothing new any more.
	draining func() bool
}

func (a *App) limitedRuns() limitedRuns {
	return limitedRuns{Service: a.service, limit: middleware.NewLimiter(a.rates().Run, clock.System{}),
		draining: func() bool { return a.health.Draining() }}
}

// Submit implements what handlers need of runs.
func (l limitedRuns) Submit(ctx context.Context, scope auth.Scope, r run.Request) (agents.Run, error) {
	if err := l.allow(scope); err != nil {
		return agents.Run{}, err
	}
	return l.Service.Submit(ctx, scope, r)
}

// GoOn implements what handlers need of runs.
func (l limitedRuns) GoOn(ctx context.Context, scope auth.Scope, r run.Request, c run.Command) (agents.Run, error) {
	if err := l.allow(scope); err != nil {
		return agents.Run{}, err
	}
	return l.Service.GoOn(ctx, scope, r, c)
}

func (l limitedRuns) allow(scope auth.Scope) error {
	if l.draining() {
		return fault.Unavailable("This server is shutting down and takes no new messages. Try again in a moment.", nil).WithCode("draining")
	}
	return l.limit.Allow(string(scope.User))
}
