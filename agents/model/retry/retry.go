// Package retry asks a model again when a call failed before its first chunk.
// After the first chunk nothing is repeated: people have seen part of the
// answer, and a second one would begin anew in the middle of it.
//
// The composition root may import it, and puts it around each provider.
package retry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/internal/clock"
)

// maxAttempts counts the first one too.
const maxAttempts = 3

// Options bound the attempts. The zero value has the defaults.
type Options struct {
	// Pause is the longest wait before the second attempt, doubled before each
	// later one; 0 means one second. A provider's RetryAfter counts as the least.
	Pause time.Duration
	// Within is how long after the first attempt began the last one may begin;
	// 0 means two minutes. A wait that would end later is not begun.
	Within time.Duration
	// Clock is what the pauses wait for; nil means the machine's.
	Clock clock.Clock
}

// Model repeats the calls of another one. Safe for concurrent use.
type Model struct {
	model model.Model
	o     Options
}

// New puts the attempts around m.
func New(m model.Model, o Options) *Model {
	if o.Pause == 0 {
		o.Pause = time.Second
	}
	if o.Within == 0 {
		o.Within = 2 * time.Minute
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	return &Model{model: m, o: o}
}

// Stream implements [model.Model].
func (m *Model) Stream(ctx context.Context, req model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		last := m.o.Clock.Now().Add(m.o.Within)
		for attempt := 1; ; attempt++ {
			failure := m.attempt(ctx, req, yield)
			if failure == nil {
				return
			}
			wait, again := m.pause(failure, attempt)
			if !again || m.o.Clock.Now().Add(wait).After(last) || tooLate(ctx, wait) {
				yield(model.Chunk{}, failure)
				return
			}
			select {
			case <-ctx.Done():
				yield(model.Chunk{}, fmt.Errorf("waiting to ask the model again: %w", ctx.Err()))
				return
			case <-m.o.Clock.After(wait):
			}
		}
	}
}

// attempt passes one call on. It returns its failure only when nothing has been
// passed on yet; otherwise all is said.
func (m *Model) attempt(ctx context.Context, req model.Request, yield func(model.Chunk, error) bool) error {
	begun := false
	for chunk, err := range m.model.Stream(ctx, req) {
		if err != nil && !begun {
			return err
		}
		begun = true
		if !yield(chunk, err) {
			return nil
		}
	}
	return nil
}

// pause says how long to wait after a failed attempt, or that another one is of
// no use.
func (m *Model) pause(failure error, attempt int) (time.Duration, bool) {
	var e *model.Error
	if attempt >= maxAttempts || !errors.As(failure, &e) || !e.Retryable() {
		return 0, false
	}
	// Between half of it and all of it, so that those who failed together do
	// not come back together.
	longest := m.o.Pause << (attempt - 1)
	wait := longest/2 + rand.N(longest/2+1)
	return max(wait, e.RetryAfter), true
}

// tooLate reports whether the context would end during the wait: then the
// failure is the better answer than the context's error.
func tooLate(ctx context.Context, wait time.Duration) bool {
	end, ok := ctx.Deadline()
	return ok && time.Until(end) < wait
}
