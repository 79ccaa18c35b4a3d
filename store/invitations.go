package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// sqlInvitationStanding asks whether an address is a member's already, and which
// role the inviter has now.
const sqlInvitationStanding = `select exists (select 1 from memberships m join users u on u.id = m.user_id
		where m.org_id = @org and lower(u.email) = lower(@email)) as member,
	coalesce((select a.role from memberships a where a.org_id = @org and a.user_id = @user), '') as actor`

type invitationStandingRow struct {
	Member bool
	Actor  auth.Role
}

// sqlInvitationReplace takes back the earlier links of an address: one at a time
// is good.
const sqlInvitationReplace = `update invitations set revoked_at = now()
where org_id = @org and lower(email) = lower(@email) and accepted_at is null and revoked_at is null returning id`

const sqlInvitationInsert = `insert into invitations (org_id, id, email, role, token_hash, invited_by, expires_at)
values (@org, @id, @email, @role, @token, @user, @expires)`

// CreateInvitation stores an invitation into the scope's organisation; token
// is the digest of its link's secret. Nobody can invite to a role above their
// own, nor a member. An earlier open invitation of the address is withdrawn.
func (db *DB) CreateInvitation(ctx context.Context, scope auth.Scope, i auth.Invitation, token auth.Digest) error {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return err
	}
	bad := make(map[string]string)
	email, ok := auth.NormalizeEmail(i.Email)
	if !ok {
		bad["email"] = "must be an e-mail address"
	}
	if !i.Role.Valid() || i.Role.Above(scope.Role) {
		bad["role"] = "must be a role that is not above your own"
	}
	if len(bad) > 0 {
		return fault.InvalidFields(bad)
	}
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := named{"org": string(scope.Org), "id": string(i.ID), "email": email, "role": string(i.Role),
			"token": token[:], "user": string(scope.User), "expires": i.ExpiresAt}
		var standing []invitationStandingRow
		var first pgx.Batch
		first.Queue(sqlMembersLock, args)
		collect(&first, &standing, sqlInvitationStanding, args)
		if err := tx.SendBatch(ctx, &first).Close(); err != nil {
			return translate(err)
		}
		now := scope
		now.Role = standing[0].Actor
		if err := now.Require(auth.PermManageMembers); err != nil {
			return err
		}
		if i.Role.Above(now.Role) {
			return fault.Invalid("role", "must be a role that is not above your own")
		}
		if standing[0].Member {
			return fault.Invalid("email", "must be the address of somebody who is not a member yet")
		}
		var replaced []idRow
		var batch pgx.Batch
		collect(&batch, &replaced, sqlInvitationReplace, args)
		batch.Queue(sqlInvitationInsert, args)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return translate(err)
		}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "invitation.created", ObjectKind: "invitation", ObjectID: string(i.ID), ObjectName: email,
			After: auditDetail(map[string]any{"role": i.Role, "expires_at": i.ExpiresAt.UTC().Format(time.RFC3339), "replaced": len(replaced)})})
	})
	if err != nil {
		return fmt.Errorf("creating an invitation: %w", err)
	}
	return nil
}

type openInvitationRow struct {
	ID        string
	Email     string
	Role      string
	InvitedBy *string
	Inviter   string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// sqlInvitationsOpen shows an expired one for a while, so that its maker learns
// why nobody came.
const sqlInvitationsOpen = `select i.id, i.email, i.role, i.invited_by::text as invited_by, i.created_at, i.expires_at,
	coalesce(` + personName + `, '') as inviter
from invitations i left join users u on u.id = i.invited_by
where i.org_id = @org and i.accepted_at is null and i.revoked_at is null and i.expires_at > @now::timestamptz - interval '30 days'
order by i.created_at desc, i.id limit 200`

// Invitations lists the invitations of the scope's organisation that were
// neither accepted nor withdrawn, the newest first, at most 200; also those that
// expired within the last 30 days.
func (db *DB) Invitations(ctx context.Context, scope auth.Scope, now time.Time) ([]auth.Invitation, error) {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return nil, err
	}
	rows, err := many[openInvitationRow](ctx, db, scope, "listing invitations", sqlInvitationsOpen,
		named{"org": string(scope.Org), "now": now})
	if err != nil {
		return nil, err
	}
	out := make([]auth.Invitation, len(rows))
	for i, r := range rows {
		out[i] = auth.Invitation{ID: auth.InvitationID(r.ID), Org: auth.Org{ID: scope.Org}, Email: r.Email, Role: auth.Role(r.Role),
			Inviter: r.Inviter, CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC()}
		if r.InvitedBy != nil {
			out[i].InvitedBy = auth.UserID(*r.InvitedBy)
		}
	}
	return out, nil
}

const sqlInvitationRevoke = `update invitations set revoked_at = @now
where org_id = @org and id = @id and accepted_at is null and revoked_at is null returning email, role`

// RevokeInvitation withdraws an open invitation of the scope's organisation.
func (db *DB) RevokeInvitation(ctx context.Context, scope auth.Scope, invitation auth.InvitationID, now time.Time) error {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return err
	}
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		type row struct{ Email, Role string }
		rows, _ := tx.Query(ctx, sqlInvitationRevoke, named{"org": string(scope.Org), "id": string(invitation), "now": now})
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
		if err != nil {
			return translate(err)
		}
		if len(found) == 0 {
			return fault.NotFound("Invitation")
		}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "invitation.revoked", ObjectKind: "invitation", ObjectID: string(invitation), ObjectName: found[0].Email,
			Before: auditDetail(map[string]any{"role": found[0].Role})})
	})
	if err != nil {
		return fmt.Errorf("revoking an invitation: %w", err)
	}
	return nil
}
