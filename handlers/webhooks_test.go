package handlers_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testweb"
)

// toldOf gives the id of what a webhook is told of a run of mia's; nobody listens.
func toldOf(t *testing.T, s *testweb.Server) (delivery string) {
	t.Helper()
	key := s.Key("acme", "mia@acme.test")
	var made struct {
		ThreadID string `json:"thread_id"`
	}
	s.API(key, "POST", "/api/threads", map[string]any{}).JSON(t, &made)
	a := s.API(key, "POST", "/api/threads/"+made.ThreadID+"/runs", map[string]any{"assistant_id": "echo", "webhook": "http://127.0.0.1:9/nobody",
		"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "x"}}}})
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	s.Eventually("a webhook has something to say", func() bool {
		found, _, err := s.App.Database().Deliveries(t.Context(), s.Scope("acme", "ada@acme.test"), "", 10, 0)
		require.NoError(t, err)
		for _, d := range found {
			delivery = string(d.ID)
		}
		return len(found) > 0
	})
	return delivery
}
