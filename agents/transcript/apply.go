package transcript

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// Apply folds one envelope, in the order of numbers; one that was applied
// already changes nothing. reload is true when the envelope says that the
// messages must be read anew (a rolled back or cut history).
func (t *Transcript) Apply(e event.Envelope) (reload bool, err error) {
	if e.Seq <= t.At.Seq && e.Epoch == t.At.Epoch {
		return false, nil
	}
	t.At = agents.Position{Seq: e.Seq, Epoch: e.Epoch}
	reload, err = t.fold(e)
	t.look(e.Seq)
	return reload, err
}

func (t *Transcript) fold(e event.Envelope) (reload bool, err error) {
	switch e.Type {
	case event.RunStarted:
		return false, t.runStarted(e)
	case event.RunFinished:
		return false, t.runFinished(e)
	case event.RunError:
		var d event.RunErrorData
		if err := e.Decode(&d); err != nil {
			return false, err
		}
		t.endRun(e, Activity{Kind: Failed, Run: agents.RunID(e.RunID), Since: e.Time, Error: d.Message, Attempts: attempts(d.Attempts)})
	case event.StepStarted:
		a := t.Activity
		a.Step, a.Node = e.Step, e.Node
		t.setActivity(a, e.Seq)
	case event.TextMessageStart, event.TextMessageContent, event.TextMessageEnd:
		return false, t.text(e)
	case event.ToolCallStart, event.ToolCallArgs, event.ToolCallEnd, event.ToolCallResult:
		return false, t.tool(e)
	case event.MessagesSnapshot:
		return true, nil
	case event.Custom:
		return false, t.custom(e)
	default: // types that change nothing a person sees here
	}
	return false, nil
}

// attempts reads what the log says of attempts.
func attempts(told []event.AttemptData) []agents.Attempt {
	var out []agents.Attempt
	for _, a := range told {
		out = append(out, agents.Attempt{Attempt: a.Attempt, BeganAt: a.BeganAt, EndedAt: a.EndedAt, Worker: a.Worker, Why: agents.AttemptEnd(a.Why)})
	}
	return out
}

func (t *Transcript) runStarted(e event.Envelope) error {
	if len(t.Questions) > 0 {
		t.Questions, t.QuestionsChanged = nil, e.Seq
	}
	if q, ok := t.unqueue(agents.RunID(e.RunID), e.Seq); ok {
		for _, m := range q.Messages {
			if t.Entry(m.ID) == nil {
				t.addMessage(m, e.Seq)
			}
		}
	}
	t.setActivity(Activity{Kind: Working, Run: agents.RunID(e.RunID), Since: e.Time, Step: e.Step}, e.Seq)
	return nil
}

func (t *Transcript) runFinished(e event.Envelope) error {
	var d event.RunFinishedData
	if err := e.Decode(&d); err != nil {
		return err
	}
	a := Activity{Kind: Idle, Run: agents.RunID(e.RunID), Since: e.Time}
	switch d.Outcome {
	case event.OutcomeCancelled:
		a.Kind = Stopped
	case event.OutcomeInterrupt:
		// What stands in line waits with the run.
		t.rest = Activity{Kind: Idle}
		t.unqueue(a.Run, e.Seq)
		t.setActivity(Activity{Kind: Waiting, Run: a.Run, Since: e.Time}, e.Seq)
		t.commit()
		return nil
	default:
	}
	if len(t.Questions) > 0 {
		t.Questions, t.QuestionsChanged = nil, e.Seq
	}
	t.endRun(e, a)
	return nil
}

// endRun settles what the run left open; the next in line, if any, is starting.
func (t *Transcript) endRun(e event.Envelope, a Activity) {
	for _, entry := range t.Entries {
		if entry.Run == agents.RunID(e.RunID) && entry.State == EntryStreaming {
			entry.State, entry.Changed = EntryStopped, e.Seq
		}
	}
	t.unqueue(agents.RunID(e.RunID), e.Seq)
	t.rest = a
	if len(t.Queue) > 0 {
		a = Activity{Kind: Starting, Run: t.Queue[0].Run, Since: e.Time}
	}
	t.setActivity(a, e.Seq)
	t.commit()
}

func (t *Transcript) text(e event.Envelope) error {
	// The three data types share messageId; one decode serves all.
	var d struct {
		MessageID agents.MessageID `json:"messageId"`
		Delta     string           `json:"delta"`
		Broken    bool             `json:"broken"`
		Stopped   bool             `json:"stopped"`
		Duration  int64            `json:"durationMs"`
	}
	if err := e.Decode(&d); err != nil {
		return err
	}
	entry := t.assistantEntry(d.MessageID, e)
	switch e.Type {
	case event.TextMessageStart:
		t.works(e.Seq)
	case event.TextMessageContent:
		entry.Text += d.Delta
	case event.TextMessageEnd:
		if d.Duration > 0 {
			entry.DurationMS = d.Duration
		}
		switch {
		case d.Broken:
			t.remove(d.MessageID, e.Seq)
		case d.Stopped:
			entry.State = EntryStopped
		default:
			entry.State = EntryComplete
		}
	default:
	}
	entry.Changed = e.Seq
	return nil
}

// works ends the notice that a new attempt continues: it does something.
func (t *Transcript) works(seq int64) {
	if t.Activity.Kind == Continuing {
		a := t.Activity
		a.Kind = Working
		t.setActivity(a, seq)
	}
}

// look finds out what the run does from what stands in the thread, so that a
// fold from any checkpoint says the same.
func (t *Transcript) look(seq int64) {
	tool, writing := "", false
	for i := len(t.Entries) - 1; i >= 0 && t.Busy() && t.Entries[i].Role == agents.RoleAssistant; i-- {
		e := t.Entries[i]
		writing = writing || e.State == EntryStreaming && e.Text != ""
		for c := len(e.Calls) - 1; c >= 0 && tool == ""; c-- {
			if e.Calls[c].State == CallRunning {
				tool = e.Calls[c].Name
			}
		}
	}
	if tool != t.Activity.Tool || writing != t.Activity.Writing {
		a := t.Activity
		a.Tool, a.Writing = tool, writing
		t.setActivity(a, seq)
	}
}

// assistantEntry finds the entry an envelope speaks of, or opens it.
func (t *Transcript) assistantEntry(id agents.MessageID, e event.Envelope) *Entry {
	if entry := t.Entry(id); entry != nil {
		return entry
	}
	entry := &Entry{ID: id, Role: agents.RoleAssistant, State: EntryStreaming, Run: agents.RunID(e.RunID), CreatedAt: e.Time, Changed: e.Seq}
	t.Entries = append(t.Entries, entry)
	return entry
}

func (t *Transcript) tool(e event.Envelope) error {
	var d struct {
		event.ToolResultData
		ToolCallName    string           `json:"toolCallName"`
		ParentMessageID agents.MessageID `json:"parentMessageId"`
		Delta           string           `json:"delta"`
		Broken          bool             `json:"broken"`
	}
	if err := e.Decode(&d); err != nil {
		return err
	}
	call, entry := t.callAndEntry(d.ToolCallID)
	if call == nil {
		if e.Type != event.ToolCallStart {
			return nil // its start was part of a discarded step
		}
		entry = t.assistantEntry(d.ParentMessageID, e)
		call = &Call{ID: d.ToolCallID, Name: d.ToolCallName, State: CallWriting}
		entry.Calls = append(entry.Calls, call)
		t.works(e.Seq)
	}
	entry.Changed = e.Seq
	switch e.Type {
	case event.ToolCallArgs:
		call.Args += d.Delta
	case event.ToolCallEnd:
		if d.Broken {
			t.dropCall(entry, call, e.Seq)
			break
		}
		call.State = CallRunning
		if len(entry.Text) == 0 && entry.State == EntryStreaming {
			entry.State = EntryComplete
		}
	case event.ToolCallResult:
		call.State, call.Result, call.Summary = CallDone, d.Content, d.Summary
		call.ResultID, call.Data, call.DurationMS = agents.MessageID(d.MessageID), d.Data, d.DurationMS
		if d.Failed {
			call.State = CallFailed
		}
	default:
	}
	return nil
}

// dropCall takes back a call whose arguments were never complete, and its
// message if that says nothing else.
func (t *Transcript) dropCall(entry *Entry, call *Call, seq int64) {
	entry.Calls = slices.DeleteFunc(entry.Calls, func(c *Call) bool { return c == call })
	if entry.Text == "" && len(entry.Calls) == 0 {
		t.remove(entry.ID, seq)
	}
}

func (t *Transcript) custom(e event.Envelope) error {
	name, value := e.CustomName()
	switch name {
	case event.MessageQueued:
		var v event.QueuedValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		return t.queued(e, v)
	case event.MessageUnqueued:
		var v event.UnqueuedValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		t.unqueue(agents.RunID(v.RunID), e.Seq)
		if t.Activity.Kind == Starting && t.Activity.Run == agents.RunID(v.RunID) {
			a := t.rest
			if len(t.Queue) > 0 {
				a = Activity{Kind: Starting, Run: t.Queue[0].Run, Since: e.Time}
			}
			t.setActivity(a, e.Seq)
		}
	case event.MessagesDiscarded:
		var v event.DiscardedValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		for _, id := range v.Discarded {
			t.remove(agents.MessageID(id), e.Seq)
		}
	case event.RunContinued:
		var v event.ContinuedValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		for _, id := range v.Discarded {
			t.remove(agents.MessageID(id), e.Seq)
		}
		for _, c := range t.Unfinished(agents.RunID(e.RunID)).Calls {
			c.State = CallRunning
		}
		a := Activity{Kind: Continuing, Run: agents.RunID(e.RunID), Since: e.Time, Step: e.Step}
		if t.Activity.Run == a.Run {
			a.Since = t.Activity.Since
		}
		t.setActivity(a, e.Seq)
	case event.ReviewRequested:
		var v event.RequestedValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		t.requested(e, v)
	case event.ReviewDecided:
		var v event.DecidedValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		t.decided(e, v)
	case event.CheckpointMade:
		t.works(e.Seq)
		if len(e.NS) == 0 { // that of a subgraph says nothing of its siblings
			t.commit()
		}
	case event.ThreadChanged:
		var v event.ThreadValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		t.Title, t.TitleChanged = v.Title, e.Seq
		if v.Assistant != "" {
			t.Assistant = v.Assistant
		}
	case event.Usage:
		var v event.UsageValue
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		if entry := t.Entry(agents.MessageID(v.MessageID)); entry != nil {
			entry.Model, entry.DurationMS, entry.Changed = v.Model, v.DurationMS, e.Seq
			entry.Usage = &agents.TokenUsage{Input: v.Input, Output: v.Output}
		}
	default:
	}
	return nil
}

// requeued changes the text or the place of a run that stands in line.
func (t *Transcript) requeued(at int, e event.Envelope, v event.QueuedValue) error {
	q := t.Queue[at]
	q.Messages = nil
	if err := json.Unmarshal(v.Messages, &q.Messages); err != nil {
		return err
	}
	t.Queue[at] = q
	if v.First {
		t.Queue = slices.Insert(slices.Delete(t.Queue, at, at+1), 0, q)
		if t.Activity.Kind == Starting {
			t.setActivity(Activity{Kind: Starting, Run: q.Run, Since: e.Time}, e.Seq)
		}
	}
	t.QueueChanged = e.Seq
	return nil
}

func (t *Transcript) queued(e event.Envelope, v event.QueuedValue) error {
	run := agents.RunID(v.RunID)
	if v.Assistant != "" {
		t.Assistant = v.Assistant
	}
	if t.Title == "" && v.Title != "" {
		t.Title, t.TitleChanged = v.Title, e.Seq
	}
	if at := slices.IndexFunc(t.Queue, func(q Queued) bool { return q.Run == run }); at >= 0 {
		return t.requeued(at, e, v)
	}
	if t.Activity.Run == run {
		return nil
	}
	var messages []agents.Message
	if err := json.Unmarshal(v.Messages, &messages); err != nil {
		return err
	}
	if len(messages) > 0 && t.Entry(messages[0].ID) != nil {
		return nil
	}
	at := len(t.Queue)
	if v.First {
		at = 0
	}
	t.Queue = slices.Insert(t.Queue, at, Queued{Run: run, Messages: messages})
	t.QueueChanged = e.Seq
	if v.First && t.Activity.Kind == Starting {
		t.setActivity(Activity{Kind: Starting, Run: run, Since: e.Time}, e.Seq)
	}
	if !t.Busy() && t.Activity.Kind != Waiting {
		t.setActivity(Activity{Kind: Starting, Run: run, Since: e.Time}, e.Seq)
	}
	return nil
}

func (t *Transcript) requested(e event.Envelope, v event.RequestedValue) {
	if v.Kind == string(agents.Question) {
		t.ask([]agents.Interrupt{{ID: v.InterruptID, Kind: agents.Question, Value: v.Value}})
		t.QuestionsChanged = e.Seq
	}
	t.stillWaits(e.Seq)
	for _, r := range v.Reviews {
		due, _ := time.Parse(time.RFC3339, r.DueAt) // written by us
		t.review(r.ToolCallID, Review{ID: agents.ReviewID(r.ReviewID), Status: agents.ReviewOpen, Reason: r.Reason, DueAt: due}, e.Seq)
	}
}

func (t *Transcript) decided(e event.Envelope, v event.DecidedValue) {
	r := Review{ID: agents.ReviewID(v.ReviewID), Status: agents.ReviewStatus(v.Status), By: auth.UserID(v.By), Text: v.Text}
	if c := t.call(v.ToolCallID); c != nil {
		if c.Review != nil {
			r.Reason, r.DueAt = c.Review.Reason, c.Review.DueAt
		}
		if len(v.Args) > 0 {
			c.Args = string(v.Args)
		}
	}
	t.review(v.ToolCallID, r, e.Seq)
	if v.ResumedBy != "" {
		t.setActivity(Activity{Kind: Starting, Run: agents.RunID(v.ResumedBy), Since: e.Time}, e.Seq)
	}
	t.stillWaits(e.Seq)
}

// stillWaits notes that what a paused run waits for has changed.
func (t *Transcript) stillWaits(seq int64) {
	if t.Activity.Kind == Waiting {
		t.ActivityChanged = seq
	}
}
