package agents

import (
	"time"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// RetentionStrategy says what goes once checkpoints have lived their time.
type RetentionStrategy string

// The strategies, in the words of the Agent Server.
const (
	// KeepLatest removes old checkpoints; the newest state of each line stays.
	KeepLatest RetentionStrategy = "keep_latest"
	// DeleteThread removes threads that nobody touched for as long, whole.
	DeleteThread RetentionStrategy = "delete"
)

// Retention is how long an installation keeps what runs leave behind. A lifetime
// of zero is for ever.
type Retention struct {
	Strategy    RetentionStrategy
	Checkpoints time.Duration
	// Keep is how many of a line's newest checkpoints stay however old they are,
	// 1 or more.
	Keep int
	// Events is the lifetime of the log.
	Events time.Duration
}

// Check refuses what would never remove anything, or would remove a newest state.
func (r Retention) Check() error {
	wrong := map[string]string{}
	switch {
	case r.Strategy != KeepLatest && r.Strategy != DeleteThread && r.Strategy != "":
		wrong["strategy"] = "must be keep_latest or delete"
	case r.Strategy != "" && r.Checkpoints == 0:
		wrong["checkpoints"] = "must have a lifetime with the strategy " + string(r.Strategy)
	}
	if r.Checkpoints < 0 {
		wrong["checkpoints"] = "must not be negative"
	}
	if r.Events < 0 {
		wrong["events"] = "must not be negative"
	}
	if r.Keep < 1 {
		wrong["keep"] = "must be 1 or more"
	}
	if len(wrong) > 0 {
		return fault.InvalidFields(wrong)
	}
	return nil
}

// At says what is too old at a moment.
func (r Retention) At(now time.Time) Cuts {
	c := Cuts{Keep: r.Keep, Now: now}
	if r.Events > 0 {
		c.Events = now.Add(-r.Events)
	}
	if r.Checkpoints > 0 {
		if r.Strategy == DeleteThread {
			c.Threads = now.Add(-r.Checkpoints)
		} else {
			c.Checkpoints = now.Add(-r.Checkpoints)
		}
	}
	return c
}

// Cuts are the moments before which something may go; at the zero time nothing
// of the kind does.
type Cuts struct {
	// Threads that nobody touched since go whole.
	Threads time.Time
	// Checkpoints that are older go, but for the newest Keep of each line.
	Checkpoints time.Time
	Keep        int
	// Events of the log that are older go where a stored state covers them.
	Events time.Time
	// Now is the moment by which threads with a lifetime of their own may have
	// lived it; at the zero time none has.
	Now time.Time
	// Batch bounds how many checkpoints of a line, and how many rows of the log,
	// go in one transaction; 0 is 5,000.
	Batch int
}

// ThreadKey names a thread of any organisation.
type ThreadKey struct {
	Org    auth.OrgID
	Thread ThreadID
}

// SweepCandidate is a thread that a sweep looked at.
type SweepCandidate struct {
	ThreadKey
	// Due says that something of it may go.
	Due bool
}

// Swept counts what went. Of a thread that went whole, all it had is counted.
type Swept struct {
	Threads, Checkpoints, Messages int
	// Events are rows of the log, each of which holds several envelopes.
	Events int
	// Bytes are those of the rows, without indexes.
	Bytes int64
}

// Add counts more.
func (s *Swept) Add(more Swept) {
	s.Threads += more.Threads
	s.Checkpoints += more.Checkpoints
	s.Messages += more.Messages
	s.Events += more.Events
	s.Bytes += more.Bytes
}

// Nothing reports whether nothing went.
func (s Swept) Nothing() bool { return s == Swept{} }
