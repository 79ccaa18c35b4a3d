package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

type foundKeyRow struct {
	apiKeyRow
	Role string
}

const sqlAPIKeyFind = `select ` + apiKeyColumns + `, m.role from api_keys k
join users u on u.id = k.user_id and u.disabled_at is null
join memberships m on m.org_id = k.org_id and m.user_id = k.user_id
where k.prefix = @prefix`

// FindAPIKey gives the key with a prefix and the role its person has now;
// whether the secret fits is for [auth.APIKey.Accepts] to judge. NotFound also
// for a disabled person and a membership that ended.
func (db *DB) FindAPIKey(ctx context.Context, prefix string) (auth.APIKey, auth.Role, error) {
	rows, _ := db.system.Query(ctx, sqlAPIKeyFind, named{"prefix": prefix}) // its error comes back from CollectRows
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[foundKeyRow])
	if err != nil {
		return auth.APIKey{}, "", fmt.Errorf("finding an API key: %w", err)
	}
	if len(found) == 0 {
		return auth.APIKey{}, "", fault.NotFound("API key")
	}
	return found[0].key(), auth.Role(found[0].Role), nil
}

// sqlAPIKeyTouch writes at most once a minute, so that a busy key costs
// nothing.
const sqlAPIKeyTouch = `update api_keys set last_used_at = @now
where org_id = @org and id = @id and (last_used_at is null or last_used_at < @now::timestamptz - interval '1 minute')`

// TouchAPIKey notes that a key was used.
func (db *DB) TouchAPIKey(ctx context.Context, key auth.APIKey, now time.Time) error {
	_, err := db.system.Exec(ctx, sqlAPIKeyTouch, named{"org": string(key.Org), "id": string(key.ID), "now": now})
	if err != nil {
		return fmt.Errorf("touching an API key: %w", err)
	}
	return nil
}
