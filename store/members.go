package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

type memberListRow struct {
	UserID   string
	Email    string
	Name     string
	Role     string
	JoinedAt time.Time
	SeenAt   *time.Time
	Keys     int
	Total    int
}

func (r memberListRow) member() auth.Member {
	return auth.Member{User: auth.UserID(r.UserID), Email: r.Email, Name: r.Name, Role: auth.Role(r.Role),
		JoinedAt: r.JoinedAt.UTC(), LastSeenAt: timeOrZero(r.SeenAt), Keys: r.Keys}
}

// membersFrom counts a person's sessions in this organisation alone: when they
// were seen in another is none of its business.
const membersFrom = ` from memberships m join users u on u.id = m.user_id
	left join (select s.user_id, max(s.last_seen_at) as at from sessions s
		where s.org_id = @org group by s.user_id) seen on seen.user_id = m.user_id
	left join (select k.user_id, count(*) as n from api_keys k
		where k.org_id = @org and k.revoked_at is null group by k.user_id) keys on keys.user_id = m.user_id
where m.org_id = @org`

const memberColumns = `m.user_id::text as user_id, u.email, ` + personName + ` as name,
	m.role, m.created_at as joined_at, seen.at as seen_at, coalesce(keys.n, 0) as keys`

const sqlMembersList = `with found as (select ` + memberColumns + `,
	array_position(array['member', 'reviewer', 'admin', 'owner'], m.role) as rank` + membersFrom + `
	and (@text::text = '' or position(lower(@text) in lower(u.name)) > 0 or position(lower(@text) in lower(u.email)) > 0)
	and (@role::text = '' or m.role = @role))
select user_id, email, name, role, joined_at, seen_at, keys, count(*) over () as total from found
order by case when @sort::text = 'role' and not @down::boolean then rank end,
	case when @sort = 'role' and @down then rank end desc,
	case when @sort = 'joined' and not @down then joined_at end,
	case when @sort = 'joined' and @down then joined_at end desc,
	case when @sort = 'name' and @down then lower(name) end desc,
	lower(name), email, user_id
limit @limit offset @skip`

// Members lists the members of the scope's organisation that a query asks for,
// at most [auth.MemberPage], and how many there are in all.
func (db *DB) Members(ctx context.Context, scope auth.Scope, q auth.MemberQuery) (members []auth.Member, total int, err error) {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return nil, 0, err
	}
	rows, err := many[memberListRow](ctx, db, scope, "listing members", sqlMembersList, named{
		"org": string(scope.Org), "text": q.Text, "role": string(q.Role), "sort": string(q.Sort), "down": q.Descending,
		"limit": auth.MemberPage, "skip": max(0, q.Skip)})
	if err != nil {
		return nil, 0, err
	}
	members = make([]auth.Member, len(rows))
	for i, r := range rows {
		members[i], total = r.member(), r.Total
	}
	return members, total, nil
}

const sqlMemberByID = `select ` + memberColumns + `, 1 as total` + membersFrom + ` and m.user_id = @member`

// Member gives one member of the scope's organisation.
func (db *DB) Member(ctx context.Context, scope auth.Scope, member auth.UserID) (auth.Member, error) {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return auth.Member{}, err
	}
	row, err := one[memberListRow](ctx, db, scope, "Member", "reading a member", sqlMemberByID,
		named{"org": string(scope.Org), "member": string(member)})
	if err != nil {
		return auth.Member{}, err
	}
	return row.member(), nil
}

// sqlMembersLock makes changes of who may do what in an organisation wait for
// each other, so that two owners who leave at once are not both the one who may.
// It does not stand in the way of rows that refer to the organisation.
const sqlMembersLock = `select id from orgs where id = @org for no key update`

const sqlMemberStanding = `select m.role, u.email, ` + personName + ` as name,
	coalesce((select a.role from memberships a where a.org_id = @org and a.user_id = @user), '') as actor,
	(select count(*) from memberships o join users x on x.id = o.user_id and x.disabled_at is null
		where o.org_id = @org and o.role = 'owner' and o.user_id <> @member) as other_owners
from memberships m join users u on u.id = m.user_id where m.org_id = @org and m.user_id = @member`

// standing is a member's place, as it stays until the transaction ends.
type standing struct {
	Role, Email, Name string
	// Actor is the role of whoever asks now, which may have changed since their
	// request began.
	Actor       string
	OtherOwners int
}

// lockStanding locks the organisation's members and reads one of them. NotFound
// also for whoever belongs to another organisation.
func lockStanding(ctx context.Context, tx pgx.Tx, scope auth.Scope, member auth.UserID) (standing, error) {
	args := named{"org": string(scope.Org), "user": string(scope.User), "member": string(member)}
	var found []standing
	var batch pgx.Batch
	batch.Queue(sqlMembersLock, args)
	collect(&batch, &found, sqlMemberStanding, args)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return standing{}, fmt.Errorf("locking the members: %w", translate(err))
	}
	if len(found) != 1 {
		return standing{}, fault.NotFound("Member")
	}
	return found[0], nil
}

func (s standing) check(self bool, to auth.Role) error {
	return auth.MemberChange{Actor: auth.Role(s.Actor), Self: self, From: auth.Role(s.Role), To: to, OtherOwners: s.OtherOwners}.Check()
}

const sqlMemberSetRole = `update memberships set role = @role where org_id = @org and user_id = @member`

const sqlMemberSessions = `select id from sessions where org_id = @org and user_id = @member and revoked_at is null`

const sqlMemberKeys = `select id, prefix from api_keys where org_id = @org and user_id = @member and revoked_at is null`

type keyMarkRow struct{ ID, Prefix string }

type idRow struct{ ID string }

func credentials(sessions []idRow, keys []keyMarkRow) auth.Credentials {
	var out auth.Credentials
	for _, s := range sessions {
		out.Sessions = append(out.Sessions, auth.SessionID(s.ID))
	}
	for _, k := range keys {
		out.Keys = append(out.Keys, auth.KeyID(k.ID))
	}
	return out
}

// SetRole gives a member of the scope's organisation another role, by the rules
// of [auth.MemberChange]. It returns what the person is connected with, for
// whoever watches something must ask again under the new role; nothing when the
// role is theirs already.
func (db *DB) SetRole(ctx context.Context, scope auth.Scope, member auth.UserID, role auth.Role) (auth.Credentials, error) {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return auth.Credentials{}, err
	}
	if !role.Valid() {
		return auth.Credentials{}, fault.Invalid("role", "must be member, reviewer, admin or owner")
	}
	var out auth.Credentials
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		was, err := lockStanding(ctx, tx, scope, member)
		if err != nil {
			return err
		}
		if err := was.check(member == scope.User, role); err != nil || auth.Role(was.Role) == role {
			return err
		}
		args := named{"org": string(scope.Org), "member": string(member), "role": string(role)}
		var sessions []idRow
		var keys []keyMarkRow
		var batch pgx.Batch
		batch.Queue(sqlMemberSetRole, args)
		collect(&batch, &sessions, sqlMemberSessions, args)
		collect(&batch, &keys, sqlMemberKeys, args)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return translate(err)
		}
		out = credentials(sessions, keys)
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "member.role_changed", ObjectKind: "member", ObjectID: string(member), ObjectName: was.Name,
			Before: auditDetail(map[string]any{"role": was.Role}), After: auditDetail(map[string]any{"role": role})})
	})
	if err != nil {
		return auth.Credentials{}, fmt.Errorf("changing a role: %w", err)
	}
	return out, nil
}

const sqlMemberDelete = `delete from memberships where org_id = @org and user_id = @member`

const sqlMemberRemember = `insert into former_members (org_id, user_id, left_at) values (@org, @member, @now)
on conflict (org_id, user_id) do update set left_at = excluded.left_at`

const sqlMemberEndSessions = `update sessions set revoked_at = @now
where org_id = @org and user_id = @member and revoked_at is null returning id`

const sqlMemberEndKeys = `update api_keys set revoked_at = @now
where org_id = @org and user_id = @member and revoked_at is null returning id, prefix`

// sqlMemberEndInvitations takes back what would let the person in again.
const sqlMemberEndInvitations = `update invitations set revoked_at = @now
where org_id = @org and lower(email) = lower(@email) and accepted_at is null and revoked_at is null returning id`

// RemoveMember ends a membership of the scope's organisation together with the
// person's sessions there, their API keys and open invitations to their address,
// by the rules of [auth.MemberChange]; their threads stay. It returns the
// sessions and keys that ended.
func (db *DB) RemoveMember(ctx context.Context, scope auth.Scope, member auth.UserID, now time.Time) (auth.Credentials, error) {
	if err := scope.Require(auth.PermManageMembers); err != nil {
		return auth.Credentials{}, err
	}
	return db.endMembership(ctx, scope, member, now)
}

// LeaveOrg is [DB.RemoveMember] for oneself, which needs no permission.
func (db *DB) LeaveOrg(ctx context.Context, scope auth.Scope, now time.Time) (auth.Credentials, error) {
	return db.endMembership(ctx, scope, scope.User, now)
}

func (db *DB) endMembership(ctx context.Context, scope auth.Scope, member auth.UserID, now time.Time) (auth.Credentials, error) {
	var out auth.Credentials
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		was, err := lockStanding(ctx, tx, scope, member)
		if err != nil {
			return err
		}
		if err := was.check(member == scope.User, ""); err != nil {
			return err
		}
		args := named{"org": string(scope.Org), "member": string(member), "email": was.Email, "now": now}
		var sessions, invitations []idRow
		var keys []keyMarkRow
		var batch pgx.Batch
		batch.Queue(sqlMemberDelete, args)
		batch.Queue(sqlMemberRemember, args)
		collect(&batch, &sessions, sqlMemberEndSessions, args)
		collect(&batch, &keys, sqlMemberEndKeys, args)
		collect(&batch, &invitations, sqlMemberEndInvitations, args)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return translate(err)
		}
		out = credentials(sessions, keys)
		action := "member.removed"
		if member == scope.User {
			action = "member.left"
		}
		prefixes := make([]string, len(keys))
		for i, k := range keys {
			prefixes[i] = k.Prefix
		}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: action, ObjectKind: "member", ObjectID: string(member), ObjectName: was.Name,
			Before: auditDetail(map[string]any{"role": was.Role, "email": was.Email}),
			After: auditDetail(map[string]any{"sessions_ended": len(sessions), "keys_revoked": prefixes,
				"invitations_revoked": len(invitations)})})
	})
	if err != nil {
		return auth.Credentials{}, fmt.Errorf("ending a membership: %w", err)
	}
	return out, nil
}
