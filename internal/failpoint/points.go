// Package failpoint names the places of the product at which the fault protocol
// (docs/reliability.md) ends a process: between two writes, where a crash costs
// most.
//
// In an ordinary build [Reach] is an empty function that the compiler removes
// with its arguments: nothing can be armed, and no name of a point is in the
// binary. With the build tag chaos a point that was armed kills the process as
// kill -9 does.
//
// Any package may import it; it imports the standard library only.
package failpoint

// Point is a place in the life of a run.
type Point string

// The points, in the order in which a run passes them.
const (
	// AfterClaim: the run is this worker's, nothing was done yet.
	AfterClaim Point = "after-claim"
	// BeforeJournal: a call was decided, its tool's journal does not say "sent".
	BeforeJournal Point = "before-journal"
	// AfterTool: the tool has answered, nobody has written it down.
	AfterTool Point = "after-tool"
	// BeforeCommit: a step is done, nothing of it is stored.
	BeforeCommit Point = "before-commit"
	// AfterCommit: the step is stored, no watcher was told.
	AfterCommit Point = "after-commit"
)
