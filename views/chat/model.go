// Package chat shows threads: the list, the messages, the composer. What the
// page renders and what the socket patches are the same components (law 9);
// ids.go names them.
//
// Inside a patched region nothing depends on who looks: buttons that need a
// right carry the class "for-writers" or "for-reviewers" and are hidden unless the
// page's main element has "can-write" or "can-review", times are <time> elements, and there are no tokens.
//
// Models hold text that is ready to show: money, sizes and times are formatted
// by whoever fills them. Handlers may import it.
package chat

import (
	"github.com/heddle/heddle/views/markdown"
	"github.com/heddle/heddle/views/ui"
)

// Home is the start page: the list and a composer for a new thread.
type Home struct {
	List       List
	Assistants []Assistant
	Starters   []Starter
	Composer   Composer
	// Greeting addresses the person, such as "Good morning, Mia".
	Greeting string
}

// Assistant is one choice for a new thread.
type Assistant struct {
	ID, Name, Description string
	Selected              bool
}

// Starter is a first message to begin with.
type Starter struct {
	Label, Text string
}

// List is the pane of threads.
type List struct {
	Query  string
	Groups []Group
	// Next is the address of the following page, empty on the last.
	Next string
	CSRF string
}

// Group is a run of threads under one heading, such as "Today".
type Group struct {
	Label   string
	Threads []ListItem
}

// ListItem is one thread in the list.
type ListItem struct {
	ID, Title string
	Assistant string
	Updated   ui.Time
	State     ThreadState
	Active    bool
	Shared    bool
	// Snippet is where a search found its words.
	Snippet string
}

// ThreadState is a thread's standing, as the list shows it.
type ThreadState string

// The states of a thread.
const (
	ThreadIdle    ThreadState = "idle"
	ThreadBusy    ThreadState = "busy"
	ThreadWaiting ThreadState = "waiting"
	ThreadFailed  ThreadState = "failed"
)

// Thread is the page of one thread.
type Thread struct {
	ID, Title string
	Assistant string
	Shared    bool
	// CanWrite says that the viewer may send, stop, rename and delete.
	CanWrite bool
	// Newer is the version of the assistant in use, where it is newer than the
	// one the thread keeps; 0 where it is not.
	Newer int
	// CanReview says that the viewer may decide on calls that wait.
	CanReview bool
	// Owner names whose thread it is, when it is not the viewer's.
	Owner string
	// Seq and Epoch are the place in the log that this page shows.
	Seq   int64
	Epoch string
	// Earlier is the address of the page of older messages, empty at the start.
	Earlier  string
	Messages []Message
	// Questions are what the assistant asks whoever may write.
	Questions []Question
	Status    Status
	Queue     []Queued
	Composer  Composer
	List      List
	CSRF      string
}

// Role says who speaks.
type Role string

// The roles of messages.
const (
	User      Role = "user"
	Assistive Role = "assistant"
)

// State is how far an assistant's message is.
type State string

// The states of a message.
const (
	Complete   State = "complete"
	Streaming  State = "streaming"
	Stopped    State = "stopped"    // by a person; the text so far stays
	Failed     State = "failed"     // Reason says why
	Continuing State = "continuing" // another worker goes on with it
)

// Message is one turn.
type Message struct {
	ID   string
	Role Role
	// Author is the assistant's or person's name; the viewer is named like
	// anyone, since a patch has no viewer.
	Author string
	At     ui.Time
	// Continued says that the message before is of the same author and run: the
	// name is not said again.
	Continued bool
	// Text is what a person wrote, shown as it is.
	Text string
	// Blocks are an assistant's words, one element each.
	Blocks []BlockView
	Steps  []Step
	State  State
	Reason string
	// Usage is one formatted line such as "mock · 1.2 s · 312 tokens".
	Usage string
	// Source is the Markdown, for the copy button; empty while it streams.
	Source string
}

// BlockView is one rendered block.
type BlockView struct {
	Index int
	HTML  markdown.HTML
}

// StepState is how a tool call ended, or that it has not.
type StepState string

// The states of a step.
const (
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepWaiting StepState = "waiting"
	StepStopped StepState = "stopped"
)

// Step is one tool call, folded.
type Step struct {
	CallID string
	// Verb is in the past tense when done, "Searched"; Object what it was done
	// to, "refund policy"; Outcome a few words, "3 results".
	Verb, Object, Outcome string
	Duration              string
	State                 StepState
	// Args is JSON set out for reading. Result is plain text or JSON. Error is
	// what went wrong, in words.
	Args, Result, Error string
	// Links lead to what the result names, such as documents found.
	Links []Link
	// Review tells of a person's decision on the call, if one is or was needed.
	Review StepReview
}

// StepReview is how the newest request for a decision on a call stands.
type StepReview struct {
	// ID is empty for a call that nobody had to decide on.
	ID   string
	Open bool
	// Text says who decided what, or that nobody has; Due is until when.
	Text string
	Due  ui.Time
}

// Question is a pause that whoever may write to the thread answers.
type Question struct {
	ID string
	// Break says where a breakpoint stopped the run: nothing is asked.
	Break string
	// Actions are calls to decide on; Text or JSON is any other question.
	Actions    []Action
	Text, JSON string
	// Answer and Error bring back an answer that was refused.
	Answer, Error string
}

// Action is a call that a question is about. Args is JSON set out for reading.
type Action struct {
	Name, Text, Args string
}

// Link is a named address.
type Link struct {
	Href, Label string
}

// RunState is what the thread's line of status says.
type RunState string

// The states of the line.
const (
	RunIdle       RunState = "idle"
	RunWorking    RunState = "working"
	RunContinuing RunState = "continuing"
	RunStopping   RunState = "stopping"
	RunFailed     RunState = "failed"
	RunWaiting    RunState = "waiting"
)

// Status is the line above the composer.
type Status struct {
	State RunState
	// Text says what happens, such as "Searching documents".
	Text string
	// Since is when it began; the script counts the seconds.
	Since ui.Time
	// Step is "step 2", or empty.
	Step string
	// Assistant names who works, for the announcement to screen readers.
	Assistant string
	// Attempts are those at the step at which a run failed, if there were several.
	Attempts []Attempt
}

// Attempt is one of several at a step that failed.
type Attempt struct {
	Number int
	// At is when it ended.
	At ui.Time
	// Worker is what the worker was called, Why how the attempt ended.
	Worker, Why string
}

// busy reports that a run works on the thread.
func (s Status) busy() bool {
	return s.State == RunWorking || s.State == RunContinuing || s.State == RunStopping
}

// Queued is a message whose run waits its turn.
type Queued struct {
	RunID, Text string
	At          ui.Time
	// Waits says that the run before it waits for a person.
	Waits bool
	// Edited and Error bring back a change that was refused.
	Edited, Error string
}

// words are what its field holds: what was typed, or what it says.
func (q Queued) words() string {
	if q.Error != "" {
		return q.Edited
	}
	return q.Text
}

// Composer is where a message is written.
type Composer struct {
	// Action is the address the form posts to.
	Action string
	// DraftKey names the draft in the browser.
	DraftKey string
	// Disabled says why nothing can be sent here; empty if something can.
	Disabled string
	// Busy turns send into stop.
	Busy bool
	// Text and Error bring back a message that was refused.
	Text, Error string
	// MaxLength is the limit in characters, told before it is reached.
	MaxLength int
	CSRF      string
}

// Blocks renders a text for a message: every block if it is complete, else
// the closed ones and the open tail.
func Blocks(r *markdown.Renderer, src string) []BlockView {
	var out []BlockView
	for _, b := range markdown.All(src) {
		out = append(out, BlockView{Index: b.Index, HTML: r.Block(b)})
	}
	return out
}
