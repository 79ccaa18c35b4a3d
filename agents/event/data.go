package event

import (
	"encoding/json"
	"fmt"
	"time"
)

// The data of the AG-UI types keeps that protocol's field names, so that a
// projection to its wire is a merge and not a translation. The jsonschema tags
// are what docs/envelopes.md says of a field.

// Outcome says how a run that did not fail ended.
type Outcome string

// The outcomes of RUN_FINISHED.
const (
	OutcomeSuccess   Outcome = "success"
	OutcomeInterrupt Outcome = "interrupt"
	OutcomeCancelled Outcome = "cancelled"
)

// RunStartedData is the data of RUN_STARTED. MessageIDs are the messages the
// run brought, as told by message.queued before.
type RunStartedData struct {
	ThreadID   string   `json:"threadId"`
	RunID      string   `json:"runId"`
	MessageIDs []string `json:"messageIds" jsonschema:"the messages the run brings"`
	Assistant  string   `json:"assistantId"`
	Version    int      `json:"assistantVersion"`
	Graph      string   `json:"graph"`
	Line       string   `json:"line,omitempty" jsonschema:"the line of history that the run writes"`
	Resumes    string   `json:"resumes,omitempty" jsonschema:"the run whose pause this one goes on from"`
	// Model and Memory are names; the hashes are cut to their first digits, the
	// run's manifest has them whole.
	Model      string   `json:"model,omitempty" jsonschema:"the model the assistant uses"`
	Memory     []string `json:"memory,omitempty" jsonschema:"the kinds of memory the run can reach"`
	GraphHash  string   `json:"graphHash,omitempty" jsonschema:"the first 12 digits of the graph's fingerprint"`
	ConfigHash string   `json:"configHash,omitempty" jsonschema:"the first 12 digits of the configuration's fingerprint"`
}

// RunFinishedData is the data of RUN_FINISHED. Reason says why a cancelled run
// was cancelled.
type RunFinishedData struct {
	ThreadID string  `json:"threadId"`
	RunID    string  `json:"runId"`
	Outcome  Outcome `json:"outcome"`
	Reason   string  `json:"reason,omitempty" jsonschema:"why a cancelled run was cancelled"`
}

// RunErrorData is the data of RUN_ERROR. Message is safe to show to people.
type RunErrorData struct {
	Message string `json:"message"`
	Code    string `json:"code" jsonschema:"for programs, such as node_failed or timeout"`
	Node    string `json:"node,omitempty" jsonschema:"the node that failed"`
	// Attempts are those at the step that failed, if there was more than one.
	Attempts []AttemptData `json:"attempts,omitempty" jsonschema:"the attempts at the step that failed, if there was more than one"`
}

// AttemptData is one attempt at a step that failed in the end.
type AttemptData struct {
	Attempt int       `json:"attempt"`
	BeganAt time.Time `json:"beganAt"`
	EndedAt time.Time `json:"endedAt"`
	Worker  string    `json:"worker,omitempty" jsonschema:"what the worker is called"`
	Why     string    `json:"why" jsonschema:"process_gone, lease_expired, panic, timeout or failed"`
}

// StepData is the data of STEP_STARTED and STEP_FINISHED.
type StepData struct {
	StepName string `json:"stepName"`
	// Task is the task's place among those of its step.
	Task int `json:"task,omitempty" jsonschema:"the place among the tasks of the step, from 0"`
}

// TextStartData is the data of TEXT_MESSAGE_START and REASONING_MESSAGE_START.
type TextStartData struct {
	MessageID string `json:"messageId"`
	Role      string `json:"role"`
}

// TextContentData is the data of TEXT_MESSAGE_CONTENT and
// REASONING_MESSAGE_CONTENT; Delta is never empty.
type TextContentData struct {
	MessageID string `json:"messageId"`
	Delta     string `json:"delta" jsonschema:"never empty"`
}

// TextEndData is the data of TEXT_MESSAGE_END and REASONING_MESSAGE_END.
// Broken says that the attempt which wrote the message died and that the text
// is void; Stopped that a person stopped the run and the text so far stands.
type TextEndData struct {
	MessageID string `json:"messageId"`
	Broken    bool   `json:"broken,omitempty" jsonschema:"the attempt that wrote it is lost: the message is void"`
	Stopped   bool   `json:"stopped,omitempty" jsonschema:"a person stopped the run: the text so far stands"`
	// DurationMS is how long the answer took, in milliseconds, if known.
	DurationMS int64 `json:"durationMs,omitempty" jsonschema:"how long the answer took"`
}

// ToolStartData is the data of TOOL_CALL_START.
type ToolStartData struct {
	ToolCallID      string `json:"toolCallId"`
	ToolCallName    string `json:"toolCallName"`
	ParentMessageID string `json:"parentMessageId" jsonschema:"the answer that asks for the tool"`
}

// ToolArgsData is the data of TOOL_CALL_ARGS.
type ToolArgsData struct {
	ToolCallID string `json:"toolCallId"`
	Delta      string `json:"delta"`
}

// ToolEndData is the data of TOOL_CALL_END: the arguments are complete.
type ToolEndData struct {
	ToolCallID string `json:"toolCallId"`
	Broken     bool   `json:"broken,omitempty" jsonschema:"the attempt that wrote it is lost: the call is void"`
}

// ToolResultData is the data of TOOL_CALL_RESULT.
type ToolResultData struct {
	MessageID  string `json:"messageId" jsonschema:"the message that holds the result"`
	ToolCallID string `json:"toolCallId"`
	Name       string `json:"name" jsonschema:"of the tool"`
	Content    string `json:"content" jsonschema:"what the model reads"`
	Role       string `json:"role"`
	// Summary is one line for people; Failed marks an error the model saw.
	Summary    string          `json:"summary,omitempty" jsonschema:"one line for people"`
	Failed     bool            `json:"failed,omitempty" jsonschema:"the content is an error"`
	Data       json.RawMessage `json:"data,omitempty" jsonschema:"the result for programs"`
	DurationMS int64           `json:"durationMs"`
}

// SnapshotData is the data of MESSAGES_SNAPSHOT. A projection that promises the
// messages themselves fills them in from the thread's state.
type SnapshotData struct {
	Messages []json.RawMessage `json:"messages" jsonschema:"always empty in the log"`
}

// CustomData is the data of CUSTOM.
type CustomData struct {
	Name  Name            `json:"name"`
	Value json.RawMessage `json:"value"`
}

// QueuedValue is the value of message.queued: a run was accepted, and these are
// the messages it brings. Ahead is how many runs of the thread come before it.
//
// Assistant is the name of who will answer, from now on on this thread; Title
// is what the thread is called if it had no title yet.
type QueuedValue struct {
	RunID     string          `json:"run_id"`
	Ahead     int             `json:"ahead" jsonschema:"how many runs come before it"`
	First     bool            `json:"first,omitempty" jsonschema:"it goes before the runs that stood in line already"`
	Messages  json.RawMessage `json:"messages"`
	Assistant string          `json:"assistant,omitempty" jsonschema:"the name of who will answer"`
	Title     string          `json:"title,omitempty" jsonschema:"the thread's title if it had none yet"`
}

// UnqueuedValue is the value of message.unqueued: the run was withdrawn before
// it started, its messages never became part of the thread.
type UnqueuedValue struct {
	RunID  string `json:"run_id"`
	Reason string `json:"reason"`
}

// ContinuedValue is the value of run.continued: a new attempt goes on from the
// last checkpoint. Discarded are the messages of the unfinished step; the new
// attempt writes that step's messages anew.
type ContinuedValue struct {
	Attempt   int      `json:"attempt" jsonschema:"the number of the new attempt, from 2 on"`
	Discarded []string `json:"discarded" jsonschema:"ids of messages that are void"`
}

// DiscardedValue is the value of messages.discarded: a node that said them
// failed and is tried again, or paused and will start again from its top.
type DiscardedValue struct {
	Discarded []string `json:"discarded" jsonschema:"ids of messages that are void"`
}

// CheckpointValue is the value of checkpoint: it names the checkpoint and
// carries no state.
type CheckpointValue struct {
	// Line is named where it is not the run's own, which RUN_STARTED names.
	Line   string   `json:"line,omitempty" jsonschema:"the line of a subgraph; absent means that of RUN_STARTED"`
	Step   int      `json:"step"`
	Source string   `json:"source"`
	Next   []string `json:"next" jsonschema:"the nodes that are due next"`
	// Messages are those that nodes added or replaced, so that whoever streams
	// messages knows whether some were never told in pieces.
	Messages []string `json:"messages,omitempty" jsonschema:"ids of the messages that the step's nodes added or replaced"`
}

// UsageValue is the value of usage: what one model call took.
type UsageValue struct {
	MessageID  string `json:"message_id" jsonschema:"the answer the call wrote"`
	Model      string `json:"model"`
	Input      int    `json:"input_tokens"`
	Output     int    `json:"output_tokens"`
	DurationMS int64  `json:"duration_ms"`
}

// RequestedValue is the value of review.requested: a node paused until somebody
// answers. Of a review, Reviews are the requests, one for each call.
type RequestedValue struct {
	InterruptID string          `json:"interrupt_id"`
	Kind        string          `json:"kind" jsonschema:"question: whoever may write answers; review: reviewers decide"`
	Node        string          `json:"node"`
	Value       json.RawMessage `json:"value" jsonschema:"what clients show"`
	Reviews     []RequestValue  `json:"reviews,omitempty"`
}

// RequestValue is one call that waits for a decision.
type RequestValue struct {
	ReviewID   string `json:"review_id"`
	ToolCallID string `json:"tool_call_id"`
	Tool       string `json:"tool"`
	Reason     string `json:"reason" jsonschema:"why policy stopped the call"`
	Rule       string `json:"rule" jsonschema:"the policy that stopped it"`
	DueAt      string `json:"due_at" jsonschema:"nobody's decision by then means no"`
}

// DecidedValue is the value of review.decided.
type DecidedValue struct {
	ReviewID   string          `json:"review_id"`
	ToolCallID string          `json:"tool_call_id"`
	Status     string          `json:"status" jsonschema:"approved, edited, rejected, answered, withdrawn, expired or void"`
	By         string          `json:"by,omitempty" jsonschema:"id of the person, if one decided"`
	Text       string          `json:"text,omitempty" jsonschema:"the reason of a rejection, or the answer in place of a result"`
	Args       json.RawMessage `json:"args,omitempty" jsonschema:"the arguments an edited call runs with"`
	ResumedBy  string          `json:"resumed_by,omitempty" jsonschema:"the run that goes on, once all are decided"`
}

// ThreadValue is the value of thread.changed: what the thread is called and, if
// somebody moved it to another version of its assistant, who answers now.
type ThreadValue struct {
	Title     string `json:"title"`
	Assistant string `json:"assistant,omitempty" jsonschema:"the name of who answers from now on, after a move"`
	Version   int    `json:"version,omitempty" jsonschema:"the version of the assistant, after a move"`
}

// Data renders any data value; only values of this package are passed, which
// always render.
func Data(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		// Reached only by a value that JSON can't hold, which is a bug here.
		raw, _ = json.Marshal(map[string]string{"unrenderable": err.Error()})
	}
	return raw
}

// NewCustom renders the data of a CUSTOM envelope.
func NewCustom(name Name, value any) json.RawMessage {
	return Data(CustomData{Name: name, Value: Data(value)})
}

// Decode reads the data of an envelope into v.
func (e Envelope) Decode(v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("reading the data of %s %d: %w", e.Type, e.Seq, err)
	}
	return nil
}

// CustomName gives the name of a CUSTOM envelope and its value; other types
// have no name.
func (e Envelope) CustomName() (Name, json.RawMessage) {
	if e.Type != Custom {
		return "", nil
	}
	var d CustomData
	if json.Unmarshal(e.Data, &d) != nil {
		return "", nil
	}
	return d.Name, d.Value
}
