package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// maxMetadata is how much metadata a thread may have, in bytes.
const maxMetadata = 256 << 10

const sqlThreadPatch = `update threads t set updated_at = now(), metadata = t.metadata || coalesce(@metadata::jsonb, '{}'),
		ttl_minutes = coalesce(@ttl::double precision, t.ttl_minutes), ttl_strategy = coalesce(@ttl_strategy, t.ttl_strategy)
	where t.org_id = @org and t.id = @id
	returning ` + threadColumns

// PatchThread changes what a client keeps with a thread. The scope must be able to
// write to it.
func (db *DB) PatchThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, p agents.ThreadPatch) (agents.Thread, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return agents.Thread{}, err
	}
	args := named{"org": string(scope.Org), "id": string(thread), "metadata": nil, "ttl": nil, "ttl_strategy": nil}
	if p.Metadata != nil {
		args["metadata"] = string(p.Metadata)
	}
	if p.TTL != nil {
		if err := p.TTL.Check(); err != nil {
			return agents.Thread{}, err
		}
		args["ttl"], args["ttl_strategy"] = p.TTL.Minutes, string(p.TTL.Strategy)
	}
	var out agents.Thread
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		row, err := pgxOne[threadRow](ctx, tx, sqlThreadPatch, args)
		if errors.Is(err, pgx.ErrNoRows) {
			return threadNotFound()
		}
		if err != nil {
			return translate(err)
		}
		if len(row.Metadata) > maxMetadata {
			return fault.Invalid("metadata", fmt.Sprintf("must be at most %d KiB in all", maxMetadata>>10))
		}
		out = row.thread()
		return nil
	})
	if err != nil {
		return agents.Thread{}, fmt.Errorf("changing a thread: %w", err)
	}
	return out, nil
}

// sqlThreadOpen reads whether somebody works on a thread or waits for it.
const sqlThreadOpen = `select count(*)::int as n from threads t where t.org_id = @org and t.id = @thread and ` + threadOpen

// RetireThread removes a thread, or all but its newest states, on somebody's
// wish. It reports false, and does nothing, where the thread is absent or not the
// scope's to remove, and where somebody works on it or waits for it.
func (db *DB) RetireThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, how agents.RetentionStrategy) (bool, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return false, err
	}
	if how != agents.DeleteThread && how != agents.KeepLatest {
		return false, fault.Invalid("strategy", "must be delete or keep_latest")
	}
	done := false
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		t, err := lockThread(ctx, tx, scope, thread)
		if err != nil {
			return err
		}
		args := named{"org": string(scope.Org), "id": string(thread), "thread": string(thread), "user": string(scope.User)}
		open, err := pgxOne[countRow](ctx, tx, sqlThreadOpen, args)
		if err != nil {
			return fmt.Errorf("looking for who uses a thread: %w", err)
		}
		switch {
		case open.N > 0:
			return nil
		case how == agents.KeepLatest:
			done = true
			_, err = pruning{org: string(scope.Org), thread: string(thread), keep: 1, most: noBatch}.run(ctx, tx)
			return err
		case t.Owner != scope.User:
			return nil
		}
		done = true
		_, err = tx.Exec(ctx, sqlThreadDelete, args)
		return err
	})
	if fault.Is(err, fault.KindNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("removing a thread or its old states: %w", err)
	}
	if done {
		db.states.drop(stateKey{scope.Org, thread})
	}
	return done, nil
}
