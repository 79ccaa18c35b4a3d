package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// sqlTemporaryDelete removes threads of runs that need none, once nothing of them
// goes on. The heads come first, as for everyone who appends.
const sqlTemporaryDelete = `with over as materialized (
	select h.org_id, h.thread_id from unnest(@orgs::uuid[], @threads::uuid[]) as n(org_id, id)
	join threads t on t.org_id = n.org_id and t.id = n.id and t.temporary
	join thread_heads h on h.org_id = t.org_id and h.thread_id = t.id
	where not exists (select 1 from runs r where r.org_id = t.org_id and r.thread_id = t.id and r.status in ('pending', 'running'))
	order by h.org_id, h.thread_id for update of h skip locked
)
delete from threads t using over where t.org_id = over.org_id and t.id = over.thread_id`

// sqlTemporaryOver finds those that whoever began their runs has left behind.
const sqlTemporaryOver = `select t.org_id::text as org, t.id::text as thread from threads t
	where t.temporary and t.status <> 'busy' and t.updated_at < now() - @grace::interval
	order by t.updated_at limit @limit`

type temporaryRow struct{ Org, Thread string }

// DiscardThreads removes threads of runs that need none, whose runs are over; others
// that are named stay. It says how many went.
func (db *DB) DiscardThreads(ctx context.Context, threads []agents.RunKey) (int, error) {
	orgs, ids := make([]string, len(threads)), make([]string, len(threads))
	for i, t := range threads {
		orgs[i], ids[i] = string(t.Org), string(t.Thread)
	}
	tag, err := db.system.Exec(ctx, sqlTemporaryDelete, named{"orgs": orgs, "threads": ids})
	if err != nil {
		return 0, fmt.Errorf("removing temporary threads: %w", translate(err))
	}
	return int(tag.RowsAffected()), nil
}

// DiscardLeft removes up to limit threads of runs that needed none and were over
// longer than grace ago: whoever was to remove them is gone, or nobody was.
func (db *DB) DiscardLeft(ctx context.Context, grace time.Duration, limit int) (int, error) {
	rows, err := db.system.Query(ctx, sqlTemporaryOver, named{"grace": grace, "limit": limit})
	if err != nil {
		return 0, fmt.Errorf("finding temporary threads: %w", translate(err))
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[temporaryRow])
	if err != nil {
		return 0, fmt.Errorf("finding temporary threads: %w", translate(err))
	}
	if len(found) == 0 {
		return 0, nil
	}
	left := make([]agents.RunKey, len(found))
	for i, t := range found {
		left[i] = agents.RunKey{Org: auth.OrgID(t.Org), Thread: agents.ThreadID(t.Thread)}
	}
	return db.DiscardThreads(ctx, left)
}
