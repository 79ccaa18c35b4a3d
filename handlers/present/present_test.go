package present_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/internal/testweb"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/markdown"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func thread() present.Thread {
	return present.Thread{ID: "t", Assistant: "Guide", Names: map[auth.UserID]string{"mia": "Mia"},
		Markdown: markdown.New(markdown.Options{HeadingShift: 2}), Now: func() time.Time { return noon }}
}

func TestTheStatusSaysWhatHappens(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		activity transcript.Activity
		state    chat.RunState
		text     string
	}{
		{transcript.Activity{Kind: transcript.Idle}, chat.RunIdle, ""},
		{transcript.Activity{Kind: transcript.Stopped}, chat.RunIdle, ""},
		{transcript.Activity{Kind: transcript.Starting}, chat.RunWorking, "Starting"},
		{transcript.Activity{Kind: transcript.Working}, chat.RunWorking, "Thinking"},
		{transcript.Activity{Kind: transcript.Working, Tool: "search"}, chat.RunWorking, "Searching documents"},
		{transcript.Activity{Kind: transcript.Working, Tool: "own_tool"}, chat.RunWorking, "Running own_tool"},
		{transcript.Activity{Kind: transcript.Working, Writing: true}, chat.RunWorking, "Writing"},
		{transcript.Activity{Kind: transcript.Continuing}, chat.RunContinuing, "Continuing after an interruption"},
		{transcript.Activity{Kind: transcript.Failed, Error: "boom"}, chat.RunFailed, "boom"},
		{transcript.Activity{Kind: transcript.Failed}, chat.RunFailed, "The assistant could not finish this answer."},
	} {
		got := thread().Status(c.activity)
		require.Equal(t, c.state, got.State)
		require.Equal(t, c.text, got.Text)
		require.Equal(t, "Guide", got.Assistant)
	}
}

func TestAStepTellsItsCallInWords(t *testing.T) {
	t.Parallel()
	steps := thread().Steps(&transcript.Entry{Calls: []*transcript.Call{
		{ID: "1", Name: "search", Args: `{"query":"refunds"}`, State: transcript.CallRunning},
		{ID: "2", Name: "search", Args: `{"query":"refunds"}`, State: transcript.CallDone, Summary: "Searched refunds: 3 results", DurationMS: 1234,
			Result: `{"a":1}`, Data: json.RawMessage(`[{"title":"Refunds","url":"/handbook/refunds"},{"title":"Evil","url":"//evil.test"},{"title":"Far","url":"https://evil.test"},{"title":"","url":"/x"}]`)},
		{ID: "3", Name: "calculator", Args: `{"expression":"1/0"}`, State: transcript.CallFailed, Result: "division by zero", DurationMS: 12},
		{ID: "4", Name: "search", Args: `{"que`, State: transcript.CallWriting},
		{ID: "5", Name: "search", Args: `{}`, State: transcript.CallFailed, Summary: "Stopped", Result: "Cancelled"},
	}})
	require.Equal(t, []chat.StepState{chat.StepRunning, chat.StepDone, chat.StepFailed, chat.StepRunning, chat.StepStopped},
		[]chat.StepState{steps[0].State, steps[1].State, steps[2].State, steps[3].State, steps[4].State})
	require.Equal(t, "Searching documents", steps[0].Verb)
	require.Equal(t, "refunds", steps[0].Object)
	require.Equal(t, "Searched refunds", steps[1].Verb)
	require.Equal(t, "3 results", steps[1].Outcome)
	require.Equal(t, "1.2 s", steps[1].Duration)
	require.Equal(t, "{\n  \"a\": 1\n}", steps[1].Result)
	require.Equal(t, []chat.Link{{Href: "/handbook/refunds", Label: "Refunds"}}, steps[1].Links, "no link leads away")
	require.Equal(t, "division by zero", steps[2].Error)
	require.Equal(t, "12 ms", steps[2].Duration)
	require.Empty(t, steps[3].Object, "arguments that are still written have no object")
}

func TestAPageHoldsTheNewestMessagesOrThoseBeforeOne(t *testing.T) {
	t.Parallel()
	var all []chat.Message
	for i := range 250 {
		all = append(all, chat.Message{ID: fmt.Sprint("m", i)})
	}
	page, earlier := present.Window(all, "t", "")
	require.Len(t, page, present.PerPage)
	require.Equal(t, "m249", page[99].ID)
	require.Equal(t, "/threads/t?before=m150", earlier)
	page, earlier = present.Window(all, "t", "m150")
	require.Equal(t, "m149", page[99].ID)
	require.Equal(t, "/threads/t?before=m50", earlier)
	page, earlier = present.Window(all, "t", "m50")
	require.Len(t, page, 50)
	require.Empty(t, earlier)
	page, _ = present.Window(all, "t", "nobody")
	require.Equal(t, "m249", page[99].ID)
	page, earlier = present.Window(nil, "t", "m1")
	require.Empty(t, page)
	require.Empty(t, earlier)
}

func TestThreadsAreListedUnderTheirDay(t *testing.T) {
	t.Parallel()
	at := func(id string, ago time.Duration, status agents.ThreadStatus) agents.Thread {
		return agents.Thread{ID: agents.ThreadID(id), UpdatedAt: noon.Add(-ago), Status: status, Title: id}
	}
	groups := present.Groups([]agents.Thread{
		at("now", 0, agents.ThreadBusy), at("morning", 11*time.Hour, agents.ThreadError), at("evening", 13*time.Hour, agents.ThreadInterrupted),
		at("week", 100*time.Hour, agents.ThreadIdle), {ID: "old", UpdatedAt: noon.AddDate(0, -2, 0)},
	}, nil, "week", noon)
	var got []string
	for _, g := range groups {
		for _, th := range g.Threads {
			got = append(got, fmt.Sprintf("%s %s %s %v", g.Label, th.Title, th.State, th.Active))
		}
	}
	require.Equal(t, []string{"Today now busy false", "Today morning failed false", "Yesterday evening waiting false",
		"Last seven days week idle true", "January 2026 New thread idle false"}, got)
}

// answers are envelopes of a thread with two runs: Markdown in small pieces,
// tool calls, a broken attempt.
func answers(rnd *rand.Rand) [][]byte {
	var log [][]byte
	emit := func(typ event.Type, run string, data json.RawMessage) {
		e := event.Envelope{Type: typ, Time: noon, RunID: run, Attempt: 1, Data: data}
		body, err := e.Body()
		if err != nil {
			panic(err)
		}
		log = append(log, event.Compose(int64(len(log)+1), "e", body))
	}
	source := "# Plan\n\nA *first* paragraph with `code`,\nover two lines.\n\n- one\n- two\n  - deep\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n```go\nfunc main() {}\n```\n\n> quoted\n\nThe end. 🧵\n"
	for n, run := range []string{"r1", "r2"} {
		question, _ := json.Marshal([]agents.Message{{ID: agents.MessageID("q" + run), Role: agents.RoleUser, Text: "<b>question</b>", Author: "mia", CreatedAt: noon, Run: agents.RunID(run)}})
		emit(event.Custom, run, event.NewCustom(event.MessageQueued, event.QueuedValue{RunID: run, Messages: question, Title: "question"}))
		emit(event.RunStarted, run, event.Data(event.RunStartedData{RunID: run}))
		attempts := 1 + n
		for attempt := range attempts {
			id := fmt.Sprint("a", run, attempt)
			emit(event.StepStarted, run, event.Data(event.StepData{StepName: "agent"}))
			emit(event.TextMessageStart, run, event.Data(event.TextStartData{MessageID: id}))
			for rest := []rune(source); len(rest) > 0; {
				size := min(1+rnd.IntN(12), len(rest))
				emit(event.TextMessageContent, run, event.Data(event.TextContentData{MessageID: id, Delta: string(rest[:size])}))
				rest = rest[size:]
			}
			if attempt+1 < attempts {
				emit(event.TextMessageEnd, run, event.Data(event.TextEndData{MessageID: id, Broken: true}))
				emit(event.Custom, run, event.NewCustom(event.RunContinued, event.ContinuedValue{Attempt: 2, Discarded: []string{id}}))
				continue
			}
			for c := range 2 {
				call := fmt.Sprint("c", run, c)
				emit(event.ToolCallStart, run, event.Data(event.ToolStartData{ToolCallID: call, ToolCallName: "search", ParentMessageID: id}))
				emit(event.ToolCallArgs, run, event.Data(event.ToolArgsData{ToolCallID: call, Delta: `{"query":"x"}`}))
				emit(event.ToolCallEnd, run, event.Data(event.ToolEndData{ToolCallID: call}))
			}
			emit(event.TextMessageEnd, run, event.Data(event.TextEndData{MessageID: id, DurationMS: 1500}))
			for c := range 2 {
				emit(event.ToolCallResult, run, event.Data(event.ToolResultData{MessageID: "t", ToolCallID: fmt.Sprint("c", run, c), Content: "found", Summary: "Searched x: 1 result", DurationMS: 20}))
			}
		}
		emit(event.RunFinished, run, event.Data(event.RunFinishedData{Outcome: event.OutcomeSuccess}))
	}
	return log
}

// pageOf renders the regions of a thread's page that patches know.
func pageOf(t *testing.T, p present.Thread, tr *transcript.Transcript) *testweb.Page {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, chat.TitleOf(present.Title(tr.Title)).Render(t.Context(), &b))
	require.NoError(t, chat.Messages(p.Messages(tr)).Render(t.Context(), &b))
	require.NoError(t, chat.Questions("t", present.Questions(tr)).Render(t.Context(), &b))
	require.NoError(t, chat.Queue("t", p.Queue(tr)).Render(t.Context(), &b))
	require.NoError(t, chat.StatusLine(p.StatusOf(tr)).Render(t.Context(), &b))
	require.NoError(t, chat.ComposerActions("t", tr.Busy(), false).Render(t.Context(), &b))
	return testweb.At(t, "http://none").PageOf(testweb.Answer{Body: b.String()})
}

func regions(p *testweb.Page) string {
	var all []string
	for _, id := range []string{"thread-title", "messages", "questions", "queue", "status", "composer-actions"} {
		all = append(all, p.Region(id))
	}
	return strings.Join(all, "\n")
}

func TestAPatchedPageIsTheFreshPageAfterEveryFlush(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		follow(t, seed, rnd, answers(rnd))
	}
}

// follow patches a page envelope by envelope and compares it with a fresh one.
func follow(t *testing.T, seed uint64, rnd *rand.Rand, log [][]byte) {
	t.Helper()
	view := agents.View{Base: agents.Position{Epoch: "e"}, Head: agents.Position{Epoch: "e"}}
	projector := present.NewProjector(func(context.Context) (agents.View, present.Thread, error) { return view, thread(), nil })
	at, err := projector.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, realtime.Position{Epoch: "e"}, at)
	live, fresh := pageOf(t, thread(), transcript.New(transcript.Base{})), transcript.New(transcript.Base{Position: agents.Position{Epoch: "e"}})
	asleep, since := live.Clone(), int64(0)
	for i, payload := range log {
		require.NoError(t, projector.Apply(realtime.Message{Seq: int64(i + 1), Epoch: "e", Payload: payload}))
		e, err := event.Parse(payload)
		require.NoError(t, err)
		_, err = fresh.Apply(e)
		require.NoError(t, err)
		if rnd.IntN(3) > 0 && i != len(log)-1 {
			continue
		}
		patch, err := projector.Flush()
		require.NoError(t, err)
		if patch != nil {
			live.Patch(patch)
			live.Patch(patch) // twice is once
		}
		want := regions(pageOf(t, thread(), fresh))
		require.Empty(t, cmp.Diff(want, regions(live)), "seed %d after %d envelopes", seed, i+1)
		if rnd.IntN(6) == 0 { // somebody comes back who was away since
			patch, err := projector.Changed(since)
			require.NoError(t, err)
			if patch != nil {
				asleep.Patch(patch)
			}
			require.Empty(t, cmp.Diff(want, regions(asleep)), "seed %d: away from %d to %d", seed, since, i+1)
			since = int64(i + 1)
		}
	}
}

func TestABrokenLogEndsTheProjectorAndAReplacedHistoryToo(t *testing.T) {
	t.Parallel()
	view := agents.View{Base: agents.Position{Epoch: "e"}, Head: agents.Position{Epoch: "e"}}
	load := func(context.Context) (agents.View, present.Thread, error) { return view, thread(), nil }
	for _, payload := range []string{`{`, `{"v":9}`, `{"v":1,"seq":1,"epoch":"e","type":"TEXT_MESSAGE_CONTENT","data":[]}`, `{"v":1,"seq":1,"epoch":"e","type":"MESSAGES_SNAPSHOT","data":{}}`} {
		p := present.NewProjector(load)
		_, err := p.Load(t.Context())
		require.NoError(t, err)
		require.Error(t, p.Apply(realtime.Message{Seq: 1, Epoch: "e", Payload: []byte(payload)}), payload)
	}
}
