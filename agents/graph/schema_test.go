package graph_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
)

type finding struct {
	ID    string          `json:"id"`
	Score float64         `json:"score,omitempty"`
	Seen  *time.Time      `json:"seen,omitempty"`
	Raw   json.RawMessage `json:"raw,omitempty"`
}

type ring struct{ Next *ring }

func pass(context.Context, *graph.Task) (graph.Command, error) { return graph.Command{}, nil }

func TestSchemasDescribeWhatClientsSee(t *testing.T) {
	child, err := graph.New("child").Context(graph.Needs[int]("depth"), graph.Needs[int]("locale")).
		Channels(graph.Replace[bool]("inside")).Node("work", pass).Entry("work").Finish("work").Compile()
	require.NoError(t, err)
	g, err := graph.New("parent").
		Channels(graph.Replace[string]("topic"), graph.AppendByID[finding]("findings"), graph.Merge[int]("votes"), graph.Sum("spent"),
			graph.Replace[[]byte]("digest"), graph.Replace[ring]("ring"), graph.Replace[json.RawMessage]("loose"), graph.Replace[string]("secret").Private(), graph.NewKey[[]string]("chat", "tags", 2)).
		Context(graph.Needs[string]("locale")).
		Subgraph("sub", child).Entry("sub").Finish("sub").Compile()
	require.NoError(t, err)
	s := g.Schemas()
	require.JSONEq(t, `{
		"topic": {"type": "string"}, "spent": {"type": "number"}, "votes": {"type": "object", "additionalProperties": {"type": "integer"}},
		"digest": {"type": "string", "contentEncoding": "base64"}, "ring": {}, "chat:tags:v2": {"type": ["null", "array"], "items": {"type": "string"}},
		"findings": {"type": ["null", "array"], "items": {"type": "object", "required": ["id"], "properties": {
			"id": {"type": "string"}, "score": {"type": "number"}, "seen": {"type": ["null", "string"]}, "raw": true}}}, "loose": {}
	}`, jsonOf(t, s.Channels))
	require.JSONEq(t, `{"locale": {"type": "string"}, "depth": {"type": "integer"}}`, jsonOf(t, s.Context), "the outer graph's word on what both need")
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return string(raw)
}
