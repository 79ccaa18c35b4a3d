package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

type claimedRow struct {
	runRow
	Role     *string
	UserName *string
}

// sqlClaim takes the oldest due runs whose thread is free and has no earlier
// run in line. Taking the thread's lease gives it a new token; SKIP LOCKED lets
// workers claim side by side.
const sqlClaim = `with due as (
	select r.org_id, r.id, r.thread_id from runs r
	join thread_heads h on h.org_id = r.org_id and h.thread_id = r.thread_id
	where r.status = 'pending' and r.run_after <= now() and h.run_id is null
		and not exists (select 1 from runs p where p.org_id = r.org_id and p.thread_id = r.thread_id
			and p.status in ('pending', 'waiting') and p.position < r.position)
	order by r.position limit @limit
	for update of r, h skip locked
), heads as (
	update thread_heads h set token = h.token + 1, run_id = due.id, worker_id = @worker,
		lease_until = now() + @lease::interval
	from due where h.org_id = due.org_id and h.thread_id = due.thread_id
	returning h.org_id, h.run_id, h.token
), claimed as (
	update runs r set status = 'running', token = heads.token, attempt = r.attempt + 1,
		started_at = coalesce(r.started_at, now()), updated_at = now()
	from heads where r.org_id = heads.org_id and r.id = heads.run_id
	returning r.*
)
select ` + runColumns + `, m.role, u.name as user_name from claimed r
left join memberships m on m.org_id = r.org_id and m.user_id = r.user_id
left join users u on u.id = r.user_id
order by r.position`

// Claim gives up to limit due runs to a worker, each with a lease by the
// database's clock.
func (db *DB) Claim(ctx context.Context, worker agents.WorkerID, limit int, lease time.Duration) ([]agents.Claimed, error) {
	rows, err := db.system.Query(ctx, sqlClaim, pgx.NamedArgs{
		"worker": string(worker), "limit": limit, "lease": lease})
	if err != nil {
		return nil, fmt.Errorf("claiming runs: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[claimedRow])
	if err != nil {
		return nil, fmt.Errorf("claiming runs: %w", err)
	}
	out := make([]agents.Claimed, len(found))
	for i, r := range found {
		out[i].Run = r.run()
		if r.Role != nil {
			out[i].Role = auth.Role(*r.Role)
		}
		if r.UserName != nil {
			out[i].UserName = *r.UserName
		}
	}
	return out, nil
}

// sqlRenew locks the heads in the order of their keys, as sqlAppendBatch does:
// both wait for several heads, and in different orders they would deadlock.
const sqlRenew = `with held as (
	select org_id, thread_id from thread_heads
	where worker_id = @worker and run_id = any(@runs::uuid[])
	order by org_id, thread_id for update
), renewed as (
	update thread_heads h set lease_until = now() + @lease::interval
	from held where h.org_id = held.org_id and h.thread_id = held.thread_id
	returning h.org_id, h.run_id, h.token
)
select h.run_id as run, h.token, r.cancel_requested_at is not null as cancel_requested
from renewed h join runs r on r.org_id = h.org_id and r.id = h.run_id`

// Renew extends a worker's leases on the runs it names (those that execute in its
// process: a run it has dropped must expire) and says which it still holds: one
// that is missing was taken over, and its attempt must end.
func (db *DB) Renew(ctx context.Context, worker agents.WorkerID, runs []agents.RunID, lease time.Duration) ([]agents.Held, error) {
	ids := make([]string, len(runs))
	for i, r := range runs {
		ids[i] = string(r)
	}
	rows, err := db.system.Query(ctx, sqlRenew, pgx.NamedArgs{"worker": string(worker), "runs": ids, "lease": lease})
	if err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	held, err := pgx.CollectRows(rows, pgx.RowToStructByName[agents.Held])
	if err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	return held, nil
}

// sqlSweep gives runs of dead holders back to the queue. The token grows at
// once, so that a holder that is not dead after all can write nothing more.
const sqlSweep = `with lost as (
	select org_id, thread_id, run_id from thread_heads
	where run_id is not null and (lease_until < now() or worker_id = any(@dead::uuid[]))
	for update skip locked
), freed as (
	update thread_heads h set token = h.token + 1, run_id = null, worker_id = null, lease_until = null
	from lost where h.org_id = lost.org_id and h.thread_id = lost.thread_id
)
update runs r set status = 'pending', failures = r.failures + 1, updated_at = now()
from lost where r.org_id = lost.org_id and r.id = lost.run_id and r.status = 'running'`

// sqlHandBack returns a run to the queue at a step boundary; it does not count
// as a failure.
const sqlHandBack = `with head as (
	update thread_heads set token = token + 1, run_id = null, worker_id = null, lease_until = null
	where org_id = @org and thread_id = @thread and token = @token and run_id = @run
	returning org_id, thread_id
)
update runs r set status = 'pending', updated_at = now() from head
where r.org_id = head.org_id and r.id = @run`

// HandBack gives a run to whichever worker claims it next.
func (db *DB) HandBack(ctx context.Context, org auth.OrgID, lease agents.Lease) error {
	tag, err := db.system.Exec(ctx, sqlHandBack, pgx.NamedArgs{
		"org": string(org), "thread": string(lease.Thread), "run": string(lease.Run), "token": lease.Token})
	if err != nil {
		return fmt.Errorf("handing back a run: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return agents.ErrFenced
	}
	return nil
}
