// Package event defines the envelope: the one typed unit in which everything
// that happens to a thread is logged, numbered, published and projected.
//
// The types are those of the AG-UI protocol (docs.ag-ui.com) plus CUSTOM with
// our own names. Every room may import this package; it imports the standard
// library and internal leaves only.
package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Version is the envelope format's version, the field "v".
const Version = 1

// Type is an AG-UI event type.
type Type string

// The types of envelopes; [Catalogue] says what each means and which are reserved.
const (
	RunStarted  Type = "RUN_STARTED"
	RunFinished Type = "RUN_FINISHED"
	RunError    Type = "RUN_ERROR"

	StepStarted  Type = "STEP_STARTED"
	StepFinished Type = "STEP_FINISHED"

	TextMessageStart   Type = "TEXT_MESSAGE_START"
	TextMessageContent Type = "TEXT_MESSAGE_CONTENT"
	TextMessageEnd     Type = "TEXT_MESSAGE_END"

	ReasoningMessageStart   Type = "REASONING_MESSAGE_START"
	ReasoningMessageContent Type = "REASONING_MESSAGE_CONTENT"
	ReasoningMessageEnd     Type = "REASONING_MESSAGE_END"

	ToolCallStart  Type = "TOOL_CALL_START"
	ToolCallArgs   Type = "TOOL_CALL_ARGS"
	ToolCallEnd    Type = "TOOL_CALL_END"
	ToolCallResult Type = "TOOL_CALL_RESULT"

	StateDelta       Type = "STATE_DELTA"
	MessagesSnapshot Type = "MESSAGES_SNAPSHOT"
	ActivitySnapshot Type = "ACTIVITY_SNAPSHOT"
	ActivityDelta    Type = "ACTIVITY_DELTA"

	// Custom carries one of our own events; its data has "name" and "value".
	Custom Type = "CUSTOM"
)

// Name is the name of a CUSTOM event.
type Name string

// The names of CUSTOM events; [Catalogue] says what each means and which are reserved.
const (
	RunContinued Name = "run.continued"
	NodeUpdate   Name = "node.update"
	// MessagesDiscarded takes back what a task said.
	MessagesDiscarded Name = "messages.discarded"
	TaskStarted       Name = "task.started"
	TaskFinished      Name = "task.finished"
	CheckpointMade    Name = "checkpoint"
	GraphCustom       Name = "graph.custom"
	MessageQueued     Name = "message.queued"
	MessageUnqueued   Name = "message.unqueued"
	ReviewRequested   Name = "review.requested"
	ReviewDecided     Name = "review.decided"
	Usage             Name = "usage"
	FileChanged       Name = "file.changed"
	MemoryChanged     Name = "memory.changed"
	ThreadChanged     Name = "thread.changed"
)

// Envelope is one event of one thread. Seq and Epoch are zero until the log
// has accepted it; after that they are final.
type Envelope struct {
	V        int             `json:"v"`
	Seq      int64           `json:"seq"`
	Epoch    string          `json:"epoch"`
	Type     Type            `json:"type"`
	Time     time.Time       `json:"ts"`
	ThreadID string          `json:"thread_id"`
	RunID    string          `json:"run_id,omitempty"`
	Attempt  int             `json:"attempt,omitempty"`
	Step     int             `json:"step,omitempty"`
	Node     string          `json:"node,omitempty"`
	NS       []string        `json:"ns,omitempty"`
	Data     json.RawMessage `json:"data"`

	// sealed is the body, once it is rendered.
	sealed []byte
}

// Sealed is an envelope whose body is rendered: whoever needs it again has it. What
// the body says must not be changed after that.
func (e Envelope) Sealed() (Envelope, error) {
	raw, err := e.Body()
	e.sealed = raw
	return e, err
}

// body is an envelope without what the log adds. Its JSON is what the log
// stores; [Compose] puts number and epoch in front of it.
type body struct {
	Type     Type            `json:"type"`
	Time     string          `json:"ts"`
	ThreadID string          `json:"thread_id"`
	RunID    string          `json:"run_id,omitempty"`
	Attempt  int             `json:"attempt,omitempty"`
	Step     int             `json:"step,omitempty"`
	Node     string          `json:"node,omitempty"`
	NS       []string        `json:"ns,omitempty"`
	Data     json.RawMessage `json:"data"`
}

// timeLayout is RFC 3339 in UTC with milliseconds, the form of every "ts".
const timeLayout = "2006-01-02T15:04:05.000Z"

// Body renders the part of e that is known before the log numbers it: a JSON
// object that starts with "type".
func (e Envelope) Body() ([]byte, error) {
	if e.sealed != nil {
		return e.sealed, nil
	}
	data := e.Data
	if data == nil {
		data = json.RawMessage("{}")
	}
	out, err := json.Marshal(body{
		Type: e.Type, Time: e.Time.UTC().Format(timeLayout), ThreadID: e.ThreadID, RunID: e.RunID,
		Attempt: e.Attempt, Step: e.Step, Node: e.Node, NS: e.NS, Data: data,
	})
	if err != nil {
		return nil, fmt.Errorf("rendering a %s envelope: %w", e.Type, err)
	}
	return out, nil
}

// Compose puts version, number and epoch in front of a stored body. The result
// is the payload as every client receives it, byte for byte.
func Compose(seq int64, epoch string, body []byte) []byte {
	head := fmt.Appendf(make([]byte, 0, len(body)+80), `{"v":%d,"seq":%d,"epoch":%q`, Version, seq, epoch)
	rest := bytes.TrimPrefix(body, []byte("{"))
	return append(append(head, ','), rest...)
}

// Parse reads a composed payload back.
func Parse(payload []byte) (Envelope, error) {
	var e Envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return Envelope{}, fmt.Errorf("parsing an envelope: %w", err)
	}
	if e.V != Version {
		return Envelope{}, fmt.Errorf("parsing an envelope: version %d is not %d", e.V, Version)
	}
	return e, nil
}
