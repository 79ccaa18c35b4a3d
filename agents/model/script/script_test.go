package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/modeltest"
	"github.com/heddle/heddle/agents/model/script"
	"github.com/heddle/heddle/internal/clock"
)

func mock(t *testing.T) *script.Model {
	t.Helper()
	m, err := script.New(script.Options{})
	require.NoError(t, err)
	return m
}

func TestMockPassesTheProviderSuite(t *testing.T) {
	failing := func(text string) func(*testing.T) (model.Model, model.Request) {
		return func(t *testing.T) (model.Model, model.Request) { return mock(t), ask(nil, text) }
	}
	modeltest.Run(t, modeltest.Options{
		Model: script.ID,
		New: func(t *testing.T, s modeltest.Scenario) model.Model {
			if s != modeltest.LongAnswer {
				return mock(t)
			}
			m, err := script.New(script.Options{TokensPerSecond: 300})
			require.NoError(t, err)
			return m
		},
		Failing: map[model.ErrorKind]func(*testing.T) (model.Model, model.Request){
			model.RateLimited: failing("simulate a rate limit"),
			model.Overloaded:  failing("fail with overload"),
			model.CutStream:   failing("simulate a cut stream"),
		},
	})
}

// every lists the tools a demo assistant may have.
var every = []string{"calculator", "current_time", "weather", "search", "remember", "recall", "send_email"}

func ask(tools []string, text string, more ...model.Message) model.Request {
	req := model.Request{Model: script.ID, System: "You are Heddle guide, a helpful assistant."}
	for _, name := range tools {
		req.Tools = append(req.Tools, model.ToolSpec{Name: name, Schema: json.RawMessage(`{"type":"object"}`)})
	}
	req.Messages = append([]model.Message{model.UserText(text)}, more...)
	return req
}

func answer(t *testing.T, req model.Request) model.Answer {
	t.Helper()
	a, err := model.Collect(mock(t).Stream(t.Context(), req))
	require.NoError(t, err)
	return a
}

func TestPlainRequestsCallTheRightToolWithTheRightArguments(t *testing.T) {
	for text, want := range map[string][]string{
		"what is 17*23":   {`calculator {"expression": "17*23"}`},
		"What's 17 * 23?": {`calculator {"expression": "17 * 23"}`},
		"17*23":           {`calculator {"expression": "17*23"}`},
		"Could you please calculate 3 times (4 + 5)?":  {`calculator {"expression": "3 * (4 + 5)"}`},
		"how much is 15% of 80":                        {`calculator {"expression": "15/ 100 * 80"}`},
		"what is the square root of 2":                 {`calculator {"expression": "sqrt(2)"}`},
		"compute 12 divided by 0":                      {`calculator {"expression": "12 / 0"}`},
		"what is 2 to the power of 64":                 {`calculator {"expression": "2 ^ 64"}`},
		"what does 2+2 equal":                          {`calculator {"expression": "2+2"}`},
		"what time is it in Tokyo":                     {`current_time {"place": "Tokyo"}`},
		"Can you tell me what time it is in New York?": {`current_time {"place": "New York"}`},
		"current time in Tokyo and London":             {`current_time {"place": "Tokyo"}`, `current_time {"place": "London"}`},
		"what time is it":                              {`current_time {"place": "UTC"}`},
		"weather in Berlin and Oslo":                   {`weather {"place": "Berlin"}`, `weather {"place": "Oslo"}`},
		"What's the weather like in Rome, Oslo, and Lima today?": {
			`weather {"place": "Rome"}`, `weather {"place": "Oslo"}`, `weather {"place": "Lima"}`,
		},
		"how warm is it in Lisbon?":            {`weather {"place": "Lisbon"}`},
		"search for refunds":                   {`search {"query": "refunds"}`},
		"Search the handbook for parking":      {`search {"query": "parking"}`},
		"What is our refund policy?":           {`search {"query": "What is our refund policy"}`},
		"How long do refunds take?":            {`search {"query": "How long do refunds take"}`},
		"find documents about parental leave":  {`search {"query": "parental leave"}`},
		"refund policy":                        {`search {"query": "refund policy"}`},
		"remember that I like tea":             {`remember {"fact": "I like tea"}`},
		"Please remember: my dog is \"Rex\".":  {`remember {"fact": "my dog is \"Rex\""}`},
		"what do you remember about me?":       {`recall {"query": ""}`},
		"what do you know about my dog":        {`recall {"query": "my dog"}`},
		"do you remember what I like to drink": {`recall {"query": "what I like to drink"}`},
		"email bob@example.com that we ship on friday": {
			`send_email {"to": "bob@example.com", "subject": "We ship on friday", "body": "Hello,\n\nWe ship on friday.\n\nBest regards"}`,
		},
		"Send an e-mail to bob@example.com saying we ship on Friday.": {
			`send_email {"to": "bob@example.com", "subject": "We ship on Friday", "body": "Hello,\n\nWe ship on Friday.\n\nBest regards"}`,
		},
	} {
		t.Run(text, func(t *testing.T) {
			a := answer(t, ask(every, text))
			var got []string
			for _, c := range a.Message.ToolCalls {
				got = append(got, c.Name+" "+string(c.Args))
			}
			require.Equal(t, want, got, a.Message.Text())
			require.Equal(t, model.FinishTools, a.Finish)

			none := answer(t, ask(nil, text))
			require.Empty(t, none.Message.ToolCalls)
			require.Contains(t, none.Message.Text(), "does not have the tool")
		})
	}
}

func TestPlainRequestsWithoutToolsGetTheirText(t *testing.T) {
	for text, want := range map[string]string{
		"hello":                         "Heddle guide",
		"Hi there!":                     "Heddle guide",
		"who are you?":                  "I am Heddle guide",
		"help":                          "count to 200",
		"What can you do?":              "handbook",
		"thanks!":                       "",
		"plan a launch":                 "## Plan: a launch",
		"Help me plan a team offsite":   "## Plan: a team offsite",
		"show me a table":               "| Inch |",
		"show code":                     "```go",
		"count to 3":                    "1, 2, 3",
		"count to 0":                    "1",
		"Could you count to 5, please?": "1, 2, 3, 4, 5",
		"count to 99999999999999999999": "I stop at 1000",
		"email bob":                     "Tell me the address",
		"weather in , and":              "help",
		"blorb the frumious":            "help",
		"":                              "help",
	} {
		t.Run(text, func(t *testing.T) {
			a := answer(t, ask(every, text))
			require.Empty(t, a.Message.ToolCalls)
			require.Equal(t, model.FinishStop, a.Finish)
			require.NotEmpty(t, a.Message.Text())
			require.Contains(t, a.Message.Text(), want)
		})
	}
}

func TestHelpNamesOnlyToolsThatAreOffered(t *testing.T) {
	require.NotContains(t, answer(t, ask([]string{"search"}, "help")).Message.Text(), "17*23")
	require.Contains(t, answer(t, ask(nil, "help")).Message.Text(), "no tools")
}

func TestTheNameComesFromTheSystemText(t *testing.T) {
	req := ask(nil, "who are you")
	req.System = "Be kind.\nYou are Dr. No"
	require.Contains(t, answer(t, req).Message.Text(), "I am Dr,")
	req.System = "You are Olive, concise and friendly."
	require.Contains(t, answer(t, req).Message.Text(), "I am Olive,")
	req.System = "You are a helpful assistant."
	require.Contains(t, answer(t, req).Message.Text(), "I am the assistant,")
}

func TestCountingIsClampedToOneThousand(t *testing.T) {
	text := answer(t, ask(nil, "count to 5000")).Message.Text()
	require.True(t, strings.HasSuffix(text, "999, 1000"))
	for _, c := range []string{" 200", " 7"} {
		require.Contains(t, script.Pieces(answer(t, ask(nil, "count to 200")).Message.Text()), c)
	}
}

// round plays a whole turn: the calls the mock makes are answered by results,
// in order, and the final answer comes back.
func round(t *testing.T, text string, failed bool, results ...string) string {
	t.Helper()
	req := ask(every, text)
	first := answer(t, req)
	require.Len(t, first.Message.ToolCalls, len(results))
	req.Messages = append(req.Messages, first.Message)
	for i, r := range results {
		req.Messages = append(req.Messages, model.ToolResult(first.Message.ToolCalls[i], r, failed))
	}
	last := answer(t, req)
	require.Empty(t, last.Message.ToolCalls)
	return last.Message.Text()
}

func TestAnswersComeFromTheActualResults(t *testing.T) {
	require.Contains(t, round(t, "what is 17*23", false, "17*23 = 391"), "**391**")
	require.Contains(t, round(t, "weather in Berlin and Oslo", false, "Berlin: 7 °C", "Oslo: -2 °C"), "- Oslo: -2 °C")
	require.Contains(t, round(t, "remember that I like my tea hot", false, "Saved."), "you like your tea hot")
	require.Contains(t, round(t, "what do you remember about me", false, `{"facts":[{"fact":"I like tea"}]}`), "- You like tea")
	require.Contains(t, round(t, "what do you remember about me", false, `{"facts":[]}`), "not asked me")

	found := round(t, "what is our refund policy", false, `{"results":[
		{"title":"Refund policy","url":"/d/refunds","snippet":"**Money** comes ⟦back⟧,\n\n| a | b |\n| --- | --- |\n- in 5 days."},
		{"title":"Returns","url":"/d/returns","snippet":"x"}]}`)
	require.Contains(t, found, "[Refund policy](/d/refunds)")
	require.Contains(t, found, "> Money comes back, a b in 5 days.")
	require.Contains(t, found, "- [Returns](/d/returns)")
	require.Contains(t, round(t, "search for unicorns", false, `{"results":[]}`), "found nothing")

	refused := round(t, "email bob@example.com that we ship on friday", true, "The reviewer said no: too early.")
	require.Contains(t, refused, "No e-mail was sent")
	require.Contains(t, refused, "too early")
}

func TestResultsNobodyAskedForAreStillTold(t *testing.T) {
	call := model.ToolCall{ID: "x", Name: "lookup", Args: json.RawMessage(`{}`)}
	req := ask(every, "hello",
		model.Message{Role: model.RoleAssistant, ToolCalls: []model.ToolCall{call}},
		model.ToolResult(call, "forty-two", false))
	require.Contains(t, answer(t, req).Message.Text(), "forty-two")
}

func TestANewHumanTextForgetsOlderResults(t *testing.T) {
	req := ask(every, "what is 17*23")
	first := answer(t, req)
	req.Messages = append(req.Messages, first.Message, model.ToolResult(first.Message.ToolCalls[0], "17*23 = 391", false),
		model.AssistantText("391"), model.UserText("what is 2+2"))
	again := answer(t, req)
	require.Len(t, again.Message.ToolCalls, 1)
	require.NotEqual(t, first.Message.ToolCalls[0].ID, again.Message.ToolCalls[0].ID)
}

func TestTheSameRequestGivesTheSameChunks(t *testing.T) {
	for _, text := range []string{"weather in Berlin and Oslo", "hello", "plan a launch"} {
		require.Equal(t, answer(t, ask(every, text)), answer(t, ask(every, text)))
	}
}

func TestMaxTokensEndsTheAnswerWithLength(t *testing.T) {
	req := ask(nil, "count to 200")
	req.Params.MaxTokens = 10
	a := answer(t, req)
	require.Equal(t, model.FinishLength, a.Finish)
	require.Equal(t, 10, a.Usage.Output)
}

func TestThePaceWaitsOnTheClockAndStaysNearItsMean(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	counting := &countingClock{now: start}
	m, err := script.New(script.Options{TokensPerSecond: script.Pace, Clock: counting})
	require.NoError(t, err)
	a, err := model.Collect(m.Stream(t.Context(), ask(nil, "count to 200")))
	require.NoError(t, err)
	perSecond := float64(a.Usage.Output) / counting.now.Sub(start).Seconds()
	require.Greater(t, perSecond, 30.0)
	require.Less(t, perSecond, 60.0)
}

// countingClock adds up what it is asked to wait for.
type countingClock struct{ now time.Time }

func (c *countingClock) Now() time.Time { return c.now }

func (c *countingClock) After(d time.Duration) <-chan time.Time {
	c.now = c.now.Add(d)
	ch := make(chan time.Time, 1)
	ch <- c.now
	return ch
}

func TestAPausedAnswerHearsItsCancelAtOnce(t *testing.T) {
	still := clock.NewFake(time.Unix(0, 0))
	m, err := script.New(script.Options{TokensPerSecond: 1, Clock: still})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := model.Collect(m.Stream(ctx, ask(nil, "hello")))
		done <- err
	}()
	cancel()
	select {
	case err := <-done:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(5 * time.Second):
		t.Fatal("the stream went on waiting")
	}
}

func TestAScriptThatDoesNotParseNamesItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "no rule",
		"| x":                                "line 1: text stands outside",
		"when x":                             "outside a rule",
		"rule a\n  when (":                   "line 2: reading a pattern",
		"rule a\n  when x":                   "no answer",
		"rule a\n  answer\n  | x":            "no pattern",
		"rule a\n  shout":                    "line 2",
		"rule a\n  fail oops":                "no kind",
		"rule a\n when x\n answer\n | {{":    "template",
		"rule a\n when x\n answer now\n":     "lines of its own",
		"rule a\nwhen a\nanswer\n|\nrule a":  "name of its own",
		"rule a\nwhen a\ncall x {}\nanswer":  "not offered",
		"rule a\nwhen a\ncall x\nanswer\n| ": "its arguments",
	} {
		_, err := script.Parse("t", text)
		require.ErrorContains(t, err, want, text)
	}
	_, err := script.New(script.Options{TokensPerSecond: -1})
	require.Error(t, err)
}

func TestPiecesJoinToTheText(t *testing.T) {
	long := "An incomprehensible  word, 12345678901 numbers,\n\n\ttabs, naïve Größe 東京 ünïcode.  "
	require.Equal(t, long, strings.Join(script.Pieces(long), ""))
	require.Equal(t, []string{"An", " inco", "mpre", "hens", "ible", " plan", ".", "\n"}, script.Pieces("An incomprehensible plan.\n"))
}

func BenchmarkLongestMessage(b *testing.B) {
	m, err := script.New(script.Options{})
	require.NoError(b, err)
	for _, word := range []string{"please ", "how ", "1+", "weather in a, ", "? "} {
		b.Run(word, func(b *testing.B) {
			req := ask(every, strings.Repeat(word, 10_000/len(word)))
			for b.Loop() {
				_, err := model.Collect(m.Stream(b.Context(), req))
				require.NoError(b, err)
			}
		})
	}
}

func FuzzPiecesAndReplies(f *testing.F) {
	f.Add("what is 17*23")
	f.Add("email a@b that {{.x}} \"quoted\" \\ and | pipes")
	f.Add("\xff weather in , and ,")
	m, err := script.New(script.Options{})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		require.Equal(t, text, strings.Join(script.Pieces(text), ""))
		a, err := model.Collect(m.Stream(t.Context(), ask(every, text)))
		if err != nil && !errors.As(err, new(*model.Error)) {
			t.Fatal(err)
		}
		if err == nil && a.Message.Empty() && !strings.Contains(strings.ToLower(text), "say nothing") {
			t.Fatalf("%q got no answer", text)
		}
	})
}
