package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// sqlAuditOrgs also finds the logs of organisations that are gone.
const sqlAuditOrgs = `select coalesce(o.id, l.org_id)::text as id, coalesce(o.slug, '') as slug
	from orgs o full join (select org_id from audit_heads union select org_id from audit_log) l on l.org_id = o.id
	where @slug = '' or o.slug = @slug order by o.slug nulls last, 1`

// AuditOrg is an organisation that can have a log; the slug of one that is gone
// is empty.
type AuditOrg struct {
	ID   auth.OrgID
	Slug string
}

// Name is the slug, or the id of an organisation that is gone.
func (o AuditOrg) Name() string {
	if o.Slug == "" {
		return string(o.ID)
	}
	return o.Slug
}

// AuditOrgs lists organisations in the order of their slugs, or the one with a
// slug; NotFound if there is none.
func (db *DB) AuditOrgs(ctx context.Context, slug string) ([]AuditOrg, error) {
	rows, _ := db.system.Query(ctx, sqlAuditOrgs, named{"slug": slug}) // its error comes back from CollectRows
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[AuditOrg])
	if err != nil {
		return nil, fmt.Errorf("listing audit logs: %w", translate(err))
	}
	if slug != "" && len(out) == 0 {
		return nil, fault.NotFound("Organisation")
	}
	return out, nil
}

// VerifyAuditOf is [DB.VerifyAudit] for the operator: of any organisation, and
// to the end.
func (db *DB) VerifyAuditOf(ctx context.Context, org auth.OrgID) (auth.ChainReport, error) {
	return readChain(ctx, org, 0, func(read func(chainReader) error) error { return read(db.system) })
}

const sqlAuditNamedOf = `select ` + auditNamed + ` where a.org_id = @org and a.seq > @after order by a.seq limit @limit`

// AuditExportOf is [DB.AuditExport] for the operator: all entries of an
// organisation.
func (db *DB) AuditExportOf(ctx context.Context, org auth.OrgID, each func(auth.AuditRow) error) error {
	for after := int64(0); ; {
		rows, _ := db.system.Query(ctx, sqlAuditNamedOf, named{"org": string(org), "after": after, "limit": maxAuditPage})
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[namedAuditRow])
		if err != nil {
			return fmt.Errorf("exporting an audit log: %w", err)
		}
		for _, r := range found {
			if err := each(auth.AuditRow{AuditEntry: r.entry(), ActorName: r.ActorName}); err != nil {
				return err
			}
			after = r.Seq
		}
		if len(found) < maxAuditPage {
			return nil
		}
	}
}
