package openaitest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/model/openai/openaitest"
)

func post(t *testing.T, base, body string) (status int, contentType, text string) {
	t.Helper()
	res, err := http.Post(base+"/v1/chat/completions", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	out, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, res.Header.Get("Content-Type"), string(out)
}

func TestPlainRequestsGetSensibleAnswers(t *testing.T) {
	web := httptest.NewServer(openaitest.New(openaitest.Options{}))
	t.Cleanup(web.Close)
	tools := `"tools":[{"type":"function","function":{"name":"send_email"}}]`
	ask := `{"role":"user","content":"Please email bob@example.com that we ship on friday."}`
	for name, c := range map[string]struct{ body, want string }{
		"Echo":       {`{"model":"any","messages":[{"role":"system","content":"x"},{"role":"user","content":"hello there"}]}`, `"content":"You said: hello there"`},
		"Parts":      {`{"model":"any","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`, `"content":"You said: ab"`},
		"Email":      {`{"model":"any","messages":[` + ask + `],` + tools + `}`, `"arguments":"{\"body\":\"We ship on friday.\",\"subject\":\"We ship on friday\",\"to\":\"bob@example.com\"}","name":"send_email"`},
		"NoTool":     {`{"model":"any","messages":[` + ask + `]}`, `"content":"You said: Please email`},
		"ToolResult": {`{"model":"any","messages":[` + ask + `,{"role":"tool","tool_call_id":"c","content":"sent it"}],` + tools + `}`, `"content":"The tool answered: \"sent it\"."`},
	} {
		t.Run(name, func(t *testing.T) {
			status, contentType, text := post(t, web.URL, c.body)
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "application/json", contentType)
			require.Contains(t, text, c.want)
		})
	}
	for _, bad := range []string{"", "{", `{"model":"any"}`, `{"messages":[{"role":"user","content":"x"}]}`} {
		status, _, text := post(t, web.URL, bad)
		require.Equal(t, http.StatusBadRequest, status, bad)
		require.Contains(t, text, "invalid_request_error")
	}
	res, err := http.Get(web.URL + "/v1/models")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
}

func TestAStreamComesInSeveralEventsWithUsageOnRequest(t *testing.T) {
	s := openaitest.New(openaitest.Options{})
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	_, contentType, text := post(t, web.URL, `{"model":"any","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"one two"}]}`)
	require.Equal(t, "text/event-stream", contentType)
	require.Equal(t, 4, strings.Count(text, `"content":"`)-1, text)
	require.Contains(t, text, `"completion_tokens":4`)
	require.True(t, strings.HasSuffix(text, "data: [DONE]\n\n"), text)
	_, _, text = post(t, web.URL, `{"model":"any","stream":true,"messages":[{"role":"user","content":"one two"}]}`)
	require.NotContains(t, text, "completion_tokens")
	require.Len(t, s.Requests(), 2)
}

func TestOnlyTheKeyLetsIn(t *testing.T) {
	web := httptest.NewServer(openaitest.New(openaitest.Options{Key: "sk-right"}))
	t.Cleanup(web.Close)
	status, _, text := post(t, web.URL, `{"model":"any","messages":[{"role":"user","content":"x"}]}`)
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, text, "invalid_api_key")
}
