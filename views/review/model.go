// Package review shows calls that wait for a person: the queue, what was decided,
// and one request with all that a decision needs.
//
// The list and the line of who holds a request are regions: the page's script
// reads them anew when the socket says that the queue changed. They come by an
// authenticated GET and may depend on the viewer; they hold no tokens, their
// buttons post forms that stand elsewhere on the page.
//
// Models hold text that is ready to show. Handlers may import it.
package review

import (
	"github.com/heddle/heddle/views/argform"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/ui"
)

// The regions, and the forms that their buttons post.
const (
	RegionList  = "review-list"
	RegionState = "review-state"
	ClaimForm   = "review-claim"
	TakeForm    = "review-take"
	ReleaseForm = "review-release"
	// EditForm is the form around the arguments.
	EditForm = "review-form"
)

// Queue is the page of requests that wait or, with Decided, of those that do not
// any more.
type Queue struct {
	Decided bool
	// Told says what the decision did that led here.
	Told   string
	Filter Filter
	List   List
}

// Filter is the form above the list; what it holds stands in the address.
type Filter struct {
	Tools, Assistants, People, Due []ui.Option
	Mine                           bool
	// Set says that anything is narrowed.
	Set bool
}

// List is the region of rows.
type List struct {
	Decided  bool
	Filtered bool
	// Open and Mine count the requests that wait, and those the viewer holds.
	Open, Mine int
	Rows       []Row
	// Next is the address of the following page, empty on the last.
	Next string
}

// Row is one request in a list.
type Row struct {
	ID, Href         string
	Tool, Subject    string
	Asker, Assistant string
	Asked            ui.Time
	// Due, Holder and Mine are of requests that wait; Mine says that the viewer
	// holds it.
	Due    ui.Time
	Holder string
	Mine   bool
	// Outcome, Tone and Decided are of the others.
	Outcome string
	Tone    ui.Tone
	Decided ui.Time
}

// Request is the page of one request.
type Request struct {
	ID, Tool string
	// Title, About and Effect say what the tool does; What and Undo what this
	// call will do and whether that can be taken back.
	Title, About string
	Effect       string
	EffectTone   ui.Tone
	What, Undo   string
	Reason, Rule string

	Asker, Assistant string
	Asked, Due       ui.Time
	State            State
	// Outcome is nil while the request waits.
	Outcome *Outcome

	// Thread is the address of the conversation, Messages its last ones.
	Thread   string
	Messages []chat.Message
	Earlier  []Earlier

	Form argform.Form
	// Shown is the hash of the arguments on the page, in hexadecimal.
	Shown string
	May   May
	// Query keeps the queue's filter from page to page, with its "?".
	Query string
	// Next is the address of the next request, empty if there is none.
	Next string
	// Told says what the decision did that led here; Error why the last attempt
	// did nothing.
	Told   string
	Error  string
	Reject Words
	Answer Words
	CSRF   string
}

// Words is what was typed into the reason or the answer, when it comes back.
type Words struct {
	Text, Error string
}

// May is what the viewer may do with an open request.
type May struct {
	Approve, Edit, Respond, Reject bool
	// Withdraw is for whoever asked; FourEyes says that they may do nothing else.
	Withdraw, FourEyes bool
}

// decide reports whether the viewer may decide at all.
func (m May) decide() bool { return m.Approve || m.Edit || m.Respond || m.Reject }

// State is the line that says who works on the request.
type State struct {
	ID string
	// Closed says that the request waits no more, in a sentence.
	Closed string
	// Holder is empty if nobody holds it; Mine says that the viewer does.
	Holder string
	Mine   bool
	Until  ui.Time
	// CanClaim is for reviewers.
	CanClaim bool
}

// Outcome is how a request ended.
type Outcome struct {
	Text string
	Tone ui.Tone
	At   ui.Time
	// Reason is of a rejection, Answer stands in place of the result.
	Reason, Answer string
}

// Earlier is a request for the same call before this one.
type Earlier struct {
	Href, Text string
	At         ui.Time
}
