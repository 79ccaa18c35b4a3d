package store

import (
	"context"
	"time"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

type domainRow struct {
	OrgID    string
	Domain   string
	Token    string
	ProvedBy *string
	ProvedAt *time.Time
}

func (r domainRow) domain() auth.OrgDomain {
	d := auth.OrgDomain{Org: auth.OrgID(r.OrgID), Domain: r.Domain, Token: r.Token, ProvedAt: timeOrZero(r.ProvedAt)}
	if r.ProvedBy != nil {
		d.ProvedBy = auth.Proof(*r.ProvedBy)
	}
	return d
}

const domainColumns = `org_id, domain, token, proved_by, proved_at`

// sqlDomainClaim keeps the token of an earlier claim: its record may be out there.
const sqlDomainClaim = `insert into org_domains (org_id, domain, token) values (@org, @domain, @token)
on conflict (org_id, domain) do update set domain = excluded.domain returning ` + domainColumns

// ClaimDomain notes that the scope's organisation claims a domain and returns
// the claim, whose token the domain's owner publishes.
func (db *DB) ClaimDomain(ctx context.Context, scope auth.Scope, domain string) (auth.OrgDomain, error) {
	if err := scope.Require(auth.PermManageOrg); err != nil {
		return auth.OrgDomain{}, err
	}
	claim, err := auth.ClaimDomain(scope.Org, domain)
	if err != nil {
		return auth.OrgDomain{}, err
	}
	row, err := one[domainRow](ctx, db, scope, "Domain", "claiming a domain", sqlDomainClaim,
		named{"org": string(scope.Org), "domain": claim.Domain, "token": claim.Token})
	if err != nil {
		return auth.OrgDomain{}, err
	}
	return row.domain(), nil
}

const sqlDomainProvedByDNS = `update org_domains set proved_by = 'dns', proved_at = @now
where org_id = @org and domain = @domain and token = @token`

// ProveDomainByDNS notes that a claim's record was found at the domain. A
// conflict says that another organisation has proved the domain.
func (db *DB) ProveDomainByDNS(ctx context.Context, scope auth.Scope, claim auth.OrgDomain, now time.Time) error {
	if err := scope.Require(auth.PermManageOrg); err != nil {
		return err
	}
	n, err := db.exec(ctx, scope, "proving a domain", sqlDomainProvedByDNS, named{
		"org": string(scope.Org), "domain": claim.Domain, "token": claim.Token, "now": now})
	switch {
	case violates(err, codeUniqueViolation, "org_domains_proved"):
		return fault.Conflict("Another organisation has proved this domain.")
	case err == nil && n == 0:
		return fault.NotFound("Domain")
	}
	return err
}
