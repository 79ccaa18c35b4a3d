// Package replay executes recorded runs again and says whether they still do
// the same. A [Recording] is a thread's runs as one JSON document: what went in,
// and the log and final state that came of it. [Again] executes its graph on what
// models and tools said then, and [Compare] holds two recordings against each
// other, such as a run that was interrupted and one that was not. Both look at
// events and state in a normal form, so that ids, times, and what a crash or a
// failed try left void make no difference (docs/decisions/0041-replay.md).
//
// The command and tests import it. It does no I/O.
package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

// Format is the version of the recordings that this package writes and reads.
const Format = 1

// Recording is one thread: its runs, and what came of them.
type Recording struct {
	Format int    `json:"format"`
	Name   string `json:"name"`
	Graph  Graph  `json:"graph"`
	// Config is the configuration of the assistant's version that ran.
	Config agents.AssistantConfig `json:"config"`
	// Tools are those that the configuration names.
	Tools []Tool `json:"tools,omitempty"`
	Runs  []Run  `json:"runs"`
	// Events is the thread's whole log. What models and tools said, and what
	// people decided, is read from it.
	Events []event.Envelope `json:"events"`
	State  State            `json:"state"`
}

// Graph names a graph and the fingerprint of its declaration.
type Graph struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
}

// Tool is a [tool.Spec] in the form in which it is recorded.
type Tool struct {
	Name        string          `json:"name"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema"`
	Effect      tool.Effect     `json:"effect"`
	Consequence string          `json:"consequence,omitempty"`
	Undo        string          `json:"undo,omitempty"`
	Review      tool.Review     `json:"review"`
	TimeoutMS   int64           `json:"timeout_ms,omitempty"`
	Idempotent  bool            `json:"idempotent,omitempty"`
}

func recordedTool(s tool.Spec) Tool {
	return Tool{Name: s.Name, Title: s.Title, Description: s.Description, Schema: s.Schema, Effect: s.Effect, Consequence: s.Consequence,
		Undo: s.Undo, Review: s.Review, TimeoutMS: s.Timeout.Milliseconds(), Idempotent: s.Idempotent}
}

func (t Tool) spec() tool.Spec {
	return tool.Spec{Name: t.Name, Title: t.Title, Description: t.Description, Schema: t.Schema, Effect: t.Effect, Consequence: t.Consequence,
		Undo: t.Undo, Review: t.Review, Timeout: time.Duration(t.TimeoutMS) * time.Millisecond, Idempotent: t.Idempotent}
}

// Run is what one run brought to the thread.
type Run struct {
	ID agents.RunID `json:"id"`
	// Role is that of the person who asked, which tools and policies go by.
	Role auth.Role `json:"role"`
	// Messages are new input; with Resume the run goes on from a pause instead.
	Messages []agents.Message `json:"messages,omitempty"`
	Resume   *Resume          `json:"resume,omitempty"`
	// Values are what it wrote to channels besides the messages; a run with any is
	// not recorded.
	Values map[string]json.RawMessage `json:"-"`
	// Filled are the results that the server put in for calls which nobody will
	// answer any more.
	Filled []agents.Message `json:"filled,omitempty"`
}

// Resume is how a run went on from a pause.
type Resume struct {
	// Answers are those to the pauses in their order: a review has none, what was
	// decided is in the log.
	Answers []Answer `json:"answers,omitempty"`
	// Goto are the nodes it jumped to.
	Goto []string `json:"goto,omitempty"`
	// Sends are nodes it jumped to, each with an input of its own.
	Sends []agents.Due `json:"sends,omitempty"`
}

// Answer is one answer as the JSON that the node was given, in its bytes; nil is
// none, which is not the same as the answer null.
type Answer struct {
	JSON *string `json:"json"`
}

func recordedAnswer(raw json.RawMessage) Answer {
	if raw == nil {
		return Answer{}
	}
	text := string(raw)
	return Answer{JSON: &text}
}

func (a Answer) value() json.RawMessage {
	if a.JSON == nil {
		return nil
	}
	return json.RawMessage(*a.JSON)
}

// State is the state in the end.
type State struct {
	Messages []agents.Message `json:"messages"`
	// Values are the channels, private ones too, without what the engine keeps
	// for itself.
	Values map[string]json.RawMessage `json:"values,omitempty"`
}

// stateOf keeps what is compared of a state.
func stateOf(s agents.State) State {
	out := State{Messages: slices.Clone(s.Messages)}
	for name, value := range s.Values {
		if len(name) > 1 && name[:2] == "__" {
			continue
		}
		if out.Values == nil {
			out.Values = map[string]json.RawMessage{}
		}
		out.Values[name] = value
	}
	return out
}

// Parse reads a recording and checks that it can be executed.
func Parse(raw []byte) (Recording, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Recording{}, fmt.Errorf("reading a recording: %w", err)
	}
	if head.Format != Format {
		return Recording{}, fmt.Errorf("reading a recording: its format is %d, this version reads %d", head.Format, Format)
	}
	var r Recording
	if err := json.Unmarshal(raw, &r); err != nil {
		return Recording{}, fmt.Errorf("reading a recording: %w", err)
	}
	if r.Graph.Name == "" || len(r.Runs) == 0 {
		return Recording{}, errors.New("reading a recording: it needs a graph and at least one run")
	}
	return r, r.repeatable()
}

// Encode writes a recording: indented, with a line for each event, so that a
// difference of two files can be read.
func (r Recording) Encode() ([]byte, error) {
	events := r.Events
	r.Events = []event.Envelope{}
	out, err := indented(r)
	if err != nil {
		return nil, err
	}
	lines := make([][]byte, len(events))
	for i, e := range events {
		if lines[i], err = plain(e); err != nil {
			return nil, err
		}
	}
	list := append([]byte("\"events\": [\n    "), bytes.Join(lines, []byte(",\n    "))...)
	return bytes.Replace(out, []byte(`"events": []`), append(list, "\n  ]"...), 1), nil
}

func indented(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing a recording: %w", err)
	}
	return out.Bytes(), nil
}

func plain(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing a recording: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}
