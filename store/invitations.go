package store

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

const sqlInvitationInsert = `insert into invitations (org_id, id, email, role, token_hash, invited_by, expires_at)
values (@org, @id, @email, @role, @token, @user, @expires)`

// CreateInvitation stores an invitation into the scope's organisation; token
// is the digest of its link's secret. Nobody can invite to a role above their
// own.
func (db *DB) CreateInvitation(ctx context.Context, scope auth.Scope, i auth.Invitation, token auth.Digest) error {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return err
	}
	email, ok := auth.NormalizeEmail(i.Email)
	if !ok {
		return fault.Invalid("email", "must be an e-mail address")
	}
	roles := auth.Roles()
	if !i.Role.Valid() || slices.Index(roles, i.Role) > slices.Index(roles, scope.Role) {
		return fault.Invalid("role", "must be a role that is not above your own")
	}
	_, err := db.exec(ctx, scope, "creating an invitation", sqlInvitationInsert, pgx.NamedArgs{
		"org": string(scope.Org), "id": string(i.ID), "email": email, "role": string(i.Role), "token": token[:],
		"user": string(scope.User), "expires": i.ExpiresAt})
	return err
}

const sqlInvitationRevoke = `update invitations set revoked_at = @now
where org_id = @org and id = @id and accepted_at is null and revoked_at is null`

// RevokeInvitation withdraws an open invitation of the scope's organisation.
func (db *DB) RevokeInvitation(ctx context.Context, scope auth.Scope, invitation auth.InvitationID, now time.Time) error {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return err
	}
	n, err := db.exec(ctx, scope, "revoking an invitation", sqlInvitationRevoke, pgx.NamedArgs{
		"org": string(scope.Org), "id": string(invitation), "now": now})
	if err == nil && n == 0 {
		return fault.NotFound("Invitation")
	}
	return err
}
