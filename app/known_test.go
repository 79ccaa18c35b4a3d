package app_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

// A node begins runs with what it remembers of an assistant; what another node
// changed counts from the next run on.
func TestWhatAnotherNodeChangedOfAnAssistantCountsAtOnce(t *testing.T) {
	t.Parallel()
	a := testweb.Start(t, testweb.Options{})
	b := testweb.Start(t, testweb.Options{DatabaseURL: a.DatabaseURL, RedisURL: a.RedisURL})
	admin := b.Key("acme", "ada@acme.test", auth.ScopeAdmin, auth.ScopeRun)
	mia := a.Key("acme", "mia@acme.test")
	var made struct {
		ID string `json:"assistant_id"`
	}
	b.API(admin, http.MethodPost, "/api/assistants", obj{"graph_id": "echo", "name": "first"}).JSON(t, &made)
	runOn := func(thread string) (version, status int) {
		answer := a.API(mia, http.MethodPost, "/api/threads/"+thread+"/runs/wait", obj{"assistant_id": made.ID, "input": say("hi")})
		if answer.Status != http.StatusOK {
			return 0, answer.Status
		}
		runs, _, err := a.App.Database().Runs(t.Context(), a.Scope("acme", "mia@acme.test"), agents.ThreadID(thread), agents.RunQuery{Limit: 1})
		require.NoError(t, err)
		return runs[0].AssistantVersion, answer.Status
	}
	thread := func() string {
		var made apiThread
		a.API(mia, http.MethodPost, "/api/threads", obj{}).JSON(t, &made)
		return made.ID
	}
	old := thread()
	version, _ := runOn(old)
	require.EqualValues(t, 1, version)
	for want := 2; want < 4; want++ {
		require.Equal(t, http.StatusOK, b.API(admin, http.MethodPatch, "/api/assistants/"+made.ID, obj{"description": "again"}).Status)
		version, _ = runOn(thread())
		require.EqualValues(t, want, version)
		version, _ = runOn(old)
		require.EqualValues(t, 1, version, "a thread keeps its version")
	}
	require.Equal(t, http.StatusOK, b.API(admin, http.MethodDelete, "/api/assistants/"+made.ID, nil).Status)
	_, status := runOn(thread())
	require.Equal(t, http.StatusNotFound, status)
	version, _ = runOn(old)
	require.EqualValues(t, 1, version)
}
