package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type none struct{}

type act = func(context.Context, Invocation, none) (Result, error)

func dispatcher(t *testing.T, o DispatcherOptions, s Spec, run act) *Dispatcher {
	t.Helper()
	made, err := New(s, run)
	require.NoError(t, err)
	r, err := NewRegistry(made)
	require.NoError(t, err)
	return NewDispatcher(r, o)
}

var anything = Limits{Allowed: []string{"order"}}

func TestUnknownAndForbiddenToolsLookTheSame(t *testing.T) {
	ran := false
	d := dispatcher(t, DispatcherOptions{}, spec("order"), func(context.Context, Invocation, none) (Result, error) {
		ran = true
		return Result{}, nil
	})
	forbidden, err := d.Call(t.Context(), Limits{}, caller(), "order", nil)
	require.NoError(t, err)
	unknown, err := d.Call(t.Context(), Limits{}, caller(), "other", nil)
	require.NoError(t, err)
	require.True(t, forbidden.Failed)
	require.Equal(t, strings.ReplaceAll(forbidden.Content, "order", "other"), unknown.Content)
	require.False(t, ran)

	helpful, err := d.Call(t.Context(), anything, caller(), "odrer", nil)
	require.NoError(t, err)
	require.Contains(t, helpful.Content, "Available: order.")
}

func TestAFaultReachesTheModelAndAnyOtherErrorOnlyTheLog(t *testing.T) {
	var log bytes.Buffer
	var fail error
	d := dispatcher(t, DispatcherOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}, spec("order"),
		func(context.Context, Invocation, none) (Result, error) { return Result{}, fail })

	fail = fault.Invalid("item", "is sold out").WithCause(errors.New("row 7"))
	r, err := d.Call(t.Context(), anything, caller(), "order", nil)
	require.NoError(t, err)
	require.Equal(t, "item: is sold out", r.Content)
	require.True(t, r.Failed)

	fail = errors.New("dial 10.0.0.7: password wrong")
	r, err = d.Call(t.Context(), anything, caller(), "order", nil)
	require.NoError(t, err)
	require.True(t, r.Failed)
	require.NotContains(t, r.Content, "10.0.0.7")
	require.Contains(t, log.String(), "10.0.0.7")
	require.Contains(t, log.String(), "run_id=r1")

	r, err = d.Call(t.Context(), anything, caller(), "order", json.RawMessage(`{"x":1}`))
	require.NoError(t, err)
	require.Contains(t, r.Content, "x: is not an argument")
}

func TestAPanicEndsOneCallAndTheNextRuns(t *testing.T) {
	boom := true
	d := dispatcher(t, DispatcherOptions{}, spec("order"), func(context.Context, Invocation, none) (Result, error) {
		if boom {
			panic("boom")
		}
		return Text("fine", "Fine"), nil
	})
	_, err := d.Call(t.Context(), anything, caller(), "order", nil)
	var p *PanicError
	require.ErrorAs(t, err, &p)
	require.Contains(t, string(p.Stack), "dispatch_test.go")
	boom = false
	r, err := d.Call(t.Context(), anything, caller(), "order", nil)
	require.NoError(t, err)
	require.Equal(t, "fine", r.Content)
}

func TestATimeoutSaysWhetherTheEffectIsKnown(t *testing.T) {
	wait := func(ctx context.Context, _ Invocation, _ none) (Result, error) {
		<-ctx.Done()
		return Result{}, ctx.Err()
	}
	for name, c := range map[string]struct {
		change  func(*Spec)
		unknown bool
	}{
		"a write":             {func(*Spec) {}, true},
		"an idempotent write": {func(s *Spec) { s.Idempotent = true }, false},
		"a read":              {func(s *Spec) { s.Effect = EffectRead }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec("order")
			s.Timeout = time.Millisecond
			c.change(&s)
			r, err := dispatcher(t, DispatcherOptions{}, s, wait).Call(t.Context(), anything, caller(), "order", nil)
			require.NoError(t, err)
			require.True(t, r.Failed)
			require.Equal(t, c.unknown, r.Unknown)
			require.Contains(t, r.Content, "within 1ms")
		})
	}
}

func TestARunThatEndsEndsItsCalls(t *testing.T) {
	started := make(chan struct{})
	d := dispatcher(t, DispatcherOptions{}, spec("order"), func(ctx context.Context, _ Invocation, _ none) (Result, error) {
		close(started)
		<-ctx.Done()
		return Result{}, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, err := d.Call(ctx, anything, caller(), "order", nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, d.Wait(t.Context()))
}

func TestToolsThatDoNotReturnAreCountedAndWaitedFor(t *testing.T) {
	release := make(chan struct{})
	d := dispatcher(t, DispatcherOptions{Timeout: time.Millisecond, MaxStuck: 1}, spec("order"),
		func(context.Context, Invocation, none) (Result, error) {
			<-release
			return Text("late", ""), nil
		})
	r, err := d.Call(t.Context(), anything, caller(), "order", nil)
	require.NoError(t, err)
	require.True(t, r.Unknown)
	r, err = d.Call(t.Context(), anything, caller(), "order", nil)
	require.NoError(t, err)
	require.Contains(t, r.Content, "not available")

	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, d.Wait(short), context.DeadlineExceeded)
	close(release)
	require.NoError(t, d.Wait(t.Context()))
	r, err = d.Call(t.Context(), Limits{Allowed: anything.Allowed, Timeout: time.Minute}, caller(), "order", nil)
	require.NoError(t, err)
	require.Equal(t, "late", r.Content)
}

func TestLongOutputIsCutAndSaysSo(t *testing.T) {
	d := dispatcher(t, DispatcherOptions{MaxOutput: 10}, spec("order"), func(context.Context, Invocation, none) (Result, error) {
		return Result{Content: strings.Repeat("ü", 50) + "\xff", Data: json.RawMessage(`"` + strings.Repeat("x", 50) + `"`)}, nil
	})
	r, err := d.Call(t.Context(), anything, caller(), "order", nil)
	require.NoError(t, err)
	require.True(t, r.Truncated)
	require.True(t, strings.HasPrefix(r.Content, "üüüüü\n[cut: 10 of "))
	require.Nil(t, r.Data)
}
