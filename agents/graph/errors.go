package graph

import (
	"errors"
	"fmt"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// The rules that input to a graph can break; errors.Is finds them in an
// [*InputError].
var (
	ErrUnknownChannel = errors.New("is not declared by the graph")
	ErrPrivateChannel = errors.New("is private to the graph's own nodes")
	ErrWrongType      = errors.New("has the wrong type")
	ErrNoSuchNode     = errors.New("is no node of the graph")
	ErrOutOfRange     = errors.New("is out of range")
	ErrNotResumable   = errors.New("can't be resumed by this version of the graph")
)

// InputError is what a client, a node or a stored thread asks of a graph and the
// graph can't do. Nothing was changed. It carries a fault, so that whoever
// answers clients needs to know no more.
type InputError struct {
	// Graph is the graph's name, Field what was wrong in the words of the API,
	// such as "values.topic" or "goto".
	Graph, Field string
	// Rule is one of the errors above.
	Rule error
	// Detail says more about it, if there is more.
	Detail string
	cause  error
}

// Error names the field, the rule and the graph.
func (e *InputError) Error() string {
	text := fmt.Sprintf("%s %v", e.Field, e.Rule)
	if e.Graph != "" {
		text = fmt.Sprintf("graph %s: %s", e.Graph, text)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap gives the rule, the fault for clients and the cause.
func (e *InputError) Unwrap() []error {
	rule := e.Rule.Error()
	if e.Detail != "" {
		rule += ": " + e.Detail
	}
	return []error{e.Rule, fault.Invalid(e.Field, rule).WithCause(e.cause)}
}

// MissingError says that a slot that must be there was never written.
type MissingError struct{ Channel string }

// Error names the channel.
func (e *MissingError) Error() string { return "slot " + e.Channel + " is empty" }

// DecodeError says that what a channel holds is not what the code reads it as.
type DecodeError struct {
	Channel string
	Err     error
}

// Error names the channel.
func (e *DecodeError) Error() string { return fmt.Sprintf("reading channel %s: %v", e.Channel, e.Err) }

// Unwrap gives the decoder's error.
func (e *DecodeError) Unwrap() error { return e.Err }

// NodeError says which node failed.
type NodeError struct {
	Node string
	// Tries is how often it was executed.
	Tries int
	Err   error
}

// Error names the node.
func (e *NodeError) Error() string { return "node " + e.Node + ": " + e.Err.Error() }

// Unwrap returns the node's own error.
func (e *NodeError) Unwrap() error { return e.Err }

// StepError is what a step with the policy [Proceed] ends with: every node that
// failed, in the order of the step's tasks.
type StepError struct {
	Step   int
	Failed []*NodeError
}

// Error names every node.
func (e *StepError) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap returns the nodes' errors.
func (e *StepError) Unwrap() []error {
	out := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		out[i] = f
	}
	return out
}

// HandlerError says that the node which handles another one's failure failed
// itself.
type HandlerError struct {
	// Node is whose failure was handled, Failure what its failure was.
	Node, Failure string
	Err           error
}

// Error tells both failures.
func (e *HandlerError) Error() string {
	return fmt.Sprintf("handling the failure of %s (%s): %v", e.Node, e.Failure, e.Err)
}

// Unwrap returns the handler's own error.
func (e *HandlerError) Unwrap() error { return e.Err }

// PanicError is a panic inside a node; the process and other runs go on.
type PanicError struct {
	Value any
	Stack []byte
}

// Error gives the panic's value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// NodeTimeoutError says that one execution of a node took too long.
type NodeTimeoutError struct{ Limit time.Duration }

// Error names the limit.
func (e *NodeTimeoutError) Error() string {
	return fmt.Sprintf("the node took longer than its limit of %s", e.Limit)
}

// Timeout makes it a timeout in the sense of package net.
func (e *NodeTimeoutError) Timeout() bool { return true }

// StepTimeoutError says that a super-step took too long, retries included.
type StepTimeoutError struct{ Limit time.Duration }

// Error names the limit.
func (e *StepTimeoutError) Error() string {
	return fmt.Sprintf("the step took longer than its limit of %s", e.Limit)
}

// RunTimeoutError says that the run took too long.
type RunTimeoutError struct{ Limit time.Duration }

// Error names the limit.
func (e *RunTimeoutError) Error() string {
	return fmt.Sprintf("the run took longer than its limit of %s", e.Limit)
}

// RecursionError says that the run used up its super-steps.
type RecursionError struct{ Limit int }

// Error names the limit.
func (e *RecursionError) Error() string {
	return fmt.Sprintf("the run reached its recursion limit of %d steps without finishing", e.Limit)
}

// Failure is an error whose text its author wrote for people: it is shown as
// the run's error, while any other error's text only goes to the log.
type Failure struct{ text string }

// Fail makes a [Failure].
func Fail(text string) *Failure { return &Failure{text: text} }

// Error gives the text.
func (f *Failure) Error() string { return f.text }

// LimitOf finds the limit that an error says was reached, and its code for
// programs: node_timeout, step_timeout, timeout or recursion_limit; nil if it is
// about none.
func LimitOf(err error) (code string, limit error) {
	var node *NodeTimeoutError
	var step *StepTimeoutError
	var run *RunTimeoutError
	var steps *RecursionError
	switch {
	case errors.As(err, &node):
		return "node_timeout", node
	case errors.As(err, &step):
		return "step_timeout", step
	case errors.As(err, &run):
		return "timeout", run
	case errors.As(err, &steps):
		return "recursion_limit", steps
	default:
		return "", nil
	}
}

// codeOf is what programs know a failure by, as the server tells it: a limit's, a
// fault's own, or that a node failed.
func codeOf(err error) string {
	var public *fault.Error
	code, limit := LimitOf(err)
	switch {
	case limit != nil:
		return code
	case errors.As(err, new(*Failure)):
		return "node_failed"
	case errors.As(err, &public) && public.Kind != fault.KindInternal:
		return public.Code
	default:
		return "node_failed"
	}
}

// publicText is what may be stored and shown of a node's error.
func publicText(err error) string {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure.text
	}
	_, limit := LimitOf(err)
	switch {
	case limit != nil:
		return limit.Error()
	case fault.KindOf(err) != fault.KindInternal:
		return fault.Public(err)
	default:
		return "the node failed"
	}
}
