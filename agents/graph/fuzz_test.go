package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
)

// FuzzDecode reads what a client may send as values: either it is refused field
// by field, or it can be written, and what was written is JSON.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"topic":"tea","notes":["a"],"facts":{"x":1},"cost":2,"entries":[{"id":"1"}],"most":7,"ns:k:v1":3}`,
		`{"topic":null,"notes":null,"facts":null,"cost":null,"entries":null,"most":null}`, `{"entries":[{"text":"x"}]}`, `{"entries":[{"id":""}]}`,
		`{"_secret":1,"__join:x":[],"messages":[],"":1}`, `{"cost":1e999}`, `{"cost":1.7e308}`, `{"topic":"\ud800"}`, `{"TOPIC":1}`, `{"facts":{"x":1,"x":2}}`, ` { } `} {
		f.Add([]byte(seed))
	}
	g := client(f)
	stored := map[string]json.RawMessage{"cost": json.RawMessage(`1.7e308`), "notes": json.RawMessage(`["old"]`), "most": json.RawMessage(`3`),
		"entries": json.RawMessage(`[{"id":"1","text":"old"}]`)}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var values map[string]json.RawMessage
		if json.Unmarshal(raw, &values) != nil {
			return
		}
		writes, err := g.Decode(values)
		if err != nil {
			require.True(t, fault.Is(err, fault.KindInvalid))
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() { //nolint:errorlint // what Decode joins
				var bad *graph.InputError
				require.ErrorAs(t, e, &bad)
				require.True(t, strings.HasPrefix(bad.Field, "values."))
				require.Contains(t, values, strings.TrimPrefix(bad.Field, "values."))
			}
			return
		}
		require.Len(t, writes, len(values))
		for _, before := range []graph.State{graph.NewState(nil, nil), graph.NewState(nil, stored)} {
			after, _, err := g.Apply(before, "l", 1, writes)
			if err != nil {
				refusal(t, err, fieldOf(t, err), graph.ErrWrongType)
				require.Equal(t, before, after)
				continue
			}
			for name, v := range after.Values() {
				require.True(t, json.Valid(v), "%s is %s", name, v)
				require.False(t, agents.Hidden(name))
			}
		}
	})
}

func fieldOf(t *testing.T, err error) string {
	t.Helper()
	var bad *graph.InputError
	require.ErrorAs(t, err, &bad)
	return bad.Field
}

// FuzzCommand lets a node give anything: it fails and leaves nothing behind, or
// its result can be merged, at once as well as after it was kept in storage.
func FuzzCommand(f *testing.F) {
	for _, seed := range [][4]string{{"topic", `"x"`, "b", "end"}, {"notes", `["x"]`, "", "b,b"}, {"nowhere", `1`, "z", ""}, {"_secret", `"x"`, "", "__end__"},
		{"entries", `[{"id":"1","text":"x"}]`, "__start__", ""}, {"entries", `[{"x":1}]`, "", "z"}, {"most", `7`, "", "b"}, {"most", `"x"`, "", ""},
		{"facts", `{"a":1}`, "", ""}, {"cost", `1e308`, "", ""}, {"__join:x", `["a"]`, "", ""}, {"topic", `{`, "", ""}, {"", ``, "", ""}} {
		for op := range 6 {
			f.Add(seed[0], []byte(seed[1]), byte(op), seed[2], seed[3])
		}
	}
	f.Fuzz(func(t *testing.T, channel string, value []byte, op byte, goes, sends string) {
		raw := json.RawMessage(value)
		c := graph.Command{Update: []graph.Write{log.Put([]string{"a"})}}
		anyList, anyMap := graph.Append[json.RawMessage](channel), graph.Merge[json.RawMessage](channel)
		switch op % 6 {
		case 0:
			c.Update = append(c.Update, graph.Replace[json.RawMessage](channel).Put(raw), graph.Replace[json.RawMessage](channel).Put(raw))
		case 1:
			c.Update = append(c.Update, anyList.Put([]json.RawMessage{raw}))
		case 2:
			c.Update = append(c.Update, anyMap.Put(map[string]json.RawMessage{"k": raw}))
		case 3:
			c.Update = append(c.Update, graph.AppendByID[json.RawMessage](channel).Put([]json.RawMessage{raw, raw}), anyList.Remove(string(value), ""))
		case 4:
			c.Update = append(c.Update, graph.Reduce(channel, "max/1", func(_, in json.RawMessage) json.RawMessage { return in }).Put(raw))
		case 5:
			c.Update = append(c.Update, graph.Sum(channel).Put(float64(len(value))), graph.RemoveMessage(agents.MessageID(channel)),
				graph.AddMessage(agents.Message{ID: agents.MessageID(strings.ToValidUTF8(string(value), "?")), Text: strings.ToValidUTF8(channel, "?")}))
		}
		if goes != "" {
			c.Goto = strings.Split(goes, ",")
			c.Also = c.Goto[1:]
		}
		for _, node := range strings.Split(sends, ",") {
			if node != "" {
				c.Send = append(c.Send, graph.Send{Node: node, Input: string(value)})
			}
		}
		fails := true
		g := compile(t, graph.New("g").Channels(log, graph.Replace[string]("topic"), graph.Append[string]("notes"), graph.Merge[int]("facts"),
			graph.Sum("cost"), graph.AppendByID[entry]("entries"), graph.Reduce("most", "max/1", func(a, b int) int { return max(a, b) }),
			graph.Replace[string]("secret").Private()).
			Node("a", func(context.Context, *graph.Task) (graph.Command, error) { return c, nil }, graph.Ends("b", "end")).
			Node("b", logs).Node("end", logs).Node("c", func(context.Context, *graph.Task) (graph.Command, error) {
			if fails {
				return graph.Command{}, errors.New("boom")
			}
			return graph.Command{}, nil
		}).Entry("a").Entry("c").Finish("a").Finish("b").Finish("c").Finish("end"))

		h := &host{}
		x := graph.Execution{Host: h, Step: -1, Parallel: 1, OnFailure: graph.Proceed, IDs: graph.NamedIDs("seed"), RecursionLimit: 3}
		_, err := g.Run(t.Context(), x)
		require.ErrorAs(t, err, new(*graph.StepError))
		require.Empty(t, h.commits)
		fails = false
		want, wantErr := g.Run(t.Context(), x)
		if len(h.pended) == 0 {
			require.Error(t, wantErr, "what is not kept can't be merged")
			require.Empty(t, h.commits)
			return
		}
		kept, err := json.Marshal(h.pended[0].Pending)
		require.NoError(t, err)
		y := x
		y.Next, y.Host = agents.DueNodes("a", "c"), &host{}
		require.NoError(t, json.Unmarshal(kept, &y.Pending))
		got, gotErr := g.Run(t.Context(), y)
		require.Equal(t, wantErr == nil, gotErr == nil, "%v and %v", wantErr, gotErr)
		require.Equal(t, text(t, want), text(t, got))
		for name, v := range got.Values() {
			require.True(t, json.Valid(v), "%s is %s", name, v)
		}
	})
}

// text is a state in one form of JSON.
func text(t *testing.T, s graph.State) string {
	t.Helper()
	values, err := json.Marshal(s.Values())
	require.NoError(t, err)
	messages, err := json.Marshal(s.Messages())
	require.NoError(t, err)
	return string(values) + string(messages)
}
