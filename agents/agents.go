// Package agents holds the domain's types and rules: assistants, threads,
// messages, runs and checkpoints. It performs no I/O and imports the standard
// library, auth and internal leaves only; every other room builds on it.
package agents

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Identifiers are distinct types so that one can't be passed for another. All
// but [MessageID] are UUIDs in canonical form.
type (
	// ThreadID identifies a thread within its organisation.
	ThreadID string
	// RunID identifies a run.
	RunID string
	// AssistantID identifies an assistant within its organisation.
	AssistantID string
	// LineID identifies a line of history within a thread.
	LineID string
	// MessageID identifies a message within its thread: at most 200 characters;
	// API clients may bring their own and the server keeps them.
	MessageID string
	// WorkerID identifies a worker process.
	WorkerID string
)

// MaxMessageRunes is the longest text of one human message, counted in runes
// (LG-21).
const MaxMessageRunes = 10_000

// MaxTitleRunes is the longest title of a thread, in runes.
const MaxTitleRunes = 200

// ValidateText checks the text of a human message: something to see (spaces and
// invisible characters alone are nothing), valid UTF-8 and
// at most [MaxMessageRunes] runes. The fault names the field.
func ValidateText(field, text string) error {
	if !utf8.ValidString(text) {
		return fault.Invalid(field, "must be valid UTF-8")
	}
	blank := true
	for _, r := range text {
		if r == 0 {
			return fault.Invalid(field, "must not contain NUL characters")
		}
		if !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) {
			blank = false
		}
	}
	if blank {
		return fault.Invalid(field, "must not be empty")
	}
	if n := utf8.RuneCountInString(text); n > MaxMessageRunes {
		return fault.Invalid(field, "must be at most 10,000 characters; this one has "+strconv.Itoa(n))
	}
	return nil
}

// Visibility says who besides its owner may see a thread.
type Visibility string

// The visibilities.
const (
	VisibilityPrivate      Visibility = "private"
	VisibilityOrganisation Visibility = "organisation"
)

// ThreadStatus is a thread's state as the API names it.
type ThreadStatus string

// The statuses of a thread.
const (
	ThreadIdle        ThreadStatus = "idle"
	ThreadBusy        ThreadStatus = "busy"        // a run is pending or running
	ThreadInterrupted ThreadStatus = "interrupted" // an interrupt is open
	ThreadError       ThreadStatus = "error"       // the last run failed
)

// Thread is one conversation.
type Thread struct {
	ID               ThreadID
	Org              auth.OrgID
	Owner            auth.UserID
	Visibility       Visibility
	Title            string
	Status           ThreadStatus
	Assistant        AssistantID
	AssistantVersion int
	Line             LineID
	Metadata         json.RawMessage
	// TTL is nil where only the installation's lifetimes count.
	TTL       *TTL
	CreatedAt time.Time
	UpdatedAt time.Time
}

// WritableBy reports whether the scope may add runs to the thread or change it.
func (t Thread) WritableBy(s auth.Scope) bool {
	return t.Org == s.Org && s.Can(auth.PermRun) &&
		(t.Owner == s.User || t.Visibility == VisibilityOrganisation)
}

// Position is a place in a thread's log: the number and the epoch it belongs
// to. Numbers of different epochs can't be compared.
type Position struct {
	Seq   int64  `json:"seq"`
	Epoch string `json:"epoch"`
}
