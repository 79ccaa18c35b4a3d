package store

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Checkpointer is one member's access to the histories of threads, for programs
// that run graphs themselves (graph.Checkpointer). The server's own runs commit
// by [DB.CommitStep], with their log and their ends. Safe for concurrent use.
type Checkpointer struct {
	db    *DB
	scope auth.Scope
}

// NewCheckpointer gives a member's access to histories.
func NewCheckpointer(db *DB, scope auth.Scope) Checkpointer {
	return Checkpointer{db: db, scope: scope}
}

// Acquire implements graph.Checkpointer.
func (c Checkpointer) Acquire(ctx context.Context, thread agents.ThreadID) (agents.Lease, error) {
	return c.db.Acquire(ctx, c.scope, thread)
}

// State implements graph.Checkpointer.
func (c Checkpointer) State(ctx context.Context, thread agents.ThreadID, checkpoint string) (agents.State, error) {
	if checkpoint == "" {
		return c.db.State(ctx, c.scope, thread)
	}
	return c.db.StateAt(ctx, c.scope, thread, checkpoint)
}

// History implements graph.Checkpointer.
func (c Checkpointer) History(ctx context.Context, thread agents.ThreadID, q agents.HistoryQuery) ([]agents.State, error) {
	return c.db.History(ctx, c.scope, thread, q)
}

// Commit implements graph.Checkpointer.
func (c Checkpointer) Commit(ctx context.Context, lease agents.Lease, step agents.Step) error {
	_, _, err := c.db.CommitStep(ctx, c.scope, lease, step, nil)
	return err
}

// Pend implements graph.Checkpointer.
func (c Checkpointer) Pend(ctx context.Context, lease agents.Lease, w agents.PendingWrites) error {
	return c.db.Pend(ctx, c.scope, lease, w)
}

// SubLine implements graph.Checkpointer.
func (c Checkpointer) SubLine(ctx context.Context, lease agents.Lease, sub agents.SubLine) (agents.State, error) {
	return c.db.SubLine(ctx, c.scope, lease, sub)
}

// Fork implements graph.Checkpointer.
func (c Checkpointer) Fork(ctx context.Context, lease agents.Lease, checkpoint string) (agents.LineID, error) {
	return c.db.Fork(ctx, c.scope, lease, checkpoint)
}

// Copy implements graph.Checkpointer.
func (c Checkpointer) Copy(ctx context.Context, from, to agents.ThreadID) error {
	return c.db.CopyThread(ctx, c.scope, from, to)
}

// Delete implements graph.Checkpointer.
func (c Checkpointer) Delete(ctx context.Context, thread agents.ThreadID) error {
	err := c.db.DeleteThread(ctx, c.scope, thread)
	if fault.Is(err, fault.KindNotFound) {
		return nil
	}
	return err
}

// Prune implements graph.Checkpointer.
func (c Checkpointer) Prune(ctx context.Context, thread agents.ThreadID, keep int) (int, error) {
	return c.db.PruneThread(ctx, c.scope, thread, keep)
}
