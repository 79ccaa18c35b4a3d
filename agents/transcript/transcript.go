// Package transcript folds a thread into what a person sees: the committed
// messages, what the log says happened since the last checkpoint, what waits
// in line, and what the run is doing now. The page, the live patches and the
// clean-up of a stopped or broken attempt all read this one fold, so they can't
// disagree.
//
// It performs no I/O. agents/run and handlers import it; it imports agents and
// event.
package transcript

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// EntryState says how far an entry is.
type EntryState string

// The states of entries.
const (
	EntryComplete  EntryState = "complete"
	EntryStreaming EntryState = "streaming"
	EntryStopped   EntryState = "stopped"
)

// CallState says how far a tool call is.
type CallState string

// The states of tool calls.
const (
	CallWriting CallState = "writing" // the model is still writing the arguments
	CallWaiting CallState = "waiting" // a person has to decide first
	CallRunning CallState = "running"
	CallDone    CallState = "done"
	CallFailed  CallState = "failed"
)

// Entry is a person's message or an assistant's, with its tool calls.
type Entry struct {
	ID         agents.MessageID
	Role       agents.MessageRole
	Text       string
	State      EntryState
	Run        agents.RunID
	Author     string
	Calls      []*Call
	Model      string
	Usage      *agents.TokenUsage
	DurationMS int64
	CreatedAt  time.Time
	// Changed is the number of the envelope that last changed the entry; 0 for
	// one that came with the base.
	Changed int64
	// committed says that a checkpoint holds the entry.
	committed bool
}

// Call is a tool call and, once there, its result.
type Call struct {
	ID         string
	Name       string
	Args       string
	State      CallState
	Summary    string
	Result     string
	ResultID   agents.MessageID
	Data       json.RawMessage
	DurationMS int64
	// Review is the newest request for a decision on the call, if there was one.
	Review *Review
	// committed says that a checkpoint holds the result.
	committed bool
}

// Review is a request for a decision as the thread shows it.
type Review struct {
	ID     agents.ReviewID
	Status agents.ReviewStatus
	Reason string
	DueAt  time.Time
	// By decided; Text is the reason or the answer given.
	By   auth.UserID
	Text string
}

// Question is a pause that whoever may write to the thread answers.
type Question struct {
	ID    string
	Value json.RawMessage
}

// Queued is a run that waits in line, with the messages it brings.
type Queued struct {
	Run      agents.RunID
	Messages []agents.Message
}

// ActivityKind says what a thread is doing.
type ActivityKind string

// The kinds of activity.
const (
	Idle       ActivityKind = "idle"
	Starting   ActivityKind = "starting" // accepted, no worker yet
	Working    ActivityKind = "working"
	Continuing ActivityKind = "continuing" // a new attempt after a crash
	Waiting    ActivityKind = "waiting"    // for a person's answer
	Stopped    ActivityKind = "stopped"
	Failed     ActivityKind = "failed"
)

// Activity is the status line's content.
type Activity struct {
	Kind  ActivityKind
	Run   agents.RunID
	Since time.Time
	Step  int
	Node  string
	// Tool is the name of a tool that runs now, the newest if several do.
	Tool string
	// Writing is true while an answer's text arrives.
	Writing bool
	// Error says why a run failed, in words for people.
	Error string
	// Attempts are those at the step at which it failed, if there were several.
	Attempts []agents.Attempt
}

// Base is what the store knows at one position of the log.
type Base struct {
	Position agents.Position
	Title    string
	Messages []agents.Message
	// Open are the runs that have not ended, in their order.
	Open []agents.Run
	// Latest is the newest run that ended, if any.
	Latest *agents.Run
	// Reviews are the thread's requests for review, oldest first; Interrupts the
	// pauses of the state, if a run waits.
	Reviews    []agents.Review
	Interrupts []agents.Interrupt
}

// BaseOf is what a view of the store begins with.
func BaseOf(v agents.View) Base {
	b := Base{Position: v.Base, Title: v.Thread.Title, Messages: v.State.Messages, Open: v.Open, Latest: v.Latest, Reviews: v.Reviews}
	if v.State.Head != nil {
		b.Interrupts = v.State.Head.Interrupts
	}
	return b
}

// Transcript is the fold. Not safe for concurrent use.
type Transcript struct {
	At    agents.Position
	Title string
	// Assistant is the name of who answers, as the newest run since the base
	// says; empty if there was none.
	Assistant string
	Entries   []*Entry
	Queue     []Queued
	Activity  Activity
	Questions []Question
	// QueueChanged, ActivityChanged, TitleChanged and QuestionsChanged are the
	// numbers of the envelopes that last changed those parts.
	QueueChanged, ActivityChanged, TitleChanged, QuestionsChanged int64
	// rest is what the thread does when nothing works or waits: how the last run
	// ended, or nothing.
	rest Activity
	// Removed lists entries that were taken back, with the number that did so.
	Removed map[agents.MessageID]int64
}

// New folds a base. Envelopes after its position are applied with [Transcript.Apply].
func New(b Base) *Transcript {
	t := &Transcript{At: b.Position, Title: b.Title, Removed: map[agents.MessageID]int64{}, rest: rest(b.Latest)}
	t.Activity = t.rest
	for _, m := range b.Messages {
		t.addMessage(m, 0)
	}
	t.commit()
	present := map[agents.MessageID]bool{}
	for _, m := range b.Messages {
		present[m.ID] = true
	}
	for _, r := range b.Open {
		if r.Status == agents.RunWaiting {
			t.Activity = Activity{Kind: Waiting, Run: r.ID, Since: r.UpdatedAt}
			t.ask(b.Interrupts)
			continue
		}
		started := r.Status != agents.RunPending || r.Attempt > 0
		if r.Input.Resume != nil {
			t.Activity = Activity{Kind: Working, Run: r.ID, Since: r.CreatedAt}
			if !started {
				t.Activity.Kind = Starting
			}
			continue
		}
		brought := len(r.Input.Messages) > 0 && present[r.Input.Messages[0].ID]
		if !brought {
			t.Queue = append(t.Queue, Queued{Run: r.ID, Messages: r.Input.Messages})
		}
		switch {
		case started && brought:
			t.Activity = Activity{Kind: Working, Run: r.ID, Since: r.StartedAt}
		case !t.Busy() && t.Activity.Kind != Waiting:
			t.Activity = Activity{Kind: Starting, Run: r.ID, Since: r.CreatedAt}
		}
	}
	for _, r := range b.Reviews {
		t.review(r.CallID, Review{ID: r.ID, Status: r.Status, Reason: r.Reason, DueAt: r.DueAt, By: r.DecidedBy, Text: r.Text}, 0)
	}
	t.look(0)
	return t
}

// ask shows the questions among pauses.
func (t *Transcript) ask(pauses []agents.Interrupt) {
	for _, i := range pauses {
		if i.Kind == agents.Question {
			t.Questions = append(t.Questions, Question{ID: i.ID, Value: i.Value})
		}
	}
}

// review notes how the newest request for a call stands. A call whose request
// is open waits; once decided, it runs until its result is there.
func (t *Transcript) review(call string, r Review, seq int64) {
	c, e := t.callAndEntry(call)
	if c == nil {
		return
	}
	c.Review, e.Changed = &r, max(e.Changed, seq)
	switch {
	case c.State == CallRunning && r.Status == agents.ReviewOpen:
		c.State = CallWaiting
	case c.State == CallWaiting && r.Status != agents.ReviewOpen:
		c.State = CallRunning
	}
}

// rest says how a run that ended left its thread.
func rest(r *agents.Run) Activity {
	switch {
	case r == nil:
	case r.Status == agents.RunFailed, r.Status == agents.RunTimeout:
		a := Activity{Kind: Failed, Run: r.ID, Since: r.EndedAt}
		if r.Error != nil {
			a.Error, a.Attempts = r.Error.Message, r.Error.Attempts
		}
		return a
	case r.Status == agents.RunCancelled && r.Attempt > 0:
		return Activity{Kind: Stopped, Run: r.ID, Since: r.EndedAt}
	}
	return Activity{Kind: Idle}
}

// addMessage folds a stored message: a tool's result goes to its call.
func (t *Transcript) addMessage(m agents.Message, seq int64) {
	switch m.Role {
	case agents.RoleTool:
		if c := t.call(m.ToolCallID); c != nil {
			c.State, c.Result, c.ResultID, c.Summary, c.Data, c.DurationMS = CallDone, m.Text, m.ID, m.Summary, m.Data, m.DurationMS
			if m.Status == agents.MessageFailed {
				c.State = CallFailed
			}
		}
	case agents.RoleUser, agents.RoleAssistant:
		e := &Entry{
			ID: m.ID, Role: m.Role, Text: m.Text, State: EntryComplete, Run: m.Run, Author: m.Author, Model: m.Model,
			Usage: m.Usage, DurationMS: m.DurationMS, CreatedAt: m.CreatedAt, Changed: seq,
		}
		if m.Status == agents.MessageStopped {
			e.State = EntryStopped
		}
		for _, c := range m.ToolCalls {
			e.Calls = append(e.Calls, &Call{ID: c.ID, Name: c.Name, Args: string(c.Args), State: CallRunning})
		}
		t.Entries = append(t.Entries, e)
	default: // system messages steer the model; people don't see them
	}
}

func (t *Transcript) commit() {
	for _, e := range t.Entries {
		e.committed = true
		for _, c := range e.Calls {
			c.committed = c.State == CallDone || c.State == CallFailed
		}
	}
}

// Entry finds an entry by id; nil if there is none.
func (t *Transcript) Entry(id agents.MessageID) *Entry {
	// The one that is asked for is nearly always among the newest.
	for i := len(t.Entries) - 1; i >= 0; i-- {
		if t.Entries[i].ID == id {
			return t.Entries[i]
		}
	}
	return nil
}

func (t *Transcript) call(id string) *Call {
	c, _ := t.callAndEntry(id)
	return c
}

func (t *Transcript) callAndEntry(id string) (*Call, *Entry) {
	for i := len(t.Entries) - 1; i >= 0; i-- {
		for _, c := range t.Entries[i].Calls {
			if c.ID == id {
				return c, t.Entries[i]
			}
		}
	}
	return nil, nil
}

// Unfinished is what an attempt left in the log beyond its last checkpoint.
type Unfinished struct {
	// Entries are assistant messages no checkpoint holds.
	Entries []*Entry
	// Calls are tool calls without a committed result, whichever run asked for
	// them: a run may go on from where another paused.
	Calls []*Call
}

// Unfinished lists what the log says of a run beyond its last checkpoint.
func (t *Transcript) Unfinished(run agents.RunID) Unfinished {
	var u Unfinished
	for _, e := range t.Entries {
		if e.Role != agents.RoleAssistant {
			continue
		}
		if e.Run == run && !e.committed {
			u.Entries = append(u.Entries, e)
		}
		for _, c := range e.Calls {
			if !c.committed {
				u.Calls = append(u.Calls, c)
			}
		}
	}
	return u
}

func (t *Transcript) remove(id agents.MessageID, seq int64) {
	at := slices.IndexFunc(t.Entries, func(e *Entry) bool { return e.ID == id })
	if at >= 0 {
		t.Entries = slices.Delete(t.Entries, at, at+1)
		t.Removed[id] = seq
	}
}

func (t *Transcript) unqueue(run agents.RunID, seq int64) (Queued, bool) {
	at := slices.IndexFunc(t.Queue, func(q Queued) bool { return q.Run == run })
	if at < 0 {
		return Queued{}, false
	}
	q := t.Queue[at]
	t.Queue = slices.Delete(t.Queue, at, at+1)
	t.QueueChanged = seq
	return q, true
}

func (t *Transcript) setActivity(a Activity, seq int64) {
	t.Activity, t.ActivityChanged = a, seq
}

// Busy reports whether a run works or waits in line.
func (t *Transcript) Busy() bool {
	switch t.Activity.Kind {
	case Starting, Working, Continuing:
		return true
	default:
		return false
	}
}
