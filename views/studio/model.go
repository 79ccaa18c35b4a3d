// Package studio shows what a development server's graphs and threads are made
// of: a graph drawn as a picture, a thread's state and its checkpoints.
//
// Models hold text that is ready to show; the picture is laid out here. Handlers
// may import it.
package studio

import (
	"strconv"

	"github.com/heddle/heddle/views/ui"
)

// Home is the first page.
type Home struct {
	Graphs  []GraphLine
	Threads []ThreadLine
	// Outbox says that this server keeps its mail.
	Outbox bool
}

// GraphLine is one registered graph of the list.
type GraphLine struct {
	Name, Href   string
	Nodes, Edges int
}

// ThreadLine is one thread of the list.
type ThreadLine struct {
	ID, Title, Assistant, Status string
	Updated                      ui.Time
}

// Graph is a graph to draw.
type Graph struct {
	Name string
	// Start and End are the virtual nodes' names, Nodes the others.
	Start, End string
	Nodes      []string
	Edges      []Edge
	Outbox     bool
}

// Edge is one way from a node to another.
type Edge struct {
	From, To    string
	Conditional bool
}

func (e Edge) kind() string {
	if e.Conditional {
		return "conditional"
	}
	return "always"
}

// Thread is a thread's state as it is stored.
type Thread struct {
	ID, Title, Status string
	// Owner is empty for one's own thread.
	Owner string
	// Assistant is who answers, GraphName the graph behind it; both may be empty,
	// and GraphHref if this server has no such graph.
	Assistant, GraphName, GraphHref string
	Line                            string
	Step                            int
	Next                            []string
	Runs                            []Run
	Interrupts                      []Interrupt
	Values                          []Value
	Messages                        []Message
	// Earlier is how many messages stand before those shown.
	Earlier     int
	Checkpoints []Checkpoint
	// MostCheckpoints is how many the page shows.
	MostCheckpoints int
	CanWrite        bool
	// Last is the beginning of the last message of a person, if there is one.
	Last string
	// CanContinue says that something is due and nothing waits or runs.
	CanContinue bool
	Outbox      bool
	CSRF        string
}

func (t Thread) path(more string) string { return "/dev/threads/" + t.ID + more }

// Run is one that has not ended.
type Run struct{ ID, Status string }

// Interrupt is an open pause; Title says of what node.
type Interrupt struct{ ID, Title, Payload string }

// Value is a channel's value.
type Value struct{ Channel, Value string }

// Message is one message of the state.
type Message struct {
	ID, Role, Text, Status string
	// Tool and CallID are set on a tool's result.
	Tool, CallID string
	Calls        []Call
}

// Call is one that an assistant's message asks for.
type Call struct{ ID, Name, Args string }

// Checkpoint is one step of the active line.
type Checkpoint struct {
	Step        int
	Source, Run string
	Next        []string
	Ops         int
	Deltas      []Delta
	Pauses      int
	// Whole says that the step keeps the whole state.
	Whole bool
	At    ui.Time
}

// Delta is one change of one channel.
type Delta struct{ Channel, Op, Value string }

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}
