package agents

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// TTL is a lifetime that a thread has of its own, counted from when it was last
// written to.
type TTL struct {
	Strategy RetentionStrategy
	// Minutes is more than 0 and at most [MaxTTLMinutes].
	Minutes float64
}

// MaxTTLMinutes is the longest lifetime: a hundred years.
const MaxTTLMinutes = 365 * 24 * 60 * 100

// Check refuses a lifetime that says nothing.
func (t TTL) Check() error {
	if t.Strategy != KeepLatest && t.Strategy != DeleteThread {
		return fault.Invalid("ttl.strategy", "must be delete or keep_latest")
	}
	if !(t.Minutes > 0 && t.Minutes <= MaxTTLMinutes) {
		return fault.Invalid("ttl.ttl", "must be a number of minutes, more than 0 and at most 52,560,000")
	}
	return nil
}

// After gives when a thread is too old that was written to at a moment.
func (t TTL) After(written time.Time) time.Time {
	return written.Add(time.Duration(t.Minutes * float64(time.Minute)))
}

// ThreadPatch changes what a client keeps with a thread; what is nil stays.
type ThreadPatch struct {
	// Metadata is an object whose keys replace those of the thread.
	Metadata json.RawMessage
	TTL      *TTL
}

// ThreadSort is what a list of threads is ordered by.
type ThreadSort string

// The orders of threads.
const (
	ThreadsByID      ThreadSort = "thread_id"
	ThreadsByStatus  ThreadSort = "status"
	ThreadsByCreated ThreadSort = "created_at"
	ThreadsByUpdated ThreadSort = "updated_at"
)

// StateParts says how much of a thread's state comes with it.
type StateParts int

// The parts of a state.
const (
	NoState StateParts = iota
	// Outline is all but the messages.
	Outline
	WholeState
)

// ThreadSearch selects threads. Without IDs those that belong to the person or are
// shared with the organisation: the right to read any thread does not turn a list
// into a reading of everybody's. With IDs, whichever of these may be read.
type ThreadSearch struct {
	IDs    []ThreadID
	Status ThreadStatus
	// Metadata is an object that the thread's contains; nil matches all.
	Metadata json.RawMessage
	// Values are what public channels contain, other than messages.
	Values map[string]json.RawMessage
	// Sort is by the last change if empty, the newest first unless Ascending.
	Sort      ThreadSort
	Ascending bool
	// Limit is 1 to [MaxThreads]; it counts nothing where only the number is asked.
	Limit, Offset int
	States        StateParts
}

const (
	// MaxThreads is how many threads one search gives, and how many ids it takes.
	MaxThreads = 1000
	// MaxSearchedValues is how many threads a search looks into for values.
	MaxSearchedValues = 1000
	// MaxListedMessages is how many messages the states of one list may have.
	MaxListedMessages = 100_000
)

// Check says whether a search may be made.
func (q ThreadSearch) Check() error {
	wrong := map[string]string{}
	if len(q.IDs) > MaxThreads {
		wrong["ids"] = "must be at most 1000"
	}
	if q.Status != "" && !slices.Contains([]ThreadStatus{ThreadIdle, ThreadBusy, ThreadInterrupted, ThreadError}, q.Status) {
		wrong["status"] = "must be idle, busy, interrupted or error"
	}
	if q.Sort != "" && !slices.Contains([]ThreadSort{ThreadsByID, ThreadsByStatus, ThreadsByCreated, ThreadsByUpdated}, q.Sort) {
		wrong["sort_by"] = "must be thread_id, status, created_at or updated_at"
	}
	if q.Limit < 1 || q.Limit > MaxThreads {
		wrong["limit"] = "must be between 1 and 1000"
	}
	if q.Offset < 0 {
		wrong["offset"] = "must not be negative"
	}
	if _, ok := q.Values["messages"]; ok {
		wrong["values"] = "can't be searched by messages"
	}
	for channel := range q.Values {
		if Hidden(channel) {
			wrong["values"] = "can't be searched by " + channel + ", which is private"
		}
	}
	if len(wrong) > 0 {
		return fault.InvalidFields(wrong)
	}
	return nil
}

// FoundThread is a thread with as much of its state as was asked for.
type FoundThread struct {
	Thread
	State State
}

// Contains reports whether JSON holds other JSON: an object all of its keys, a list
// each of its elements somewhere, anything else the same value.
func Contains(have, want json.RawMessage) bool {
	var h, w any
	return json.Unmarshal(have, &h) == nil && json.Unmarshal(want, &w) == nil && holds(h, w)
}

func holds(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for k, w := range want {
			if h, ok := have[k]; !ok || !holds(h, w) {
				return false
			}
		}
		return true
	case []any:
		have, ok := have.([]any)
		if !ok {
			return false
		}
		for _, w := range want {
			if !slices.ContainsFunc(have, func(h any) bool { return holds(h, w) }) {
				return false
			}
		}
		return true
	default:
		switch have.(type) {
		case map[string]any, []any:
			return false
		}
		return have == want
	}
}
