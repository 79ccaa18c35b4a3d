package agents

import (
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
