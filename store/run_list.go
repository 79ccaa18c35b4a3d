package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

const (
	sqlRunPage = `select ` + runColumns + ` from runs r
		where r.org_id = @org and r.thread_id = @thread and (cardinality(@statuses::text[]) = 0 or r.status = any(@statuses))
		order by r.created_at desc, r.id desc limit @limit offset @offset`
	sqlRunCount = `select count(*)::int as n from runs r
		where r.org_id = @org and r.thread_id = @thread and (cardinality(@statuses::text[]) = 0 or r.status = any(@statuses))`
)

// Runs lists runs of a thread that the scope may read, newest first, and says how
// many there are in all.
func (db *DB) Runs(ctx context.Context, scope auth.Scope, thread agents.ThreadID, q agents.RunQuery) (runs []agents.Run, total int, err error) {
	if err := checkScope(scope); err != nil {
		return nil, 0, err
	}
	if !id.Valid(string(thread)) {
		return nil, 0, threadNotFound()
	}
	args := readerArgs(scope, named{"id": string(thread), "thread": string(thread), "statuses": statusTexts(q.Statuses), "limit": q.Limit, "offset": q.Offset})
	var threads []threadRow
	var rows []runRow
	var batch pgx.Batch
	collect(&batch, &threads, sqlThreadByID, args)
	collect(&batch, &rows, sqlRunPage, args)
	batch.Queue(sqlRunCount, args).QueryRow(func(row pgx.Row) error { return row.Scan(&total) })
	if err := db.batches(scope)(ctx, &batch); err != nil {
		return nil, 0, fmt.Errorf("listing a thread's runs: %w", translate(err))
	}
	if len(threads) != 1 {
		return nil, 0, threadNotFound()
	}
	return runsOf(rows), total, nil
}

// statusTexts gives the statuses as the database has them.
func statusTexts(statuses []agents.RunStatus) []string {
	out := make([]string, len(statuses))
	for i, s := range statuses {
		out[i] = string(s)
	}
	return out
}

func runsOf(rows []runRow) []agents.Run {
	out := make([]agents.Run, len(rows))
	for i, r := range rows {
		out[i] = r.run()
	}
	return out
}

const sqlRunAnywhere = `select ` + runColumns + ` from runs r join threads t on t.org_id = r.org_id and t.id = r.thread_id
	where r.org_id = @org and r.id = @id and ` + threadReadable

// RunAnywhere reads a run of any thread that the scope may read.
func (db *DB) RunAnywhere(ctx context.Context, scope auth.Scope, run agents.RunID) (agents.Run, error) {
	if !id.Valid(string(run)) {
		return agents.Run{}, fault.NotFound("Run")
	}
	row, err := one[runRow](ctx, db, scope, "Run", "reading a run", sqlRunAnywhere, readerArgs(scope, named{"id": string(run)}))
	if err != nil {
		return agents.Run{}, err
	}
	return row.run(), nil
}

const sqlRunsToCancel = `select r.thread_id::text as thread, r.id::text as run from runs r join threads t on t.org_id = r.org_id and t.id = r.thread_id
	where r.org_id = @org and (t.owner_id = @user or t.visibility = 'organisation') and r.status = any(@statuses::text[])
		and r.cancel_requested_at is null
	order by r.position limit @limit`

// RunsToCancel lists open runs with one of the statuses on threads that the scope may
// write to, oldest first: those that nobody has asked to stop.
func (db *DB) RunsToCancel(ctx context.Context, scope auth.Scope, statuses []agents.RunStatus, limit int) ([]agents.RunKey, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return nil, err
	}
	type row struct{ Thread, Run string }
	rows, err := many[row](ctx, db, scope, "listing runs to cancel", sqlRunsToCancel, named{
		"org": string(scope.Org), "user": string(scope.User), "statuses": statusTexts(statuses), "limit": limit})
	if err != nil {
		return nil, err
	}
	out := make([]agents.RunKey, len(rows))
	for i, r := range rows {
		out[i] = agents.RunKey{Org: scope.Org, Thread: agents.ThreadID(r.Thread), Run: agents.RunID(r.Run)}
	}
	return out, nil
}
