package handlers

import (
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/clock"
)

// Rates are the limits of what strangers may ask of us and of what is costly
// (control 21), on one node. A zero one sets no limit.
type Rates struct {
	// SignIn and Callback are the two halves of signing in, per address.
	SignIn, Callback middleware.Rate
	// NewKey is making API keys, Invite is inviting people, Run is starting runs,
	// whether from a page, by API or by socket; all per person.
	NewKey, Invite, Run middleware.Rate
	// Trial is letting drafts of assistants answer, per person.
	Trial middleware.Rate
	// API is everything under /api, per key.
	API middleware.Rate
}

// DefaultRates leave room for an office behind one address and for a person
// who types fast.
func DefaultRates() Rates {
	return Rates{
		SignIn: middleware.Rate{PerMinute: 60, Burst: 30}, Callback: middleware.Rate{PerMinute: 60, Burst: 30},
		NewKey: middleware.Rate{PerMinute: 10, Burst: 10}, Invite: middleware.Rate{PerMinute: 20, Burst: 20}, Run: middleware.Rate{PerMinute: 60, Burst: 30},
		Trial: middleware.Rate{PerMinute: 20, Burst: 10}, API: middleware.Rate{PerMinute: 1200, Burst: 300},
	}
}

// Limits are the limiters of routes.
type Limits struct{ SignIn, Callback, NewKey, Invite, Trial, API *middleware.Limiter }

// NewLimits makes the limiters.
func NewLimits(r Rates, clk clock.Clock) Limits {
	return Limits{SignIn: middleware.NewLimiter(r.SignIn, clk), Callback: middleware.NewLimiter(r.Callback, clk),
		NewKey: middleware.NewLimiter(r.NewKey, clk), Invite: middleware.NewLimiter(r.Invite, clk),
		Trial: middleware.NewLimiter(r.Trial, clk), API: middleware.NewLimiter(r.API, clk)}
}
