package graph_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

// tries executes a node that always fails and says at what time, from the
// beginning, each try began.
func tries(t *testing.T, p graph.RetryPolicy, failure func(try int) error) (at []time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		g := compile(t, graph.New("g").Node("a", func(_ context.Context, task *graph.Task) (graph.Command, error) {
			at = append(at, time.Since(begun))
			require.Equal(t, len(at), task.Try)
			return graph.Command{}, failure(task.Try)
		}, graph.Retry(p)).Entry("a").Finish("a"))
		_, err = g.Run(t.Context(), graph.Execution{Step: -1})
	})
	return at, err
}

func always(err error) func(int) error { return func(int) error { return err } }

func yes(error) bool { return true }

func seconds(s ...float64) []time.Duration {
	out := make([]time.Duration, len(s))
	for i := range s {
		out[i] = time.Duration(s[i] * float64(time.Second))
	}
	return out
}

func TestRetriesWaitAsTheirPolicySays(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		policy graph.RetryPolicy
		at     []time.Duration
	}{
		"Defaults":       {graph.RetryPolicy{On: yes}, seconds(0, 0, 0)},
		"Doubling":       {graph.RetryPolicy{On: yes, InitialDelay: time.Second}, seconds(0, 1, 3)},
		"UpToTheCap":     {graph.RetryPolicy{On: yes, InitialDelay: time.Second, MaxAttempts: 7}, seconds(0, 1, 3, 7, 12, 17, 22)},
		"CappedAtOnce":   {graph.RetryPolicy{On: yes, InitialDelay: time.Hour}, seconds(0, 5, 10)},
		"CapOfItsOwn":    {graph.RetryPolicy{On: yes, InitialDelay: time.Second, MaxDelay: 90 * time.Second, Factor: 10, MaxAttempts: 5}, seconds(0, 1, 11, 101, 191)},
		"Factor":         {graph.RetryPolicy{On: yes, InitialDelay: time.Second, Factor: 1}, seconds(0, 1, 2)},
		"HugeFactor":     {graph.RetryPolicy{On: yes, InitialDelay: time.Second, Factor: math.MaxFloat64, MaxAttempts: 4}, seconds(0, 1, 6, 11)},
		"Once":           {graph.RetryPolicy{On: yes, MaxAttempts: 1}, seconds(0)},
		"NotWorthIt":     {graph.RetryPolicy{On: func(error) bool { return false }}, seconds(0)},
		"ByDefaultNever": {graph.RetryPolicy{InitialDelay: time.Second}, seconds(0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, err := tries(t, c.policy, always(boom))
			require.Equal(t, c.at, at)
			var node *graph.NodeError
			require.ErrorAs(t, err, &node)
			require.Equal(t, len(c.at), node.Tries)
			require.ErrorIs(t, err, boom)
		})
	}
}

func TestJitterAddsUpToItself(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 50 {
		at, _ := tries(t, graph.RetryPolicy{On: yes, InitialDelay: time.Second, Jitter: time.Second, MaxAttempts: 2}, always(errors.New("boom")))
		require.GreaterOrEqual(t, at[1], time.Second)
		require.Less(t, at[1], 2*time.Second)
		seen[at[1]] = true
	}
	require.Greater(t, len(seen), 40, "by chance")
}

func TestThePredicateSeesEachError(t *testing.T) {
	t.Parallel()
	var asked []string
	_, err := tries(t, graph.RetryPolicy{MaxAttempts: 9, On: func(err error) bool {
		asked = append(asked, err.Error())
		return err.Error() != "3"
	}}, func(try int) error { return fmt.Errorf("%d", try) })
	require.EqualError(t, err, "node a: 3")
	require.Equal(t, []string{"1", "2", "3"}, asked)
}

func TestRetriesWaitByTheInjectedClockAndEndWithTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ran counter
		fake := clock.NewFake(time.Unix(0, 0))
		g := compile(t, graph.New("g").Node("a", ran.counting(boom), graph.Retry(graph.RetryPolicy{On: yes, InitialDelay: 4 * time.Second, MaxAttempts: 9})).Entry("a").Finish("a"))
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := g.Run(ctx, graph.Execution{Step: -1, Clock: fake})
			done <- err
		}()
		for _, c := range []struct {
			by   time.Duration
			runs int
		}{{0, 1}, {4*time.Second - 1, 1}, {1, 2}, {5*time.Second - 1, 2}, {1, 3}} {
			turn(fake, c.by)
			require.Equal(t, c.runs, ran.of("a"))
		}
		stopped := errors.New("stopped")
		cancel(stopped)
		require.ErrorIs(t, <-done, stopped)
		require.Equal(t, 3, ran.of("a"))
	})
}

// status is an error as clients of providers give it.
type status int

func (s status) Error() string   { return fmt.Sprint("status ", int(s)) }
func (s status) StatusCode() int { return int(s) }

// verdict is an error that knows whether it passes.
type verdict bool

func (v verdict) Error() string   { return "verdict" }
func (v verdict) Retryable() bool { return bool(v) }

func TestWhatIsWorthAnotherTry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errors.New("x"), false}, {graph.Fail("No."), false}, {context.Canceled, false}, {io.EOF, false}, {&graph.PanicError{}, false},
		{context.DeadlineExceeded, true}, {&graph.NodeTimeoutError{}, true}, {os.ErrDeadlineExceeded, true},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, true}, {&net.DNSError{IsTimeout: true}, true}, {&net.DNSError{IsNotFound: true}, false},
		{net.ErrClosed, true}, {io.ErrUnexpectedEOF, true}, {syscall.ECONNRESET, true}, {syscall.EPIPE, true},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, true}, {syscall.ENOENT, false},
		{status(400), false}, {status(401), false}, {status(403), false}, {status(404), false}, {status(408), true}, {status(409), false},
		{status(429), true}, {status(500), true}, {status(503), true}, {status(529), true},
		{verdict(true), true}, {verdict(false), false}, {errors.Join(verdict(false), status(500)), false},
		{fault.Invalid("f", "x"), false}, {fault.NotFound("x"), false}, {fault.Conflict("x"), false},
		{fault.Limited("x"), true}, {fault.Unavailable("x", errors.New("y")), true},
	} {
		require.Equal(t, c.want, graph.Transient(c.err), "%v", c.err)
		require.Equal(t, c.want, graph.Transient(fmt.Errorf("asking: %w", c.err)), "wrapped: %v", c.err)
	}
}
