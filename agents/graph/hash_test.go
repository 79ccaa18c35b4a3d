package graph_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
)

// declaration are the parts of a graph, each of which may come at any place.
func declaration(t testing.TB, child *graph.Graph) map[string]func(*graph.Builder) {
	t.Helper()
	in := func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, nil }
	out := func(graph.State) ([]graph.Write, error) { return nil, nil }
	return map[string]func(*graph.Builder){
		"channel": func(b *graph.Builder) { b.Channels(log) },
		"reducer": func(b *graph.Builder) { b.Channels(graph.Reduce("n", "n/1", func(a, _ int) int { return a })) },
		"a":       func(b *graph.Builder) { b.Node("a", nothing, graph.Ends(graph.End), graph.OnError("h")) },
		"b":       func(b *graph.Builder) { b.Node("b", nothing) },
		"c":       func(b *graph.Builder) { b.Node("c", nothing) },
		"h":       func(b *graph.Builder) { b.Node("h", nothing) },
		"s":       func(b *graph.Builder) { b.Subgraph("s", child) },
		"i":       func(b *graph.Builder) { b.Isolated("i", child, in, out) },
		"entry":   func(b *graph.Builder) { b.Entry("a") },
		"a-b":     func(b *graph.Builder) { b.Edge("a", "b") },
		"a-c":     func(b *graph.Builder) { b.Edge("a", "c") },
		"branch":  func(b *graph.Builder) { b.Branch("b", to("h"), "h", "s") },
		"fan":     func(b *graph.Builder) { b.Fan("c", spread, "i", "s") },
		"join2":   func(b *graph.Builder) { b.Join("b", "s", "i") },
		"join":    func(b *graph.Builder) { b.Join("h", "i", "s") },
		"b-end":   func(b *graph.Builder) { b.Finish("b") },
		"c-end":   func(b *graph.Builder) { b.Finish("c") },
		"h-end":   func(b *graph.Builder) { b.Finish("h") },
	}
}

func built(t testing.TB, parts map[string]func(*graph.Builder), order []string) *graph.Graph {
	t.Helper()
	b := graph.New("g")
	for _, name := range order {
		parts[name](b)
	}
	return compile(t, b)
}

func TestAGraphsHashDoesNotDependOnTheOrderOfItsDeclaration(t *testing.T) {
	t.Parallel()
	child := compile(t, declared())
	parts := declaration(t, child)
	var order []string
	for name := range parts {
		order = append(order, name)
	}
	want := built(t, parts, order)
	require.Len(t, want.Hash(), 64)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		require.Equal(t, want.Hash(), built(t, parts, order).Hash(), "%v", order)
	}
}

func TestAGraphsHashChangesWithWhatItDeclares(t *testing.T) {
	t.Parallel()
	child := compile(t, declared())
	another := compile(t, declared().Node("more", nothing).Edge("a", "more").Finish("more"))
	in := func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, nil }
	out := func(graph.State) ([]graph.Write, error) { return nil, nil }
	parts := declaration(t, child)
	var order []string
	for name := range parts {
		order = append(order, name)
	}
	seen := map[string]string{built(t, parts, order).Hash(): "nothing"}
	for name, change := range map[string]func(*graph.Builder){
		"reducer": func(b *graph.Builder) { b.Channels(graph.Reduce("n", "n/2", func(a, _ int) int { return a })) },
		"channel": func(b *graph.Builder) { b.Channels(log.Private()) },
		"a":       func(b *graph.Builder) { b.Node("a", nothing, graph.OnError("h")) },
		"b":       func(b *graph.Builder) { b.Node("b", nothing, graph.OnError("h")) },
		"c":       func(b *graph.Builder) { b.Node("c", nothing).Node("d", nothing).Edge("c", "d").Finish("d") },
		"s":       func(b *graph.Builder) { b.Subgraph("s", another) },
		"i":       func(b *graph.Builder) { b.Isolated("i", another, in, out) },
		"h":       func(b *graph.Builder) { b.Subgraph("h", child) },
		"entry":   func(b *graph.Builder) { b.Entry("a").Entry("b") },
		"a-b":     func(b *graph.Builder) { b.Branch("a", to("b"), "b") },
		"branch":  func(b *graph.Builder) { b.Branch("b", to("h"), "s", "h", "c") },
		"fan":     func(b *graph.Builder) { b.Branch("c", to("s"), "i", "s") },
		"join":    func(b *graph.Builder) { b.Join("h", "b", "i", "s") },
		"b-end":   func(b *graph.Builder) { b.Edge("b", "c") },
	} {
		changed := map[string]func(*graph.Builder){}
		for n, p := range parts {
			changed[n] = p
		}
		changed[name] = change
		hash := built(t, changed, order).Hash()
		require.Empty(t, seen[hash], "%s is like %s", name, seen[hash])
		seen[hash] = name
	}
	require.NotEqual(t, compile(t, graph.New("s").Subgraph("s", child).Entry("s").Finish("s")).Hash(),
		compile(t, graph.New("s").Isolated("s", child, in, out).Entry("s").Finish("s")).Hash(), "isolation counts")
	require.NotEqual(t, compile(t, declared()).Hash(), compile(t, graph.New("h").Node("a", nothing).Entry("a").Finish("a")).Hash(), "so does the name")
}

func TestAGraphsHashIsTheSameWhateverItsNodesDo(t *testing.T) {
	t.Parallel()
	require.Equal(t, compile(t, declared()).Hash(),
		compile(t, graph.New("g").Node("a", logs, graph.Timeout(time.Second), graph.Retry(graph.RetryPolicy{})).Entry("a").Finish("a")).Hash())
	// It stands beside stored threads: a change of this value leaves them behind.
	require.Equal(t, "626836", compile(t, declared()).Hash()[:6])
}
