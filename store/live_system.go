package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// sqlCredentialsLive reads browser sessions and API keys alike: whoever holds
// sockets knows only ids.
const sqlCredentialsLive = `select s.id::text from sessions s
	join users u on u.id = s.user_id and u.disabled_at is null
	join memberships m on m.org_id = s.org_id and m.user_id = s.user_id
	where s.id = any(@ids::uuid[]) and s.revoked_at is null and s.expires_at > @now
union all
select k.id::text from api_keys k
	join users u on u.id = k.user_id and u.disabled_at is null
	join memberships m on m.org_id = k.org_id and m.user_id = k.user_id
	where k.id = any(@ids::uuid[]) and k.revoked_at is null and (k.expires_at is null or k.expires_at > @now)`

// LiveCredentials tells which of the given sessions and API keys are neither
// revoked nor expired and belong to somebody who is still a member.
func (db *DB) LiveCredentials(ctx context.Context, ids []string, now time.Time) (map[string]bool, error) {
	rows, _ := db.system.Query(ctx, sqlCredentialsLive, named{"ids": ids, "now": now})
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("checking sessions and keys: %w", err)
	}
	live := make(map[string]bool, len(found))
	for _, id := range found {
		live[id] = true
	}
	return live, nil
}
