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
	Worker   *string
	// Line, Step and Kept are where the thread stands.
	Line *string
	Step *int
	Kept *bool
}

func (r claimedRow) claimed() agents.Claimed {
	out := agents.Claimed{Run: r.run()}
	if r.Role != nil {
		out.Role = auth.Role(*r.Role)
	}
	if r.UserName != nil {
		out.UserName = *r.UserName
	}
	if r.Worker != nil {
		out.Worker = *r.Worker
	}
	if r.Line != nil && r.Step != nil && r.Kept != nil {
		out.Head = &agents.Standing{Line: agents.LineID(*r.Line), Step: *r.Step, Pending: *r.Kept}
	}
	return out
}

// sqlClaimTurn lets one claim at a time count and take, across all nodes: else two
// would each fill what is left of a bound. It goes in one round trip with the claim,
// so that no client can hold it.
//
// The claim's commit is not waited for on the disk: it is there before anything that
// the attempt writes is, and a crash of the database that takes it away leaves the run
// in line, as if nobody had claimed it. The next claim has another token even then.
const sqlClaimTurn = `select set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(2, 0)`

// sqlClaim takes the oldest due runs whose thread is free and has no earlier
// run in line that is due, as many as the bounds of their people and organisations leave. The
// line is read in its order and only as far as a claim may need: past those who have
// all they may have, and twice as many runs as are asked for, so that one who
// is nearly there does not stand before the others. Whether an earlier one is due is
// asked of those alone that began to wait on purpose: the others may have been placed
// by transactions that began after this one. Taking the thread's lease gives
// it a new token; SKIP LOCKED passes by threads that somebody else changes.
//
// The offsets and the coalesce keep each part on the index that it is written for,
// whatever the planner knows of tables that grew a moment ago.
const sqlClaim = `with held as (
	select org_id, user_id, count(*) as n from runs where status = 'running' group by org_id, user_id
), of_org as (
	select org_id, sum(n) as n from held group by org_id
), line as (
	select r.org_id, r.id, r.user_id, r.position
	from (select w.* from runs w where w.status = 'pending' and w.run_after <= now()
		and not exists (select 1 from held where held.org_id = w.org_id and held.user_id = w.user_id and held.n >= @per_person)
		and not exists (select 1 from of_org where of_org.org_id = w.org_id and of_org.n >= @per_org)
		order by w.position offset 0) r
	cross join lateral (select run_id from thread_heads where org_id = r.org_id and thread_id = r.thread_id offset 0) h
	where h.run_id is null
		and not exists (select 1 from runs p where p.org_id = r.org_id and p.thread_id = r.thread_id
			and p.status in ('pending', 'waiting') and p.position < r.position and (not p.delayed or p.run_after <= now()))
	order by r.position limit 2 * @limit
), by_person as (
	select l.org_id, l.id, l.position, coalesce(held.n, 0)
		+ row_number() over (partition by l.org_id, l.user_id order by l.position) as nth
	from line l left join held on held.org_id = l.org_id and held.user_id = l.user_id
), by_org as (
	select c.org_id, c.id, c.position, coalesce(of_org.n, 0) + row_number() over (partition by c.org_id order by c.position) as nth
	from by_person c left join of_org on of_org.org_id = c.org_id
	where c.nth <= @per_person
), next as (
	select org_id, id from by_org where nth <= @per_org order by position limit @limit
), due as (
	select r.org_id, r.id, r.thread_id from next join runs r on r.org_id = next.org_id and r.id = next.id
	join thread_heads h on h.org_id = r.org_id and h.thread_id = r.thread_id
	where coalesce(r.status, '') = 'pending' and h.run_id is null
	for update of r, h skip locked
), heads as (
	update thread_heads h set token = greatest(h.token + 1, ` + clockToken + `), run_id = due.id, worker_id = @worker,
		lease_until = now() + @lease::interval
	from due where h.org_id = due.org_id and h.thread_id = due.thread_id
	returning h.org_id, h.run_id, h.token
), claimed as (
	update runs r set status = 'running', token = heads.token, attempt = r.attempt + 1,
		started_at = coalesce(r.started_at, now()), claimed_at = now(), updated_at = now()
	from heads where r.org_id = heads.org_id and r.id = heads.run_id
	returning r.*
)
select ` + runColumns + `, m.role, u.name as user_name, (select w.name from workers w where w.id = @worker) as worker,
	l.id as line, l.step, exists (select 1 from pending_writes p where p.org_id = l.org_id and p.line_id = l.id) as kept
from claimed r
left join memberships m on m.org_id = r.org_id and m.user_id = r.user_id
left join users u on u.id = r.user_id
left join threads t on t.org_id = r.org_id and t.id = r.thread_id
left join lines l on l.org_id = t.org_id and l.id = t.line_id
order by r.position`

// Claim gives up to limit due runs to a worker, each with a lease by the
// database's clock.
func (db *DB) Claim(ctx context.Context, worker agents.WorkerID, limit int, lease time.Duration) ([]agents.Claimed, error) {
	var found []claimedRow
	var batch pgx.Batch
	batch.Queue(sqlClaimTurn)
	batch.Queue(sqlProbe)
	collect(&batch, &found, sqlClaim, named{"worker": string(worker), "limit": limit, "lease": lease,
		"per_org": db.bounds.ExecutingPerOrg, "per_person": db.bounds.ExecutingPerPerson})
	if err := db.system.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("claiming runs: %w", err)
	}
	out := make([]agents.Claimed, len(found))
	for i, r := range found {
		out[i] = r.claimed()
	}
	return out, nil
}

// sqlDueWithin finds when the next run that began to wait on purpose is due. The
// others are due when they come, which wakes the workers.
const sqlDueWithin = `select min(r.run_after) - now() as after from runs r
	where r.delayed and r.status = 'pending' and r.run_after > now() and r.run_after <= now() + @within::interval`

// DueWithin says after how long the next run is due that waits for its time, if that
// is within a time.
func (db *DB) DueWithin(ctx context.Context, within time.Duration) (after time.Duration, some bool, err error) {
	var found *time.Duration
	if err := db.system.QueryRow(ctx, sqlDueWithin, named{"within": within}).Scan(&found); err != nil {
		return 0, false, fmt.Errorf("finding when a run is due: %w", translate(err))
	}
	if found == nil {
		return 0, false, nil
	}
	return *found, true, nil
}

// sqlRenew locks the heads in the order of their keys, as sqlAppendBatch does:
// both wait for several heads, and in different orders they would deadlock.
const sqlRenew = `with held as (
	select h.org_id, h.thread_id from (select org_id, thread_id, id from runs where status = 'running' and id = any(@runs::uuid[]) offset 0) r
	join thread_heads h on h.org_id = r.org_id and h.thread_id = r.thread_id
	where h.worker_id = @worker and h.run_id = r.id
	order by h.org_id, h.thread_id for update of h
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
	rows, err := db.system.Query(ctx, sqlRenew, named{"worker": string(worker), "runs": ids, "lease": lease})
	if err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	held, err := pgx.CollectRows(rows, pgx.RowToStructByName[agents.Held])
	if err != nil {
		return nil, fmt.Errorf("renewing leases: %w", err)
	}
	return held, nil
}

// sqlSweep gives runs of dead holders back to the queue, with a note of the attempt
// that was lost. The token grows at once, so that a holder that is not dead after
// all can write nothing more.
const sqlSweep = `with lost as (
	select h.org_id, h.thread_id, h.run_id, h.lease_until, w.name, coalesce(h.worker_id = any(@dead::uuid[]), false) as gone
	from (select org_id, thread_id, id from runs where status = 'running' offset 0) r
	join thread_heads h on h.org_id = r.org_id and h.thread_id = r.thread_id and h.run_id = r.id
	left join workers w on w.id = h.worker_id
	where h.lease_until < now() or h.worker_id = any(@dead::uuid[])
	for update of h skip locked
), freed as (
	update thread_heads h set token = h.token + 1, run_id = null, worker_id = null, lease_until = null
	from lost where h.org_id = lost.org_id and h.thread_id = lost.thread_id
)
update runs r set status = 'pending', failures = r.failures + 1, updated_at = now(),
	lost = coalesce(r.lost, '[]') || jsonb_build_object('attempt', r.attempt, 'began_at', coalesce(r.claimed_at, r.updated_at),
		'ended_at', case when lost.gone then now() else lost.lease_until end, 'worker', coalesce(lost.name, ''),
		'why', case when lost.gone then 'process_gone' else 'lease_expired' end)
from lost where r.org_id = lost.org_id and r.id = lost.run_id and r.status = 'running'
returning r.org_id::text as org, r.thread_id::text as thread, r.id::text as run, r.cancel_requested_at is not null as cancelled`

type lostRow struct {
	Org, Thread, Run string
	Cancelled        bool
}

// sqlClaimCancelled takes the lease of a run that somebody asked to stop and that
// nobody executes: it stands in line with something done already, or its holder is
// gone or has not renewed. It is no attempt. That a holder is gone is asked of its
// lock last, and of no other worker's.
const sqlClaimCancelled = `with head as materialized (
	select h.org_id, h.thread_id, h.run_id, h.lease_until, w.lock_key from runs r
	join thread_heads h on h.org_id = r.org_id and h.thread_id = r.thread_id
	left join workers w on w.id = h.worker_id
	where r.org_id = @org and r.id = @run and r.thread_id = @thread and r.cancel_requested_at is not null
		and (r.status = 'pending' and h.run_id is null or r.status = 'running' and h.run_id = r.id)
), free as materialized (
	select org_id, thread_id from head where run_id is null or lease_until < now()
	union all
	select org_id, thread_id from head where run_id is not null and lease_until >= now() and lock_key is not null
		and case when lock_key is not null then pg_try_advisory_xact_lock(1, lock_key) end
), taken as (
	update thread_heads h set token = h.token + 1, run_id = @run, worker_id = null, lease_until = now() + @lease::interval
	from free where h.org_id = free.org_id and h.thread_id = free.thread_id
	returning h.org_id, h.token
), claimed as (
	update runs r set status = 'running', token = taken.token, updated_at = now()
	from taken where r.org_id = taken.org_id and r.id = @run
	returning r.*
)
select ` + runColumns + `, m.role, u.name as user_name, null::text as worker,
	null::uuid as line, null::int as step, null::bool as kept
from claimed r
left join memberships m on m.org_id = r.org_id and m.user_id = r.user_id
left join users u on u.id = r.user_id`

// ClaimCancelled takes a run that somebody has asked to stop, if nobody executes it
// (any more), so that it can be ended without a worker; else it gives nil.
func (db *DB) ClaimCancelled(ctx context.Context, key agents.RunKey, lease time.Duration) (*agents.Claimed, error) {
	args := named{"org": string(key.Org), "thread": string(key.Thread), "run": string(key.Run), "lease": lease}
	var found []claimedRow
	var batch pgx.Batch
	batch.Queue(sqlHeadLock, args) // what follows sees what whoever held it has done
	collect(&batch, &found, sqlClaimCancelled, args)
	if err := db.system.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, fmt.Errorf("claiming a cancelled run: %w", translate(err))
	}
	if len(found) == 0 {
		return nil, nil
	}
	claimed := found[0].claimed()
	return &claimed, nil
}

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
	tag, err := db.system.Exec(ctx, sqlHandBack, named{
		"org": string(org), "thread": string(lease.Thread), "run": string(lease.Run), "token": lease.Token})
	if err != nil {
		return fmt.Errorf("handing back a run: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return agents.ErrFenced
	}
	return nil
}
