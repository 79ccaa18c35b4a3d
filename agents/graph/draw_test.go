package graph_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares a text with testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// everything is a graph with each kind of edge, of node and of channel.
func everything(t testing.TB) *graph.Graph {
	t.Helper()
	in := func(graph.State, *graph.Task) ([]graph.Write, error) { return nil, nil }
	out := func(graph.State) ([]graph.Write, error) { return nil, nil }
	leaf := compile(t, graph.New("leaf").Channels(log).Node("x", nothing).Entry("x").Finish("x"))
	child := compile(t, graph.New("child").Node("y", nothing).Subgraph("leaf", leaf).Entry("y").Edge("y", "leaf").Finish("leaf"))
	return compile(t, graph.New("everything").
		Channels(log, graph.Sum("cost"), graph.Replace[string]("secret").Private(), graph.NewKey[int]("ns", "k", 2), people, facts, chain).
		Node("plain", nothing, graph.Ends("odd \"one\"; <b>#1</b> --> `x`\n%%", graph.End), graph.OnError("handler")).
		Node("odd \"one\"; <b>#1</b> --> `x`\n%%", nothing).Node("handler", nothing).Node("joined", nothing).
		Subgraph("shared", child).Isolated("isolated", leaf, in, out).
		Entry("plain").Edge("plain", "shared").
		Branch("plain", to("shared"), "joined", graph.End).
		Fan("plain", spread, "isolated").
		Join("joined", "shared", "isolated").
		Finish("joined").Finish("handler").Finish("odd \"one\"; <b>#1</b> --> `x`\n%%").Finish("isolated"))
}

func TestDrawings(t *testing.T) {
	t.Parallel()
	golden(t, "everything.mmd", everything(t).Mermaid())
	golden(t, "everything.tree", everything(t).Tree())
	golden(t, "least.mmd", compile(t, declared()).Mermaid())
	golden(t, "least.tree", compile(t, declared()).Tree())
}

// mermaidLine is what a line of a flowchart may be: every label in quotes and
// without a character that has a meaning, every id plain.
var mermaidLine = regexp.MustCompile("^(flowchart TD|end|n[0-9_]+(\\[\"[^\"<>`%\\\\]*\"\\]|\\(\\[\"[^\"<>`%\\\\]*\"\\]\\))|subgraph n[0-9_]+\\[\"[^\"<>`%\\\\]*\"\\]" +
	"|n[0-9_]+ (-->|-\\.->|==>)(\\|[a-z]+\\|)? n[0-9_]+)$")

func TestMermaidKeepsToItsGrammar(t *testing.T) {
	t.Parallel()
	declaredIDs, boxes := map[string]bool{}, 0
	var used []string
	for _, line := range strings.Split(strings.TrimSuffix(everything(t).Mermaid(), "\n"), "\n") {
		line = strings.TrimSpace(line)
		require.Regexp(t, mermaidLine, line)
		words := strings.Fields(line)
		switch {
		case words[0] == "subgraph":
			boxes++
			declaredIDs[words[1][:strings.IndexByte(words[1], '[')]] = true
		case words[0] == "end":
			boxes--
			require.GreaterOrEqual(t, boxes, 0)
		case strings.HasPrefix(line, "n") && strings.ContainsAny(words[0], "[("):
			id := line[:strings.IndexAny(line, "[(")]
			require.False(t, declaredIDs[id], "%s twice", id)
			declaredIDs[id] = true
		case strings.HasPrefix(line, "n"):
			used = append(used, words[0], words[2])
		}
	}
	require.Zero(t, boxes, "every box is closed")
	for _, id := range used {
		require.True(t, declaredIDs[id], id)
	}
}
