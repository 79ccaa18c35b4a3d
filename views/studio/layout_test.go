package studio

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryNodeStandsBelowWhatLeadsToIt(t *testing.T) {
	t.Parallel()
	edges := []Edge{{"s", "plan", false}, {"plan", "search", true}, {"plan", "write", true}, {"search", "join", false}, {"write", "join", false},
		{"join", "plan", true}, {"join", "join", true}, {"join", "e", true}, {"plan", "e", true}, {"lost", "e", false}}
	d := Draw("s", "e", edges)
	at := map[string]Box{}
	for _, b := range d.Boxes {
		at[b.Name] = b
		require.True(t, b.X >= 0 && b.X+nodeWidth <= d.Width && b.Y >= 0 && b.Y+nodeHeight <= d.Height, "%+v in %d x %d", b, d.Width, d.Height)
		for _, other := range d.Boxes {
			require.False(t, b.Name != other.Name && b.X == other.X && b.Y == other.Y, "%s and %s", b.Name, other.Name)
		}
	}
	require.Len(t, at, 7)
	require.Len(t, d.Lines, len(edges))
	backs := 0
	for i, l := range d.Lines {
		e := edges[i]
		require.Equal(t, e.Conditional, l.Conditional)
		if l.Back {
			backs++
			continue
		}
		require.Less(t, at[e.From].Y, at[e.To].Y, "%s before %s", e.From, e.To)
	}
	require.Equal(t, 2, backs, "the loop and the way back to the plan")
	for _, b := range d.Boxes {
		require.True(t, b.Name == "e" || b.Y < at["e"].Y, "the end stands below %s", b.Name)
	}
}

func TestALongNameIsCutAndStillTold(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("ä", 60)
	d := Draw("s", "e", []Edge{{"s", name, false}, {name, "e", false}})
	for _, b := range d.Boxes {
		if b.Name == name {
			require.Len(t, []rune(b.Label), nameRunes)
		}
	}
	require.Contains(t, Mermaid([]Edge{{"a", "b", true}, {"b", "c", false}}), "a[\"a\"] -.-> b[\"b\"]\n  b[\"b\"] --> c[\"c\"]")
}
