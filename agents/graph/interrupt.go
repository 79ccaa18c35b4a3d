package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/heddle/heddle/agents"
)

// Interrupted is what [Graph.Run] returns once nodes have paused and the step
// is committed: the run neither finished nor failed.
type Interrupted struct{ Interrupts []agents.Interrupt }

// Error counts the open questions.
func (e *Interrupted) Error() string {
	return fmt.Sprintf("the graph waits for %d answers", len(e.Interrupts))
}

// ErrPaused is what a node gets from a question that has no answer yet. The node
// returns it; the engine then commits the pause, even if the node does not.
var ErrPaused = errors.New("the node waits for an answer")

// pause is what one execution of a node knows of its questions.
type pause struct {
	// answers are those given so far, in the order of asking; asks counts the
	// questions of this execution.
	answers []json.RawMessage
	asks    int
	// open is the pause this execution goes on from without an answer: asked
	// again, it keeps its id.
	open *agents.Interrupt

	asked   *agents.Interrupt
	reviews []agents.Review
}

// pauseOf finds what a resume says to a task of its own.
func pauseOf(resume []agents.Interrupt, task int, ns []string) pause {
	var p pause
	for i, r := range resume {
		if r.Task != task || r.Break != "" || !slices.Equal(r.NS, ns) {
			continue
		}
		p.answers = slices.Clone(r.Answered)
		if r.Answer != nil {
			p.answers = append(p.answers, r.Answer)
		} else {
			p.open = &resume[i]
		}
		break
	}
	return p
}

// Interrupt asks whoever may write to the thread and returns the answer. Without
// one it returns [ErrPaused], which the node must return: the step commits, the
// run waits, and the node starts again from its top with the answers so far. So
// what a node does before it asks happens again, and it must ask in the same
// order each time. value is shown to people and must marshal to JSON.
//
// It is not for several goroutines of one node at once.
func (t *Task) Interrupt(value any) (json.RawMessage, error) {
	if n := t.pause.asks; n < len(t.pause.answers) {
		t.pause.asks++
		return t.pause.answers[n], nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing a question as JSON: %w", err)
	}
	return nil, t.ask(agents.Question, raw, nil)
}

// Ask is [Task.Interrupt] for an answer of a type; for one of another type it
// returns an [*InputError].
func Ask[T any](t *Task, question any) (T, error) {
	var answer T
	raw, err := t.Interrupt(question)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return answer, &InputError{Field: "answer", Rule: ErrWrongType, Detail: err.Error(), cause: err}
	}
	return answer, nil
}

// Review pauses until people have decided on the requests; value is what clients
// show. It always returns [ErrPaused] or an error: a node that starts again asks
// the ledger of decisions, not the engine.
func (t *Task) Review(value any, requests []agents.Review) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing a request for review as JSON: %w", err)
	}
	return t.ask(agents.ReviewAsked, raw, requests)
}

func (t *Task) ask(kind agents.InterruptKind, value json.RawMessage, requests []agents.Review) error {
	if t.pause.asked != nil {
		return ErrPaused // it swallowed the first
	}
	asked := agents.Interrupt{ID: t.NewID(), Node: t.Node, NS: t.NS, Task: t.Index, Kind: kind, Value: value, Answered: t.pause.answers}
	if t.pause.open != nil && t.pause.open.Kind == kind && kind == agents.Question {
		asked.ID = t.pause.open.ID
	}
	for i := range requests {
		requests[i].Interrupt = asked.ID
	}
	t.pause.asked, t.pause.reviews = &asked, requests
	return ErrPaused
}

// Breakpoints are nodes at which a developer wants a run to pause, see
// [agents.Breakpoints].
type Breakpoints = agents.Breakpoints

// Breakable checks that the graph has the nodes that breakpoints name; field
// names them in the error.
func (g *Graph) Breakable(field string, points []string) error {
	return g.Known(field, breakNodes(g, Breakpoints{Before: points})...)
}

// The places of a breakpoint in its interrupt.
const (
	breakBefore = "before"
	breakAfter  = "after"
)

func hits(points []string, node string) bool {
	return slices.Contains(points, "*") || slices.Contains(points, node)
}

// breakAt makes the pause of a breakpoint.
func (e *engine) breakAt(where string, task int, node string) agents.Interrupt {
	value, _ := json.Marshal(agents.Breakpoint{Where: where, Node: node}) // two strings always marshal
	return agents.Interrupt{
		ID: e.x.IDs(e.taskID(task) + ":" + where)(), Node: node, NS: e.ns, Task: task, Kind: agents.Question, Break: where, Value: value,
	}
}
