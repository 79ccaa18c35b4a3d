package present_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/transcript"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/views/chat"
)

// pauses are envelopes of a thread whose run waits for two reviews and a
// question, with a message behind it, and then goes on as another run.
func pauses(status agents.ReviewStatus) [][]byte {
	var log [][]byte
	emit := func(typ event.Type, run string, data json.RawMessage) {
		e := event.Envelope{Type: typ, Time: noon, RunID: run, Attempt: 1, Data: data}
		body, err := e.Body()
		if err != nil {
			panic(err)
		}
		log = append(log, event.Compose(int64(len(log)+1), "e", body))
	}
	say := func(run, id, text string) {
		emit(event.TextMessageStart, run, event.Data(event.TextStartData{MessageID: id}))
		emit(event.TextMessageContent, run, event.Data(event.TextContentData{MessageID: id, Delta: text}))
		emit(event.TextMessageEnd, run, event.Data(event.TextEndData{MessageID: id, DurationMS: 10}))
	}
	queue := func(run, text string) {
		raw, _ := json.Marshal([]agents.Message{{ID: agents.MessageID("q" + run), Role: agents.RoleUser, Text: text, Author: "mia", CreatedAt: noon, Run: agents.RunID(run)}})
		emit(event.Custom, run, event.NewCustom(event.MessageQueued, event.QueuedValue{RunID: run, Messages: raw}))
	}
	queue("r1", "email bob and eve")
	emit(event.RunStarted, "r1", event.Data(event.RunStartedData{RunID: "r1"}))
	say("r1", "a1", "I will write.")
	for _, call := range []string{"c1", "c2"} {
		emit(event.ToolCallStart, "r1", event.Data(event.ToolStartData{ToolCallID: call, ToolCallName: "send_email", ParentMessageID: "a1"}))
		emit(event.ToolCallArgs, "r1", event.Data(event.ToolArgsData{ToolCallID: call, Delta: `{"to":"bob@example.com"}`}))
		emit(event.ToolCallEnd, "r1", event.Data(event.ToolEndData{ToolCallID: call}))
	}
	due := noon.Add(time.Hour).Format(time.RFC3339)
	emit(event.Custom, "r1", event.NewCustom(event.ReviewRequested, event.RequestedValue{InterruptID: "i1", Kind: "review", Reviews: []event.RequestValue{
		{ReviewID: "v1", ToolCallID: "c1", Tool: "send_email", Reason: "Outbound.", DueAt: due}, {ReviewID: "v2", ToolCallID: "c2", Tool: "send_email", DueAt: due}}}))
	emit(event.Custom, "r1", event.NewCustom(event.ReviewRequested, event.RequestedValue{InterruptID: "i2", Kind: "question", Value: json.RawMessage(`{"action_requests":[{"name":"x","args":{"a":1}}]}`)}))
	emit(event.Custom, "r1", event.NewCustom(event.ReviewRequested, event.RequestedValue{InterruptID: "i3", Kind: "question", Value: json.RawMessage(`"Which <b>one</b>?"`)}))
	emit(event.RunFinished, "r1", event.Data(event.RunFinishedData{Outcome: event.OutcomeInterrupt}))
	queue("r3", "and then?")
	emit(event.Custom, "r1", event.NewCustom(event.ReviewDecided, event.DecidedValue{ReviewID: "v1", ToolCallID: "c1", Status: string(status), By: "ray", Text: "because"}))
	emit(event.Custom, "r1", event.NewCustom(event.ReviewDecided, event.DecidedValue{ReviewID: "v2", ToolCallID: "c2", Status: "edited", By: "ray", Args: json.RawMessage(`{"to":"eve@example.com"}`), ResumedBy: "r2"}))
	emit(event.RunStarted, "r2", event.Data(event.RunStartedData{RunID: "r2"}))
	for i, call := range []string{"c1", "c2"} {
		emit(event.ToolCallResult, "r2", event.Data(event.ToolResultData{MessageID: "t" + call, ToolCallID: call, Content: "done", Summary: "Not run", Failed: i == 0}))
	}
	say("r2", "a2", "That is what became of it.")
	emit(event.RunFinished, "r2", event.Data(event.RunFinishedData{Outcome: event.OutcomeSuccess}))
	emit(event.RunStarted, "r3", event.Data(event.RunStartedData{RunID: "r3"}))
	say("r3", "a3", "Nothing.")
	emit(event.RunFinished, "r3", event.Data(event.RunFinishedData{Outcome: event.OutcomeSuccess}))
	return log
}

func TestAPatchedPageOfAPausedThreadIsTheFreshPage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(24) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		statuses := []agents.ReviewStatus{agents.ReviewApproved, agents.ReviewRejected, agents.ReviewAnswered, agents.ReviewWithdrawn, agents.ReviewExpired, agents.ReviewVoid}
		follow(t, seed, rnd, pauses(statuses[seed%uint64(len(statuses))]))
	}
}

func TestAPausedThreadSaysWhoHasToAct(t *testing.T) {
	t.Parallel()
	p := thread()
	p.Names["ray"] = "Ray"
	tr := transcript.New(transcript.Base{Position: agents.Position{Epoch: "e"}})
	said := map[string]string{}
	for i, payload := range pauses(agents.ReviewRejected) {
		e, err := event.Parse(payload)
		require.NoError(t, err)
		_, err = tr.Apply(e)
		require.NoError(t, err)
		said[fmt.Sprint(i)] = p.StatusOf(tr).Text
		name, _ := e.CustomName()
		switch {
		case e.Type == event.RunFinished && e.RunID == "r1":
			require.Equal(t, "Waiting for review", p.StatusOf(tr).Text)
			step := p.Steps(tr.Entries[1])[0]
			require.Equal(t, chat.StepWaiting, step.State)
			require.Equal(t, "send_email to bob@example.com waiting for review", step.Verb+" "+step.Object+" "+step.Outcome)
			require.True(t, step.Review.Open)
			require.Equal(t, "due in 1 h", step.Review.Due.Text)
			questions := present.Questions(tr)
			require.Len(t, questions, 2)
			require.Equal(t, "x", questions[0].Actions[0].Name)
			require.Equal(t, "Which <b>one</b>?", questions[1].Text)
		case name == event.MessageQueued && e.RunID == "r3":
			require.True(t, p.Queue(tr)[0].Waits, "what is queued offers to withdraw the request")
		case name == event.ReviewDecided && p.Steps(tr.Entries[1])[1].Review.Open:
			require.Equal(t, "Waiting for review", p.StatusOf(tr).Text, "the other one is open")
		}
	}
	messages := p.Messages(tr)
	step := messages[1].Steps[0]
	require.Equal(t, chat.StepStopped, step.State)
	require.Equal(t, "Rejected by Ray: because", step.Review.Text)
	require.Equal(t, "not run", step.Outcome)
	require.Equal(t, "Approved with changes by Ray", messages[1].Steps[1].Review.Text)
	require.Contains(t, messages[1].Steps[1].Args, "eve@example.com")
	require.True(t, messages[2].Continued, "the run that goes on goes on with the answer")
	require.False(t, messages[4].Continued, "a person spoke between")
}

func TestAVerdictNamesWhoDecidedWhat(t *testing.T) {
	t.Parallel()
	for status, want := range map[agents.ReviewStatus]string{
		agents.ReviewApproved: "Approved by Ray", agents.ReviewEdited: "Approved with changes by Ray", agents.ReviewRejected: "Rejected by Ray: no",
		agents.ReviewAnswered: "Answered by Ray in place of the tool", agents.ReviewWithdrawn: "Withdrawn by Ray", agents.ReviewExpired: "Nobody decided in time",
		agents.ReviewVoid: "The call changed, so this request is void",
	} {
		require.Equal(t, want, present.Verdict(status, "Ray", "no"))
	}
	require.Equal(t, "Rejected by a member", present.Verdict(agents.ReviewRejected, "", ""))
	require.Equal(t, "a former member", present.Member(map[auth.UserID]string{}, "gone"))
}

func TestADueTimeSaysWhenItIsSoon(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration][2]string{
		-time.Minute: {"due now", "late"}, 30 * time.Second: {"due in less than a minute", "soon"}, 14 * time.Minute: {"due in 14 min", "soon"},
		56 * time.Minute: {"due in 56 min", ""}, 5 * time.Hour: {"due in 5 h", ""}, 72 * time.Hour: {"due in 3 days", ""},
	} {
		got := present.Until(noon.Add(left), noon)
		require.Equal(t, want, [2]string{got.Text, got.State}, left)
	}
}

func TestASubjectTellsCallsApart(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		`{"to":"bob@example.com","subject":"We ship"}`: "We ship", `{"url":"https://x.test","body":"y"}`: "https://x.test", `{"n":5}`: `{"n":5}`, `{"subject":"  ","to":"b"}`: "b", `[1]`: `[1]`,
		`{"title":"two\nlines"}`: "two lines",
	} {
		require.Equal(t, want, present.Subject(json.RawMessage(args)))
	}
}
