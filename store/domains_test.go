package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

func TestADomainIsClaimedThenProvedByOneOrganisationAlone(t *testing.T) {
	e := furnish(t)
	ctx, now := t.Context(), time.Now()
	owner, rival := e.mia, e.gia
	owner.Role, rival.Role = auth.RoleOwner, auth.RoleOwner
	claim, err := e.db.ClaimDomain(ctx, owner, "Shop.Example.")
	require.NoError(t, err)
	require.Equal(t, "shop.example", claim.Domain)
	require.False(t, claim.Proved())
	again, err := e.db.ClaimDomain(ctx, owner, "shop.example")
	require.NoError(t, err)
	require.Equal(t, claim.Token, again.Token, "the record that is out there stays good")
	theirs, err := e.db.ClaimDomain(ctx, rival, "shop.example")
	require.NoError(t, err)
	require.NotEqual(t, claim.Token, theirs.Token)

	require.NoError(t, e.db.ProveDomainByDNS(ctx, owner, claim, now))
	requireKind(t, fault.KindConflict, e.db.ProveDomainByDNS(ctx, rival, theirs, now))
	proved, err := e.db.ClaimDomain(ctx, owner, "shop.example")
	require.NoError(t, err)
	require.Equal(t, auth.ProofDNS, proved.ProvedBy)

	_, err = e.db.ClaimDomain(ctx, e.mia, "other.example")
	requireKind(t, fault.KindForbidden, err)
	_, err = e.db.ClaimDomain(ctx, owner, "gmail.com")
	requireKind(t, fault.KindInvalid, err)
}
