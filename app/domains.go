package app

import (
	"context"
	"time"

	"github.com/heddle/heddle/auth"
)

// ProveDomainByDNS looks for the record of a claimed domain and, if it is
// there, lets the domain place people from now on.
func (a *App) ProveDomainByDNS(ctx context.Context, scope auth.Scope, domain string, dns auth.TXTResolver) error {
	claim, err := a.db.ClaimDomain(ctx, scope, domain)
	if err != nil {
		return err
	}
	if err := auth.ProveByDNS(ctx, dns, claim); err != nil {
		return err
	}
	return a.db.ProveDomainByDNS(ctx, scope, claim, time.Now().UTC())
}
