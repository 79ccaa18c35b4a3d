package openai_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/modeltest"
	"github.com/heddle/heddle/agents/model/openai"
	"github.com/heddle/heddle/agents/model/openai/openaitest"
	"github.com/heddle/heddle/agents/model/retry"
)

const key = "sk-test-0123456789abcdef"

// serve starts the server of the protocol.
func serve(t *testing.T) (*openaitest.Server, string) {
	t.Helper()
	s := openaitest.New(openaitest.Options{Key: key})
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return s, web.URL + "/v1"
}

// provider asks the server at base; its connections end with their answers, so
// that a test can count goroutines.
func provider(t *testing.T, base string, change ...func(*openai.Options)) *openai.Model {
	t.Helper()
	o := openai.Options{BaseURL: base, Key: key, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	for _, c := range change {
		c(&o)
	}
	m, err := openai.New(o)
	require.NoError(t, err)
	return m
}

func patience(d time.Duration) func(*openai.Options) {
	return func(o *openai.Options) { o.Idle = d }
}

func hello() model.Request { return modeltest.Request("any", modeltest.PlainText) }

func TestOpenAIPassesTheProviderSuite(t *testing.T) {
	s, base := serve(t)
	scripts := map[modeltest.Scenario][]openaitest.Reply{
		modeltest.OneCall: {openaitest.Calls(openaitest.Call{ID: "call_a", Name: "calculator", Args: `{"expression":"17*23"}`})},
		modeltest.SeveralCall: {openaitest.Calls(
			openaitest.Call{ID: "call_a", Name: "weather", Args: `{"place":"Berlin"}`},
			openaitest.Call{ID: "call_b", Name: "weather", Args: `{"place":"Oslo"}`})},
		modeltest.LongAnswer:  {openaitest.StallAfter("one two three four five six seven eight nine ten")},
		modeltest.EmptyAnswer: {{Finish: "stop"}},
	}
	failing := func(r openaitest.Reply) func(*testing.T) (model.Model, model.Request) {
		return func(t *testing.T) (model.Model, model.Request) {
			s.Script(r)
			return provider(t, base), hello()
		}
	}
	bad := "unsupported_country"
	modeltest.Run(t, modeltest.Options{
		Model: "any",
		New: func(t *testing.T, scenario modeltest.Scenario) model.Model {
			s.Script(scripts[scenario]...)
			return provider(t, base)
		},
		Failing: map[model.ErrorKind]func(*testing.T) (model.Model, model.Request){
			model.RateLimited:    failing(openaitest.RateLimited("7")),
			model.QuotaExhausted: failing(openaitest.QuotaExhausted()),
			model.Overloaded:     failing(openaitest.ServerError()),
			model.AuthFailed:     failing(openaitest.Unauthorized()),
			model.UnknownModel:   failing(openaitest.UnknownModel("any")),
			model.ContextLength:  failing(openaitest.TooLong()),
			model.Filtered:       failing(openaitest.Filtered()),
			model.InvalidRequest: failing(openaitest.Refuse(http.StatusUnprocessableEntity, openaitest.Error{Message: "no", Code: &bad})),
			model.CutStream:      failing(openaitest.CutAfter("half an")),
			model.Malformed:      failing(openaitest.Garbage("half an")),
		},
	})
}

func TestTheRequestSaysAllThatIsAsked(t *testing.T) {
	s, base := serve(t)
	heat := 0.0
	req := model.Request{
		Model: "gpt-4o-mini", System: "Be brief.",
		Messages: []model.Message{
			{Role: model.RoleUser, Content: []model.Block{
				model.Text("What is <this>?"),
				{Type: "image_url", Raw: json.RawMessage(`{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}`)},
				{Type: "thinking", Raw: json.RawMessage(`{"type":"thinking"}`)},
			}},
			{Role: model.RoleAssistant, Content: []model.Block{{Type: model.BlockReasoning, Text: "hm"}},
				ToolCalls: []model.ToolCall{{ID: "call_1", Name: "look"}}},
			model.ToolResult(model.ToolCall{ID: "call_1", Name: "look"}, "a cat", false),
			model.AssistantText("A cat."), model.UserText("Sure?"),
		},
		Tools:  []model.ToolSpec{{Name: "look", Description: "Looks.", Schema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer","maximum":10}}}`)}},
		Params: model.Params{Temperature: &heat, MaxTokens: 100, Stop: []string{"END"}, ToolChoice: model.ToolsRequired, Effort: "low"},
	}
	_, err := model.Collect(provider(t, base).Stream(t.Context(), req))
	require.NoError(t, err)
	got := s.Last()
	require.Equal(t, "Bearer "+key, got.Header.Get("Authorization"))
	require.JSONEq(t, `{
		"model": "gpt-4o-mini", "stream": true, "stream_options": {"include_usage": true},
		"temperature": 0, "max_tokens": 100, "stop": ["END"], "tool_choice": "required", "reasoning_effort": "low",
		"messages": [
			{"role": "system", "content": "Be brief."},
			{"role": "user", "content": [{"type": "text", "text": "What is <this>?"},
				{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
			{"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
			{"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
			{"role": "assistant", "content": "A cat."},
			{"role": "user", "content": "Sure?"}],
		"tools": [{"type": "function", "function": {"name": "look", "description": "Looks.",
			"parameters": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 10}}}}}]
	}`, string(got.Body))
}

func TestWithoutAKeyNoneIsSentWhateverTheEnvironmentSays(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", key)
	t.Setenv("OPENAI_ORG_ID", "org-of-somebody")
	t.Setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
	s := openaitest.New(openaitest.Options{})
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	_, err := model.Collect(provider(t, web.URL+"/v1", func(o *openai.Options) { o.Key = "" }).Stream(t.Context(), hello()))
	require.NoError(t, err)
	require.Empty(t, s.Last().Header.Get("Authorization"))
	require.Empty(t, s.Last().Header.Get("OpenAI-Organization"))
}

func TestUsageIsWhatTheProviderBills(t *testing.T) {
	s, base := serve(t)
	r := openaitest.Text("fine")
	r.Quiet = true
	r.Pieces = append(r.Pieces, openaitest.Piece{Raw: `{"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":20,"total_tokens":70,
		"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":12}}}`})
	r.Pieces[len(r.Pieces)-1].Raw = strings.ReplaceAll(r.Pieces[len(r.Pieces)-1].Raw, "\n", "")
	s.Script(r)
	answer, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
	require.NoError(t, err)
	require.Equal(t, model.Usage{Input: 50, Output: 20, CachedInput: 40, Reasoning: 12}, answer.Usage)
}

func TestThinkingAndRefusalsAreToldApart(t *testing.T) {
	s, base := serve(t)
	s.Script(openaitest.Reply{Finish: "content_filter", Pieces: []openaitest.Piece{
		{Delta: map[string]any{"reasoning_content": "hm "}}, {Delta: map[string]any{"reasoning": "so"}},
		{Delta: map[string]any{"refusal": "I cannot help with that."}},
	}})
	answer, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
	require.NoError(t, err)
	require.Equal(t, "hm so", answer.Message.Reasoning())
	require.Equal(t, "I cannot help with that.", answer.Message.Text())
	require.Equal(t, model.FinishFilter, answer.Finish)
}

func TestFinishReasonsAreMapped(t *testing.T) {
	s, base := serve(t)
	for reason, want := range map[string]model.Finish{
		"stop": model.FinishStop, "length": model.FinishLength, "content_filter": model.FinishFilter, "eos": model.FinishStop, "tool_calls": model.FinishStop,
	} {
		r := openaitest.Text("fine")
		r.Finish = reason
		s.Script(r)
		answer, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
		require.NoError(t, err)
		require.Equal(t, want, answer.Finish, reason)
	}
	calls := openaitest.Calls(openaitest.Call{ID: "call_a", Name: "look", Args: "{}"})
	calls.Finish = "stop"
	s.Script(calls)
	answer, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
	require.NoError(t, err)
	require.Equal(t, model.FinishTools, answer.Finish)
}

// piece is a delta of a tool call; nil leaves a field out.
func piece(index, id, name, args any) openaitest.Piece {
	function, delta := map[string]any{}, map[string]any{}
	for field, v := range map[string]any{"name": name, "arguments": args} {
		if v != nil {
			function[field] = v
		}
	}
	delta["function"] = function
	for field, v := range map[string]any{"index": index, "id": id} {
		if v != nil {
			delta[field] = v
		}
	}
	return openaitest.CallPiece(delta)
}

func TestToolCallsOfEveryServerAreRead(t *testing.T) {
	s, base := serve(t)
	for name, c := range map[string]struct {
		pieces []openaitest.Piece
		want   string
	}{
		"Interleaved": {[]openaitest.Piece{
			piece(0, "a", "look", ""), piece(1, "b", "find", ""), piece(1, nil, nil, `{"y"`), piece(0, nil, nil, `{"x":1}`), piece(1, nil, nil, `:2}`),
		}, `a look {"x":1}; b find {"y":2}`},
		"NumbersWithHolesAndOutOfOrder": {[]openaitest.Piece{
			piece(3, "a", "look", `{"x":`), piece(1, "b", "find", `{}`), piece(3, nil, nil, `1}`),
		}, `a look {"x":1}; b find {}`},
		"EveryCallIsNumberZero": {[]openaitest.Piece{
			piece(0, "a", "look", `{"x":1}`), piece(0, "b", "look", `{"x":2}`),
		}, `a look {"x":1}; b look {"x":2}`},
		"NoNumbers": {[]openaitest.Piece{
			piece(nil, "a", "look", `{"x"`), piece(nil, nil, nil, `:1}`), piece(nil, "b", "find", `{}`),
		}, `a look {"x":1}; b find {}`},
		"NoIDs": {[]openaitest.Piece{
			piece(0, nil, "look", `{"x":1}`), piece(1, "", "find", `{}`),
		}, `call_1 look {"x":1}; call_2 find {}`},
		"NeitherNumbersNorIDs": {[]openaitest.Piece{
			piece(nil, nil, "look", `{"x":1}`), piece(nil, nil, "look", `{"x":2}`),
		}, `call_1 look {"x":1}; call_2 look {"x":2}`},
		"NameAndIDRepeated": {[]openaitest.Piece{
			piece(0, "a", "look", `{"x"`), piece(0, "a", "look", `:1}`), piece(0, "a", "look", ""),
		}, `a look {"x":1}`},
		"NameRepeatedWithoutID": {[]openaitest.Piece{
			piece(0, nil, "look", `{"x"`), piece(0, nil, "look", `:1}`), piece(0, nil, "look", ""),
		}, `call_1 look {"x":1}`},
		"NameAfterArguments": {[]openaitest.Piece{
			piece(0, "a", nil, `{"x"`), piece(0, nil, "look", `:1}`),
		}, `a look {"x":1}`},
		"OneIDForAll": {[]openaitest.Piece{
			piece(0, "a", "look", `{"x":1}`), piece(1, "a", "look", `{"x":2}`),
		}, `a look {"x":1}; call_1 look {"x":2}`},
		"AnIDOfAnEarlierAnswer": {[]openaitest.Piece{
			piece(0, "old", "look", `{"x":1}`),
		}, `call_1 look {"x":1}`},
		"NoArguments": {[]openaitest.Piece{piece(0, "a", "look", nil)}, `a look {}`},
	} {
		t.Run(name, func(t *testing.T) {
			ids := 0
			m := provider(t, base, func(o *openai.Options) {
				o.NewID = func() string { ids++; return fmt.Sprint(ids) }
			})
			s.Script(openaitest.Reply{Pieces: c.pieces, Finish: "tool_calls"})
			req := hello()
			req.Messages = append(req.Messages, model.Message{Role: model.RoleAssistant, ToolCalls: []model.ToolCall{{ID: "old", Name: "look"}}},
				model.ToolResult(model.ToolCall{ID: "old"}, "seen", false))
			answer, err := model.Collect(m.Stream(t.Context(), req))
			require.NoError(t, err)
			var got []string
			for _, call := range answer.Message.ToolCalls {
				got = append(got, call.ID+" "+call.Name+" "+string(call.Args))
			}
			require.Equal(t, c.want, strings.Join(got, "; "))
			require.Equal(t, model.FinishTools, answer.Finish)
		})
	}
	s.Script(openaitest.Reply{Pieces: []openaitest.Piece{piece(0, "a", nil, "{}")}, Finish: "tool_calls"})
	_, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
	require.Equal(t, model.Malformed, kind(t, err))
}

func TestIDsMadeHereFitWhatOpenAITakes(t *testing.T) {
	s, base := serve(t)
	s.Script(openaitest.Calls(openaitest.Call{Name: "look", Args: "{}"}))
	answer, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
	require.NoError(t, err)
	require.LessOrEqual(t, len(answer.Message.ToolCalls[0].ID), 40)
}

func kind(t *testing.T, err error) model.ErrorKind {
	t.Helper()
	k, ok := model.KindOf(err)
	require.True(t, ok, "%v", err)
	return k
}

func TestFailuresAreSortedByWhatHelps(t *testing.T) {
	s, base := serve(t)
	plain := func(status int, contentType, body string) openaitest.Reply {
		return openaitest.Reply{Status: status, Body: []byte(body), Header: http.Header{"Content-Type": {contentType}}}
	}
	code := "context_length_exceeded"
	for name, c := range map[string]struct {
		reply openaitest.Reply
		want  model.ErrorKind
	}{
		"403":                {plain(403, "application/json", `{"error":{"message":"no"}}`), model.AuthFailed},
		"402":                {plain(402, "application/json", `{"error":{"message":"pay","code":402}}`), model.QuotaExhausted},
		"404WithoutAWord":    {plain(404, "text/html", `<h1>Not found</h1>`), model.InvalidRequest},
		"408":                {plain(408, "text/plain", ``), model.Overloaded},
		"413":                {plain(413, "text/plain", ``), model.ContextLength},
		"529":                {plain(529, "text/html", `<h1>Busy</h1>`), model.Overloaded},
		"ErrorAsText":        {plain(500, "application/json", `{"error":"boom"}`), model.Overloaded},
		"LengthInWordsOnly":  {plain(400, "application/json", `{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}`), model.ContextLength},
		"Detail":             {plain(422, "application/json", `{"detail":"field required"}`), model.InvalidRequest},
		"ErrorWithStatus200": {plain(200, "application/json", `{"error":{"message":"busy","type":"rate_limit_error"}}`), model.RateLimited},
		"APage":              {plain(200, "text/html", `<h1>Welcome</h1>`), model.Malformed},
		"NoStream":           {plain(200, "application/json", `{"choices":[]}`), model.Malformed},
		"Elsewhere":          {openaitest.Reply{Status: 307, Body: []byte("x"), Header: http.Header{"Content-Type": {"text/plain"}}}, model.Malformed},
		"NoChunkAtAll":       {openaitest.Nothing(), model.Malformed},
		"DoneInMidAnswer":    {openaitest.Reply{Pieces: openaitest.Text("half an").Pieces}, model.CutStream},
		"ErrorInStream":      {openaitest.ErrorAfter("half an", openaitest.Error{Message: "busy", Type: "server_error"}), model.Overloaded},
		"LengthInStream":     {openaitest.ErrorAfter("", openaitest.Error{Message: "long", Code: &code}), model.ContextLength},
		"ChoicesThatAreNone": {openaitest.Reply{Pieces: []openaitest.Piece{{Raw: `[1]`}}}, model.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			s.Script(c.reply)
			_, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
			require.Equal(t, c.want, kind(t, err), "%v", err)
		})
	}
}

func TestNobodyThereIsAnOutage(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	_, err = model.Collect(provider(t, "http://"+gone.Addr().String()+"/v1").Stream(t.Context(), hello()))
	require.Equal(t, model.Overloaded, kind(t, err))
}

func TestRetryAfterReachesWhoeverWaits(t *testing.T) {
	s, base := serve(t)
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "0.5": 500 * time.Millisecond, "": 0, "-1": 0, "NaN": 0, "1e300": 24 * time.Hour, "soon": 0} {
		s.Script(openaitest.RateLimited(header))
		_, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
		var e *model.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, want, e.RetryAfter, header)
		require.Equal(t, http.StatusTooManyRequests, e.Status)
	}
	date := openaitest.RateLimited(time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
	s.Script(date)
	_, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
	var e *model.Error
	require.ErrorAs(t, err, &e)
	require.InDelta(t, time.Minute, e.RetryAfter, float64(5*time.Second))
}

func TestTheProviderItselfAsksOnce(t *testing.T) {
	s, base := serve(t)
	for _, r := range []openaitest.Reply{openaitest.RateLimited(""), openaitest.ServerError(), openaitest.CutAfter("half"), openaitest.Nothing()} {
		before := len(s.Requests())
		s.Script(r)
		_, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
		require.Error(t, err)
		require.Len(t, s.Requests(), before+1)
	}
}

func TestWithAttemptsAroundItItGetsOverAFault(t *testing.T) {
	s, base := serve(t)
	m := retry.New(provider(t, base), retry.Options{Pause: time.Millisecond})
	for _, r := range []openaitest.Reply{openaitest.RateLimited("0.01"), openaitest.ServerError(), openaitest.Nothing()} {
		s.Script(r)
		answer, err := model.Collect(m.Stream(t.Context(), hello()))
		require.NoError(t, err)
		require.Equal(t, "You said: hello", answer.Message.Text())
	}
	before := len(s.Requests())
	s.Script(openaitest.QuotaExhausted())
	_, err := model.Collect(m.Stream(t.Context(), hello()))
	require.Equal(t, model.QuotaExhausted, kind(t, err))
	s.Script(openaitest.CutAfter("half an"))
	_, err = model.Collect(m.Stream(t.Context(), hello()))
	require.Equal(t, model.CutStream, kind(t, err))
	require.Len(t, s.Requests(), before+2)
}

func TestParametersThatAModelRefusesAreLearned(t *testing.T) {
	s, base := serve(t)
	m := provider(t, base)
	heat := 0.7
	req := hello()
	req.Params = model.Params{Temperature: &heat, MaxTokens: 100}
	body := func() map[string]any {
		var fields map[string]any
		require.NoError(t, json.Unmarshal(s.Last().Body, &fields))
		return fields
	}
	s.Script(openaitest.Unsupported("max_tokens"), openaitest.Unsupported("temperature"))
	_, err := model.Collect(m.Stream(t.Context(), req))
	require.NoError(t, err)
	require.Len(t, s.Requests(), 3)
	require.NotContains(t, body(), "temperature")
	require.NotContains(t, body(), "max_tokens")
	require.EqualValues(t, 100, body()["max_completion_tokens"])

	_, err = model.Collect(m.Stream(t.Context(), req))
	require.NoError(t, err)
	require.Len(t, s.Requests(), 4, "the second time it is known")

	req.Model = "other"
	_, err = model.Collect(m.Stream(t.Context(), req))
	require.NoError(t, err)
	require.Contains(t, body(), "temperature", "of another model nothing is known")

	s.Script(openaitest.Unsupported("messages"))
	_, err = model.Collect(m.Stream(t.Context(), req))
	require.Equal(t, model.InvalidRequest, kind(t, err))
	require.Len(t, s.Requests(), 6, "what is essential is not left out")

	s.Script(openaitest.Unsupported("stop"), openaitest.Unsupported("stop"))
	_, err = model.Collect(m.Stream(t.Context(), req))
	require.Equal(t, model.InvalidRequest, kind(t, err))
	require.Len(t, s.Requests(), 8, "a server that repeats itself is not asked for ever")
}

func TestARefusedValueIsNoLesson(t *testing.T) {
	s, base := serve(t)
	m := provider(t, base)
	req := hello()
	req.Params.MaxTokens = 10_000
	param, code := "max_tokens", "invalid_value"
	s.Script(openaitest.Refuse(http.StatusBadRequest, openaitest.Error{
		Message: "max_tokens is too large: 10000. This model supports at most 4096 completion tokens.", Param: &param, Code: &code}))
	_, err := model.Collect(m.Stream(t.Context(), req))
	require.Equal(t, model.InvalidRequest, kind(t, err))
	require.Len(t, s.Requests(), 1)
	req.Params.MaxTokens = 500
	_, err = model.Collect(m.Stream(t.Context(), req))
	require.NoError(t, err)
	require.Contains(t, string(s.Last().Body), `"max_tokens":500`)
}

func TestAWrongBaseURLIsNoUnknownModel(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	_, err := model.Collect(provider(t, web.URL).Stream(t.Context(), hello()))
	require.Equal(t, model.InvalidRequest, kind(t, err))
	require.ErrorContains(t, err, "look at the base URL")
}

func TestOpenAIItselfGetsTheNewNameOfTheBound(t *testing.T) {
	s := openaitest.New(openaitest.Options{})
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	// The name of the host is OpenAI's, the connection goes to the server here.
	here := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, web.Listener.Addr().String())
	}}
	m := provider(t, "http://api.openai.com/v1", func(o *openai.Options) { o.HTTP = &http.Client{Transport: here} })
	req := hello()
	req.Params.MaxTokens = 100
	_, err := model.Collect(m.Stream(t.Context(), req))
	require.NoError(t, err)
	require.Contains(t, string(s.Last().Body), `"max_completion_tokens":100`)
	require.NotContains(t, string(s.Last().Body), `"max_tokens"`)
}

func TestASilentProviderIsLeft(t *testing.T) {
	here := goleak.IgnoreCurrent()
	s := openaitest.New(openaitest.Options{})
	web := httptest.NewServer(s)
	m := provider(t, web.URL+"/v1", patience(30*time.Millisecond))

	s.Script(openaitest.StallAfter("half an"))
	answer, err := model.Collect(m.Stream(t.Context(), hello()))
	require.Equal(t, model.CutStream, kind(t, err))
	require.Equal(t, "half an", answer.Message.Text())

	s.Script(openaitest.Reply{End: openaitest.Stall})
	_, err = model.Collect(m.Stream(t.Context(), hello()))
	require.Equal(t, model.Overloaded, kind(t, err))

	web.Close()
	goleak.VerifyNone(t, here)
}

func TestASlowReaderIsNotASilentProvider(t *testing.T) {
	s, base := serve(t)
	s.Script(openaitest.Text("one two three"))
	m := provider(t, base, patience(50*time.Millisecond))
	slow := time.NewTimer(150 * time.Millisecond)
	answer, err := model.Collect(m.Stream(t.Context(), hello()), func(model.Chunk) error {
		<-slow.C // the reader takes three times the provider's patience
		slow.Reset(0)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "one two three", answer.Message.Text())
}

func TestASlowFirstTokenIsAwaited(t *testing.T) {
	s, base := serve(t)
	r, gate := openaitest.Text("at last"), make(chan struct{})
	r.Hold = gate
	s.Script(r)
	time.AfterFunc(20*time.Millisecond, func() { close(gate) })
	answer, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
	require.NoError(t, err)
	require.Equal(t, "at last", answer.Message.Text())
}

func TestAWholeAnswerIsKeptWhenItsEndIsLost(t *testing.T) {
	s, base := serve(t)
	r := openaitest.CutAfter("all of it")
	r.Pieces = append(r.Pieces, openaitest.Piece{Raw: `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`})
	for _, end := range []openaitest.End{openaitest.Cut, openaitest.Stall} {
		r.End = end
		s.Script(r)
		answer, err := model.Collect(provider(t, base, patience(30*time.Millisecond)).Stream(t.Context(), hello()))
		require.NoError(t, err)
		require.Equal(t, "all of it", answer.Message.Text())
		require.Equal(t, model.FinishStop, answer.Finish)
	}
}

func TestCancellingBeforeTheFirstTokenAbortsTheCall(t *testing.T) {
	here := goleak.IgnoreCurrent()
	s := openaitest.New(openaitest.Options{})
	left := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r)
		close(left)
	}))
	s.Script(openaitest.Reply{Hold: make(chan struct{})})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := model.Collect(provider(t, web.URL+"/v1").Stream(ctx, hello()))
	require.ErrorIs(t, err, context.Canceled)
	<-left // the server saw the client leave
	web.Close()
	goleak.VerifyNone(t, here)
}

func TestNoErrorTellsTheKey(t *testing.T) {
	s, base := serve(t)
	spill := "who sent Bearer " + key + " or " + key + ", or sk-proj-other****99?\nLine " + strings.Repeat("x", 1000)
	for _, r := range []openaitest.Reply{
		openaitest.Unauthorized(),
		openaitest.Refuse(http.StatusInternalServerError, openaitest.Error{Message: spill}),
		openaitest.ErrorAfter("half", openaitest.Error{Message: spill}),
	} {
		s.Script(r)
		_, err := model.Collect(provider(t, base).Stream(t.Context(), hello()))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Error("run failed", "err", err)
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), log.String()} {
			require.NotContains(t, text, "sk-")
			require.NotContains(t, text, key[3:])
			require.Less(t, len(text), 1000)
		}
	}
	m := provider(t, base)
	require.NotContains(t, fmt.Sprintf("%+v %#v", m, m), key)
}

func TestWhatCannotBeAProviderIsRefused(t *testing.T) {
	for _, o := range []openai.Options{{}, {HTTP: http.DefaultClient, BaseURL: "nowhere"}, {HTTP: http.DefaultClient, BaseURL: "http://[::1"}} {
		_, err := openai.New(o)
		require.ErrorContains(t, err, "base URL")
	}
}
