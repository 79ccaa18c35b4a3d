package agents

import (
	"encoding/json"
	"time"

	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// The types of this file are the contract between whoever executes runs and
// the store that keeps them.

// ErrFenced says that the lease has passed to somebody else: this attempt must
// end without writing anything more.
var ErrFenced = fault.Conflict("This attempt no longer holds the thread.").WithCode("fenced")

// StorageError marks a failure of what keeps runs, also inside a node: it is no
// failure of the run, which is left for another attempt.
type StorageError struct{ Err error }

func (e *StorageError) Error() string { return "storing: " + e.Err.Error() }

// Unwrap gives what went wrong.
func (e *StorageError) Unwrap() error { return e.Err }

// Lease names what an attempt holds: every write it makes carries the token.
type Lease struct {
	Thread ThreadID
	Run    RunID
	Token  int64
}

// Step is what one super-step commits.
type Step struct {
	Line LineID
	Step int
	// Run made the step; empty means the lease's.
	Run    RunID
	Source CheckpointSource
	// Messages are new messages or revisions; Ops says where they go.
	Messages []Message
	Ops      []Op
	Deltas   map[string][]Delta
	// Snapshot is given where [SnapshotEvery] divides Step; the store makes
	// rollups by itself.
	Snapshot *Snapshot
	// NS names the subgraphs around the step's line; empty for a thread's own.
	NS []string
	// Next are the tasks that are due after the step, Pending what is known of
	// them already.
	Next    []Due
	Pending []Pending
	// Clear says that something may be pending from the step before, which this
	// one takes the place of.
	Clear bool
	Wrote []Wrote
	// Interrupts are the pauses that wait for an answer after this step, Reviews
	// the requests that belong to them.
	Interrupts []Interrupt
	Reviews    []Review
	Metadata   json.RawMessage
	// Events are appended with the step, in this order, where there is a log.
	Events []event.Envelope
	// Manifest is given with the step that begins a run.
	Manifest *Manifest
	// At is when the step was made, where the database has no clock of its own.
	At time.Time
}

// PendingWrites are results of tasks of a step that is not complete.
type PendingWrites struct {
	Line LineID
	// Step is the line's newest committed step.
	Step    int
	Pending []Pending
}

// SubLine is the line of one task's subgraph.
type SubLine struct {
	Line LineID
	NS   []string
	// Parent and ParentStep are where the task was due.
	Parent     LineID
	ParentStep int
}

// Finish is how a run ends.
type Finish struct {
	Status RunStatus
	Error  *RunError
	Events []event.Envelope
}

// Appended says which numbers a write's events got: Base+1 and on.
type Appended struct {
	Base  int64
	Epoch string
}

// Finished says which numbers the events of a run's end got, and whether another run
// of the organisation is in line, for which the end may have made room.
type Finished struct {
	Appended
	Next bool
}

// Entry is one envelope on its way into the log, of any organisation.
type Entry struct {
	Org    auth.OrgID
	Thread ThreadID
	Run    RunID
	// Token is the attempt's fencing token.
	Token int64
	Type  event.Type
	Body  []byte
}

// Numbered is what the log answered for one entry.
type Numbered struct {
	// Seq is zero when the entry was refused because its token is old.
	Seq   int64
	Epoch string
}

// Claimed is a run that now belongs to a worker, under a fresh token.
type Claimed struct {
	Run Run
	// Role is what the run's user may do in the organisation at this moment;
	// empty when the membership has ended.
	Role auth.Role
	// UserName is what that person is called.
	UserName string
	// Worker is what the worker is called.
	Worker string
	// Head is where the thread stands, which nobody else moves while the lease holds;
	// nil where that was not asked.
	Head *Standing
}

// Standing is where a thread stands: its line, the newest step of it (-1 for none),
// and whether something is kept of the tasks that are due.
type Standing struct {
	Line    LineID
	Step    int
	Pending bool
}

// TakenOver says what came of workers that were lost.
type TakenOver struct {
	// Workers is how many processes were found gone, Runs how many runs stand in
	// line again.
	Workers, Runs int
	// Cancelled are those of the runs that somebody has asked to stop: nobody need
	// execute them any more.
	Cancelled []RunKey
}

// RunKey names a run of any organisation.
type RunKey struct {
	Org    auth.OrgID
	Thread ThreadID
	Run    RunID
}

// Held is a run a worker still holds, as a renewal saw it.
type Held struct {
	Run             RunID
	Token           int64
	CancelRequested bool
}

// NewThread describes a thread to be made.
type NewThread struct {
	// ID is chosen by the caller or, when empty, by the store.
	ID         ThreadID
	Title      string
	Visibility Visibility
	// Metadata is a JSON object; nil means {}.
	Metadata json.RawMessage
	// Temporary says that it is for one run: nobody lists it, and it goes when the run
	// is over.
	Temporary bool
	// TTL is nil for none.
	TTL *TTL
}

// ThreadQuery selects a page of a person's threads, newest first.
type ThreadQuery struct {
	// Text filters by title, case-insensitively; empty means all.
	Text string
	// Before continues after the thread with this time and id.
	BeforeTime time.Time
	BeforeID   ThreadID
	// Limit is 1 to 100; default 40.
	Limit int
}

// Submission is a new run on a thread.
type Submission struct {
	Run       RunID // chosen by the caller, so that it can be told before the commit
	Thread    ThreadID
	Assistant Assistant
	Strategy  Strategy
	Input     RunInput
	Request   json.RawMessage
	Metadata  json.RawMessage
	// Unsure says that the assistant may have changed since it was read: the run is
	// placed only if it has not.
	Unsure bool
	// Webhook is the address that is told of the run's end; empty for none.
	Webhook string
	// After is how long the run waits before it takes its place in line, up to
	// [MaxDelay].
	After time.Duration
	// Create, when set, makes the thread in the same transaction if it is absent.
	Create *NewThread
	// Title names a thread that has no title yet.
	Title string
	// Supersede ends a run that waits for an answer: its requests are withdrawn
	// and the new input goes on at once.
	Supersede bool
	// Displacing builds the events that tell what ended for the new input.
	Displacing Displacing
	// Pinned, when set, is told the version that the thread keeps, if it is
	// another one than Assistant's, before Queued is called.
	Pinned func(Assistant)
	// Queued builds the event that tells watchers of the new run; ahead is how
	// many runs stand before it, first says that it goes before those that stood
	// in line already.
	Queued func(ahead int, first bool) (event.Envelope, error)
}

// Displacing builds the events that tell what new input puts an end to.
type Displacing struct {
	// Ended tells that a run which waited for an answer is over.
	Ended func(Run) (event.Envelope, error)
	// Withdrawn tells that a request for review is.
	Withdrawn func(Review, RunID) (event.Envelope, error)
	// RolledBack tells that a run is over and that nothing of it is left.
	RolledBack func(Run) ([]event.Envelope, error)
}

// Submitted is what became of a submission.
type Submitted struct {
	Run Run
	// Queued is the appended event, Position its number and epoch.
	Queued   event.Envelope
	Position Position
	// Created says that the thread was made with the run.
	Created bool
	// Told was appended before Queued: what ended for the new run.
	Told   []event.Envelope
	ToldAt Appended
	// Stop are runs that must stop at once: whoever executes them is to be told.
	Stop []RunID
}

// Cancelled says what a request to cancel did.
type Cancelled struct {
	Run Run
	// Ended is true when the run had not started and is over now; its event
	// was appended at Position. Otherwise whoever executes the run ends it, and if
	// nobody does any more, whoever takes it with ClaimCancelled.
	Ended    bool
	Event    event.Envelope
	Position Position
	// Told was appended at ToldAt: the requests of a run that waited for a
	// person are withdrawn.
	Told   []event.Envelope
	ToldAt Appended
}

// LogRow is one row of a thread's log. It covers the numbers From to Seq.
type LogRow struct {
	Seq, From int64
	Type      string
	Body      string
}

// Payload composes the row's envelope as clients receive it.
func (r LogRow) Payload(epoch string) []byte { return event.Compose(r.Seq, epoch, []byte(r.Body)) }

// View is one consistent reading of a thread: its state, its runs and the log
// beyond the state's checkpoint.
type View struct {
	Thread Thread
	State  State
	// Base is the log position the state reflects, Head the log's end; Tail
	// holds the rows in between.
	Base, Head Position
	Tail       []LogRow
	// Open are the runs that have not ended; Latest the newest that has.
	Open   []Run
	Latest *Run
	// Reviews are the thread's requests for review, oldest first.
	Reviews []Review
}
