package graph

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// FailurePolicy says what a super-step does when one of its nodes fails. Time
// limits win over either.
type FailurePolicy string

// The policies.
const (
	// Panic stops the siblings at once; it is the default.
	Panic FailurePolicy = "panic"
	// Proceed lets the siblings end and keeps their results, then halts.
	Proceed FailurePolicy = "proceed"
)

// RetryPolicy says how often a node that fails is executed again. The zero value
// of a field means its default; the defaults are those of LangGraph's clients,
// but for the first delay.
type RetryPolicy struct {
	// MaxAttempts counts the first execution too; default 3.
	MaxAttempts int
	// InitialDelay is waited before the second execution; default none. Factor
	// (default 2) makes each later delay longer, up to MaxDelay (default 5 s).
	InitialDelay time.Duration
	Factor       float64
	MaxDelay     time.Duration
	// Jitter adds up to that much to each delay, by chance; default none.
	Jitter time.Duration
	// On decides which errors are worth it; default [Transient].
	On func(error) bool
}

// DefaultRetry are the defaults of a [RetryPolicy].
const (
	DefaultRetryAttempts = 3
	DefaultRetryFactor   = 2
	DefaultRetryMaxDelay = 5 * time.Second
)

// again says whether and after what pause an execution follows the given one.
func (p *RetryPolicy) again(try int, err error) (time.Duration, bool) {
	if p == nil || try >= orDefault(p.MaxAttempts, DefaultRetryAttempts) {
		return 0, false
	}
	worth := p.On
	if worth == nil {
		worth = Transient
	}
	if !worth(err) {
		return 0, false
	}
	factor, most := orDefault(p.Factor, DefaultRetryFactor), orDefault(p.MaxDelay, DefaultRetryMaxDelay)
	delay := p.InitialDelay
	for i := 1; i < try && delay < most; i++ {
		delay = time.Duration(min(float64(delay)*factor, float64(most)))
	}
	delay = min(delay, most)
	if p.Jitter > 0 {
		delay += rand.N(p.Jitter) //nolint:gosec // spreads load, keeps no secret
	}
	return delay, true
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Transient reports whether the same work may succeed a moment later: timeouts,
// closed connections, and what providers say with 408, 429 and 5xx. Failures
// that a person wrote ([Fail]), rejected credentials and used-up quotas are not.
func Transient(err error) bool {
	var retryable interface{ Retryable() bool }
	if errors.As(err, &retryable) {
		return retryable.Retryable()
	}
	var status interface{ StatusCode() int }
	if errors.As(err, &status) {
		code := status.StatusCode()
		return code == 408 || code == 429 || code >= 500
	}
	var timeout net.Error
	switch {
	case errors.As(err, new(*NodeTimeoutError)), errors.Is(err, context.DeadlineExceeded):
		return true
	case errors.As(err, &timeout) && timeout.Timeout():
		return true
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, syscall.ECONNREFUSED):
		return true
	default:
		return fault.Is(err, fault.KindUnavailable) || fault.Is(err, fault.KindLimited)
	}
}

// Clock is where a run's time comes from: what nodes and envelopes are told, and
// what limits and the delays of retries wait for.
type Clock = clock.Clock

// SystemClock is the machine's clock, which a runner has by default.
func SystemClock() Clock { return clock.System{} }

// within bounds a context by the injected clock; a limit of zero is none. The
// function it returns releases what the bound needs.
func within(ctx context.Context, c Clock, limit time.Duration, cause error) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return ctx, func() {}
	}
	if _, ok := c.(clock.System); ok {
		return context.WithTimeoutCause(ctx, limit, cause)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	late, done := c.After(limit), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-late:
			cancel(cause)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// wait waits by the injected clock.
func wait(ctx context.Context, c Clock, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	select {
	case <-c.After(d):
		return context.Cause(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
