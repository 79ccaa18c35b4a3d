package app_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

// tally is a graph that counts in a channel of clients and in a private one.
func tally(t *testing.T) *graph.Graph {
	t.Helper()
	steps, total, secret := graph.Append[string]("steps"), graph.Sum("total"), graph.Sum("hidden").Private()
	node := func(name string) graph.Node {
		return func(context.Context, *graph.Task) (graph.Command, error) {
			return graph.Command{Update: []graph.Write{steps.Put([]string{name}), total.Put(1), secret.Put(1)}}, nil
		}
	}
	g, err := graph.New("tally").Channels(steps, total, secret).Node("first", node("first")).Node("second", node("second")).
		Entry("first").Edge("first", "second").Finish("second").Compile()
	require.NoError(t, err)
	return g
}

type threadState struct {
	Values map[string]json.RawMessage `json:"values"`
	Next   []string                   `json:"next"`
}

func TestClientsReadAndChangeChannelsAndSetBreakpoints(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{tally(t)}})
	mia := s.Key("acme", "mia@acme.test")
	var made struct {
		ID string `json:"thread_id"`
	}
	s.API(mia, http.MethodPost, "/api/threads", map[string]any{}).JSON(t, &made)
	path := "/api/threads/" + made.ID
	run := func(more map[string]any) testweb.Answer {
		body := map[string]any{"assistant_id": "tally"}
		for k, v := range more {
			body[k] = v
		}
		return s.API(mia, http.MethodPost, path+"/runs/wait", body)
	}
	state := func() threadState {
		var out threadState
		s.API(mia, http.MethodGet, path+"/state", nil).JSON(t, &out)
		return out
	}
	hello := map[string]any{"messages": []any{map[string]any{"role": "user", "content": "hello"}}}

	refused := run(map[string]any{"input": hello, "interrupt_before": []string{"third"}})
	require.Equal(t, http.StatusUnprocessableEntity, refused.Status)
	require.Contains(t, string(refused.Body), "interrupt_before")
	require.Equal(t, http.StatusUnprocessableEntity, run(map[string]any{"input": hello, "interrupt_after": 7}).Status)

	require.Equal(t, http.StatusOK, run(map[string]any{"input": hello, "interrupt_before": []string{"second"}}).Status)
	got := state()
	require.Equal(t, []string{"second"}, got.Next)
	require.JSONEq(t, `["first"]`, string(got.Values["steps"]))
	for name := range got.Values {
		require.NotContains(t, name, "hidden")
		require.NotContains(t, name, "__")
	}

	change := func(values map[string]any) testweb.Answer {
		return s.API(mia, http.MethodPost, path+"/state", map[string]any{"values": values})
	}
	for field, values := range map[string]map[string]any{
		"values.total": {"total": "many"}, "values._hidden": {"_hidden": 1}, "values.unknown": {"unknown": 1}, "values.__reducers": {"__reducers": map[string]any{}},
	} {
		refused := change(values)
		require.Equal(t, http.StatusUnprocessableEntity, refused.Status, field)
		require.Contains(t, string(refused.Body), field)
		require.Equal(t, got, state(), "nothing changed")
	}
	require.Equal(t, http.StatusOK, change(map[string]any{"total": 10, "steps": []string{"by hand"}}).Status)
	require.Equal(t, []string{"second"}, state().Next, "what was due still is")

	require.Equal(t, http.StatusOK, run(map[string]any{"input": nil}).Status)
	got = state()
	require.Empty(t, got.Next)
	require.JSONEq(t, `["first","by hand","second"]`, string(got.Values["steps"]))
	require.JSONEq(t, `12`, string(got.Values["total"]))
}

func TestAGraphAsksForTheContextItNeeds(t *testing.T) {
	t.Parallel()
	ran := make(chan string, 4)
	g, err := graph.New("greeter").Context(graph.Needs[string]("locale")).
		Node("ask", func(_ context.Context, task *graph.Task) (graph.Command, error) {
			locale, _, err := graph.ContextOf[string](task, "locale")
			if err != nil {
				return graph.Command{}, err
			}
			_, forged := task.Context["user_id"]
			if forged {
				locale = "forged"
			}
			ran <- locale
			_, err = task.Interrupt("greet?")
			return graph.Command{}, err
		}).Entry("ask").Finish("ask").Compile()
	require.NoError(t, err)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{g}})
	mia := s.Key("acme", "mia@acme.test")
	var made struct {
		ID string `json:"thread_id"`
	}
	s.API(mia, http.MethodPost, "/api/threads", map[string]any{}).JSON(t, &made)
	run := func(more map[string]any) testweb.Answer {
		more["assistant_id"] = "greeter"
		return s.API(mia, http.MethodPost, "/api/threads/"+made.ID+"/runs/wait", more)
	}
	hello := map[string]any{"messages": []any{map[string]any{"role": "user", "content": "hello"}}}
	for _, given := range []any{nil, map[string]any{}, map[string]any{"locale": 7}} {
		refused := run(map[string]any{"input": hello, "context": given})
		require.Equal(t, http.StatusUnprocessableEntity, refused.Status)
		require.Contains(t, string(refused.Body), "context.locale")
	}
	require.Empty(t, ran)
	require.Equal(t, http.StatusOK, run(map[string]any{"input": hello, "context": map[string]any{"locale": "de", "user_id": "somebody else"}}).Status)
	require.Equal(t, "de", <-ran)
	require.Equal(t, http.StatusOK, run(map[string]any{"input": map[string]any{}, "command": map[string]any{"resume": true}}).Status)
	require.Equal(t, "de", <-ran, "whoever goes on has it too")
}
