package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// sqlNames reads what the members of an organisation are called. Whoever has no
// name goes by the first part of the address.
const sqlNames = `select u.id::text as id, case when u.name <> '' then u.name else split_part(u.email, '@', 1) end as name
	from memberships m join users u on u.id = m.user_id
	where m.org_id = @org order by u.id limit 1000`

// Names gives the names of up to 1,000 members of the scope's organisation.
func (db *DB) Names(ctx context.Context, scope auth.Scope) (map[auth.UserID]string, error) {
	type row struct{ ID, Name string }
	rows, err := many[row](ctx, db, scope, "reading members' names", sqlNames, pgx.NamedArgs{"org": string(scope.Org)})
	if err != nil {
		return nil, err
	}
	out := make(map[auth.UserID]string, len(rows))
	for _, r := range rows {
		out[auth.UserID(r.ID)] = r.Name
	}
	return out, nil
}

// sqlThemeSet asks for the membership as well: a scope reaches people of its own
// organisation only.
const sqlThemeSet = `update users u set theme = @theme from memberships m
where u.id = @user and m.user_id = u.id and m.org_id = @org`

// SetTheme keeps the colours the scope's person chose: system, light or dark.
func (db *DB) SetTheme(ctx context.Context, scope auth.Scope, theme string) error {
	n, err := db.exec(ctx, scope, "keeping the theme", sqlThemeSet,
		pgx.NamedArgs{"org": string(scope.Org), "user": string(scope.User), "theme": theme})
	if err == nil && n == 0 {
		return fault.NotFound("Person")
	}
	return err
}
