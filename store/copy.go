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

// sqlThreadCopy makes a thread with the lines, steps and messages of another.
// Lines get ids of their own, and with them checkpoints. Nothing that waits for
// an answer is copied, no run and nothing of the log, and no lifetime.
const sqlThreadCopy = `with source as (
	select * from threads where org_id = @org and id = @from
), renamed as materialized (
	select l.id, gen_random_uuid() as new_id, l.parent_line, l.parent_step, l.step, l.created_at
	from lines l where l.org_id = @org and l.thread_id = @from and l.ns is null
), made as (
	insert into threads (org_id, id, owner_id, visibility, title, assistant_id, assistant_version, line_id, metadata, status)
	select s.org_id, @to::uuid, @user::uuid, 'private', s.title, s.assistant_id, s.assistant_version, r.new_id, s.metadata,
		case s.status when 'busy' then 'idle' else s.status end
	from source s join renamed r on r.id = s.line_id
	returning org_id, id
), head as (
	insert into thread_heads (org_id, thread_id, epoch, token) select org_id, id, @epoch::uuid, ` + clockToken + ` from made
), copied_lines as (
	insert into lines (org_id, id, thread_id, parent_line, parent_step, step, created_at)
	select made.org_id, r.new_id, made.id, p.new_id, r.parent_step, r.step, r.created_at
	from made, renamed r left join renamed p on p.id = r.parent_line
), copied_messages as (
	insert into messages (org_id, thread_id, id, revision, role, body, text, author_id, rest, created_at)
	select made.org_id, made.id, m.id, m.revision, m.role, m.body, m.text, m.author_id, m.rest, m.created_at
	from made, messages m where m.org_id = @org and m.thread_id = @from
)
insert into checkpoints (org_id, line_id, step, format, source, ops, deltas, snapshot, rollup, next, wrote, metadata, created_at)
select made.org_id, r.new_id, c.step, c.format, c.source, c.ops, c.deltas, c.snapshot, c.rollup, c.next, c.wrote, c.metadata, c.created_at
from made, renamed r join checkpoints c on c.line_id = r.id where c.org_id = @org`

const sqlThreadTaken = `select count(*) from threads where org_id = @org and id = @to`

// CopyThread makes a thread of the scope's user with the history of another that
// the scope may read. A conflict fault says that the new id is taken, or that a run
// is under way; a pause is no obstacle: the copy stands where it asks again.
func (db *DB) CopyThread(ctx context.Context, scope auth.Scope, from, to agents.ThreadID) error {
	if err := scope.Require(auth.PermRun); err != nil {
		return err
	}
	if !id.Valid(string(to)) {
		return fault.Invalid("thread_id", "must be a UUID")
	}
	if _, err := db.Thread(ctx, scope, from); err != nil {
		return err
	}
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := named{"org": string(scope.Org), "from": string(from), "to": string(to), "user": string(scope.User), "epoch": id.New()}
		taken, err := pgxScalar[int](ctx, tx, sqlThreadTaken, args)
		if err != nil {
			return fmt.Errorf("looking for the new thread: %w", err)
		}
		if taken > 0 {
			return fault.Conflict("A thread with this id exists already.").WithCode("thread_exists")
		}
		busy, err := pgxScalar[int](ctx, tx, sqlRunsBusy, named{"org": string(scope.Org), "thread": string(from)})
		if err != nil {
			return fmt.Errorf("counting runs: %w", err)
		}
		if busy > 0 {
			return fault.Conflict("Thread is running a task. Wait for it to finish before you copy it.").WithCode("thread_busy")
		}
		if _, err := tx.Exec(ctx, sqlThreadCopy, args); err != nil {
			if violates(err, codeUniqueViolation, "threads_pkey") {
				return fault.Conflict("A thread with this id exists already.").WithCode("thread_exists")
			}
			return translate(err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("copying a thread: %w", err)
	}
	return nil
}
