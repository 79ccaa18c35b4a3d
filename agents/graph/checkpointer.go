package graph

import (
	"context"

	"github.com/heddle/heddle/agents"
)

// Checkpointer keeps the histories of threads. Package checkpointtest is the
// suite that each implementation passes: agents/checkpoint/memory and
// agents/checkpoint/sqlite, and the server's store on PostgreSQL.
//
// A thread has lines of checkpoints. It begins with one; a fork begins another
// at a checkpoint and makes it the active one, and the first stays as it is. A
// line's steps have the numbers after its parent's. Messages are kept once, per
// form; a checkpoint holds references and small changes.
//
// What is absent, or belongs to another thread, is a fault of kind NotFound.
// All methods are safe for concurrent use.
type Checkpointer interface {
	// Acquire makes the thread if it is new, and takes its lease: every write
	// under an older lease of the thread is refused as [agents.ErrFenced] and
	// changes nothing, also one of a deleted thread whose name begins anew. The
	// lease's Run is empty.
	Acquire(ctx context.Context, thread agents.ThreadID) (agents.Lease, error)
	// State loads the state at a checkpoint; an empty id is the newest one of the
	// active line. Head, Parent and Pending are set; a thread without steps has
	// step -1 and no head. At the beginning of a fork the head is the parent's
	// checkpoint without its interrupts: what was asked there is asked again.
	State(ctx context.Context, thread agents.ThreadID, checkpoint string) (agents.State, error)
	// History lists states of all lines, the newest first.
	History(ctx context.Context, thread agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error)

	// Commit appends a step to a line, all of it or nothing. A step that isn't
	// the line's next is refused as ErrFenced.
	Commit(ctx context.Context, lease agents.Lease, step agents.Step) error
	// Pend keeps results of tasks that are due at the newest step of a line.
	Pend(ctx context.Context, lease agents.Lease, w agents.PendingWrites) error
	// SubLine gives Step, Head, Pending and Own of the line of a task's subgraph,
	// and makes the line if it is new.
	SubLine(ctx context.Context, lease agents.Lease, sub agents.SubLine) (agents.State, error)
	// Fork begins a line at a checkpoint and makes it the active one.
	Fork(ctx context.Context, lease agents.Lease, checkpoint string) (agents.LineID, error)

	// Copy makes a thread with the history of another. Nothing pending and no
	// open question is copied. A thread that exists is a conflict.
	Copy(ctx context.Context, from, to agents.ThreadID) error
	// Delete removes a thread with all that belongs to it; one that is absent is
	// no error.
	Delete(ctx context.Context, thread agents.ThreadID) error
	// Prune removes checkpoints of the thread but for at least the newest keep of
	// each line, which must be 1 or more, and forms of messages that nothing
	// refers to any more; up to agents.RollupEvery more of a line may stay. The
	// newest checkpoint of a line, one that waits for answers, and one at which a
	// fork begins are never removed, nor what they are made of; nor any of the
	// line of a subgraph whose task is under way.
	Prune(ctx context.Context, thread agents.ThreadID, keep int) (removed int, err error)
}
