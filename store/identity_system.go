package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// SignIn turns a finished sign-in into a session, in one transaction: it finds
// or makes the person of the identity, reads the facts, lets decide choose the
// organisation, carries that out and writes the session. Two first sign-ins of
// one identity at once make one person. A refusal by decide, or of a disabled
// person, is returned as it is and leaves no trace.
func (db *DB) SignIn(ctx context.Context, e auth.Entry, decide auth.Policy) (auth.SignedIn, error) {
	var out auth.SignedIn
	err := db.recorded(ctx, func(tx pgx.Tx) error {
		user, known, err := lockIdentity(ctx, tx, e.Profile)
		if err != nil {
			return err
		}
		facts, err := signInFacts(ctx, tx, e, user)
		if err != nil {
			return err
		}
		placement, err := decide(facts)
		if err != nil {
			return err
		}
		if !known {
			if err := insertPerson(ctx, tx, user, e); err != nil {
				return err
			}
		}
		org, err := carryOut(ctx, tx, placement, user, e)
		if err != nil {
			return err
		}
		session := e.Session
		session.User, session.Org = user.ID, org.ID
		if err := insertSession(ctx, tx, session, e); err != nil {
			return err
		}
		out = auth.SignedIn{Session: session, User: user, Org: org, Role: placement.Role}
		return nil
	})
	if err != nil {
		return auth.SignedIn{}, fmt.Errorf("signing in: %w", translate(err))
	}
	return out, nil
}

type userRow struct {
	ID         string
	Email      string
	Name       string
	Theme      string
	Locale     string
	CreatedAt  time.Time
	DisabledAt *time.Time
}

func (r userRow) user() auth.User {
	return auth.User{ID: auth.UserID(r.ID), Email: r.Email, Name: r.Name, Theme: r.Theme, Locale: r.Locale,
		CreatedAt: r.CreatedAt.UTC(), DisabledAt: timeOrZero(r.DisabledAt)}
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

const sqlIdentityLock = `select pg_advisory_xact_lock(hashtextextended(@issuer::text || ' ' || @subject::text, 0))`

const sqlIdentityUser = `update identities i set last_login_at = now(), email = @email, email_verified = @verified
from users u where i.issuer = @issuer and i.subject = @subject and u.id = i.user_id
returning u.id, u.email, u.name, u.theme, u.locale, u.created_at, u.disabled_at`

// lockIdentity finds the person of the profile's identity, or describes the
// one to be made.
func lockIdentity(ctx context.Context, tx pgx.Tx, p auth.Profile) (user auth.User, known bool, err error) {
	if !p.Identity.Valid() {
		return user, false, fault.Unauthenticated("Sign in first.")
	}
	args := named{"issuer": p.Identity.Issuer, "subject": p.Identity.Subject,
		"email": p.Email, "verified": p.EmailVerified}
	if _, err := tx.Exec(ctx, sqlIdentityLock, args); err != nil {
		return user, false, fmt.Errorf("locking the identity: %w", err)
	}
	rows, _ := tx.Query(ctx, sqlIdentityUser, args) // its error comes back from CollectRows
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[userRow])
	if err != nil {
		return user, false, fmt.Errorf("finding the identity: %w", err)
	}
	if len(found) == 0 {
		return auth.User{ID: auth.UserID(id.New()), Email: p.Email, Name: p.Name, Theme: "system", Locale: "en"}, false, nil
	}
	user = found[0].user()
	if user.Disabled() {
		return user, true, fault.Forbidden("This account is disabled. Ask an administrator.").WithCode("account_disabled")
	}
	return user, true, nil
}

type membershipRow struct {
	OrgID     string
	Slug      string
	Name      string
	Personal  bool
	CreatedAt time.Time
	UserID    string
	Role      string
	Since     time.Time
}

func (r membershipRow) membership() auth.Membership {
	return auth.Membership{
		Org: auth.Org{ID: auth.OrgID(r.OrgID), Slug: r.Slug, Name: r.Name, Personal: r.Personal,
			CreatedAt: r.CreatedAt.UTC()},
		User: auth.UserID(r.UserID), Role: auth.Role(r.Role), CreatedAt: r.Since.UTC(),
	}
}

// sqlMembershipsOf lists the organisations of a person, the one of their
// latest session first.
const sqlMembershipsOf = `select m.org_id, o.slug, o.name, o.personal, o.created_at, m.user_id, m.role, m.created_at as since
from memberships m join orgs o on o.id = m.org_id
left join lateral (select max(s.last_seen_at) as at from sessions s
	where s.org_id = m.org_id and s.user_id = m.user_id) latest on true
where m.user_id = @user
order by latest.at desc nulls last, m.created_at, m.org_id`

func membershipsOf(ctx context.Context, q querier, user auth.UserID) ([]auth.Membership, error) {
	rows, _ := q.Query(ctx, sqlMembershipsOf, named{"user": string(user)}) // its error comes back from CollectRows
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[membershipRow])
	if err != nil {
		return nil, fmt.Errorf("listing memberships: %w", err)
	}
	out := make([]auth.Membership, len(found))
	for i, r := range found {
		out[i] = r.membership()
	}
	return out, nil
}

// querier is what a pool and a transaction have in common.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

type invitationRow struct {
	ID         string
	OrgID      string
	Email      string
	Role       string
	ExpiresAt  time.Time
	AcceptedAt *time.Time
	RevokedAt  *time.Time
}

const sqlInvitationByToken = `select id, org_id, email, role, expires_at, accepted_at, revoked_at
from invitations where token_hash = @token for update`

// sqlOrgByProvedDomain passes over an organisation that the person left or was
// removed from: an address must not undo that.
const sqlOrgByProvedDomain = `select o.id from org_domains d join orgs o on o.id = d.org_id
where d.domain = @domain and d.proved_at is not null
	and not exists (select 1 from former_members f where f.org_id = o.id and f.user_id = @user)`

func signInFacts(ctx context.Context, tx pgx.Tx, e auth.Entry, user auth.User) (auth.Facts, error) {
	facts := auth.Facts{Profile: e.Profile, Invited: e.Invitation != nil}
	var err error
	if facts.Memberships, err = membershipsOf(ctx, tx, user.ID); err != nil {
		return facts, err
	}
	if e.Invitation != nil {
		rows, _ := tx.Query(ctx, sqlInvitationByToken, named{"token": e.Invitation[:]})
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[invitationRow])
		if err != nil {
			return facts, fmt.Errorf("finding the invitation: %w", err)
		}
		if len(found) == 1 {
			facts.Invitation = found[0].invitation()
		}
	}
	if domain := e.Profile.VerifiedDomain(); domain != "" {
		rows, _ := tx.Query(ctx, sqlOrgByProvedDomain, named{"domain": domain, "user": string(user.ID)})
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return facts, fmt.Errorf("finding the domain: %w", err)
		}
		if len(found) == 1 {
			facts.DomainOrg = &auth.Org{ID: auth.OrgID(found[0])}
		}
	}
	return facts, nil
}

func (r invitationRow) invitation() *auth.Invitation {
	return &auth.Invitation{ID: auth.InvitationID(r.ID), Org: auth.Org{ID: auth.OrgID(r.OrgID)}, Email: r.Email,
		Role: auth.Role(r.Role), ExpiresAt: r.ExpiresAt.UTC(),
		AcceptedAt: timeOrZero(r.AcceptedAt), RevokedAt: timeOrZero(r.RevokedAt)}
}

const sqlUserInsert = `insert into users (id, email, name) values (@user, @email, @name)`

const sqlIdentityInsert = `insert into identities (issuer, subject, user_id, provider, email, email_verified)
values (@issuer, @subject, @user, @provider, @email, @verified)`

func insertPerson(ctx context.Context, tx pgx.Tx, user auth.User, e auth.Entry) error {
	p := e.Profile
	if _, err := tx.Exec(ctx, sqlUserInsert, named{
		"user": string(user.ID), "email": user.Email, "name": user.Name}); err != nil {
		return fmt.Errorf("making the person: %w", err)
	}
	if _, err := tx.Exec(ctx, sqlIdentityInsert, named{"user": string(user.ID),
		"issuer": p.Identity.Issuer, "subject": p.Identity.Subject, "provider": p.Provider,
		"email": p.Email, "verified": p.EmailVerified}); err != nil {
		return fmt.Errorf("making the identity: %w", err)
	}
	return nil
}

const sqlOrgInsert = `insert into orgs (id, slug, name, personal) values (@org, @slug, @name, true)`

const sqlMembershipInsert = `insert into memberships (org_id, user_id, role) values (@org, @user, @role)`

const sqlInvitationAccept = `update invitations set accepted_at = @now, accepted_by = @user
where org_id = @org and id = @invitation and accepted_at is null and revoked_at is null`

const sqlOrgByID = `select id, slug, name, personal, created_at from orgs where id = @org`

type orgRow struct {
	ID        string
	Slug      string
	Name      string
	Personal  bool
	CreatedAt time.Time
}

func (r orgRow) org() auth.Org {
	return auth.Org{ID: auth.OrgID(r.ID), Slug: r.Slug, Name: r.Name, Personal: r.Personal, CreatedAt: r.CreatedAt.UTC()}
}

// sqlMemberLeftovers ends what a sign-in or a new key in the very moment of an
// earlier removal left behind: nobody who was not a member has any.
const sqlMemberLeftovers = `with ended as (
	update sessions set revoked_at = @now where org_id = @org and user_id = @user and revoked_at is null
)
update api_keys set revoked_at = @now where org_id = @org and user_id = @user and revoked_at is null`

const sqlMemberForgive = `delete from former_members where org_id = @org and user_id = @user`

// closeEarlier ends what an earlier membership of somebody who is a member again
// left behind.
func closeEarlier(ctx context.Context, tx pgx.Tx, args named) error {
	for _, sql := range []string{sqlMemberLeftovers, sqlMemberForgive} {
		if _, err := tx.Exec(ctx, sql, args); err != nil {
			return fmt.Errorf("closing the earlier membership: %w", err)
		}
	}
	return nil
}

// carryOut makes the placement true and gives its organisation.
func carryOut(ctx context.Context, tx pgx.Tx, p auth.Placement, user auth.User, e auth.Entry) (auth.Org, error) {
	if p.Kind == auth.PlaceCreate {
		p.Org = auth.OrgID(id.New())
		if _, err := tx.Exec(ctx, sqlOrgInsert, named{
			"org": string(p.Org), "slug": p.OrgSlug, "name": p.OrgName}); err != nil {
			return auth.Org{}, fmt.Errorf("making the organisation: %w", err)
		}
	}
	if p.Kind != auth.PlaceMember {
		if err := join(ctx, tx, p, user, e); err != nil {
			return auth.Org{}, err
		}
	}
	rows, _ := tx.Query(ctx, sqlOrgByID, named{"org": string(p.Org)})
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[orgRow])
	if err != nil {
		return auth.Org{}, fmt.Errorf("reading the organisation: %w", err)
	}
	return row.org(), nil
}

// join makes the person a member of the placement's organisation, as its audit
// log says.
func join(ctx context.Context, tx pgx.Tx, p auth.Placement, user auth.User, e auth.Entry) error {
	args := named{"org": string(p.Org), "user": string(user.ID), "role": string(p.Role),
		"invitation": string(p.Invitation), "now": e.Session.CreatedAt}
	joined := auth.AuditEntry{Action: "member.joined", ObjectKind: "member", ObjectID: string(user.ID), ObjectName: user.Called(),
		Rule: string(p.Kind), After: auditDetail(map[string]any{"role": p.Role, "email": user.Email})}
	entries := []auth.AuditEntry{joined}
	if p.Kind == auth.PlaceInvite {
		tag, err := tx.Exec(ctx, sqlInvitationAccept, args)
		if err != nil {
			return fmt.Errorf("accepting the invitation: %w", err)
		}
		if tag.RowsAffected() != 1 {
			return fault.Conflict("This invitation was used already.")
		}
		accepted := auth.AuditEntry{Action: "invitation.accepted", ObjectKind: "invitation", ObjectID: string(p.Invitation),
			ObjectName: user.Email, After: auditDetail(map[string]any{"role": p.Role, "member": user.ID})}
		entries = []auth.AuditEntry{accepted, joined}
	}
	if _, err := tx.Exec(ctx, sqlMembershipInsert, args); err != nil {
		return fmt.Errorf("adding the membership: %w", err)
	}
	if err := closeEarlier(ctx, tx, args); err != nil {
		return err
	}
	scope := auth.Scope{User: user.ID, Org: p.Org, Role: p.Role, Session: e.Session.ID, IP: e.Session.IP, RequestID: e.RequestID}
	for _, entry := range entries {
		if err := appendAudit(tx, scope, entry); err != nil {
			return err
		}
	}
	return nil
}
