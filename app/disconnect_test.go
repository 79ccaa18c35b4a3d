package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

// TestACallerWhoGivesUpEndsItsRun: whoever waits no longer than it wants to hangs up,
// and the server stops what nobody waits for, unless it was told to go on.
func TestACallerWhoGivesUpEndsItsRun(t *testing.T) {
	t.Parallel()
	a := &answers{ends: map[string]chan struct{}{}}
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{a.graph(t)}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	for text, more := range map[string]map[string]any{
		"by default": nil, "on request": {"on_disconnect": "cancel"}, "goes on": {"on_disconnect": "continue"},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			thread := c.thread()
			raw, err := json.Marshal(body("answers", text, more))
			require.NoError(t, err)
			ctx, hangUp := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/api/threads/"+thread+"/runs/wait", bytes.NewReader(raw))
			require.NoError(t, err)
			req.Header.Set("X-Api-Key", c.key)
			gone := make(chan error, 1)
			go func() {
				resp, err := http.DefaultClient.Do(req)
				if err == nil {
					_, err = new(bytes.Buffer).ReadFrom(resp.Body)
					resp.Body.Close()
				}
				gone <- err
			}()
			var run agents.RunID
			s.Eventually("it runs", func() bool {
				open, err := s.App.Database().OpenRuns(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread))
				require.NoError(t, err)
				if len(open) == 0 || open[0].Status != agents.RunRunning {
					return false
				}
				run = open[0].ID
				return true
			})
			hangUp()
			require.ErrorIs(t, <-gone, context.Canceled)
			if text == "goes on" {
				close(a.of(text))
				require.Equal(t, "about goes on", last(said(t, c.call(200, "GET", "/threads/"+thread+"/runs/"+string(run)+"/join", nil, nil))))
				return
			}
			s.Eventually("it has ended", func() bool { return c.run(thread, string(run)).Status == "interrupted" })
			require.Equal(t, "caller disconnected", c.run(thread, string(run)).Reason)
		})
	}
}

// TestARunKeepsToTheLimitThatItBrings: config.recursion_limit bounds the super-steps.
func TestARunKeepsToTheLimitThatItBrings(t *testing.T) {
	t.Parallel()
	turns := graph.Sum("turns")
	g, err := graph.New("round").Channels(turns).Node("turn", func(context.Context, *graph.Task) (graph.Command, error) {
		return graph.Command{Update: []graph.Write{turns.Put(1)}}, nil
	}).Entry("turn").Branch("turn", func(state graph.State) ([]string, error) {
		if n, _, err := turns.Get(state); err != nil || n >= 8 {
			return []string{graph.End}, err
		}
		return []string{"turn"}, nil
	}, "turn", graph.End).Compile()
	require.NoError(t, err)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{g}})
	c := client{t, s.Site, s.Key("acme", "mia@acme.test")}
	limited := func(limit int) string {
		return c.call(200, "POST", "/runs/wait", body("round", "x", map[string]any{"config": map[string]any{"recursion_limit": limit}}), nil).Body
	}
	require.Contains(t, limited(8), `"turns":8`)
	require.Contains(t, limited(7), `"__error__"`)
}
