package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// sqlSweepItems removes items whose time is over; the policy of the table shows the
// system role no others.
const sqlSweepItems = `with gone as (
	delete from store_items i using (
		select org_id, area, holder_id, namespace, key from store_items where expires_at <= now() limit @most
	) old
	where (i.org_id, i.area, i.holder_id, i.namespace, i.key) = (old.org_id, old.area, old.holder_id, old.namespace, old.key)
		and i.expires_at <= now()
	returning i.org_id
)
select org_id::text as org, count(*)::int as rows from gone group by org_id`

// sqlSweepDeliveries removes what webhooks were told, a week after they took it
// and a month after it was given up.
const sqlSweepDeliveries = `with gone as (
	delete from webhook_deliveries where ctid = any (array(
		select ctid from webhook_deliveries
		where settled_at < now() - interval '7 days' and (status = 'delivered' or settled_at < now() - interval '30 days')
		limit @most for update skip locked))
	returning org_id
)
select org_id::text as org, count(*)::int as rows from gone group by org_id`

type expiredRow struct {
	Org  string
	Rows int
}

// SweepExpired removes what has a time of its own, at most a batch of each kind,
// and says what went of each organisation. A dry run does the same, without bound,
// and takes it back.
func (db *DB) SweepExpired(ctx context.Context, dry bool) (map[auth.OrgID]agents.Swept, error) {
	most := sweepBatch
	if dry {
		most = noBatch
	}
	out := map[auth.OrgID]agents.Swept{}
	err := pgx.BeginFunc(ctx, db.system, func(tx pgx.Tx) error {
		for _, kind := range []struct {
			name, sql string
			count     func(*agents.Swept, int)
		}{
			{"items", sqlSweepItems, func(s *agents.Swept, n int) { s.Items += n }},
			{"deliveries", sqlSweepDeliveries, func(s *agents.Swept, n int) { s.Deliveries += n }},
		} {
			rows, err := pgxMany[expiredRow](ctx, tx, kind.sql, named{"most": most})
			if err != nil {
				return fmt.Errorf("sweeping %s: %w", kind.name, translate(err))
			}
			for _, r := range rows {
				sum := out[auth.OrgID(r.Org)]
				kind.count(&sum, r.Rows)
				out[auth.OrgID(r.Org)] = sum
			}
		}
		if dry {
			return errDry
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDry) {
		return nil, fmt.Errorf("sweeping what has expired: %w", err)
	}
	return out, nil
}
