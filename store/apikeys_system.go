package store

import (
	"context"
	"fmt"
	"slices"
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
where k.prefix = any(@prefixes::text[])`

// keySought is one look-up of a key. What is looked up at the same moment is looked
// up together; no answer is older than its question.
type keySought struct {
	prefix string
	found  *foundKeyRow
	asked  bool
}

// FindAPIKey gives the key with a prefix and the role its person has now;
// whether the secret fits is for [auth.APIKey.Accepts] to judge. NotFound also
// for a disabled person and a membership that ended.
func (db *DB) FindAPIKey(ctx context.Context, prefix string) (auth.APIKey, auth.Role, error) {
	sought := &keySought{prefix: prefix}
	err := db.keys.write(ctx, "", sought)
	if err == nil && !sought.asked {
		err = db.findKeys(ctx, "", []*keySought{sought})
	}
	if err != nil {
		return auth.APIKey{}, "", err
	}
	if sought.found == nil {
		return auth.APIKey{}, "", fault.NotFound("API key")
	}
	return sought.found.key(), auth.Role(sought.found.Role), nil
}

// findKeys looks for keys of any organisations.
func (db *DB) findKeys(ctx context.Context, _ auth.OrgID, some []*keySought) error {
	var prefixes []string
	for _, s := range some {
		if !slices.Contains(prefixes, s.prefix) {
			prefixes = append(prefixes, s.prefix)
		}
	}
	var found []foundKeyRow
	var batch pgx.Batch
	batch.Queue(sqlProbe)
	collect(&batch, &found, sqlAPIKeyFind, named{"prefixes": prefixes})
	if err := db.system.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("finding API keys: %w", err)
	}
	for _, s := range some {
		s.asked = true
		if i := slices.IndexFunc(found, func(r foundKeyRow) bool { return r.Prefix == s.prefix }); i >= 0 {
			s.found = &found[i]
		}
	}
	return nil
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
