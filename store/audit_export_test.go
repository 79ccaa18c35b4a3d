package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// TouchAudited is a change as others make it: the thread's lock, some work, then
// the log. Without entries it is the change alone.
func TouchAudited(ctx context.Context, db *DB, scope auth.Scope, thread agents.ThreadID, entries ...auth.AuditEntry) error {
	return db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlThreadRename, pgx.NamedArgs{"org": string(scope.Org), "id": string(thread), "title": "touched"}); err != nil {
			return err
		}
		for _, e := range entries {
			if err := appendAudit(tx, scope, e); err != nil {
				return err
			}
		}
		return nil
	})
}
