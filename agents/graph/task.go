package graph

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// Info is what a node may know of the run around it. It is trusted: it comes
// from the session or key that asked, never from the input.
type Info struct {
	Scope     auth.Scope
	Thread    agents.ThreadID
	Run       agents.RunID
	Attempt   int
	Assistant agents.Assistant
	// UserName is what the person who asked is called, empty if unknown; StartedAt
	// is when the run's first attempt began.
	UserName  string
	StartedAt time.Time
	// Context is what the client gave with the run. It is input: never who acts.
	Context map[string]json.RawMessage
	// Line is the line of history the run writes, Token its fencing token.
	Line  agents.LineID
	Token int64
}

// Task is one execution of one node.
type Task struct {
	Info
	// ID is the same for every execution of the task within its run.
	ID   string
	Node string
	// Index is the task's place among those of its step.
	Index int
	// NS are the subgraphs around the node, from the outside: NODE:LINE each.
	NS   []string
	Step int
	// Try counts the executions that the retry policy allows, from 1.
	Try   int
	State State
	// Input is what was sent to this task, nil if an edge led to it.
	Input json.RawMessage
	Clock Clock
	NewID id.Source

	emit  func(event.Envelope)
	mu    sync.Mutex
	ended bool
	said  []said
	pause pause
}

// said is a message that watchers have heard of.
type said struct {
	id   string
	open bool
}

// InputOf reads what was sent to a task.
func InputOf[T any](t *Task) (T, error) {
	var v T
	if t.Input == nil {
		return v, fmt.Errorf("node %s was not sent an input", t.Node)
	}
	if err := json.Unmarshal(t.Input, &v); err != nil {
		return v, fmt.Errorf("reading the input of node %s: %w", t.Node, err)
	}
	return v, nil
}

// Failed tells a handler what it handles; ok is false for a node that was not
// called as one.
func Failed(t *Task) (f NodeFailure, ok bool) {
	var in handled
	if t.Input == nil || json.Unmarshal(t.Input, &in) != nil || in.Failure == nil {
		return NodeFailure{}, false
	}
	return *in.Failure, true
}

// NodeFailure is another node's failure, as it is stored for the handler.
type NodeFailure struct {
	Node string `json:"node"`
	// Message is what may be shown of it.
	Message string `json:"message"`
	Tries   int    `json:"tries"`
	// Input is what had been sent to the node, if anything.
	Input json.RawMessage `json:"input,omitempty"`
}

// handled is the input of a handler.
type handled struct {
	Failure *NodeFailure `json:"failure"`
}

// Emit tells watchers of something that happens inside the node. It blocks only
// while storage is far behind. What a node says after it has returned is lost.
func (t *Task) Emit(typ event.Type, data any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	switch d := data.(type) {
	case event.TextStartData:
		t.speak(d.MessageID, true)
	case event.TextEndData:
		t.speak(d.MessageID, false)
	case event.ToolStartData:
		if d.ParentMessageID != "" && !t.spoke(d.ParentMessageID) {
			t.said = append(t.said, said{id: d.ParentMessageID})
		}
	}
	t.emit(event.Envelope{Type: typ, Node: t.Node, Step: t.Step, NS: t.NS, Data: event.Data(data)})
}

// EmitCustom is Emit for a CUSTOM event.
func (t *Task) EmitCustom(name event.Name, value any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.emit(event.Envelope{Type: event.Custom, Node: t.Node, Step: t.Step, NS: t.NS, Data: event.NewCustom(name, value)})
	}
}

func (t *Task) spoke(id string) bool {
	for _, s := range t.said {
		if s.id == id {
			return true
		}
	}
	return false
}

func (t *Task) speak(id string, open bool) {
	for i := range t.said {
		if t.said[i].id == id {
			t.said[i].open = open
			return
		}
	}
	t.said = append(t.said, said{id: id, open: open})
}

// end closes the task: it says nothing more.
func (t *Task) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// takeBack tells watchers that what the task said is void: it failed and runs
// again, or it paused and starts again from its top.
func (t *Task) takeBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.said) == 0 || t.ended {
		return
	}
	var ids []string
	for _, s := range t.said {
		if s.open {
			t.emit(event.Envelope{Type: event.TextMessageEnd, Node: t.Node, Step: t.Step, NS: t.NS,
				Data: event.Data(event.TextEndData{MessageID: s.id, Broken: true})})
		}
		ids = append(ids, s.id)
	}
	t.said = nil
	t.emit(event.Envelope{Type: event.Custom, Node: t.Node, Step: t.Step, NS: t.NS,
		Data: event.NewCustom(event.MessagesDiscarded, event.DiscardedValue{Discarded: ids})})
}
