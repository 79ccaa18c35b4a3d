package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

const sqlAuditHeadMake = `insert into audit_heads (org_id) values (@org) on conflict do nothing`

const sqlAuditHeadLock = `select seq, hash from audit_heads where org_id = @org for update`

const sqlAuditHeadMove = `update audit_heads set seq = @seq, hash = @hash where org_id = @org`

const sqlAuditInsert = `insert into audit_log (org_id, seq, id, at, actor_id, via, key_id, session_id, ip, request_id, action,
		object_kind, object_id, object_name, rule, before, after, prev_hash, hash)
	values (@org, @seq, @id, @at, @actor, @via, @key, @session, @ip, @request, @action,
		@kind, @object, @name, @rule, @before, @after, @prev, @hash)`

type auditHeadRow struct {
	Seq  int64
	Hash []byte
}

// appendAudit records what the scope did, in the transaction that does it: both
// happen or neither. The head of the organisation's chain is the last lock a
// transaction takes.
func appendAudit(ctx context.Context, tx pgx.Tx, scope auth.Scope, e auth.AuditEntry) error {
	org := pgx.NamedArgs{"org": string(scope.Org)}
	var heads []auditHeadRow
	var lock pgx.Batch
	lock.Queue(sqlAuditHeadMake, org)
	collect(&lock, &heads, sqlAuditHeadLock, org)
	if err := tx.SendBatch(ctx, &lock).Close(); err != nil {
		return fmt.Errorf("locking the audit log: %w", err)
	}
	if len(heads) != 1 {
		return fmt.Errorf("locking the audit log: %w", pgx.ErrNoRows)
	}
	e.Seq, e.ID, e.Org, e.At = heads[0].Seq+1, id.New(), scope.Org, time.Now().UTC().Truncate(time.Microsecond)
	e.Actor, e.Key, e.Session, e.RequestID, e.IP = scope.User, scope.Key, scope.Session, scope.RequestID, scope.IP
	if e.Via == "" {
		e.Via = scope.Via()
	}
	e.PrevHash = heads[0].Hash
	e.Hash = e.ChainHash(e.PrevHash)
	var write pgx.Batch
	write.Queue(sqlAuditInsert, pgx.NamedArgs{
		"org": string(e.Org), "seq": e.Seq, "id": e.ID, "at": e.At, "actor": orNull(string(e.Actor)), "via": string(e.Via),
		"key": orNull(string(e.Key)), "session": orNull(string(e.Session)), "ip": e.IP, "request": e.RequestID, "action": e.Action,
		"kind": e.ObjectKind, "object": e.ObjectID, "name": e.ObjectName, "rule": e.Rule, "before": jsonOrNull(e.Before),
		"after": jsonOrNull(e.After), "prev": e.PrevHash, "hash": e.Hash,
	})
	write.Queue(sqlAuditHeadMove, pgx.NamedArgs{"org": string(e.Org), "seq": e.Seq, "hash": e.Hash})
	if err := tx.SendBatch(ctx, &write).Close(); err != nil {
		return fmt.Errorf("writing the audit log: %w", translate(err))
	}
	return nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// jsonOrNull passes JSON as text, so that its bytes are stored as they are.
func jsonOrNull(raw json.RawMessage) any { return orNull(string(raw)) }
