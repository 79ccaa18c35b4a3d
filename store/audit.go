package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

const sqlAuditHeadMake = `insert into audit_heads (org_id) values (@org) on conflict do nothing`

// sqlAuditHeadLock also asks what time it is: once the lock is held, and by one
// clock for all nodes, so that times never run against the numbers.
const sqlAuditHeadLock = `with head as materialized (select seq, hash from audit_heads where org_id = @org for update)
	select seq, hash, clock_timestamp() as at from head`

const sqlAuditHeadMove = `update audit_heads set seq = @seq, hash = @hash where org_id = @org`

const sqlAuditInsert = `insert into audit_log (org_id, seq, id, at, actor_id, via, key_id, session_id, ip, request_id, action,
		object_kind, object_id, object_name, rule, before, after, prev_hash, hash)
	values (@org, @seq, @id, @at, @actor, @via, @key, @session, @ip, @request, @action,
		@kind, @object, @name, @rule, @before, @after, @prev, @hash)`

type auditLockRow struct {
	Seq  int64
	Hash []byte
	At   time.Time
}

// recorder is a transaction that keeps what is to be recorded until its end.
type recorder struct {
	pgx.Tx
	entries []auth.AuditEntry
}

// recording runs fn in a transaction and records what it did as the last thing
// before the commit. The head of an organisation's chain is locked from then on:
// a lock on anything else, taken after it, could wait for somebody who waits for
// the head. So nothing can be, and heads are locked in the order of their ids.
// The transaction must be of the level read committed.
func recording(ctx context.Context, tx pgx.Tx, fn func(tx pgx.Tx) error) error {
	r := &recorder{Tx: tx}
	if err := fn(r); err != nil {
		return err
	}
	slices.SortStableFunc(r.entries, func(a, b auth.AuditEntry) int { return strings.Compare(string(a.Org), string(b.Org)) })
	for first := 0; first < len(r.entries); {
		next := first + 1
		for next < len(r.entries) && r.entries[next].Org == r.entries[first].Org {
			next++
		}
		if err := chain(ctx, tx, r.entries[first:next]); err != nil {
			return err
		}
		first = next
	}
	return nil
}

// appendAudit records what the scope did, with the transaction that does it:
// both happen or neither. The transaction is one of [DB.scoped] or [DB.recorded].
func appendAudit(tx pgx.Tx, scope auth.Scope, e auth.AuditEntry) error {
	e, err := e.Settled()
	if err != nil {
		return fmt.Errorf("recording in the audit log: %w", err)
	}
	r, ok := tx.(*recorder)
	if !ok {
		return errors.New("recording in the audit log: this transaction keeps no record")
	}
	e.Org, e.Actor, e.Key, e.Session, e.RequestID, e.IP = scope.Org, scope.User, scope.Key, scope.Session, scope.RequestID, scope.IP
	if e.Via == "" {
		e.Via = scope.Via()
	}
	r.entries = append(r.entries, e)
	return nil
}

// chain writes entries of one organisation behind its newest one.
func chain(ctx context.Context, tx pgx.Tx, entries []auth.AuditEntry) error {
	org := entries[0].Org
	head, err := lockAuditHead(ctx, tx, org)
	if err != nil {
		return fmt.Errorf("locking the audit log: %w", translate(err))
	}
	var write pgx.Batch
	for _, e := range entries {
		e.Seq, e.ID, e.At, e.PrevHash = head.Seq+1, id.New(), head.At.UTC(), head.Hash
		e.Hash = e.ChainHash(e.PrevHash)
		write.Queue(sqlAuditInsert, named{
			"org": string(org), "seq": e.Seq, "id": e.ID, "at": e.At, "actor": orNull(string(e.Actor)), "via": string(e.Via),
			"key": orNull(string(e.Key)), "session": orNull(string(e.Session)), "ip": e.IP, "request": e.RequestID, "action": e.Action,
			"kind": e.ObjectKind, "object": e.ObjectID, "name": e.ObjectName, "rule": e.Rule, "before": jsonOrNull(e.Before),
			"after": jsonOrNull(e.After), "prev": e.PrevHash, "hash": e.Hash,
		})
		head.Seq, head.Hash = e.Seq, e.Hash
	}
	write.Queue(sqlAuditHeadMove, named{"org": string(org), "seq": head.Seq, "hash": head.Hash})
	if err := tx.SendBatch(ctx, &write).Close(); err != nil {
		return fmt.Errorf("writing the audit log: %w", translate(err))
	}
	return nil
}

// auditDetail is the JSON of a change's before or after.
func auditDetail(fields map[string]any) json.RawMessage {
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(fmt.Sprintf("writing an audit entry: %v", err)) // strings, numbers, valid JSON and lists of them always marshal
	}
	return raw
}

// lockAuditHead locks an organisation's head and makes it for the first entry.
func lockAuditHead(ctx context.Context, tx pgx.Tx, org auth.OrgID) (auditLockRow, error) {
	args := named{"org": string(org)}
	head, err := pgxOne[auditLockRow](ctx, tx, sqlAuditHeadLock, args)
	if !errors.Is(err, pgx.ErrNoRows) {
		return head, err
	}
	if _, err := tx.Exec(ctx, sqlAuditHeadMake, args); err != nil {
		return auditLockRow{}, err
	}
	return pgxOne[auditLockRow](ctx, tx, sqlAuditHeadLock, args)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// jsonOrNull passes JSON as text, so that its bytes are stored as they are.
func jsonOrNull(raw json.RawMessage) any { return orNull(string(raw)) }

// Audit records what the scope did where nothing else is stored with it, such
// as reading. What changes something is recorded in the change's own
// transaction.
func (db *DB) Audit(ctx context.Context, scope auth.Scope, e auth.AuditEntry) error {
	return db.scoped(ctx, scope, func(tx pgx.Tx) error { return appendAudit(tx, scope, e) })
}

// Opened notes in the audit log that the scope reads a thread which is neither
// its own nor shared, by the right to read any. Call it before anything of the
// thread is shown: if the log can't say so, nobody reads. The log says it once
// for a person and thread within fifteen minutes; each process counts by itself.
func (db *DB) Opened(ctx context.Context, scope auth.Scope, thread agents.Thread, now time.Time) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	if thread.Org != scope.Org {
		return threadNotFound()
	}
	if thread.Owner == scope.User || thread.Visibility == agents.VisibilityOrganisation || !scope.Can(auth.PermReadAnyThread) {
		return nil
	}
	key := openedKey{scope.Org, scope.User, thread.ID}
	if at, ok := db.opened.get(key); ok && now.Sub(at) < openedOnce {
		return nil
	}
	if err := db.Audit(ctx, scope, auth.AuditEntry{Action: "thread.read_by_admin", ObjectKind: "thread", ObjectID: string(thread.ID),
		ObjectName: thread.Title, Rule: string(auth.PermReadAnyThread), After: auditDetail(map[string]any{"owner_id": thread.Owner})}); err != nil {
		return err
	}
	db.opened.put(key, now)
	return nil
}

// openedKey is who opened what.
type openedKey struct {
	org    auth.OrgID
	user   auth.UserID
	thread agents.ThreadID
}

const (
	// openedOnce is for how long one entry stands for all reading of a thread.
	openedOnce = 15 * time.Minute
	// maxOpened bounds what a process remembers; forgotten ones are recorded again.
	maxOpened = 4096
)

// auditColumns are an entry's; what may be null reads ”.
const auditColumns = `a.org_id, a.seq, a.id, a.at, coalesce(a.actor_id::text, '') as actor, a.via, coalesce(a.key_id::text, '') as key,
	coalesce(a.session_id::text, '') as session, a.ip, a.request_id, a.action, a.object_kind, a.object_id, a.object_name, a.rule,
	coalesce(a.before::text, '') as before, coalesce(a.after::text, '') as after, a.prev_hash, a.hash`

type auditRow struct {
	OrgID, ID, Actor, Via, Key, Session, IP, RequestID, Action string
	ObjectKind, ObjectID, ObjectName, Rule, Before, After      string
	Seq                                                        int64
	At                                                         time.Time
	PrevHash, Hash                                             []byte
}

func (r auditRow) entry() auth.AuditEntry {
	e := auth.AuditEntry{Seq: r.Seq, ID: r.ID, Org: auth.OrgID(r.OrgID), At: r.At.UTC(), Actor: auth.UserID(r.Actor), Via: auth.AuditVia(r.Via),
		Key: auth.KeyID(r.Key), Session: auth.SessionID(r.Session), IP: r.IP, RequestID: r.RequestID, Action: r.Action,
		ObjectKind: r.ObjectKind, ObjectID: r.ObjectID, ObjectName: r.ObjectName, Rule: r.Rule, PrevHash: r.PrevHash, Hash: r.Hash}
	if r.Before != "" {
		e.Before = json.RawMessage(r.Before)
	}
	if r.After != "" {
		e.After = json.RawMessage(r.After)
	}
	return e
}

type namedAuditRow struct {
	auditRow
	ActorName string
}

// auditNamed reads entries with the names of those who are members now.
const auditNamed = auditColumns + `, coalesce(` + personName + `, '') as actor_name
	from audit_log a left join memberships m on m.org_id = a.org_id and m.user_id = a.actor_id left join users u on u.id = m.user_id`

// auditMatches needs the arguments of auditArgs.
const auditMatches = ` where a.org_id = @org
	and (@actor::uuid is null or a.actor_id = @actor) and (@action = '' or starts_with(a.action, @action))
	and (@kind = '' or a.object_kind = @kind) and (@object = '' or a.object_id = @object)
	and (@from::timestamptz is null or a.at >= @from) and (@to::timestamptz is null or a.at < @to)
	and (@text = '' or concat_ws(' ', a.action, a.object_kind, a.object_id, a.object_name, a.rule, a.ip, a.before::text, a.after::text)
		ilike '%' || @text || '%' escape '\')`

const sqlAuditPage = `select ` + auditNamed + auditMatches + ` and (@before::bigint = 0 or a.seq < @before) order by a.seq desc limit @limit`

const sqlAuditHead = `select seq, hash from audit_heads where org_id = @org`

type auditHeadRow struct {
	Seq  int64
	Hash []byte
}

const (
	defaultAuditPage = 50
	maxAuditPage     = 200
	maxAuditText     = 200
)

// auditArgs are the arguments of auditMatches.
func auditArgs(scope auth.Scope, q auth.AuditQuery) (named, error) {
	if err := scope.Require(auth.PermReadAudit); err != nil {
		return nil, err
	}
	if q.Actor != "" && !id.Valid(string(q.Actor)) {
		return nil, fault.Invalid("actor", "must be the id of a person")
	}
	if utf8.RuneCountInString(q.Text) > maxAuditText {
		return nil, fault.Invalid("text", "must be at most 200 characters")
	}
	args := named{"org": string(scope.Org), "actor": orNull(string(q.Actor)), "action": q.Action, "kind": q.ObjectKind,
		"object": q.ObjectID, "from": nil, "to": nil, "text": escapeLike(q.Text)}
	if !q.From.IsZero() {
		args["from"] = q.From
	}
	if !q.To.IsZero() {
		args["to"] = q.To
	}
	return args, nil
}

// AuditLog reads a page of the log, the newest first, and the chain's head. It
// takes the permission to read the log.
func (db *DB) AuditLog(ctx context.Context, scope auth.Scope, q auth.AuditQuery) (auth.AuditPage, error) {
	if q.Limit == 0 {
		q.Limit = defaultAuditPage
	}
	args, err := auditArgs(scope, q)
	if err != nil {
		return auth.AuditPage{}, err
	}
	limit := min(max(q.Limit, 1), maxAuditPage)
	args["before"], args["limit"] = max(q.Before, 0), limit+1
	return db.auditPage(ctx, scope, limit, sqlAuditPage, args)
}

const sqlAuditLast = `select ` + auditNamed + ` where a.org_id = @org and a.action = @action order by a.seq desc limit 1`

// LastAudit reads the newest entry of one action, if there is one, and the
// chain's head. It takes the permission to read the log.
func (db *DB) LastAudit(ctx context.Context, scope auth.Scope, action string) (auth.AuditPage, error) {
	if err := scope.Require(auth.PermReadAudit); err != nil {
		return auth.AuditPage{}, err
	}
	return db.auditPage(ctx, scope, 1, sqlAuditLast, named{"org": string(scope.Org), "action": action})
}

// auditPage runs a statement that reads entries, one more than the limit where
// there are more, and reads the head as well.
func (db *DB) auditPage(ctx context.Context, scope auth.Scope, limit int, sql string, args named) (auth.AuditPage, error) {
	var rows []namedAuditRow
	var heads []auditHeadRow
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var b pgx.Batch
		collect(&b, &rows, sql, args)
		collect(&b, &heads, sqlAuditHead, named{"org": string(scope.Org)})
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return auth.AuditPage{}, fmt.Errorf("reading the audit log: %w", translate(err))
	}
	var page auth.AuditPage
	if len(heads) > 0 {
		page.Head = auth.AuditHead{Seq: heads[0].Seq, Hash: heads[0].Hash}
	}
	if len(rows) > limit {
		rows, page.Next = rows[:limit], rows[limit-1].Seq
	}
	for _, r := range rows {
		page.Rows = append(page.Rows, auth.AuditRow{AuditEntry: r.entry(), ActorName: r.ActorName})
	}
	return page, nil
}

// sqlAuditAfter goes the other way, for exports; upto keeps out what is recorded
// meanwhile.
const sqlAuditAfter = `select ` + auditNamed + auditMatches + ` and a.seq > @after and a.seq <= @upto order by a.seq limit @limit`

// AuditExport hands the entries that the query chooses to each, the oldest
// first, up to the number upto: all of them, whatever the query's limit. It
// holds few of them at a time. It takes the permission to read the log.
func (db *DB) AuditExport(ctx context.Context, scope auth.Scope, q auth.AuditQuery, upto int64, each func(auth.AuditRow) error) error {
	args, err := auditArgs(scope, q)
	if err != nil {
		return err
	}
	args["upto"], args["limit"] = upto, maxAuditPage
	for after := int64(0); ; {
		args["after"] = after
		rows, err := many[namedAuditRow](ctx, db, scope, "exporting the audit log", sqlAuditAfter, args)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := each(auth.AuditRow{AuditEntry: r.entry(), ActorName: r.ActorName}); err != nil {
				return err
			}
			after = r.Seq
		}
		if len(rows) < maxAuditPage {
			return nil
		}
	}
}
