package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// threadRow is a thread with its head, as the queries below select it.
type threadRow struct {
	OrgID            string
	ID               string
	OwnerID          string
	Visibility       string
	Title            string
	Status           string
	AssistantID      *string
	AssistantVersion *int
	LineID           string
	Metadata         json.RawMessage
	TTLMinutes       *float64
	TTLStrategy      *string
	CreatedAt        time.Time
	UpdatedAt        time.Time
}

func (r threadRow) thread() agents.Thread {
	t := agents.Thread{
		ID: agents.ThreadID(r.ID), Org: auth.OrgID(r.OrgID), Owner: auth.UserID(r.OwnerID),
		Visibility: agents.Visibility(r.Visibility), Title: r.Title, Status: agents.ThreadStatus(r.Status),
		Line: agents.LineID(r.LineID), Metadata: r.Metadata, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if r.AssistantID != nil {
		t.Assistant = agents.AssistantID(*r.AssistantID)
	}
	if r.AssistantVersion != nil {
		t.AssistantVersion = *r.AssistantVersion
	}
	if r.TTLMinutes != nil && r.TTLStrategy != nil {
		t.TTL = &agents.TTL{Strategy: agents.RetentionStrategy(*r.TTLStrategy), Minutes: *r.TTLMinutes}
	}
	return t
}

const threadColumns = `t.org_id, t.id, t.owner_id, t.visibility, t.title, t.status, t.assistant_id,
	t.assistant_version, t.line_id, t.metadata, t.ttl_minutes, t.ttl_strategy, t.created_at, t.updated_at`

// threadReadable is the rule who sees a thread; it needs the named arguments
// of readerArgs.
//
// A reviewer reads a thread from the moment a request for review opened on it.
const threadReadable = `t.org_id = @org and (t.owner_id = @user or t.visibility = 'organisation' or @read_any
	or @reviews and exists (select 1 from reviews rv where rv.org_id = t.org_id and rv.thread_id = t.id))`

func readerArgs(s auth.Scope, more named) named {
	args := named{"org": string(s.Org), "user": string(s.User), "read_any": s.Can(auth.PermReadAnyThread),
		"reviews": s.Can(auth.PermReview)}
	for k, v := range more {
		args[k] = v
	}
	return args
}

// clockToken is what a thread's tokens begin after, and a claim's is never before: the
// milliseconds since 1970. A thread that was deleted may begin anew under its id, and
// a claim may be lost with a crash of the database; no token of the old one may fit
// the new.
const clockToken = `floor(extract(epoch from clock_timestamp()) * 1000)::bigint`

const sqlThreadInsert = `with line as (select @line::uuid as id), made as (
	insert into threads (org_id, id, owner_id, visibility, title, line_id, metadata, ttl_minutes, ttl_strategy, temporary)
	select @org, @id, @user, @visibility, @title, line.id, @metadata, @ttl::double precision, @ttl_strategy, @temporary from line
	on conflict do nothing
	returning *
), head as (
	insert into thread_heads (org_id, thread_id, epoch, token) select org_id, id, @epoch, ` + clockToken + ` from made
), first_line as (
	insert into lines (org_id, id, thread_id) select org_id, line_id, id from made
)
select ` + threadColumns + ` from made t`

// CreateThread makes a thread owned by the scope's user. A conflict fault says
// that the id is taken within the organisation.
func (db *DB) CreateThread(ctx context.Context, scope auth.Scope, n agents.NewThread) (agents.Thread, error) {
	args, err := newThreadArgs(scope, n)
	if err != nil {
		return agents.Thread{}, err
	}
	rows, err := many[threadRow](ctx, db, scope, "creating a thread", sqlThreadInsert, args)
	if err != nil {
		return agents.Thread{}, err
	}
	if len(rows) == 0 {
		return agents.Thread{}, fault.Conflict("A thread with this id exists already.").WithCode("thread_exists")
	}
	return rows[0].thread(), nil
}

func newThreadArgs(scope auth.Scope, n agents.NewThread) (named, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return nil, err
	}
	if n.ID == "" {
		n.ID = agents.ThreadID(id.New())
	} else if !id.Valid(string(n.ID)) {
		return nil, fault.Invalid("thread_id", "must be a UUID")
	}
	if n.Visibility == "" {
		n.Visibility = agents.VisibilityPrivate
	}
	if n.Metadata == nil {
		n.Metadata = json.RawMessage(`{}`)
	}
	args := named{
		"org": string(scope.Org), "id": string(n.ID), "user": string(scope.User), "visibility": string(n.Visibility),
		"title": n.Title, "metadata": n.Metadata, "line": id.New(), "epoch": id.New(), "ttl": nil, "ttl_strategy": nil,
		"temporary": n.Temporary,
	}
	if n.TTL != nil {
		if err := n.TTL.Check(); err != nil {
			return nil, err
		}
		args["ttl"], args["ttl_strategy"] = n.TTL.Minutes, string(n.TTL.Strategy)
	}
	return args, nil
}

const sqlThreadByID = `select ` + threadColumns + ` from threads t where t.id = @id and ` + threadReadable

// Thread reads a thread the scope may see.
func (db *DB) Thread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) (agents.Thread, error) {
	if !id.Valid(string(thread)) {
		return agents.Thread{}, threadNotFound()
	}
	row, err := one[threadRow](ctx, db, scope, "Thread", "reading a thread", sqlThreadByID,
		readerArgs(scope, named{"id": string(thread)}))
	if err != nil {
		return agents.Thread{}, err
	}
	return row.thread(), nil
}

func threadNotFound() error { return fault.NotFound("Thread") }

const sqlThreadPage = `select ` + threadColumns + ` from threads t
	where t.org_id = @org and (t.owner_id = @user or t.visibility = 'organisation') and not t.temporary
	and (@text = '' or t.title ilike '%' || @text || '%' escape '\')
	and (@before_time::timestamptz is null or (t.updated_at, t.id) < (@before_time, @before_id::uuid))
	order by t.updated_at desc, t.id desc limit @limit`

// Threads lists the threads that belong to the scope's user or are shared with
// the organisation. An admin's right to read any thread does not flood the list, nor
// do threads of runs that need none.
func (db *DB) Threads(ctx context.Context, scope auth.Scope, q agents.ThreadQuery) ([]agents.Thread, error) {
	if q.Limit < 1 || q.Limit > 100 {
		q.Limit = 40
	}
	args := named{
		"org": string(scope.Org), "user": string(scope.User), "text": escapeLike(q.Text), "limit": q.Limit,
		"before_time": nil, "before_id": nil,
	}
	if !q.BeforeTime.IsZero() && id.Valid(string(q.BeforeID)) {
		args["before_time"], args["before_id"] = q.BeforeTime, string(q.BeforeID)
	}
	rows, err := many[threadRow](ctx, db, scope, "listing threads", sqlThreadPage, args)
	if err != nil {
		return nil, err
	}
	out := make([]agents.Thread, len(rows))
	for i, r := range rows {
		out[i] = r.thread()
	}
	return out, nil
}

const sqlThreadRename = `update threads t set title = @title, updated_at = now()
	where t.org_id = @org and t.id = @id and t.title <> @title`

// RenameThread changes the title and appends changed, the event that tells
// watchers, in the same transaction; its place in the log comes back. The scope
// must be able to write to the thread. A title that the thread has already
// changes nothing, and the position is zero.
func (db *DB) RenameThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, title string, changed event.Envelope) (agents.Position, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return agents.Position{}, err
	}
	var at agents.Position
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := lockThread(ctx, tx, scope, thread); err != nil {
			return err
		}
		args := named{"org": string(scope.Org), "id": string(thread), "title": title}
		done, err := tx.Exec(ctx, sqlThreadRename, args)
		if err != nil {
			return translate(err)
		}
		if done.RowsAffected() == 0 {
			return nil
		}
		appended, err := db.appendEvents(ctx, tx, scope, thread, "", []event.Envelope{changed})
		at = agents.Position{Seq: appended.Base + 1, Epoch: appended.Epoch}
		return err
	})
	if err != nil {
		return agents.Position{}, fmt.Errorf("renaming a thread: %w", err)
	}
	return at, nil
}

// sqlThreadDelete locks the head before the thread, in the order of everyone
// who appends: the other way round the two would wait for each other.
const sqlThreadDelete = `with head as materialized (
	select h.org_id, h.thread_id from thread_heads h join threads t on t.org_id = h.org_id and t.id = h.thread_id
	where t.id = @id and t.org_id = @org and t.owner_id = @user
	for update of h
)
delete from threads t using head where t.org_id = head.org_id and t.id = head.thread_id and t.org_id = @org`

// DeleteThread removes a thread with its history, runs and log. Only its owner
// may. A run in flight finds its token gone and ends.
func (db *DB) DeleteThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID) error {
	if err := scope.Require(auth.PermRun); err != nil {
		return err
	}
	if !id.Valid(string(thread)) {
		return threadNotFound()
	}
	n, err := db.exec(ctx, scope, "deleting a thread", sqlThreadDelete,
		named{"id": string(thread), "org": string(scope.Org), "user": string(scope.User)})
	if err != nil {
		return err
	}
	if n == 0 {
		return threadNotFound()
	}
	return nil
}

// escapeLike keeps the pattern characters of LIKE from meaning anything.
func escapeLike(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r == '\\' || r == '%' || r == '_' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// lockThread locks a thread's head for the rest of the transaction and returns
// the thread if the scope may write to it.
func lockThread(ctx context.Context, tx pgx.Tx, scope auth.Scope, thread agents.ThreadID) (agents.Thread, error) {
	if !id.Valid(string(thread)) {
		return agents.Thread{}, threadNotFound()
	}
	rows, _ := tx.Query(ctx, sqlThreadLock, named{
		"id": string(thread), "org": string(scope.Org), "user": string(scope.User)})
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[threadRow])
	if errors.Is(err, pgx.ErrNoRows) {
		return agents.Thread{}, threadNotFound()
	}
	if err != nil {
		return agents.Thread{}, fmt.Errorf("locking a thread: %w", err)
	}
	return row.thread(), nil
}

const sqlThreadLock = `select ` + threadColumns + ` from threads t
	join thread_heads h on h.org_id = t.org_id and h.thread_id = t.id
	where t.id = @id and t.org_id = @org and (t.owner_id = @user or t.visibility = 'organisation')
	for update of h`
