package admin

import "github.com/heddle/heddle/views/ui"

// AuditLog is the page of the audit log.
type AuditLog struct {
	Chain   AuditChain
	Filter  AuditFilter
	Entries []AuditEntry
	// Newest, Older and Export are addresses with the filter kept; "" where there
	// is nothing to go to.
	Newest, Older, Export string
	CSRF                  string
}

// AuditChain is what is known of the chain.
type AuditChain struct {
	// Entries is how many there are, in words.
	Entries string
	// Verdict is what the last check found; "" before the first one.
	Tone    ui.Tone
	Verdict string
	Checked ui.Time
	By      string
	// Hash is that of the newest verified entry, in hexadecimal.
	Hash string
}

// AuditFilter is the form over the table, as it was filled in. Errors are by
// the field's name.
type AuditFilter struct {
	People                               []ui.Option
	Action, Kind, Object, From, To, Text string
	// Actions and Kinds are suggestions.
	Actions, Kinds []ui.Option
	Errors         map[string]string
	// Active says that something is filtered; Open, that the fields which are
	// used less are.
	Active, Open bool
}

// AuditEntry is one line of the log.
type AuditEntry struct {
	// ID is unique on the page.
	ID  string
	At  ui.Time
	Who string
	// Words say what was done, such as "Changed the role of"; Object is to what.
	Words, Object, ObjectHref string
	Door, Address, Rule       string
	Changes                   []AuditChange
	// Changed says that before and after are both known, so that the changes are a
	// difference.
	Changed bool
	// Facts are the rest, for whoever looks closely.
	Facts []AuditFact
}

// AuditChange is one field that differs; an absent side is "".
type AuditChange struct{ Field, Before, After string }

// AuditFact is a name and a value.
type AuditFact struct{ Name, Value string }
