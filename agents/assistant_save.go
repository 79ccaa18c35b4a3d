package agents

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// AssistantSave is one save in an assistant's history: an immutable version of
// all its fields.
type AssistantSave struct {
	Version int
	Name    string
	Comment string
	// By is who saved; empty for what came with the server.
	By     auth.UserID
	At     time.Time
	Active bool
}

// AssistantQuery selects assistants for their administration.
type AssistantQuery struct {
	// Text filters by name, case-insensitively; empty means all.
	Text string
	// Archived selects those that are archived instead of those in use.
	Archived bool
	// Limit is 1 to 200; default 200.
	Limit int
}

// AssistantFilter selects assistants for clients; what is empty selects all.
// Archived assistants are never among them.
type AssistantFilter struct {
	// Metadata must be contained in the assistant's.
	Metadata json.RawMessage
	Graph    string
	// Name is a part of the name, in whatever case.
	Name string
}

// AssistantOrder is what a list of assistants can be sorted by.
type AssistantOrder string

// The orders. The name is sorted without regard to case.
const (
	ByCreated   AssistantOrder = "created_at"
	ByUpdated   AssistantOrder = "updated_at"
	ByName      AssistantOrder = "name"
	ByGraph     AssistantOrder = "graph_id"
	ByAssistant AssistantOrder = "assistant_id"
)

// AssistantOrders lists the orders, the default first.
func AssistantOrders() []AssistantOrder {
	return []AssistantOrder{ByCreated, ByUpdated, ByName, ByGraph, ByAssistant}
}

// AssistantSearch asks for a piece of the list of assistants.
type AssistantSearch struct {
	AssistantFilter
	// Sort is by default when they were made; Ascending puts the least first.
	Sort      AssistantOrder
	Ascending bool
	// Limit is 1 to 1000; default 10.
	Limit, Offset int
}

// AssistantChange is a save that is made of the version in use.
type AssistantChange struct {
	Assistant AssistantID
	Comment   string
	// Revive takes an archived assistant back into use; without it one is not found.
	Revive bool
	// Make gives the new content. It may be called within a transaction and must
	// do no more than that.
	Make func(active Assistant) (Assistant, error)
}

// AssistantLine is an assistant as a list shows it.
type AssistantLine struct {
	Assistant
	// SavedBy saved the active version; empty for what came with the server.
	SavedBy auth.UserID
	// Threads counts the threads that have the assistant, in any version.
	Threads int
}

// CodeAssistantChanged is the code of the conflict that says that somebody saved
// the assistant since the version a change was based on.
const CodeAssistantChanged = "assistant_changed"

// ValidateComment checks what is said about a save: something, and not too much.
func ValidateComment(comment string) error {
	broken := map[string]string{}
	if strings.TrimSpace(comment) == "" {
		broken["comment"] = "is required: say what changed and why"
	}
	tooLong(broken, "comment", comment, MaxAssistantComment)
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	return nil
}

// Moved is what became of a thread that was moved to another version.
type Moved struct {
	// Event was appended at Position; the position is zero when the thread had
	// that version already.
	Event    event.Envelope
	Position Position
}
