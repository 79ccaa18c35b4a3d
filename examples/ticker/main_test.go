package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/graph/graphtest"
)

const want = `step 1: read 20.0, mean 20.0 of 1
step 3: read 20.0, mean 20.0 of 2
step 5: read 26.0, mean 22.0 of 3
closed: no more readings
step 7: read 26.0, mean 23.0 of 4
step 9: read 23.0, mean 23.0 of 5
closed: no more readings
`

func TestEachTickIsOneStepOfOneHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := graphtest.NewClock(time.Date(2026, time.May, 1, 8, 0, 0, 0, time.UTC))
		var out strings.Builder
		ended := make(chan error, 1)
		go func() { ended <- run(t.Context(), clock, &out) }()
		for ticks := range 5 {
			synctest.Wait() // until everybody waits for the clock
			require.Equal(t, ticks, strings.Count(out.String(), "step"), "nothing happens between ticks")
			clock.Advance(tick)
		}
		require.NoError(t, <-ended)
		require.Equal(t, want, out.String())
	})
}

func TestTheLaterVersionGoesOnFromTheEarlierOnesNumbers(t *testing.T) {
	t.Parallel()
	v1, err := buildV1()
	require.NoError(t, err)
	v2, err := buildV2()
	require.NoError(t, err)

	b := graphtest.New(t, v1)
	s := b.Open(t.Context(), thread, nil)
	for range 2 {
		require.NoError(t, s.Feed(t.Context(), graph.Feed("measure", reading.Put(20))))
	}
	s.Finish("stopped")
	before, err := b.State(t.Context(), thread)
	require.NoError(t, err)
	require.Equal(t, tally{Sum: 40, Count: 2}, graphtest.Value(t, before, statsV1), "the same input twice counts twice")

	later := b.Restart(v2)
	s = later.Open(t.Context(), thread, nil)
	require.NoError(t, s.Feed(t.Context(), graph.Feed("measure", reading.Put(26))))
	s.Finish("stopped")
	after, err := later.State(t.Context(), thread)
	require.NoError(t, err)
	require.Equal(t, summary{Mean: 22, Count: 3}, graphtest.Value(t, after, statsV2))
	require.Equal(t, tally{Sum: 40, Count: 2}, graphtest.Value(t, after, statsV1), "both versions stand side by side")
	require.Equal(t, before.Step+2, after.Step, "the input and the node's step")
	require.Equal(t, before.Line, after.Line)
}

func TestASessionRefusesWhatIsNoEntry(t *testing.T) {
	t.Parallel()
	g, err := buildV2()
	require.NoError(t, err)
	s := graphtest.New(t, g).Open(t.Context(), thread, nil)
	require.ErrorIs(t, s.Feed(t.Context(), graph.Feed(graph.End, reading.Put(1))), graph.ErrNoSuchNode)
	require.NoError(t, s.Feed(t.Context(), graph.Feed(graph.Start, reading.Put(1))), "the session goes on")
	s.Finish("enough")
	require.ErrorIs(t, s.Feed(t.Context(), graph.Feed(graph.Start)), graph.ErrSessionClosed)
}
