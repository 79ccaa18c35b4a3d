package main

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

func TestTheDoctorListsWhatThisBinaryCannotResume(t *testing.T) {
	t.Parallel()
	// A graph that a custom build had, and the binary has not.
	custom, err := graph.New("custom").Node("ask", func(_ context.Context, task *graph.Task) (graph.Command, error) {
		_, err := task.Interrupt("go on?")
		return graph.Command{}, err
	}).Entry("ask").Finish("ask").Compile()
	require.NoError(t, err)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{custom}})
	i := install(t, "DATABASE_URL="+s.DatabaseURL, "REDIS_URL="+s.RedisURL)
	code, out, stderr := i.run(t, "doctor")
	require.Zero(t, code, stderr)
	require.Contains(t, out, "open runs: 0, of which this binary could not resume: 0")

	key := s.Key("acme", "mia@acme.test")
	pause := func(graph string) (thread string) {
		made := s.API(key, http.MethodPost, "/api/threads", map[string]any{})
		require.Equal(t, http.StatusOK, made.Status)
		var got struct {
			ID string `json:"thread_id"`
		}
		made.JSON(t, &got)
		thread = got.ID
		waited := s.API(key, http.MethodPost, "/api/threads/"+thread+"/runs/wait", map[string]any{
			"assistant_id": graph, "input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "hello"}}}})
		require.Equal(t, http.StatusOK, waited.Status, waited.Body)
		return thread
	}
	fine, stuck := pause("approval"), pause("custom")
	code, out, stderr = i.run(t, "doctor")
	require.Equal(t, 1, code)
	require.Contains(t, out, "open runs: 2, of which this binary could not resume: 1")
	require.Regexp(t, `(?m)^acme +`+stuck+` +\S+ +waiting +custom +What is open here can't go on: the graph custom is not on this server\.`, out)
	require.NotContains(t, out, fine)
	require.Contains(t, stderr, "could not resume")
}
