package graph_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
)

func TestARunWithoutTheContextThatItsGraphNeedsNeverBegins(t *testing.T) {
	t.Parallel()
	ran := 0
	read := make(chan string, 2)
	node := func(_ context.Context, task *graph.Task) (graph.Command, error) {
		ran++
		locale, ok, err := graph.ContextOf[string](task, "locale")
		require.True(t, ok)
		read <- locale
		_, ok, _ = graph.ContextOf[string](task, "absent")
		require.False(t, ok)
		return graph.Command{}, err
	}
	child := compile(t, graph.New("child").Context(graph.Needs[int]("budget")).Node("x", node).Entry("x").Finish("x"))
	b := setUp(t, compile(t, graph.New("g").Context(graph.Needs[string]("locale")).Node("a", node).Subgraph("sub", child).
		Entry("a").Edge("a", "sub").Finish("sub")))
	with := func(fields string) graph.RunOption {
		var out map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(fields), &out))
		return graph.WithContext(out)
	}
	for fields, want := range map[string]struct {
		field string
		rule  error
	}{
		`{}`:                           {"context.locale", graph.ErrMissing},
		`{"locale":null,"budget":1}`:   {"context.locale", graph.ErrMissing},
		`{"locale":7,"budget":1}`:      {"context.locale", graph.ErrWrongType},
		`{"locale":"de"}`:              {"context.budget", graph.ErrMissing},
		`{"locale":"de","budget":"1"}`: {"context.budget", graph.ErrWrongType},
	} {
		b.untouched(func() { refusal(t, b.fails(graph.Begin(), with(fields)), want.field, want.rule) })
		require.Zero(t, ran)
	}
	b.run(graph.Begin(), with(`{"locale":"de","budget":1,"more":[]}`))
	require.Equal(t, "de", <-read)
	require.Equal(t, "de", <-read)
	_, err := graph.New("g").Context(graph.Needs[string]("a"), graph.Needs[int]("a")).Node("n", node).Entry("n").Finish("n").Compile()
	require.ErrorIs(t, err, graph.ErrBadChannel)
}
