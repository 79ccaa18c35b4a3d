// Package fault is the vocabulary of failure that every room shares: a kind
// that decides the HTTP status and socket reason, a public text that is safe
// to show, an optional map of fields, and a private cause that only logs see.
//
// Any package may import it. It imports nothing but the standard library.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind says what sort of failure happened. The set is closed: handlers map
// each kind to exactly one status.
type Kind string

// The kinds, with the HTTP status handlers give them.
const (
	KindInvalid         Kind = "invalid"         // 422: the request breaks a rule named in Fields or Public
	KindUnauthenticated Kind = "unauthenticated" // 401: nobody is signed in
	KindForbidden       Kind = "forbidden"       // 403: signed in, and a named rule says no
	KindNotFound        Kind = "not_found"       // 404: absent, or of another organisation: the two look the same
	KindConflict        Kind = "conflict"        // 409: true when asked, no longer possible
	KindTooLarge        Kind = "too_large"       // 413: over a size limit
	KindLimited         Kind = "limited"         // 429: over a rate or queue bound
	KindUnavailable     Kind = "unavailable"     // 503: a part we need is away
	KindInternal        Kind = "internal"        // 500: a bug or a broken invariant
)

// Error is a failure with a public face. Construct it with the functions of
// this package; read it with [KindOf], [Public] and [FieldsOf].
type Error struct {
	Kind Kind
	// Code is a stable, machine-readable word for this very failure, such as
	// "thread_busy". It defaults to the kind.
	Code string
	// Public is one sentence in plain words, safe to show to anyone.
	Public string
	// Fields maps the name of an input field to the rule it broke.
	Fields map[string]string
	// Cause is for logs only.
	Cause error
}

// Error gives the public text followed by the cause, for logs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Public)
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		fmt.Fprintf(&b, " [%s: %s]", name, e.Fields[name])
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// WithCause returns a copy that carries cause for the logs.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// WithCode returns a copy with a more specific machine-readable code.
func (e *Error) WithCode(code string) *Error {
	c := *e
	c.Code = code
	return &c
}

// New makes a fault of the given kind with a public text.
func New(kind Kind, public string) *Error {
	return &Error{Kind: kind, Code: string(kind), Public: public}
}

// NotFound is what both an absent thing and another organisation's thing look
// like. The text never names an id, so the two are the same byte for byte.
func NotFound(what string) *Error {
	return New(KindNotFound, what+" not found")
}

// Invalid reports one input field and the rule it broke.
func Invalid(field, rule string) *Error {
	e := New(KindInvalid, field+": "+rule)
	e.Fields = map[string]string{field: rule}
	return e
}

// InvalidFields reports several fields at once; the public text lists them in
// the order of their names.
func InvalidFields(fields map[string]string) *Error {
	parts := make([]string, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, name+": "+fields[name])
	}
	e := New(KindInvalid, strings.Join(parts, "; "))
	e.Fields = maps.Clone(fields)
	return e
}

// Conflict reports that the thing asked for is not possible in the present state.
func Conflict(public string) *Error { return New(KindConflict, public) }

// Forbidden reports the rule that says no.
func Forbidden(public string) *Error { return New(KindForbidden, public) }

// Unauthenticated reports that nobody is signed in.
func Unauthenticated(public string) *Error { return New(KindUnauthenticated, public) }

// Limited reports a bound that was reached; the text says when to try again.
func Limited(public string) *Error { return New(KindLimited, public) }

// Unavailable reports that a needed part is away.
func Unavailable(public string, cause error) *Error {
	return New(KindUnavailable, public).WithCause(cause)
}

// KindOf finds the kind of err; an error that carries none is internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// Is reports whether err carries the given kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Code gives the machine-readable code of err.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return string(KindInternal)
}

// Public gives the text that may be shown to anyone. An error without a public
// face yields one fixed sentence: its own text may hold secrets.
func Public(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Kind != KindInternal {
		return e.Public
	}
	return "Something went wrong on our side. Nothing you sent was lost."
}

// FieldsOf gives the broken rules by field, nil if there are none.
func FieldsOf(err error) map[string]string {
	var e *Error
	if errors.As(err, &e) {
		return e.Fields
	}
	return nil
}
