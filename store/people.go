package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
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
