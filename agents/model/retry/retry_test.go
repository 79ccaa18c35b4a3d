package retry_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/retry"
	"github.com/heddle/heddle/internal/clock"
)

// flaky fails with each of its errors in turn, after the chunks, then answers.
type flaky struct {
	failures []error
	before   []model.Chunk
	calls    int
}

func (f *flaky) Stream(context.Context, model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		f.calls++
		if f.calls <= len(f.failures) {
			for _, c := range f.before {
				if !yield(c, nil) {
					return
				}
			}
			yield(model.Chunk{}, f.failures[f.calls-1])
			return
		}
		if yield(model.TextChunk("fine"), nil) {
			yield(model.FinishChunk(model.FinishStop), nil)
		}
	}
}

// leaping is a clock whose every wait is over at once, in its own time.
type leaping struct {
	*clock.Fake
	waits []time.Duration
}

func (l *leaping) After(d time.Duration) <-chan time.Time {
	l.waits = append(l.waits, d)
	ch := l.Fake.After(d)
	l.Advance(d)
	return ch
}

func leap() *leaping { return &leaping{Fake: clock.NewFake(time.Unix(1_800_000_000, 0))} }

func failing(kind model.ErrorKind, after time.Duration, times int) []error {
	var all []error
	for range times {
		all = append(all, &model.Error{Kind: kind, RetryAfter: after})
	}
	return all
}

func TestThreeAttemptsCountTheFirst(t *testing.T) {
	for failures, calls := range map[int]int{0: 1, 1: 2, 2: 3, 3: 3} {
		f, c := &flaky{failures: failing(model.Overloaded, 0, failures)}, leap()
		answer, err := model.Collect(retry.New(f, retry.Options{Clock: c}).Stream(t.Context(), model.Request{}))
		require.Equal(t, calls, f.calls)
		if failures < 3 {
			require.NoError(t, err)
			require.Equal(t, "fine", answer.Message.Text())
		} else {
			require.ErrorIs(t, err, f.failures[2], "the last cause")
		}
		for i, wait := range c.waits {
			longest := time.Second << i
			require.LessOrEqual(t, wait, longest)
			require.GreaterOrEqual(t, wait, longest/2)
		}
	}
}

func TestOnlyWhatCanPassIsTriedAgain(t *testing.T) {
	for _, kind := range model.ErrorKinds() {
		f := &flaky{failures: failing(kind, 0, 1)}
		_, err := model.Collect(retry.New(f, retry.Options{Clock: leap()}).Stream(t.Context(), model.Request{}))
		if (&model.Error{Kind: kind}).Retryable() {
			require.NoError(t, err, kind)
			require.Equal(t, 2, f.calls, kind)
			continue
		}
		require.ErrorIs(t, err, f.failures[0], kind)
		require.Equal(t, 1, f.calls, kind)
	}
	other := &flaky{failures: []error{errors.New("a bug")}}
	_, err := model.Collect(retry.New(other, retry.Options{Clock: leap()}).Stream(t.Context(), model.Request{}))
	require.ErrorContains(t, err, "a bug")
	require.Equal(t, 1, other.calls)
}

func TestTheProvidersWishIsKeptWithinTheDeadline(t *testing.T) {
	f, c := &flaky{failures: failing(model.RateLimited, 40*time.Second, 2)}, leap()
	_, err := model.Collect(retry.New(f, retry.Options{Clock: c, Within: time.Minute}).Stream(t.Context(), model.Request{}))
	require.ErrorIs(t, err, f.failures[1])
	require.Equal(t, []time.Duration{40 * time.Second}, c.waits, "a second wait would end after a minute")

	short, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f, c = &flaky{failures: failing(model.RateLimited, 40*time.Second, 2)}, leap()
	_, err = model.Collect(retry.New(f, retry.Options{Clock: c}).Stream(short, model.Request{}))
	require.ErrorIs(t, err, f.failures[0])
	require.Empty(t, c.waits)
}

func TestNothingIsRepeatedInMidStream(t *testing.T) {
	f := &flaky{failures: failing(model.CutStream, 0, 1), before: []model.Chunk{model.TextChunk("half")}}
	answer, err := model.Collect(retry.New(f, retry.Options{Clock: leap()}).Stream(t.Context(), model.Request{}))
	require.ErrorIs(t, err, f.failures[0])
	require.Equal(t, "half", answer.Message.Text())
	require.Equal(t, 1, f.calls)
}

// halting is a clock that ends the context when somebody waits.
type halting struct {
	clock.System
	cancel context.CancelFunc
}

func (h halting) After(time.Duration) <-chan time.Time {
	h.cancel()
	return nil
}

func TestCancellingEndsTheWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &flaky{failures: failing(model.Overloaded, 0, 1)}
	_, err := model.Collect(retry.New(f, retry.Options{Clock: halting{cancel: cancel}}).Stream(ctx, model.Request{}))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, f.calls)
}
