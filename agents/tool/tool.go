// Package tool is the contract between a graph and what an assistant can do:
// a tool describes itself to the model, checks the model's arguments and runs
// under a scope that the model cannot choose.
//
// Invariants:
//   - who acts, and for which organisation, comes from [Invocation.Scope]; a
//     schema that asks the model for identity is refused when it is made;
//   - arguments are checked against the schema before any code of the tool
//     runs, and again when a reviewer edits them;
//   - what a model reads of a failure is written for the model; the cause is
//     for logs only;
//   - a panic ends one call, never the process.
//
// Graphs, runs, handlers and the composition root may import it. It imports the
// standard library, the domain, auth, internal leaves and the JSON Schema library.
package tool

import (
	"context"
	"encoding/json"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
)

// Tool is one thing an assistant can do. Implementations are safe for
// concurrent use.
type Tool interface {
	Spec() Spec
	// Check reports whether args fit the schema. Its error is an invalid fault
	// that names each field and rule, written so that a model can mend its
	// call and a person an edited form.
	Check(args json.RawMessage) error
	// Call checks args and runs the tool. It returns soon after ctx ends. A
	// fault's public text reaches the model; any other error is told to it as
	// "the tool failed" and kept for the logs.
	Call(ctx context.Context, inv Invocation, args json.RawMessage) (Result, error)
}

// Spec is what is known of a tool before it runs.
type Spec struct {
	// Name is what the model calls: 1 to 64 of a-z, A-Z, 0-9, _ and -.
	Name string
	// Title is what people read, such as "Search the handbook"; the name if
	// empty.
	Title string
	// Description is the text the model chooses by.
	Description string
	// Schema is the JSON Schema of the arguments, of type object.
	Schema json.RawMessage
	Effect Effect
	// Consequence is one sentence for people about what a call will do, such as
	// "One e-mail to one address outside the organisation." Required unless the
	// effect is read.
	Consequence string
	// Undo is one sentence about how the effect is taken back; empty if it
	// cannot be.
	Undo string
	// Review is the policy an assistant starts with; it may be made stricter.
	Review Review
	// Timeout bounds one call; 0 means the dispatcher's.
	Timeout time.Duration
	// Idempotent says that the tool takes [Invocation.IdempotencyKey] or has
	// no effect that doubles: an interrupted call may simply be repeated.
	Idempotent bool
}

// Effect is the class of what a call does to the world.
type Effect string

// The effects, mildest first.
const (
	EffectRead        Effect = "read"        // looks, changes nothing
	EffectWrite       Effect = "write"       // changes what is ours and can be changed back
	EffectOutbound    Effect = "outbound"    // reaches people or systems outside
	EffectDestructive Effect = "destructive" // cannot be taken back
)

// Valid reports whether e is one of the four.
func (e Effect) Valid() bool {
	switch e {
	case EffectRead, EffectWrite, EffectOutbound, EffectDestructive:
		return true
	default:
		return false
	}
}

// Review says whether a person looks at a call before it runs.
type Review string

// The policies.
const (
	ReviewNever  Review = agents.ReviewNever
	ReviewAlways Review = agents.ReviewAlways
	ReviewWhen   Review = agents.ReviewWhen // when a condition of the assistant's policy holds
)

// Valid reports whether r is one of the three.
func (r Review) Valid() bool { return r == ReviewNever || r == ReviewAlways || r == ReviewWhen }

// Invocation is what the host, never the model, tells a call. No name of its
// fields may appear in a schema.
type Invocation struct {
	// Scope is whom the call acts for; tools pass it on to every store.
	Scope auth.Scope

	AssistantID string
	// GraphID is the name of the assistant's graph.
	GraphID  string
	ThreadID string
	RunID    string
	// UserName is what the person of Scope is called, empty if unknown.
	UserName string
	// TaskID is the same for every attempt at the task that calls; StartedAt is
	// when the run's first attempt began.
	TaskID    string
	StartedAt time.Time
	// Node and Step say where in the graph the call stands; Attempt counts the
	// tries of this step from 1.
	Node    string
	Step    int
	Attempt int

	// CallID is the model's id of the call, unique in its thread.
	CallID string
	// IdempotencyKey is the same for every attempt at this call and for no
	// other call.
	IdempotencyKey string

	Clock clock.Clock
}

// Now is the invocation's time, the machine's when no clock was given.
func (i Invocation) Now() time.Time {
	if i.Clock == nil {
		return clock.System{}.Now()
	}
	return i.Clock.Now()
}

// Result is what a call gave.
type Result struct {
	// Content is what the model reads. Text from documents, pages or people
	// other than the user says where it is from.
	Content string
	// Data is JSON for user interfaces; models never see it.
	Data json.RawMessage
	// Title is one short line for the status and the folded call, such as
	// `Searched "refunds": 3 results`.
	Title string
	// Failed says that Content tells of a failure.
	Failed bool
	// Unknown says that nobody knows whether the effect happened: a tool that
	// changes something and is not idempotent ran out of time. Such a call is
	// not repeated; a person decides.
	Unknown bool
	// Truncated says that Content or Data was cut to the dispatcher's bound.
	Truncated bool
}

// Text makes a result for the model and one line for people.
func Text(content, title string) Result { return Result{Content: content, Title: title} }

// WithData adds JSON for user interfaces.
func (r Result) WithData(v any) (Result, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return Result{}, err
	}
	r.Data = data
	return r, nil
}

// Refusal makes the result of a call that did not happen; why is written for
// the model.
func Refusal(why, title string) Result { return Result{Content: why, Title: title, Failed: true} }
