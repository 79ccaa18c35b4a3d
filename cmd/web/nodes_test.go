package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testweb"
)

// nodeOf is a node as programs reach it.
type nodeOf struct {
	t    *testing.T
	site *testweb.Site
	key  string
}

func (n nodeOf) open(method, path, body string, headers ...string) *testweb.Stream {
	n.t.Helper()
	stream, err := n.site.Stream(n.t.Context(), n.key, method, path, body, headers...)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { _ = stream.Close() })
	return stream
}

func (n nodeOf) thread() string {
	n.t.Helper()
	var made struct {
		ID string `json:"thread_id"`
	}
	n.site.API(n.key, http.MethodPost, "/api/threads", map[string]any{}).JSON(n.t, &made)
	return made.ID
}

func (n nodeOf) stream(thread, graph string) (*testweb.Stream, string) {
	n.t.Helper()
	s := n.open(http.MethodPost, "/api/threads/"+thread+"/runs/stream",
		fmt.Sprintf(`{"assistant_id":%q,"stream_mode":["values","messages-tuple"],"input":{"messages":[{"role":"user","content":"hi"}]}}`, graph))
	return s, "/api" + s.Header.Get("Content-Location")
}

// pieces counts frames of text until there are enough.
func pieces(t *testing.T, s *testweb.Stream, enough int) (got []testweb.Event) {
	t.Helper()
	for n := 0; n < enough; {
		e, err := s.Next()
		require.NoError(t, err)
		if got = append(got, e); e.Name == "messages" {
			n++
		}
	}
	return got
}

// A run that node A executes and streams is left, joined, cancelled and answered
// on node B, and goes on there after A was killed in the middle of it.
func TestProgramsGoOnOnAnotherNode(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_WORKER=off"}})
	key := s.Key("acme", "mia@acme.test")
	i := install(t, "DATABASE_URL="+s.DatabaseURL, "REDIS_URL="+s.RedisURL, "HEDDLE_LEASE=2s", "HEDDLE_LEASE_RENEW=300ms", "HEDDLE_SWEEP=100ms")
	a, site := i.serve(t)
	onA, onB := nodeOf{t, site, key}, nodeOf{t, s.Site, key}

	cancelled := onA.thread()
	first, run := onA.stream(cancelled, "slow")
	begun := pieces(t, first, 2)
	joined := onB.open(http.MethodGet, run+"/stream?stream_mode=messages-tuple&stream_mode=values", "", "Last-Event-ID", begun[len(begun)-1].ID)
	require.Equal(t, http.StatusNoContent, onB.site.API(key, http.MethodPost, run+"/cancel?wait=1", nil).Status)
	for _, stream := range []*testweb.Stream{first, joined} {
		rest, err := stream.Rest()
		require.NoError(t, err)
		require.Equal(t, "end", rest[len(rest)-1].Name)
	}

	asks := onA.thread()
	paused, _ := onA.stream(asks, "approval")
	_, err := paused.Rest()
	require.NoError(t, err)

	thread := onA.thread()
	first, run = onA.stream(thread, "slow")
	begun = pieces(t, first, 3)
	joined = onB.open(http.MethodGet, run+"/stream?stream_mode=messages-tuple&stream_mode=values", "", "Last-Event-ID", begun[len(begun)-1].ID)
	a.kill()
	_, err = first.Rest()
	require.Error(t, err, "it broke off: the client knows that this was not the end")

	testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL}) // somebody who executes runs
	rest, err := joined.Rest()
	require.NoError(t, err)
	require.Equal(t, "end", rest[len(rest)-1].Name)
	attempts := 0
	for _, e := range rest {
		if e.Name == "metadata" {
			require.Contains(t, e.Data, `"attempt":2`)
			attempts++
		}
	}
	require.Equal(t, 1, attempts, "another attempt is told")
	var values struct{ Messages []struct{ Content string } }
	require.NoError(t, json.Unmarshal([]byte(rest[len(rest)-2].Data), &values))
	last := values.Messages[len(values.Messages)-1].Content
	require.Equal(t, 20, strings.Count(last, "token"), "whole, and once")

	all, err := onB.open(http.MethodGet, run+"/stream?stream_mode=messages-tuple&stream_mode=values", "", "Last-Event-ID", "-1").Rest()
	require.NoError(t, err)
	require.Equal(t, append(begun[1:], rest...), all[1:], "what two readers put together is what a third reads at once")

	answered := onB.open(http.MethodPost, "/api/threads/"+asks+"/runs/stream", `{"assistant_id":"approval","command":{"resume":"yes"}}`)
	got, err := answered.Rest()
	require.NoError(t, err)
	require.Contains(t, got[len(got)-2].Data, "The answer was")
}
