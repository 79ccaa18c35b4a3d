package store

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheValuesUsedLastAreKeptByTheirWeight(t *testing.T) {
	l := newLRU[string, int](10, func(v int) int { return v })
	has := func(keys ...string) {
		t.Helper()
		for _, key := range []string{"a", "b", "c", "d"} {
			_, ok := l.items[key]
			require.Equal(t, slices.Contains(keys, key), ok, key)
		}
		sum := 0
		for e := l.order.Front(); e != nil; e = e.Next() {
			sum += e.Value.(pair[string, int]).value
		}
		require.Equal(t, sum, l.weight)
		require.Equal(t, len(l.items), l.order.Len())
	}
	l.put("a", 3)
	l.put("b", 3)
	l.put("c", 3)
	has("a", "b", "c")
	_, ok := l.get("a") // used last now
	require.True(t, ok)
	l.put("d", 4)
	has("a", "c", "d")
	l.put("c", 1) // another value in its place
	has("a", "c", "d")
	l.put("b", 8)
	has("b", "c")
	l.drop("b")
	l.drop("b")
	has("c")
	l.put("a", 11) // heavier than all that may be kept
	has()
}
