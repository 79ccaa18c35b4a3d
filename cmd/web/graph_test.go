package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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

func TestGraphsAreCheckedAndDrawnWithoutADatabase(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	i := installation{env: []string{"DATABASE_URL=postgres://nobody@127.0.0.1:1/none", "REDIS_URL=redis://127.0.0.1:1", "HEDDLE_DATA_DIR=" + data}}
	for name, args := range map[string][]string{
		"check.txt": {"check"}, "check-chat.txt": {"check", "chat"}, "chat.mmd": {"show", "chat"}, "chat.tree": {"show", "chat", "--format", "tree"},
	} {
		code, out, stderr := i.run(t, append([]string{"graph"}, args...)...)
		require.Zero(t, code, stderr)
		require.Empty(t, stderr)
		golden(t, "graph-"+name, out)
	}
	require.NoDirExists(t, data, "nothing is made")

	for _, args := range [][]string{{"check", "chart"}, {"show", "chart"}} {
		code, out, stderr := i.run(t, append([]string{"graph"}, args...)...)
		require.Equal(t, 1, code)
		require.Empty(t, out)
		require.Equal(t, "heddle: there is no graph \"chart\"; there are approval, chat, echo, failing, slow, stream50\n", stderr)
	}
	code, _, stderr := i.run(t, "graph", "show", "chat", "--format", "png")
	require.Equal(t, 1, code)
	require.Equal(t, "heddle: --format must be mermaid or tree, not \"png\"\n", stderr)

	i.env = append(i.env, "HEDDLE_ADDR=nowhere")
	code, _, stderr = i.run(t, "graph", "check")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "HEDDLE_ADDR", "settings are checked first")
}

// execute runs the command on given graphs.
func execute(source graphSource, args ...string) (string, error) {
	cmd := graphCommand(source)
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	return out.String(), err
}

func idle(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, nil }

func TestEveryBrokenRuleIsToldWithItsPlaceAndHelp(t *testing.T) {
	t.Parallel()
	fine, err := graph.New("fine").Node("a", idle).Entry("a").Finish("a").Compile()
	require.NoError(t, err)
	_, one := graph.New("one").Node("a", idle).Node("lost\n", idle).Entry("a").Edge("a", "a").Finish("lost\n").Compile()
	_, two := graph.New("two").Channels(graph.Sum("messages")).Node("a", nil).Edge("a", "b").Compile()
	require.Error(t, one)
	require.Error(t, two)
	source := func() ([]*graph.Graph, error) {
		return []*graph.Graph{fine}, errors.Join(fmt.Errorf("compiling the graph one: %w", one), two)
	}
	out, err := execute(source, "check")
	require.EqualError(t, err, "2 graphs break rules")
	golden(t, "graph-broken.txt", out)

	out, err = execute(source, "check", "fine")
	require.NoError(t, err)
	require.Equal(t, "ok      fine  "+fine.Hash()+"\n", out)
	out, err = execute(source, "check", "one")
	require.EqualError(t, err, "1 graph breaks rules")
	require.NotContains(t, out, "two")

	out, err = execute(source, "show", "fine")
	require.NoError(t, err)
	require.Equal(t, fine.Mermaid(), out)
	_, err = execute(source, "show", "one")
	require.ErrorIs(t, err, graph.ErrUnreachable, "a graph that doesn't compile can't be drawn")

	boom := errors.New("boom")
	_, err = execute(func() ([]*graph.Graph, error) { return []*graph.Graph{fine}, boom }, "check")
	require.ErrorIs(t, err, boom, "what is no broken rule is told as it is")
}
