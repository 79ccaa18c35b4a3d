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

const sqlOrgEnsure = `with made as (
	insert into orgs (id, slug, name) values (@org, @slug, @name) on conflict (slug) do nothing returning id
)
select id from made union all select id from orgs where slug = @slug limit 1`

const sqlMembershipEnsure = `insert into memberships (org_id, user_id, role) values (@org, @user, @role)
on conflict (org_id, user_id) do update set role = memberships.role returning role, xmax = 0 as made`

// sqlOrgMember finds the one member of an organisation who has an address.
const sqlOrgMember = `select m.org_id, m.user_id, m.role from memberships m
join orgs o on o.id = m.org_id join users u on u.id = m.user_id and u.disabled_at is null
where o.slug = @slug and lower(u.email) = lower(@email)`

type memberRow struct {
	OrgID  string
	UserID string
	Role   string
}

// EnsurePerson makes a person, their identity and their membership where they
// are missing, for the demo data and for benchmarks; what exists stays as it is,
// and nothing is recorded. A member of the organisation who has the address already gets the
// identity in addition: that is the operator's decision, which a sign-in
// never takes by itself.
func (db *DB) EnsurePerson(ctx context.Context, p auth.Person) (auth.Scope, error) {
	if !p.Identity.Valid() || !p.Role.Valid() {
		return auth.Scope{}, fault.Invalid("person", "needs an identity and a role")
	}
	var scope auth.Scope
	err := pgx.BeginFunc(ctx, db.system, func(tx pgx.Tx) error {
		profile := auth.Profile{Identity: p.Identity, Provider: p.Provider, Email: p.Email, EmailVerified: true, Name: p.Name}
		user, known, err := lockIdentity(ctx, tx, profile)
		if err != nil {
			return err
		}
		var org string
		if err := tx.QueryRow(ctx, sqlOrgEnsure, named{
			"org": id.New(), "slug": p.OrgSlug, "name": p.OrgName}).Scan(&org); err != nil {
			return fmt.Errorf("making the organisation: %w", err)
		}
		if !known {
			if user.ID, err = adoptOrInsert(ctx, tx, user, profile, p.OrgSlug); err != nil {
				return err
			}
		}
		var role string
		var made bool
		if err := tx.QueryRow(ctx, sqlMembershipEnsure, named{
			"org": org, "user": string(user.ID), "role": string(p.Role)}).Scan(&role, &made); err != nil {
			return fmt.Errorf("adding the membership: %w", err)
		}
		if made {
			if err := closeEarlier(ctx, tx, named{"org": org, "user": string(user.ID), "now": time.Now().UTC()}); err != nil {
				return err
			}
		}
		scope = auth.Scope{User: user.ID, Org: auth.OrgID(org), Role: auth.Role(role)}
		return nil
	})
	if err != nil {
		return auth.Scope{}, fmt.Errorf("ensuring a person: %w", translate(err))
	}
	return scope, nil
}

// adoptOrInsert gives the identity to the organisation's member with the same
// address, or makes the person; it gives whoever has the identity now.
func adoptOrInsert(ctx context.Context, tx pgx.Tx, user auth.User, p auth.Profile, slug string) (auth.UserID, error) {
	rows, _ := tx.Query(ctx, sqlOrgMember, named{"slug": slug, "email": p.Email})
	members, err := pgx.CollectRows(rows, pgx.RowToStructByName[memberRow])
	if err != nil {
		return "", fmt.Errorf("finding the member: %w", err)
	}
	if len(members) != 1 {
		return user.ID, insertPerson(ctx, tx, user, auth.Entry{Profile: p})
	}
	if _, err := tx.Exec(ctx, sqlIdentityInsert, named{"user": members[0].UserID,
		"issuer": p.Identity.Issuer, "subject": p.Identity.Subject, "provider": p.Provider,
		"email": p.Email, "verified": true}); err != nil {
		return "", fmt.Errorf("adding the identity: %w", err)
	}
	return auth.UserID(members[0].UserID), nil
}

// MemberScope gives the scope of an organisation's member, for operator
// commands such as "heddle apikey create". NotFound when there is not exactly
// one with that address.
func (db *DB) MemberScope(ctx context.Context, orgSlug, email string) (auth.Scope, error) {
	rows, _ := db.system.Query(ctx, sqlOrgMember, named{"slug": orgSlug, "email": email})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[memberRow])
	if err != nil {
		return auth.Scope{}, fmt.Errorf("finding a member: %w", err)
	}
	if len(found) != 1 {
		return auth.Scope{}, fault.NotFound("Member")
	}
	return auth.Scope{User: auth.UserID(found[0].UserID), Org: auth.OrgID(found[0].OrgID), Role: auth.Role(found[0].Role)}, nil
}

const sqlDomainProve = `insert into org_domains (org_id, domain, token, proved_by, proved_at)
select o.id, @domain, @token, 'operator', @now from orgs o where o.slug = @slug
on conflict (org_id, domain) do update set proved_by = 'operator', proved_at = excluded.proved_at`

// ProveDomain is the operator's word that a domain belongs to an organisation.
// Faults: invalid for a public mail domain, conflict when another organisation
// proved it, not found for an unknown organisation.
func (db *DB) ProveDomain(ctx context.Context, orgSlug, domain string, now time.Time) error {
	claim, err := auth.ClaimDomain("", domain)
	if err != nil {
		return err
	}
	tag, err := db.system.Exec(ctx, sqlDomainProve, named{
		"slug": orgSlug, "domain": claim.Domain, "token": claim.Token, "now": now})
	switch {
	case violates(err, codeUniqueViolation, "org_domains_proved"):
		return fault.Conflict("Another organisation has proved this domain.")
	case err != nil:
		return fmt.Errorf("proving a domain: %w", translate(err))
	case tag.RowsAffected() == 0:
		return fault.NotFound("Organisation")
	}
	return nil
}
