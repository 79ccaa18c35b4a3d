package transcript_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/transcript"
)

// story plays a thread's life as runs and the store play it: what is logged,
// what each checkpoint holds, which runs are open. It is the reference the fold
// is held against.
type story struct {
	rnd    *rand.Rand
	log    []event.Envelope
	bases  []transcript.Base // one per checkpoint
	open   []agents.Run
	latest *agents.Run
	// facts are the open runs and the newest ended one after each envelope.
	facts  []transcript.Base
	stored []agents.Message
	title  string
	made   int
	step   int
}

func (s *story) id(prefix string) string { s.made++; return fmt.Sprint(prefix, s.made) }

func (s *story) now() time.Time {
	return time.Date(2026, 3, 1, 12, 0, len(s.log), 0, time.UTC)
}

func (s *story) emit(run agents.RunID, typ event.Type, data json.RawMessage) {
	s.log = append(s.log, event.Envelope{V: 1, Seq: int64(len(s.log) + 1), Epoch: "e", Type: typ, Time: s.now(),
		RunID: string(run), Attempt: 1, Step: s.step, Data: data})
	s.facts = append(s.facts, transcript.Base{Open: slices.Clone(s.open), Latest: s.latest, Title: s.title})
}

func (s *story) custom(run agents.RunID, name event.Name, value any) {
	s.emit(run, event.Custom, event.NewCustom(name, value))
}

func (s *story) checkpoint(run agents.RunID, messages ...agents.Message) {
	s.stored = append(slices.Clone(s.stored), messages...)
	s.custom(run, event.CheckpointMade, event.CheckpointValue{Step: s.step})
	s.step++
	s.bases = append(s.bases, transcript.Base{Position: agents.Position{Seq: int64(len(s.log)), Epoch: "e"}, Messages: s.stored})
}

// submit queues a run.
func (s *story) submit() {
	run := agents.RunID(s.id("run"))
	m := agents.Message{ID: agents.MessageID(s.id("m")), Role: agents.RoleUser, Text: "question", Author: "mia", Run: run, CreatedAt: s.now()}
	if s.title == "" {
		s.title = "question"
	}
	s.open = append(slices.Clone(s.open), agents.Run{ID: run, Status: agents.RunPending, CreatedAt: s.now(),
		Input: agents.RunInput{Messages: []agents.Message{m}}})
	raw, _ := json.Marshal([]agents.Message{m})
	s.custom(run, event.MessageQueued, event.QueuedValue{RunID: string(run), Ahead: len(s.open) - 1, Messages: raw, Title: "question"})
}

// withdraw takes the run at a place out of the line.
func (s *story) withdraw(at int) {
	r := s.open[at]
	s.open = slices.Delete(slices.Clone(s.open), at, at+1)
	s.custom(r.ID, event.MessageUnqueued, event.UnqueuedValue{RunID: string(r.ID)})
}

func (s *story) end(r agents.Run, status agents.RunStatus) {
	s.open = slices.Clone(s.open[1:])
	r.Status, r.EndedAt, r.Attempt = status, s.now(), 1
	if status == agents.RunFailed {
		r.Error = &agents.RunError{Message: "boom"}
	}
	s.latest = &r
	switch status {
	case agents.RunFailed:
		s.emit(r.ID, event.RunError, event.Data(event.RunErrorData{Message: "boom"}))
	case agents.RunCancelled:
		s.emit(r.ID, event.RunFinished, event.Data(event.RunFinishedData{Outcome: event.OutcomeCancelled}))
	default:
		s.emit(r.ID, event.RunFinished, event.Data(event.RunFinishedData{Outcome: event.OutcomeSuccess}))
	}
}

// meddle lets people do something while a run works.
func (s *story) meddle() {
	switch s.rnd.IntN(12) {
	case 0:
		if len(s.open) < 4 {
			s.submit()
		}
	case 1:
		if n := len(s.open); n > 1 {
			s.withdraw(1 + s.rnd.IntN(n-1))
		}
	}
}

// run plays the first run in line from its claim to its end.
func (s *story) run() {
	s.open = slices.Clone(s.open)
	s.open[0].Status, s.open[0].Attempt = agents.RunRunning, 1
	s.open[0].StartedAt = s.now()
	r := s.open[0]
	s.emit(r.ID, event.RunStarted, event.Data(event.RunStartedData{RunID: string(r.ID)}))
	s.checkpoint(r.ID, r.Input.Messages...)
	for round := 0; ; round++ {
		var message agents.Message
		switch message = s.model(r, round < 2); s.rnd.IntN(8) {
		case 0: // the worker is lost: what this step said is void, and said anew
			s.meddle()
			s.lost(r, message)
			message = s.model(r, round < 2)
		case 1: // a person stops it
			s.stop(r, message, agents.RunCancelled)
			return
		case 2:
			s.stop(r, message, agents.RunFailed)
			return
		}
		s.finishText(r, message)
		s.emit(r.ID, event.StepFinished, event.Data(event.StepData{StepName: "agent"}))
		s.checkpoint(r.ID, message)
		if len(message.ToolCalls) == 0 {
			s.end(r, agents.RunSuccess)
			return
		}
		s.meddle()
		s.tools(r, message)
	}
}

// model writes an answer up to its last word; finishText says that it is whole.
func (s *story) model(r agents.Run, mayCall bool) agents.Message {
	s.emit(r.ID, event.StepStarted, event.Data(event.StepData{StepName: "agent"}))
	m := agents.Message{ID: agents.MessageID(s.id("m")), Role: agents.RoleAssistant, Run: r.ID, Model: "mock", CreatedAt: s.now(),
		Usage: &agents.TokenUsage{Input: 1, Output: 2}}
	calls := 0
	if mayCall {
		calls = s.rnd.IntN(3)
	}
	if calls == 0 || s.rnd.IntN(2) == 0 {
		s.emit(r.ID, event.TextMessageStart, event.Data(event.TextStartData{MessageID: string(m.ID), Role: "assistant"}))
		for range 1 + s.rnd.IntN(3) {
			s.emit(r.ID, event.TextMessageContent, event.Data(event.TextContentData{MessageID: string(m.ID), Delta: "word "}))
			m.Text += "word "
			s.meddle()
		}
	}
	for range calls {
		c := agents.ToolCall{ID: s.id("call"), Name: "search", Args: json.RawMessage(`{"query":"x"}`)}
		s.emit(r.ID, event.ToolCallStart, event.Data(event.ToolStartData{ToolCallID: c.ID, ToolCallName: c.Name, ParentMessageID: string(m.ID)}))
		s.emit(r.ID, event.ToolCallArgs, event.Data(event.ToolArgsData{ToolCallID: c.ID, Delta: `{"query":`}))
		s.emit(r.ID, event.ToolCallArgs, event.Data(event.ToolArgsData{ToolCallID: c.ID, Delta: `"x"}`}))
		s.emit(r.ID, event.ToolCallEnd, event.Data(event.ToolEndData{ToolCallID: c.ID}))
		m.ToolCalls = append(m.ToolCalls, c)
	}
	return m
}

func (s *story) finishText(r agents.Run, m agents.Message) {
	if m.Text != "" {
		s.emit(r.ID, event.TextMessageEnd, event.Data(event.TextEndData{MessageID: string(m.ID)}))
	}
	s.custom(r.ID, event.Usage, event.UsageValue{MessageID: string(m.ID), Model: m.Model, Input: m.Usage.Input, Output: m.Usage.Output})
}

func (s *story) lost(r agents.Run, m agents.Message) {
	if m.Text != "" {
		s.emit(r.ID, event.TextMessageEnd, event.Data(event.TextEndData{MessageID: string(m.ID), Broken: true}))
	}
	s.custom(r.ID, event.RunContinued, event.ContinuedValue{Attempt: 2, Discarded: []string{string(m.ID)}})
}

// stop settles a run in the middle of an answer.
func (s *story) stop(r agents.Run, m agents.Message, status agents.RunStatus) {
	m.Usage, m.Model, m.Status = nil, "", agents.MessageComplete
	if m.Text != "" {
		m.Status = agents.MessageStopped
		s.emit(r.ID, event.TextMessageEnd, event.Data(event.TextEndData{MessageID: string(m.ID), Stopped: true}))
	}
	messages := []agents.Message{m}
	for _, c := range m.ToolCalls {
		messages = append(messages, s.result(r, c, true))
	}
	s.checkpoint(r.ID, messages...)
	s.end(r, status)
}

func (s *story) result(r agents.Run, c agents.ToolCall, failed bool) agents.Message {
	m := agents.Message{ID: agents.MessageID(s.id("m")), Role: agents.RoleTool, Name: c.Name, ToolCallID: c.ID, Text: "found",
		Summary: "1 result", DurationMS: 3, Run: r.ID}
	if failed {
		m.Status = agents.MessageFailed
	}
	s.emit(r.ID, event.ToolCallResult, event.Data(event.ToolResultData{MessageID: string(m.ID), ToolCallID: c.ID, Name: c.Name,
		Content: m.Text, Summary: m.Summary, Failed: failed, DurationMS: 3}))
	return m
}

// tools runs the calls of a message; a lost worker runs them again.
func (s *story) tools(r agents.Run, m agents.Message) {
	for {
		s.emit(r.ID, event.StepStarted, event.Data(event.StepData{StepName: "tools"}))
		lost := s.rnd.IntN(5) == 0
		results := make([]agents.Message, len(m.ToolCalls))
		for n, at := range s.rnd.Perm(len(m.ToolCalls)) {
			if lost && n > 0 {
				break
			}
			results[at] = s.result(r, m.ToolCalls[at], s.rnd.IntN(4) == 0)
			s.meddle()
		}
		if lost {
			s.custom(r.ID, event.RunContinued, event.ContinuedValue{Attempt: 2, Discarded: []string{}})
			continue
		}
		s.emit(r.ID, event.StepFinished, event.Data(event.StepData{StepName: "tools"}))
		s.checkpoint(r.ID, results...)
		return
	}
}

func tell(seed uint64) *story {
	s := &story{rnd: rand.New(rand.NewPCG(seed, 7))}
	s.submit()
	for range 6 {
		switch {
		case len(s.open) == 0 || s.rnd.IntN(4) == 0:
			s.submit()
		case s.rnd.IntN(6) == 0:
			s.withdraw(s.rnd.IntN(len(s.open)))
		default:
			s.run()
		}
	}
	return s
}

// seen keeps of a fold what people see, whatever place it began at.
var seen = cmp.Options{
	cmpopts.IgnoreUnexported(transcript.Entry{}, transcript.Call{}, transcript.Transcript{}),
	cmpopts.IgnoreFields(transcript.Entry{}, "Changed", "CreatedAt"),
	cmpopts.IgnoreFields(transcript.Activity{}, "Since", "Step", "Node", "Run"),
	cmpopts.IgnoreFields(transcript.Transcript{}, "QueueChanged", "ActivityChanged", "TitleChanged", "Removed", "Assistant"),
	cmpopts.EquateEmpty(),
}

func fold(t *testing.T, base transcript.Base, log []event.Envelope) *transcript.Transcript {
	t.Helper()
	tr := transcript.New(base)
	for _, e := range log {
		reload, err := tr.Apply(e)
		require.NoError(t, err)
		require.False(t, reload)
	}
	return tr
}

func TestAFoldSaysTheSameFromEveryCheckpoint(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		s := tell(seed)
		for cut := 1; cut <= len(s.log); cut++ {
			whole := fold(t, transcript.Base{Position: agents.Position{Epoch: "e"}}, s.log[:cut])
			// What a reload reads at this moment: the newest checkpoint, the runs as
			// they are now, and the log in between.
			base := s.facts[cut-1]
			for _, b := range s.bases {
				if b.Position.Seq <= int64(cut) {
					base.Position, base.Messages = b.Position, b.Messages
				}
			}
			base.Position.Epoch = "e"
			tail := fold(t, base, s.log[base.Position.Seq:cut])
			if diff := cmp.Diff(whole, tail, seen); diff != "" {
				t.Fatalf("seed %d: after %d envelopes (the last: %s %s), a fold from the checkpoint at %d differs (- whole log):\n%s",
					seed, cut, s.log[cut-1].Type, s.log[cut-1].Data, base.Position.Seq, diff)
			}
		}
	}
}

func TestApplyingAnEnvelopeTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	s := tell(3)
	once := fold(t, transcript.Base{Position: agents.Position{Epoch: "e"}}, s.log)
	twice := transcript.New(transcript.Base{Position: agents.Position{Epoch: "e"}})
	for i := range s.log {
		for _, e := range s.log[max(0, i-5) : i+1] {
			_, err := twice.Apply(e)
			require.NoError(t, err)
		}
	}
	require.Empty(t, cmp.Diff(once, twice, cmpopts.IgnoreUnexported(transcript.Entry{}, transcript.Call{}, transcript.Transcript{})))
}

func TestTheStatusTellsTheToolThatRuns(t *testing.T) {
	t.Parallel()
	s := &story{rnd: rand.New(rand.NewPCG(1, 1))}
	s.submit()
	s.open[0].Status = agents.RunRunning
	r := s.open[0]
	s.emit(r.ID, event.RunStarted, event.Data(event.RunStartedData{RunID: string(r.ID)}))
	s.checkpoint(r.ID, r.Input.Messages...)
	var m agents.Message
	for len(m.ToolCalls) == 0 {
		m = s.model(r, true)
	}
	s.checkpoint(r.ID, m)
	s.emit(r.ID, event.StepStarted, event.Data(event.StepData{StepName: "tools"}))
	tr := fold(t, transcript.Base{Position: agents.Position{Epoch: "e"}}, s.log)
	require.Equal(t, "search", tr.Activity.Tool, "while the tool runs")
	for _, c := range m.ToolCalls {
		s.result(r, c, false)
	}
	tr = fold(t, transcript.Base{Position: agents.Position{Epoch: "e"}}, s.log)
	require.Empty(t, tr.Activity.Tool, "and not after it")
}

func TestACallWhoseArgumentsWereNeverCompleteIsTakenBack(t *testing.T) {
	t.Parallel()
	tr := transcript.New(transcript.Base{Position: agents.Position{Epoch: "e"}})
	seq := int64(0)
	apply := func(typ event.Type, data any) {
		seq++
		_, err := tr.Apply(event.Envelope{Seq: seq, Epoch: "e", Type: typ, RunID: "r", Data: event.Data(data)})
		require.NoError(t, err)
	}
	apply(event.ToolCallStart, event.ToolStartData{ToolCallID: "c", ToolCallName: "search", ParentMessageID: "m"})
	apply(event.ToolCallArgs, event.ToolArgsData{ToolCallID: "c", Delta: `{"que`})
	require.NotNil(t, tr.Entry("m"))
	apply(event.ToolCallEnd, event.ToolEndData{ToolCallID: "c", Broken: true})
	require.Nil(t, tr.Entry("m"), "it said nothing else")
	require.Equal(t, int64(3), tr.Removed["m"])
}

func TestASnapshotAsksForAReload(t *testing.T) {
	t.Parallel()
	tr := transcript.New(transcript.Base{Position: agents.Position{Seq: 4, Epoch: "e"}})
	reload, err := tr.Apply(event.Envelope{Seq: 5, Epoch: "e", Type: event.MessagesSnapshot, Data: json.RawMessage(`{}`)})
	require.NoError(t, err)
	require.True(t, reload)
	_, err = tr.Apply(event.Envelope{Seq: 6, Epoch: "e", Type: event.TextMessageContent, Data: json.RawMessage(`[]`)})
	require.Error(t, err)
}
