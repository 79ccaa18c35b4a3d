package app_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

// nodes starts two nodes of one installation; the second one executes nothing.
func nodes(t *testing.T, graphs ...*graph.Graph) (one, idle *testweb.Server) {
	t.Helper()
	one = testweb.Start(t, testweb.Options{Graphs: graphs})
	return one, testweb.Start(t, testweb.Options{RedisURL: one.RedisURL, DatabaseURL: one.DatabaseURL, Graphs: graphs, Env: []string{"HEDDLE_WORKER=off"}})
}

// A stream of a server that stops is broken off behind a whole frame, before the
// runs of that server are over: a whole answer would look like the end. The client
// goes on at another node, and nobody takes it for one that hung up.
func TestStreamsOfAServerThatStopsMoveOn(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	s, other := nodes(t, gate)
	c, there := caller{t, s.Site, s.Key("acme", "mia@acme.test")}, caller{t, other.Site, ""}
	there.key = c.key
	scope := s.Scope("acme", "mia@acme.test")
	thread := c.thread()
	watching := c.open(http.MethodGet, "/api/threads/"+thread+"/stream", "")
	body := `{"assistant_id":"gate","stream_mode":["messages-tuple","values"],"on_disconnect":"cancel"` + says + `}`
	stream := c.open(http.MethodPost, "/api/threads/"+thread+"/runs/stream", body)
	location := stream.Header.Get("Content-Location")
	run := agents.RunID(location[strings.LastIndex(location, "/")+1:])
	gates.write(thread, "one ")
	var seen []testweb.Event
	for e := (testweb.Event{}); e.Name != "messages"; seen = append(seen, e) {
		var err error
		e, err = stream.Next()
		require.NoError(t, err)
	}
	quiet := c.open(http.MethodGet, "/api/threads/"+c.thread()+"/stream", "")

	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Stop() }()
	for _, left := range []*testweb.Stream{stream, watching, quiet} {
		rest, err := left.Rest()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "told that there is more")
		if left == stream {
			seen = append(seen, rest...)
		}
	}
	now, err := other.App.Database().Run(t.Context(), scope, threadID(thread), run)
	require.NoError(t, err)
	require.Equal(t, agents.RunRunning, now.Status)
	require.Equal(t, 1, now.Attempt, "its own server lets it end")

	// Whoever asks the old node again is sent on.
	refused := s.API(c.key, http.MethodGet, "/api"+location+"/stream", nil)
	require.Equal(t, http.StatusServiceUnavailable, refused.Status, refused.Body)
	require.NotEmpty(t, refused.Header.Get("Retry-After"))
	for _, path := range []string{"/api" + location + "/join", "/api/threads/" + thread + "/stream", "/api/runs/" + string(run) + "/stream"} {
		require.Equal(t, http.StatusServiceUnavailable, s.API(c.key, http.MethodGet, path, nil).Status, path)
	}

	again := there.open(http.MethodGet, "/api"+location+"/stream?stream_mode=messages-tuple&stream_mode=values", "", "Last-Event-ID", seen[len(seen)-1].ID)
	gates.end(thread) // which never blocks, even if the run was cancelled
	rest, err := again.Rest()
	require.NoError(t, err)
	<-stopped
	all, err := there.open(http.MethodGet, "/api"+location+"/stream?stream_mode=messages-tuple&stream_mode=values", "", "Last-Event-ID", "-1").Rest()
	require.NoError(t, err)
	require.Equal(t, all[1:], append(seen[1:], rest...), "each frame once")
	require.Equal(t, "end", rest[len(rest)-1].Name)
	now, err = other.App.Database().Run(t.Context(), scope, threadID(thread), run)
	require.NoError(t, err)
	require.Equal(t, agents.RunSuccess, now.Status, "its client did not hang up")
}

// Whoever waits is told when the server's own runs have come to their end: the run
// goes on elsewhere.
func TestWaitingCallsOfAServerThatStopsAreTold(t *testing.T) {
	t.Parallel()
	gates, gate := newGates(t)
	works, s := nodes(t, gate)
	c := caller{t, s.Site, s.Key("acme", "mia@acme.test")}
	scope := s.Scope("acme", "mia@acme.test")
	type answer struct{ location, body string }
	ask := func(method, path, body string) <-chan answer {
		out := make(chan answer, 1)
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("X-Api-Key", c.key)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		go func() {
			raw, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close() // it is read
			out <- answer{resp.Header.Get("Content-Location"), fmt.Sprint(strings.TrimSpace(string(raw)), err)}
		}()
		return out
	}
	thread := c.thread()
	waits := ask(http.MethodPost, "/api/threads/"+thread+"/runs/wait", `{"assistant_id":"gate"`+says+`}`)
	gates.write(thread, "one") // it executes on the other node
	runs, err := works.App.Database().OpenRuns(t.Context(), scope, threadID(thread))
	require.NoError(t, err)
	require.Len(t, runs, 1)
	joins := ask(http.MethodGet, "/api/threads/"+thread+"/runs/"+string(runs[0].ID)+"/join", "")
	s.Stop()
	for _, told := range []answer{<-waits, <-joins} {
		require.Equal(t, "/threads/"+thread+"/runs/"+string(runs[0].ID), told.location)
		require.Equal(t, `{"__error__":{"error":"draining","message":"This server is shutting down. The run goes on: Content-Location says where it is found."}}<nil>`, told.body)
	}
	gates.end(thread)
	works.Eventually("the run ends as if nothing had been", func() bool {
		now, err := works.App.Database().Run(t.Context(), scope, threadID(thread), runs[0].ID)
		return err == nil && now.Status == agents.RunSuccess
	})
}
