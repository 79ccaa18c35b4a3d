package app_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

func TestAPIAndPageTellHowARunWasLostThreeTimes(t *testing.T) {
	t.Parallel()
	_, gate := newGates(t)
	s := testweb.Start(t, testweb.Options{Graphs: []*graph.Graph{gate}})
	mia, key, scope := s.SignIn("mia@acme.test"), s.Key("acme", "mia@acme.test"), s.Scope("acme", "mia@acme.test")
	thread, id := open(s, mia, scope)
	live := watch(t, s, mia, "a page that was there", thread)
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "set role heddle_system")
	require.NoError(t, err)
	for lost := 1; lost <= 3; lost++ {
		// Its worker renews, so the lease is dropped until it is noticed first.
		s.Eventually(fmt.Sprintf("attempt %d is lost", lost), func() bool {
			r, err := s.App.Database().Run(t.Context(), scope, threadID(thread), id)
			require.NoError(t, err)
			if r.Attempt > lost || r.Status.Ended() {
				return true
			}
			_, err = conn.Exec(t.Context(), "update thread_heads set lease_until = now() - interval '1 ms' where run_id = $1 and token = $2", string(id), r.Token)
			require.NoError(t, err)
			return false
		})
	}
	s.WaitIdle(mia, thread)

	var told struct {
		Status string
		Error  struct {
			Code, Message string
			Attempts      []agents.Attempt
		}
	}
	s.API(key, http.MethodGet, "/api/threads/"+thread+"/runs/"+string(id), nil).JSON(t, &told)
	require.Equal(t, "error", told.Status)
	require.Equal(t, "attempts_exhausted", told.Error.Code)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Len(t, told.Error.Attempts, 3)
	for i, a := range told.Error.Attempts {
		require.Equal(t, i+1, a.Attempt)
		require.Equal(t, host, a.Worker)
		require.Equal(t, agents.AttemptLeaseExpired, a.Why)
		require.False(t, a.EndedAt.IsZero())
	}

	k := s.Dial(mia)
	k.Join("thread:"+thread, map[string]any{"after": 0})
	all := k.Envelopes("thread:"+thread, testweb.RunEnds)
	var d event.RunErrorData
	require.NoError(t, all[len(all)-1].Decode(&d))
	require.Len(t, d.Attempts, 3)

	page := s.Page(mia, "/threads/"+thread)
	live.shows(page)
	require.Contains(t, page.Text("#status"), "tried 3 times")
	require.Contains(t, page.Text("#attempts summary"), "What happened")
	for n := 1; n <= 3; n++ {
		require.Contains(t, page.Text("#attempts"), fmt.Sprintf("Attempt %d: its worker did not renew the lease", n))
	}
	require.Contains(t, page.Text("#attempts"), "on "+host)
}
