package studio

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryGraphIsDrawnWithoutOverlaps draws graphs of all kinds: whatever their
// edges, each node has a place of its own, edges that don't lead back go down,
// and the same graph gives the same drawing.
func TestEveryGraphIsDrawnWithoutOverlaps(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		g := Graph{Name: "g", Start: "__start__", End: "__end__", Edges: []Edge{{From: "__start__", To: "n0"}}}
		n := 1 + random.IntN(12)
		for i := range n {
			g.Nodes = append(g.Nodes, fmt.Sprintf("n%d", i))
			if i > 0 {
				g.Edges = append(g.Edges, Edge{From: fmt.Sprintf("n%d", random.IntN(i)), To: g.Nodes[i], Conditional: random.IntN(2) == 0})
			}
		}
		for range random.IntN(2 * n) {
			g.Edges = append(g.Edges, Edge{From: g.Nodes[random.IntN(n)], To: g.Nodes[random.IntN(n)], Conditional: true})
		}
		g.Edges = append(g.Edges, Edge{From: g.Nodes[n-1], To: "__end__"})
		d := draw(g)
		require.Equal(t, d, draw(g))
		require.Len(t, d.boxes, n+2)
		require.Len(t, d.lines, len(g.Edges))
		top := map[string]int{}
		for i, a := range d.boxes {
			top[a.name] = a.y
			require.GreaterOrEqual(t, a.x, margin)
			require.LessOrEqual(t, a.x+a.width, d.width-margin)
			require.LessOrEqual(t, a.y+nodeHeight, d.height-margin)
			for _, b := range d.boxes[i+1:] {
				require.False(t, a.y == b.y && a.x < b.x+b.width && b.x < a.x+a.width, "%s and %s overlap in %+v", a.name, b.name, g)
			}
		}
		for i, e := range g.Edges {
			require.Equal(t, d.lines[i].back, top[e.To] <= top[e.From], "%+v in %+v", e, g)
		}
		require.Equal(t, margin, top["__start__"])
		require.Equal(t, d.height-margin-nodeHeight, top["__end__"])
	}
}

func TestACycleIsDrawnFromWhereTheStartLeads(t *testing.T) {
	t.Parallel()
	g := Graph{Start: "s", End: "e", Nodes: []string{"agent", "tools"}, Edges: []Edge{
		{From: "tools", To: "agent"}, {From: "s", To: "agent"}, {From: "agent", To: "tools", Conditional: true}, {From: "agent", To: "e", Conditional: true}}}
	require.Equal(t, map[Edge]bool{{From: "tools", To: "agent"}: true}, leadingBack(g))
}

func TestMermaidQuotesWhatHasAMeaningThere(t *testing.T) {
	t.Parallel()
	g := Graph{Start: "s", End: "e", Nodes: []string{"a\"] --> b;\n<b>%%#`"}, Edges: []Edge{{From: "s", To: "a\"] --> b;\n<b>%%#`"}, {From: "a\"] --> b;\n<b>%%#`", To: "e", Conditional: true}}}
	require.Equal(t, "flowchart TD\n  n0([\"s\"])\n  n1[\"a#34;] --#62; b#59; #60;b#62;#37;#37;#35;#96;\"]\n  n2([\"e\"])\n  n0 --> n1\n  n1 -.-> n2\n", mermaid(g))
}
