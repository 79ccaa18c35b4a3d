package agents

import (
	"encoding/json"
	"slices"
	"time"
)

// MessageRole says who speaks in a message.
type MessageRole string

// The roles of messages.
const (
	RoleUser      MessageRole = "user"
	RoleAssistant MessageRole = "assistant"
	RoleTool      MessageRole = "tool"
	RoleSystem    MessageRole = "system"
)

// MessageStatus says how a message ended.
type MessageStatus string

// The statuses of messages.
const (
	MessageComplete MessageStatus = ""        // whole
	MessageStopped  MessageStatus = "stopped" // a person stopped the run; the text so far is kept
	MessageFailed   MessageStatus = "failed"  // a tool result that is an error
)

// Message is an immutable (ID, Revision). Its JSON form is the stored body.
type Message struct {
	ID MessageID `json:"id,omitempty"`
	// Revision tells the forms of one message apart. It is 0 for one that a node
	// added under a fresh id; any other number says nothing but that the form is another one.
	Revision int64         `json:"revision,omitempty"`
	Role     MessageRole   `json:"role,omitempty"`
	Text     string        `json:"text,omitempty"`
	Status   MessageStatus `json:"status,omitempty"`
	// Blocks holds content that is more than plain text, as the client sent
	// it; Text then holds its text parts, joined.
	Blocks json.RawMessage `json:"blocks,omitempty"`
	// Name is the tool's name on a tool result.
	Name string `json:"name,omitempty"`
	// ToolCalls are what the model asked for, in its order.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// ToolCallID ties a tool result to its call.
	ToolCallID string `json:"tool_call_id,omitempty"`
	// Summary is one line about a tool result for people, such as "3 results".
	Summary string `json:"summary,omitempty"`
	// Data is a tool result's structured form for user interfaces.
	Data json.RawMessage `json:"data,omitempty"`
	// DurationMS is how long the model or tool took, in milliseconds.
	DurationMS int64 `json:"duration_ms,omitempty"`
	// Model names the model that wrote the message.
	Model string `json:"model,omitempty"`
	// Usage counts the tokens of the call that wrote the message.
	Usage *TokenUsage `json:"usage,omitempty"`
	// Author is the person who wrote a user message.
	Author string `json:"author,omitempty"`
	// Run is the run that brought the message.
	Run       RunID     `json:"run_id,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// ToolCall is a model's request to run a tool.
type ToolCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

// TokenUsage counts tokens of one model call.
type TokenUsage struct {
	Input  int `json:"input"`
	Output int `json:"output"`
}

// Op is a list operation on a thread's messages.
type Op struct {
	Kind OpKind    `json:"op"`
	ID   MessageID `json:"id"`
	Rev  int64     `json:"rev,omitempty"`
}

// OpKind names a list operation.
type OpKind string

// The list operations: append adds at the end, replace changes the revision in
// place, remove takes out.
const (
	OpAppend  OpKind = "append"
	OpReplace OpKind = "replace"
	OpRemove  OpKind = "remove"
)

// Ref points at one revision of a message.
type Ref struct {
	ID  MessageID `json:"id"`
	Rev int64     `json:"rev,omitempty"`
}

// ApplyOps applies list operations in order and returns the new list; refs is
// not changed. Appending an id that is present replaces it in place, as the
// reducers of every LangGraph client expect; replacing or removing an absent id
// does nothing.
func ApplyOps(refs []Ref, ops []Op) []Ref {
	l := listOf(refs)
	l.apply(ops)
	return l.refs()
}

// list is a list of messages under change. It finds a message by its id without
// looking through the others, so that replaying many steps costs as much as
// there are operations.
type list struct {
	all   []Ref
	index map[MessageID]int
	// gone counts those that were removed and leave a hole in all; own says that
	// nobody else has all.
	gone int
	own  bool
}

func listOf(refs []Ref) *list { return &list{all: refs[:len(refs):len(refs)]} }

func (l *list) apply(ops []Op) {
	if l.index == nil && len(ops) < indexed {
		l.few(ops)
		return
	}
	for _, op := range ops {
		at, present := l.find(op.ID)
		switch op.Kind {
		case OpAppend, OpReplace:
			switch {
			case present:
				l.change()
				l.all[at].Rev = op.Rev
			case op.Kind == OpAppend:
				l.index[op.ID] = len(l.all)
				l.all = append(l.all, Ref{ID: op.ID, Rev: op.Rev})
			}
		case OpRemove:
			if present {
				l.change()
				l.all[at].ID = ""
				l.gone++
				delete(l.index, op.ID)
			}
		}
	}
}

// indexed is from how many operations on an index of the list pays.
const indexed = 8

// few applies some operations without an index.
func (l *list) few(ops []Op) {
	for _, op := range ops {
		at := slices.IndexFunc(l.all, func(r Ref) bool { return r.ID == op.ID })
		switch {
		case at < 0 && op.Kind == OpAppend:
			l.all = append(l.all, Ref{ID: op.ID, Rev: op.Rev})
		case at < 0:
		case op.Kind == OpRemove:
			l.change()
			l.all = slices.Delete(l.all, at, at+1)
		default:
			l.change()
			l.all[at].Rev = op.Rev
		}
	}
}

func (l *list) find(id MessageID) (int, bool) {
	if l.index == nil {
		l.index = make(map[MessageID]int, len(l.all)+8)
		for i, r := range l.all {
			l.index[r.ID] = i
		}
	}
	at, ok := l.index[id]
	return at, ok
}

// change copies the list before the first change in place: others may read it.
func (l *list) change() {
	if !l.own {
		l.all, l.own = slices.Clone(l.all), true
	}
}

// refs gives the list as it is now; what is applied later doesn't change it.
func (l *list) refs() []Ref {
	if l.gone > 0 {
		kept := make([]Ref, 0, len(l.all)-l.gone)
		for _, r := range l.all {
			if r.ID != "" {
				kept = append(kept, r)
			}
		}
		l.all, l.gone, l.index = kept, 0, nil
	}
	l.own = false
	return l.all[:len(l.all):len(l.all)]
}
