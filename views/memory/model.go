// Package memory shows long-term memories: the list of them for admins, the
// items of one, and one item to read, edit and delete. The administration and a
// person's own page show the same components in their own frames.
//
// Models hold text that is ready to show. Handlers may import it.
package memory

import (
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/ui"
)

// Frame is where a page stands: the administration, or, without a navigation,
// the person's account.
type Frame struct {
	Admin *admin.Nav
	CSRF  string
}

// Area is one choice of whose memories are shown.
type Area struct {
	Label, Href string
	Current     bool
}

// Search is the form that searches; its words stand in the address.
type Search struct {
	Action, Label, Text string
	// Hidden are fields that the search keeps, as name and value.
	Hidden []Hidden
	// Clear is the address without the words; empty when there are none.
	Clear string
}

// Hidden is a field that a form carries along.
type Hidden struct{ Name, Value string }

// Overview lists the memories of an area, or what a search across all found.
type Overview struct {
	Frame  Frame
	Areas  []Area
	Search Search
	// Holdings are shown without a search, Found with one.
	Holdings []Holding
	Found    []Item
	Next     string
}

// Holding is one memory in a list.
type Holding struct {
	Name, Note, Href string
	Items            string
	Changed          ui.Time // empty Text: nothing there
}

// Memory is the page of one memory.
type Memory struct {
	Frame       Frame
	Title, Lead string
	Back        *Link
	Areas       []Area
	Search      Search
	Namespaces  []Namespace
	// All is the address that shows every namespace, Narrowed whether one is chosen.
	All      string
	Narrowed bool
	Groups   []Group
	Next     string
	// Empty says why nothing is shown, and what would be here.
	Empty ui.Empty
	// Export is the address of the whole memory as a file; empty when there is
	// nothing.
	Export string
	Forget *Forget
}

// Link leads somewhere.
type Link struct{ Label, Href string }

// Namespace is one place of a memory to narrow the list to.
type Namespace struct {
	Label, Href, Count string
	Current            bool
}

// Group is the items of one namespace.
type Group struct {
	Label string
	Items []Item
}

// Item is one item in a list.
type Item struct {
	Href string
	// Text is the value in short, Key its name.
	Text, Key string
	// Whose names the holder in a list of several.
	Whose   string
	Origin  Origin
	Expires ui.Time // empty Text: never
}

// Origin says how a value came to be, such as "Remembered by a run on 3 May in
// thread «Tea»".
type Origin struct {
	Verb string
	When ui.Time
	// Thread is nil when the viewer may not read it or it is gone.
	Thread *Link
}

// Forget is the form that deletes a whole memory.
type Forget struct {
	Action, Title, Text, Button string
	Hidden                      []Hidden
}

// ItemPage shows one item.
type ItemPage struct {
	Frame               Frame
	Back                Link
	Title               string
	Namespace           string
	Whose               string // empty on one's own page
	Value               string // JSON, set out
	Origin              Origin
	Tool                string
	Created, Changed    ui.Time
	Expires             ui.Time // empty Text: never
	Action              string
	Hidden              []Hidden
	Edit                *Edit // nil: too large to be edited here
	EditLimit           string
	DeleteText, Deleted string
}

// Edit is the form that replaces a value.
type Edit struct {
	Text string
	// Seen names the state that the text began with.
	Seen string
	// Error says why it was not saved.
	Error string
}
