package agents

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/heddle/heddle/auth"
)

// Area says whose long-term memory an item belongs to. Code chooses it; it is
// never part of a namespace, which clients and models choose (C-05).
type Area string

// The areas. Each holds, per organisation, one memory for each holder.
const (
	AreaUser Area = "user" // what the product remembers about a person
	AreaAPI  Area = "api"  // what a person's API clients store
)

// Areas lists every area in the order in which people see them.
func Areas() []Area { return []Area{AreaUser, AreaAPI} }

// Valid reports whether a is a known area.
func (a Area) Valid() bool { return slices.Contains(Areas(), a) }

// HolderID is the id of whom a memory belongs to: a person, in the areas there
// are. It is a UUID in canonical form.
type HolderID string

// Memory names one memory of an organisation.
type Memory struct {
	Area   Area
	Holder HolderID
}

// Of reports whether the memory is the person's own.
func (m Memory) Of(user auth.UserID) bool { return m.Holder == HolderID(user) }

// Source says where the value of an item comes from. The run, its thread and
// the tool are empty when a person or program wrote it; all is empty for items
// older than the record of sources.
type Source struct {
	By     auth.UserID
	Run    RunID
	Thread ThreadID
	Tool   string
}

// Item is one entry of long-term memory.
type Item struct {
	// Namespace is an ordered path of parts without dots.
	Namespace []string
	// Key is unique within the namespace.
	Key string
	// Value is any JSON but null.
	Value     json.RawMessage
	CreatedAt time.Time
	UpdatedAt time.Time
	// ExpiresAt is when the item is gone; the zero time means never.
	ExpiresAt time.Time
	// Lifetime, when an item is written, is how long it lives from then on, and from
	// each reading that keeps it alive; it goes before ExpiresAt. Zero means that
	// reading changes nothing. It is not read back.
	Lifetime time.Duration
	// Paths, when an item is written, are the parts of the value whose texts can be
	// searched, as jsonpath; nil means all of it, empty nothing. Not read back.
	Paths  []string
	Source Source
}

// ScoredItem is an item that fits a search.
type ScoredItem struct {
	Item
	// Score compares what one search for words found: 0 to 1, higher is better. It
	// is nil where no words were asked for.
	Score *float64
}

// ItemTest is a condition on one field of an item's value.
type ItemTest struct {
	// Field is a name at the top of the value.
	Field string
	Is    ItemComparison
	// Value is JSON; with the comparisons of order it is a number or a string, and
	// fits values of its own type only.
	Value json.RawMessage
}

// ItemComparison is how a field is compared. A field that is absent is null.
type ItemComparison string

// The comparisons, in the words of the Agent Server.
const (
	IsEqual          ItemComparison = "$eq"
	IsNotEqual       ItemComparison = "$ne"
	IsGreater        ItemComparison = "$gt"
	IsGreaterOrEqual ItemComparison = "$gte"
	IsLess           ItemComparison = "$lt"
	IsLessOrEqual    ItemComparison = "$lte"
)

// Valid reports whether c is a known comparison.
func (c ItemComparison) Valid() bool {
	return c == IsEqual || c == IsNotEqual || c.Orders()
}

// Orders reports whether c asks for more or less.
func (c ItemComparison) Orders() bool {
	switch c {
	case IsGreater, IsGreaterOrEqual, IsLess, IsLessOrEqual:
		return true
	default:
		return false
	}
}

// ItemRef names one item.
type ItemRef struct {
	Memory
	Namespace []string
	Key       string
}

// FoundItem is an item as a reader of memories finds it.
type FoundItem struct {
	Item
	Memory Memory
	// HolderName and WriterName are what people are called; empty for whoever
	// does not belong to the organisation any more.
	HolderName, WriterName string
	// ThreadReadable says that the thread of the source is there and the reader
	// may open it; only then ThreadTitle is known.
	ThreadReadable bool
	ThreadTitle    string
}

// Ref names the item.
func (i FoundItem) Ref() ItemRef {
	return ItemRef{Memory: i.Memory, Namespace: i.Namespace, Key: i.Key}
}

// ItemCursor is the place of an item in a list; the zero one is the start.
type ItemCursor struct {
	UpdatedAt time.Time
	Holder    HolderID
	Namespace []string
	Key       string
}

// MemoryQuery selects items of memories for a reader.
type MemoryQuery struct {
	// Prefix is the beginning of the namespaces to look in; empty means all.
	Prefix []string
	// Text is words that must all occur in the key or the value, in any letter
	// case; empty means all.
	Text  string
	After ItemCursor
	// Limit is 1 to 100; default 50.
	Limit int
}

// MemoryPage is a part of one memory with what is around it.
type MemoryPage struct {
	Holding Holding
	// Counts are the live items of the holder by area.
	Counts map[Area]int
	// Namespaces are those of the memory in order, at most 200.
	Namespaces []NamespaceCount
	// Items are sorted by namespace, within it the latest changed first.
	Items []FoundItem
}

// NamespaceCount says how many live items a namespace holds.
type NamespaceCount struct {
	Namespace []string
	Items     int
}

// Holding sums up one memory.
type Holding struct {
	Memory
	// Name and Email are empty for whoever is no member any more.
	Name, Email string
	Member      bool
	Items       int
	// UpdatedAt is the latest change; zero when there are no items.
	UpdatedAt time.Time
}

// HoldingCursor is the place of a memory in the list by name.
type HoldingCursor struct {
	Name   string
	Holder HolderID
}
