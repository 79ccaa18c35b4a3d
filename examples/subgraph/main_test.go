package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/graph/graphtest"
)

func Example() {
	main()
	// Output:
	// tea: 5.00 (market)
	// coffee: 7.50 (market)
	// cocoa: 9.50 (list price, because quote failed: Nobody sells cocoa today.)
}

// bench is for markets that are asked again after a while: its clock is the bubble's,
// which jumps to the next moment for which anybody waits.
func bench(t *testing.T, ask market) *graphtest.Bench {
	t.Helper()
	g, err := build(ask)
	require.NoError(t, err)
	return graphtest.New(t, g, func(o *graph.RunnerOptions) { o.Clock = graph.SystemClock() })
}

func TestABusyMarketIsAskedAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := bench(t, busyMarket())
		state, err := b.Invoke(t.Context(), "t", graph.Begin(item.Put("coffee")))
		require.NoError(t, err)
		require.Equal(t, 30*time.Millisecond, time.Since(began), "10 ms, then 20 ms")
		require.Equal(t, []string{"quote", "ask", "ask", "ask", "tax"}, b.Sink.Ran())
		require.Equal(t, 7.5, graphtest.Value(t, state, price))
		require.NotContains(t, state.Values, gross.Name(), "the inner state stays inside")
		require.NotContains(t, state.Values, wanted.Name())
	})
}

func TestAMarketThatStaysBusyIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := bench(t, func(context.Context, string) (float64, error) { return 0, errBusy })
		state, err := b.Invoke(t.Context(), "t", graph.Begin(item.Put("coffee")))
		require.NoError(t, err)
		require.Equal(t, []string{"quote", "ask", "ask", "ask", "listPrice"}, b.Sink.Ran())
		require.Equal(t, 9.5, graphtest.Value(t, state, price))
		require.Equal(t, "list price, because quote failed: the node failed", graphtest.Value(t, state, source),
			"only texts for people leave a node")
	})
}

func TestAMarketThatNeverAnswersIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := bench(t, func(ctx context.Context, _ string) (float64, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		})
		began := time.Now()
		state, err := b.Invoke(t.Context(), "t", graph.Begin(item.Put("tea")))
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(began))
		require.Contains(t, graphtest.Value(t, state, source), "the node took longer than its limit of 1s")
	})
}
