package handlers_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testweb"
)

func TestTheStudioShowsGraphsAndStates(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 6*7")
	s.WaitIdle(mia, thread)
	home := s.Page(mia, "/dev")
	require.Contains(t, home.Text("#work"), "what is 6*7")
	require.Contains(t, home.Text("#work"), "approval")
	drawn := s.Page(mia, "/dev/graphs/chat")
	require.Equal(t, 4, drawn.Find("svg.graph rect").Length())
	require.Equal(t, 2, drawn.Find("svg.graph .graph-branch").Length())
	require.Equal(t, http.StatusNotFound, s.Get(mia, "/dev/graphs/nothing").Status)

	before := s.Page(mia, "/dev/threads/"+thread)
	require.Contains(t, before.Text("#work"), "calculator")
	require.Positive(t, before.Find("table tbody tr").Length())
	a := s.Post(mia, "/dev/threads/"+thread+"/rerun", nil)
	require.Equal(t, "/dev/threads/"+thread, a.Path, a.Body)
	s.WaitIdle(mia, thread)
	require.Equal(t, 2, strings.Count(s.Page(mia, "/threads/"+thread).Text("#messages"), "what is 6*7"), "the message was sent again")

	waiting := strings.TrimPrefix(s.Post(mia, "/threads", map[string][]string{"message": {"email bob@example.com that we ship"}}).Path, "/threads/")
	s.Eventually("the pause is shown", func() bool {
		return strings.Contains(s.Page(mia, "/dev/threads/"+waiting).Text("#work"), "action_requests")
	})
	require.Equal(t, http.StatusConflict, s.Post(mia, "/dev/threads/"+waiting+"/continue", nil).Status, "it waits for a person")
}
