package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

type apiKeyRow struct {
	OrgID      string
	ID         string
	UserID     string
	Name       string
	Prefix     string
	SecretHash []byte
	Scopes     []string
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	LastUsedAt *time.Time
	RevokedAt  *time.Time
}

func (r apiKeyRow) key() auth.APIKey {
	k := auth.APIKey{ID: auth.KeyID(r.ID), Org: auth.OrgID(r.OrgID), User: auth.UserID(r.UserID), Name: r.Name,
		Prefix: r.Prefix, CreatedAt: r.CreatedAt.UTC(), ExpiresAt: timeOrZero(r.ExpiresAt),
		LastUsedAt: timeOrZero(r.LastUsedAt), RevokedAt: timeOrZero(r.RevokedAt)}
	copy(k.Secret[:], r.SecretHash)
	for _, s := range r.Scopes {
		k.Scopes = append(k.Scopes, auth.KeyScope(s))
	}
	return k
}

const apiKeyColumns = `k.org_id, k.id, k.user_id, k.name, k.prefix, k.secret_hash, k.scopes,
	k.created_at, k.expires_at, k.last_used_at, k.revoked_at`

const sqlAPIKeyInsert = `insert into api_keys
	(org_id, id, user_id, name, prefix, secret_hash, scopes, created_at, expires_at)
values (@org, @id, @user, @name, @prefix, @secret, @scopes, @created, @expires)`

// CreateAPIKey stores a key made by [auth.MintAPIKey] for the scope's person.
func (db *DB) CreateAPIKey(ctx context.Context, scope auth.Scope, k auth.APIKey) error {
	if k.Org != scope.Org || k.User != scope.User {
		return fault.Forbidden("A key acts as the person who makes it.")
	}
	scopes := make([]string, len(k.Scopes))
	for i, s := range k.Scopes {
		scopes[i] = string(s)
	}
	var expires *time.Time
	if !k.ExpiresAt.IsZero() {
		expires = &k.ExpiresAt
	}
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlAPIKeyInsert, named{
			"org": string(scope.Org), "id": string(k.ID), "user": string(scope.User), "name": k.Name, "prefix": k.Prefix,
			"secret": k.Secret[:], "scopes": scopes, "created": k.CreatedAt, "expires": expires}); err != nil {
			return translate(err)
		}
		after := map[string]any{"prefix": k.Prefix, "scopes": scopes}
		if expires != nil {
			after["expires_at"] = expires.UTC().Format(time.RFC3339)
		}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "key.created", ObjectKind: "key", ObjectID: string(k.ID), ObjectName: k.Name, After: auditDetail(after)})
	})
	if err != nil {
		return fmt.Errorf("creating an API key: %w", err)
	}
	return nil
}

type ownedKeyRow struct {
	apiKeyRow
	OwnerName  string
	OwnerEmail string
}

const sqlAPIKeysList = `select ` + apiKeyColumns + `, u.email as owner_email,
	` + personName + ` as owner_name
from api_keys k join users u on u.id = k.user_id
where k.org_id = @org and (k.user_id = @user or @any) and k.revoked_at is null
	and (@person::text = '' or position(lower(@person) in lower(u.name)) > 0 or position(lower(@person) in lower(u.email)) > 0)
order by k.created_at desc, k.id limit @limit`

// APIKeys lists the keys of everyone that are not revoked, or of the scope's
// person alone for whoever may not manage others'; the newest first, at most
// [auth.KeyListLimit]. person keeps those of people with that text in their name or address;
// "" keeps all.
func (db *DB) APIKeys(ctx context.Context, scope auth.Scope, person string) ([]auth.OwnedKey, error) {
	rows, err := many[ownedKeyRow](ctx, db, scope, "listing API keys", sqlAPIKeysList, keyArgs(scope, named{"person": person, "limit": auth.KeyListLimit}))
	if err != nil {
		return nil, err
	}
	out := make([]auth.OwnedKey, len(rows))
	for i, r := range rows {
		out[i] = auth.OwnedKey{APIKey: r.key(), OwnerName: r.OwnerName, OwnerEmail: r.OwnerEmail}
	}
	return out, nil
}

const sqlAPIKeysOwn = `select ` + apiKeyColumns + ` from api_keys k
where k.org_id = @org and k.user_id = @user and k.revoked_at is null
order by k.created_at desc, k.id limit 200`

// OwnAPIKeys is [DB.APIKeys] for the scope's person alone, whatever they may
// manage.
func (db *DB) OwnAPIKeys(ctx context.Context, scope auth.Scope) ([]auth.APIKey, error) {
	rows, err := many[apiKeyRow](ctx, db, scope, "listing a person's API keys", sqlAPIKeysOwn,
		named{"org": string(scope.Org), "user": string(scope.User)})
	if err != nil {
		return nil, err
	}
	out := make([]auth.APIKey, len(rows))
	for i, r := range rows {
		out[i] = r.key()
	}
	return out, nil
}

const sqlAPIKeyRevoke = `update api_keys set revoked_at = @now
where org_id = @org and id = @id and (user_id = @user or @any) and revoked_at is null
returning user_id, name, prefix, scopes`

// RevokeAPIKey ends a key of one's own, or anyone's for whoever may manage
// them. NotFound for all others.
func (db *DB) RevokeAPIKey(ctx context.Context, scope auth.Scope, key auth.KeyID, now time.Time) error {
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		type row struct {
			UserID       string
			Name, Prefix string
			Scopes       []string
		}
		rows, _ := tx.Query(ctx, sqlAPIKeyRevoke, keyArgs(scope, named{"id": string(key), "now": now}))
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
		if err != nil {
			return translate(err)
		}
		if len(found) == 0 {
			return fault.NotFound("API key")
		}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "key.revoked", ObjectKind: "key", ObjectID: string(key), ObjectName: found[0].Name,
			Before: auditDetail(map[string]any{"owner": found[0].UserID, "prefix": found[0].Prefix, "scopes": found[0].Scopes})})
	})
	if err != nil {
		return fmt.Errorf("revoking an API key: %w", err)
	}
	return nil
}

func keyArgs(scope auth.Scope, more named) named {
	args := named{"org": string(scope.Org), "user": string(scope.User), "any": scope.Can(auth.PermManageKeys)}
	for name, value := range more {
		args[name] = value
	}
	return args
}
