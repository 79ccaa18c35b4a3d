package model

import (
	"errors"
	"fmt"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// ErrorKind sorts the failures of providers by what can be done about them.
// The set is closed.
type ErrorKind string

// The kinds.
const (
	RateLimited    ErrorKind = "rate_limited"    // too many calls: again after RetryAfter
	QuotaExhausted ErrorKind = "quota"           // the account has used up what it may spend: an operator must act
	Overloaded     ErrorKind = "overloaded"      // no capacity, an outage, no answer in time: again later
	AuthFailed     ErrorKind = "auth"            // key missing, wrong or without rights: an operator must act
	UnknownModel   ErrorKind = "unknown_model"   // the provider has no such model: an admin must choose another
	ContextLength  ErrorKind = "context_length"  // the request does not fit: shorten it
	Filtered       ErrorKind = "content_filter"  // the provider will not answer this: say it differently
	InvalidRequest ErrorKind = "invalid_request" // the provider refuses the request: our bug or a bad parameter
	CutStream      ErrorKind = "cut_stream"      // the connection ended in mid-answer
	Malformed      ErrorKind = "malformed"       // the provider broke its own protocol
)

// ErrorKinds lists every kind.
func ErrorKinds() []ErrorKind {
	return []ErrorKind{
		RateLimited, QuotaExhausted, Overloaded, AuthFailed, UnknownModel, ContextLength, Filtered, InvalidRequest, CutStream, Malformed,
	}
}

// Error is a failed call. Its text is for logs; people see [Error.Fault].
type Error struct {
	Kind ErrorKind
	// Provider and Model say who failed.
	Provider, Model string
	// Status is the HTTP status, 0 if there was none.
	Status int
	// RetryAfter is the provider's wish, 0 if it named none.
	RetryAfter time.Duration
	// Message is the provider's own text, without secrets.
	Message string
	Cause   error
}

// Error tells the kind, who and why.
func (e *Error) Error() string {
	text := string(e.Kind)
	if e.Provider != "" || e.Model != "" {
		text = fmt.Sprintf("%s/%s: %s", e.Provider, e.Model, text)
	}
	if e.Status != 0 {
		text += fmt.Sprintf(" (status %d)", e.Status)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Retryable reports whether the same request may succeed later. A cut stream
// may be repeated too: the answer in flight is abandoned as a whole.
func (e *Error) Retryable() bool {
	switch e.Kind {
	case RateLimited, Overloaded, CutStream, Malformed:
		return true
	default:
		return false
	}
}

// Fault is the failure as people may see it: what happened and what helps,
// without the provider's words.
func (e *Error) Fault() *fault.Error {
	f := fault.New(fault.KindUnavailable, "The model cannot be reached right now. Try again in a moment.")
	switch e.Kind {
	case RateLimited:
		f = fault.Limited("The model's provider limits how often it may be asked. Try again in a moment.")
	case QuotaExhausted:
		f = fault.New(fault.KindUnavailable, "The account at the model's provider is used up. An administrator has to look at it.")
	case Overloaded:
		f = fault.New(fault.KindUnavailable, "The model's provider is overloaded. Try again in a moment.")
	case AuthFailed:
		f = fault.New(fault.KindUnavailable, "The model's provider refused our key. An administrator has to look at it.")
	case UnknownModel:
		f = fault.New(fault.KindUnavailable, "The provider does not know the model of this assistant. An administrator has to choose another.")
	case ContextLength:
		f = fault.New(fault.KindInvalid, "This thread is longer than the model can read. Start a new thread or shorten the message.")
	case Filtered:
		f = fault.New(fault.KindInvalid, "The model's provider refused to answer this. Put it differently.")
	case InvalidRequest:
		f = fault.New(fault.KindInvalid, "The model refused the request.")
	case CutStream, Malformed:
		f = fault.New(fault.KindUnavailable, "The answer broke off. Try again.")
	}
	return f.WithCode("model_" + string(e.Kind)).WithCause(e)
}

// KindOf finds the kind in err; ok is false if err carries none.
func KindOf(err error) (kind ErrorKind, ok bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind, true
	}
	return "", false
}

func malformed(format string, args ...any) *Error {
	return &Error{Kind: Malformed, Message: fmt.Sprintf(format, args...)}
}
