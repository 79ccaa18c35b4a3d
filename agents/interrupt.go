package agents

import (
	"encoding/json"
	"slices"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// InterruptKind says who may answer an interrupt.
type InterruptKind string

// The kinds of interrupts.
const (
	// Question is a pause that a graph asked for: whoever may write to the
	// thread answers it.
	Question InterruptKind = "question"
	// ReviewAsked is a pause before tool calls whose policy wants a decision:
	// only decisions on its reviews answer it.
	ReviewAsked InterruptKind = "review"
)

// Interrupt is one pause of a node, as its checkpoint keeps it.
type Interrupt struct {
	ID   string        `json:"id"`
	Node string        `json:"node"`
	Kind InterruptKind `json:"kind"`
	// Task is the node's place among what is due on its line. NS are the
	// subgraphs around the node, Root the places of their tasks, outermost first.
	Task int      `json:"task,omitempty"`
	NS   []string `json:"ns,omitempty"`
	Root []int    `json:"root,omitempty"`
	// Break is "before" or "after" where a breakpoint paused, not the node.
	Break string `json:"break,omitempty"`
	// Value is what clients show: plain JSON.
	Value json.RawMessage `json:"value"`
	// Answered are the answers to earlier pauses of the same node, in order: a
	// node starts again from its top and gets them again.
	Answered []json.RawMessage `json:"answered,omitempty"`
	// Answer is set where a resume answers this one; JSON null is an answer.
	Answer json.RawMessage `json:"answer,omitempty"`
}

// Of gives the place of the task that paused among those due on the thread's own
// line: the node's, or that of the outermost subgraph around it.
func (i Interrupt) Of() int { return i.OfAt(0) }

// OfAt is Of for the line of a subgraph with as many around it, itself included.
func (i Interrupt) OfAt(depth int) int {
	if len(i.Root) > depth {
		return i.Root[depth]
	}
	return i.Task
}

// Breakpoint is the payload of a pause that a breakpoint made.
type Breakpoint struct {
	// Where is "before" or "after".
	Where string `json:"breakpoint"`
	Node  string `json:"node"`
}

// BreakpointOf reads a pause's payload; false if a node asks instead.
func BreakpointOf(value json.RawMessage) (Breakpoint, bool) {
	var b Breakpoint
	if json.Unmarshal(value, &b) != nil {
		return b, false
	}
	return b, (b.Where == "before" || b.Where == "after") && b.Node != ""
}

// Resume is what a run brings that goes on from a pause instead of beginning.
type Resume struct {
	// Interrupts are the pauses of the checkpoint it goes on from, with answers.
	Interrupts []Interrupt `json:"interrupts,omitempty"`
	// Goto replaces the nodes that are due, "__end__" by none; empty keeps them.
	Goto []string `json:"goto,omitempty"`
	// Sends are due beside Goto, each with an input of its own.
	Sends []Due `json:"sends,omitempty"`
	// Of is the run that was paused; empty when none waited.
	Of RunID `json:"of,omitempty"`
}

// Jumps reports whether the run goes on elsewhere than where the thread stands.
func (r *Resume) Jumps() bool { return r != nil && len(r.Goto)+len(r.Sends) > 0 }

// Match gives the open interrupts with a client's answer filled in: an object
// whose keys are ids of open ones answers those; a list with as many elements as
// several are open answers each in its order; anything else answers the only one
// that is open. Nothing at all (nil) answers none. A fault says that a bare value
// can't tell several apart, or that an object of ids names none that is open: an
// answer that comes twice must not become the answer to the next question.
func Match(answer json.RawMessage, open []Interrupt) ([]Interrupt, error) {
	out := slices.Clone(open)
	if answer == nil {
		return out, nil
	}
	var byID map[string]json.RawMessage
	if json.Unmarshal(answer, &byID) == nil && len(byID) > 0 {
		known := 0
		for i := range out {
			if v, ok := byID[out[i].ID]; ok {
				out[i].Answer = v
				known++
			}
		}
		if known == len(byID) {
			return out, nil
		}
		if known > 0 || named(byID) {
			return nil, fault.Invalid("command.resume", "names an interrupt that is not open")
		}
	}
	if len(open) == 1 {
		out[0].Answer = answer
		return out, nil
	}
	var inOrder []json.RawMessage
	if json.Unmarshal(answer, &inOrder) != nil || len(inOrder) != len(open) {
		return nil, fault.Invalid("command.resume",
			"must be an object with a value for each interrupt's id, or a list with one for each in their order: several are open")
	}
	for i := range out {
		out[i].Answer = inOrder[i]
	}
	return out, nil
}

// named reports whether all keys of an object are ids of pauses by their form:
// such an answer is for these alone, and late if none of them is open.
func named(byID map[string]json.RawMessage) bool {
	for key := range byID {
		if !id.Valid(key) {
			return false
		}
	}
	return true
}

// ErrNotInterrupted says that a thread waits for no answer.
var ErrNotInterrupted = fault.Conflict("This thread waits for no answer.").WithCode("not_interrupted")

// Answering is what somebody answers to a thread's open questions.
type Answering struct {
	Run RunID
	// Pauses are the open interrupts with answers.
	Pauses []Interrupt
	// Goto and Sends replace the nodes that are due; empty keeps them.
	Goto  []string
	Sends []Due
	// Input is what the run that goes on brings besides.
	Input    RunInput
	Request  json.RawMessage
	Metadata json.RawMessage
	Webhook  string
	// Withdrawn builds the event of an open request that a jump leaves behind.
	Withdrawn func(Review, RunID) (event.Envelope, error)
}

// Resumed is the run that goes on, and what was appended on the way.
type Resumed struct {
	Run    Run
	Told   []event.Envelope
	ToldAt Appended
}

// StateUpdate is a change of a thread's state by a client, as a step.
type StateUpdate struct {
	// Line and At are the head that the change was made for; where Forks, an older
	// place of the thread, at which Step.Line begins.
	Line  LineID
	At    int
	Forks bool
	Step  Step
	// Touched says that a call under review is not what was shown any more: its
	// requests are void, and the graph goes on at once to ask again.
	Touched bool
	// Leaves says that the graph does not go on from where it paused: open
	// requests are withdrawn, and the run that waited is over.
	Leaves bool
	// Told builds the event of a request that ends, Ended that of the run.
	Told  func(Review, RunID) (event.Envelope, error)
	Ended func(Run) (event.Envelope, error)
}

// Updated says what a change of state did.
type Updated struct {
	// Events were appended at Appended, with the step.
	Events   []event.Envelope
	Appended Appended
	// Resumed is the run that asks again, if requests became void.
	Resumed RunID
	// Checkpoint is the id of the new one.
	Checkpoint string
}
