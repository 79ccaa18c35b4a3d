package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/agents/graph/graphtest"
)

func Example() {
	main()
	// Output:
	// step 1: common
	// step 1: split
	// step 1: split
	// step 1: split
	// step 2: count
	// step 2: count
	// step 2: count
	// step 3: report
	// 3 × warp
	// 3 × weft
	// 1 × carries
}

func TestTheReportWaitsForEveryTask(t *testing.T) {
	t.Parallel()
	g, err := build()
	require.NoError(t, err)
	b := graphtest.New(t, g)
	state, err := b.Invoke(t.Context(), "t", graph.Begin(texts.Put([]string{"the loom", "loom and weft"})))
	require.NoError(t, err)
	require.Equal(t, []string{"common", "split", "split", "count", "count", "report"}, b.Sink.Ran())
	require.Equal(t, map[string]int{"the": 1, "loom": 2, "and": 1, "weft": 1}, graphtest.Value(t, state, counts))
	require.Equal(t, []string{"2 × loom", "1 × weft"}, graphtest.Value(t, state, report))
}

func TestTasksSideBySideGiveTheSame(t *testing.T) {
	t.Parallel()
	g, err := build()
	require.NoError(t, err)
	many := make([]string, 50)
	for i := range many {
		many[i] = "warp weft weft"
	}
	b := graphtest.New(t, g, func(o *graph.RunnerOptions) { o.Parallel = 8 })
	state, err := b.Invoke(t.Context(), "t", graph.Begin(texts.Put(many)))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"warp": 50, "weft": 100}, graphtest.Value(t, state, counts))
}

func TestAReducerChangesNeitherArgument(t *testing.T) {
	t.Parallel()
	old, in := map[string]int{"a": 1}, map[string]int{"a": 2, "b": 3}
	require.Equal(t, map[string]int{"a": 3, "b": 3}, add(old, in))
	require.Equal(t, map[string]int{"a": 1}, old)
	require.Equal(t, map[string]int{"a": 2, "b": 3}, in)
	require.Equal(t, in, add(nil, in))
}
