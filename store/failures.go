package store

import (
	"context"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// sqlFailures reads why runs of a thread failed.
const sqlFailures = `select r.id::text as id, r.error from threads t join runs r on r.org_id = t.org_id and r.thread_id = t.id
	where t.id = @thread and ` + threadReadable + ` and r.id = any(@runs::uuid[]) and r.status in ('error', 'timeout') and r.error is not null`

type failureRow struct {
	ID    string
	Error agents.RunError
}

// Failures gives why runs of a thread failed; those that did not are left out. The
// scope must be able to read the thread.
func (db *DB) Failures(ctx context.Context, scope auth.Scope, thread agents.ThreadID, runs []agents.RunID) (map[agents.RunID]agents.RunError, error) {
	if !id.Valid(string(thread)) {
		return nil, threadNotFound()
	}
	ids := make([]string, 0, len(runs))
	for _, r := range runs {
		if id.Valid(string(r)) {
			ids = append(ids, string(r))
		}
	}
	rows, err := many[failureRow](ctx, db, scope, "reading why runs failed", sqlFailures, readerArgs(scope, named{"thread": string(thread), "runs": ids}))
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 { // none failed, or there is no such thread
		_, err := db.Thread(ctx, scope, thread)
		return nil, err
	}
	out := make(map[agents.RunID]agents.RunError, len(rows))
	for _, r := range rows {
		out[agents.RunID(r.ID)] = r.Error
	}
	return out, nil
}
