package app_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model/openai/openaitest"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

func TestAnAssistantAnswersWithAModelOfAProvider(t *testing.T) {
	t.Parallel()
	provider := openaitest.New(openaitest.Options{Key: "sk-of-the-server"})
	web := httptest.NewServer(provider)
	t.Cleanup(web.Close)
	s := testweb.Start(t, testweb.Options{Env: []string{"OPENAI_BASE_URL=" + web.URL + "/v1", "OPENAI_API_KEY=sk-of-the-server"}})
	scope := s.Scope("acme", "olga@acme.test")
	remote := agents.AssistantID(id.New())
	require.NoError(t, s.App.Database().EnsureAssistant(t.Context(), scope, agents.Assistant{
		ID: remote, Graph: "chat", Name: "Remote", Config: agents.AssistantConfig{Model: "openai:any", Prompt: "Be brief."},
	}))
	mia, key := s.SignIn("mia@acme.test"), s.Key("acme", "mia@acme.test")
	say := func(text string) (thread string) {
		a := s.Post(mia, "/threads", url.Values{"message": {text}, "assistant_id": {string(remote)}})
		require.Equal(t, http.StatusOK, a.Status, a.Body)
		thread = a.Path[len("/threads/"):]
		s.WaitIdle(mia, thread)
		return thread
	}

	require.Equal(t, []string{"human: hello there", "ai: You said: hello there"}, stateOf(t, s.Site, key, say("hello there")).texts())
	asked := provider.Last().Chat
	require.Equal(t, "any", asked.Model)
	require.Equal(t, "system", asked.Messages[0].Role)
	require.Equal(t, "Be brief.", asked.Messages[0].Text())

	provider.Script(openaitest.QuotaExhausted())
	told := s.Page(mia, "/threads/"+say("hello again")).Text("#status")
	require.Contains(t, told, "used up")
	require.NotContains(t, told, "billing", "the provider's words are for the log")
}
