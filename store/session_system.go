package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

const sqlSessionInsert = `insert into sessions
	(org_id, id, user_id, token_hash, user_agent, ip, created_at, last_seen_at, expires_at)
values (@org, @id, @user, @token, @agent, @ip, @now, @now, @expires)`

const sqlSessionReplace = `update sessions set revoked_at = @now where token_hash = @old and revoked_at is null`

func insertSession(ctx context.Context, tx pgx.Tx, s auth.Session, e auth.Entry) error {
	if e.Replaces != nil {
		if _, err := tx.Exec(ctx, sqlSessionReplace, named{"old": e.Replaces[:], "now": s.CreatedAt}); err != nil {
			return fmt.Errorf("ending the earlier session: %w", err)
		}
	}
	_, err := tx.Exec(ctx, sqlSessionInsert, named{
		"org": string(s.Org), "id": string(s.ID), "user": string(s.User), "token": e.Token[:],
		"agent": s.UserAgent, "ip": s.IP, "now": s.CreatedAt, "expires": s.ExpiresAt})
	if err != nil {
		return fmt.Errorf("writing the session: %w", err)
	}
	return nil
}

type sessionRow struct {
	ID         string
	UserID     string
	OrgID      string
	UserAgent  string
	IP         string `db:"ip"`
	CreatedAt  time.Time
	LastSeenAt time.Time
	ExpiresAt  time.Time
	RevokedAt  *time.Time
}

func (r sessionRow) session() auth.Session {
	return auth.Session{ID: auth.SessionID(r.ID), User: auth.UserID(r.UserID), Org: auth.OrgID(r.OrgID),
		UserAgent: r.UserAgent, IP: r.IP, CreatedAt: r.CreatedAt.UTC(), LastSeenAt: r.LastSeenAt.UTC(),
		ExpiresAt: r.ExpiresAt.UTC(), RevokedAt: timeOrZero(r.RevokedAt)}
}

const sessionColumns = `s.id, s.user_id, s.org_id, s.user_agent, s.ip, s.created_at, s.last_seen_at, s.expires_at, s.revoked_at`

type signedInRow struct {
	sessionRow
	Email       string
	Name        string
	Theme       string
	Locale      string
	LetterKeys  bool
	UserCreated time.Time
	Slug        string
	OrgName     string
	Personal    bool
	OrgCreated  time.Time
	Role        string
}

// sqlSessionFind joins the membership: a session in an organisation the person
// has left finds nothing.
const sqlSessionFind = `select ` + sessionColumns + `, u.email, u.name, u.theme, u.locale, u.letter_keys, u.created_at as user_created,
	o.slug, o.name as org_name, o.personal, o.created_at as org_created, m.role
from sessions s
join users u on u.id = s.user_id and u.disabled_at is null
join memberships m on m.org_id = s.org_id and m.user_id = s.user_id
join orgs o on o.id = s.org_id
where s.token_hash = @token and s.revoked_at is null and s.expires_at > @now`

// FindSession gives the session of a cookie with its person, organisation and
// present role. NotFound covers an unknown, ended or revoked session, a
// disabled person and a membership that ended; idleness is for
// [auth.Session.Live] to judge.
func (db *DB) FindSession(ctx context.Context, token auth.Digest, now time.Time) (auth.SignedIn, error) {
	rows, _ := db.system.Query(ctx, sqlSessionFind, named{"token": token[:], "now": now}) // its error comes back from CollectRows
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[signedInRow])
	if err != nil {
		return auth.SignedIn{}, fmt.Errorf("finding a session: %w", err)
	}
	if len(found) == 0 {
		return auth.SignedIn{}, fault.NotFound("Session")
	}
	r := found[0]
	return auth.SignedIn{
		Session: r.session(),
		User: auth.User{ID: auth.UserID(r.UserID), Email: r.Email, Name: r.Name, Theme: r.Theme, Locale: r.Locale,
			LetterKeys: r.LetterKeys, CreatedAt: r.UserCreated.UTC()},
		Org: auth.Org{ID: auth.OrgID(r.OrgID), Slug: r.Slug, Name: r.OrgName, Personal: r.Personal,
			CreatedAt: r.OrgCreated.UTC()},
		Role: auth.Role(r.Role),
	}, nil
}

const sqlSessionTouch = `update sessions set last_seen_at = greatest(last_seen_at, @now) where id = @id and revoked_at is null`

// TouchSession notes that a session was used.
func (db *DB) TouchSession(ctx context.Context, session auth.SessionID, now time.Time) error {
	if _, err := db.system.Exec(ctx, sqlSessionTouch, named{"id": string(session), "now": now}); err != nil {
		return fmt.Errorf("touching a session: %w", err)
	}
	return nil
}

const sqlSessionRevoke = `update sessions set revoked_at = @now
where id = @id and user_id = @user and revoked_at is null returning id, org_id`

type endedSessionRow struct {
	ID    auth.SessionID
	OrgID auth.OrgID
}

// endSessions carries out sql, which ends sessions of the scope's person, and
// records each in the log of the organisation it worked in: what somebody does
// in one is none of another's business.
func (db *DB) endSessions(ctx context.Context, scope auth.Scope, sql string, args named) ([]auth.SessionID, error) {
	var ended []auth.SessionID
	err := db.recorded(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sql, args) // its error comes back from CollectRows
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[endedSessionRow])
		if err != nil {
			return translate(err)
		}
		for _, s := range found {
			ended = append(ended, s.ID)
			at := scope
			at.Org = s.OrgID
			if err := appendAudit(tx, at, auth.AuditEntry{Action: "session.ended", ObjectKind: "session", ObjectID: string(s.ID)}); err != nil {
				return err
			}
		}
		return nil
	})
	return ended, err
}

// RevokeSession ends one of the person's own sessions, in whichever
// organisation it works. NotFound also for one that has ended already or is
// somebody else's.
func (db *DB) RevokeSession(ctx context.Context, scope auth.Scope, session auth.SessionID, now time.Time) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	ended, err := db.endSessions(ctx, scope, sqlSessionRevoke, named{
		"id": string(session), "user": string(scope.User), "now": now})
	if err == nil && len(ended) == 0 {
		err = fault.NotFound("Session")
	}
	if err != nil {
		return fmt.Errorf("revoking a session: %w", err)
	}
	return nil
}

const sqlSessionsRevokeOthers = `update sessions set revoked_at = @now
where user_id = @user and id is distinct from @id::uuid and revoked_at is null returning id, org_id`

// RevokeOtherSessions ends all sessions of the scope's person, in whichever
// organisation they work, but the scope's own, and gives those that it ended.
func (db *DB) RevokeOtherSessions(ctx context.Context, scope auth.Scope, now time.Time) ([]auth.SessionID, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	ended, err := db.endSessions(ctx, scope, sqlSessionsRevokeOthers, named{
		"id": orNull(string(scope.Session)), "user": string(scope.User), "now": now})
	if err != nil {
		return nil, fmt.Errorf("revoking other sessions: %w", err)
	}
	return ended, nil
}

const sqlSessionsOf = `select ` + sessionColumns + ` from sessions s
where s.user_id = @user and s.revoked_at is null and s.expires_at > @now and s.last_seen_at > @idle
order by s.last_seen_at desc, s.id limit 100`

// Sessions lists the person's live sessions in all organisations, the latest
// used first, at most 100.
func (db *DB) Sessions(ctx context.Context, scope auth.Scope, now time.Time) ([]auth.Session, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	rows, _ := db.system.Query(ctx, sqlSessionsOf, named{
		"user": string(scope.User), "now": now, "idle": now.Add(-auth.SessionIdle)})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[sessionRow])
	if err != nil {
		return nil, fmt.Errorf("listing sessions: %w", err)
	}
	out := make([]auth.Session, len(found))
	for i, r := range found {
		out[i] = r.session()
	}
	return out, nil
}

// sqlSessionSwitch also gives the session a new cookie: rights change with the
// organisation.
const sqlSessionSwitch = `update sessions s set org_id = @target, token_hash = @token, last_seen_at = @now
from memberships m where s.id = @id and s.user_id = @user and s.revoked_at is null
	and m.org_id = @target and m.user_id = s.user_id`

// SwitchOrg moves the scope's session to another of the person's organisations
// and replaces its cookie. NotFound when they do not belong to it.
func (db *DB) SwitchOrg(ctx context.Context, scope auth.Scope, target auth.OrgID, token auth.Digest, now time.Time) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	tag, err := db.system.Exec(ctx, sqlSessionSwitch, named{"id": string(scope.Session),
		"user": string(scope.User), "target": string(target), "token": token[:], "now": now})
	if err != nil {
		return fmt.Errorf("switching the organisation: %w", translate(err))
	}
	if tag.RowsAffected() == 0 {
		return fault.NotFound("Organisation")
	}
	return nil
}

// Memberships lists the organisations the scope's person belongs to, the
// latest used first.
func (db *DB) Memberships(ctx context.Context, scope auth.Scope) ([]auth.Membership, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	return membershipsOf(ctx, db.system, scope.User)
}
