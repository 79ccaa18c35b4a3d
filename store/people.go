package store

import (
	"context"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// personName is what a person u is called, as auth.User.Called says it: without a
// name, the first part of the address.
const personName = `case when u.name <> '' then u.name else split_part(u.email, '@', 1) end`

// sqlNames reads what the members of an organisation are called.
const sqlNames = `select u.id::text as id, ` + personName + ` as name
	from memberships m join users u on u.id = m.user_id
	where m.org_id = @org order by u.id limit 1000`

// Names gives the names of up to 1,000 members of the scope's organisation.
func (db *DB) Names(ctx context.Context, scope auth.Scope) (map[auth.UserID]string, error) {
	type row struct{ ID, Name string }
	rows, err := many[row](ctx, db, scope, "reading members' names", sqlNames, named{"org": string(scope.Org)})
	if err != nil {
		return nil, err
	}
	out := make(map[auth.UserID]string, len(rows))
	for _, r := range rows {
		out[auth.UserID(r.ID)] = r.Name
	}
	return out, nil
}

const sqlNameSet = `update users u set name = @name from memberships m
where u.id = @user and m.user_id = u.id and m.org_id = @org`

// SetName keeps what the scope's person wants to be called. Invalid names the
// rule.
func (db *DB) SetName(ctx context.Context, scope auth.Scope, name string) error {
	if err := auth.ValidateName(name); err != nil {
		return err
	}
	return db.setOwn(ctx, scope, "keeping the name", sqlNameSet, named{"name": name})
}

const sqlLetterKeysSet = `update users u set letter_keys = @on from memberships m
where u.id = @user and m.user_id = u.id and m.org_id = @org`

// SetLetterKeys keeps whether shortcuts of a single key work for the scope's
// person.
func (db *DB) SetLetterKeys(ctx context.Context, scope auth.Scope, on bool) error {
	return db.setOwn(ctx, scope, "keeping the shortcuts", sqlLetterKeysSet, named{"on": on})
}

// setOwn changes the row of the scope's person.
func (db *DB) setOwn(ctx context.Context, scope auth.Scope, doing, sql string, args named) error {
	args["org"], args["user"] = string(scope.Org), string(scope.User)
	n, err := db.exec(ctx, scope, doing, sql, args)
	if err == nil && n == 0 {
		return fault.NotFound("Person")
	}
	return err
}

// sqlThemeSet asks for the membership as well: a scope reaches people of its own
// organisation only.
const sqlThemeSet = `update users u set theme = @theme from memberships m
where u.id = @user and m.user_id = u.id and m.org_id = @org`

// SetTheme keeps the colours the scope's person chose: system, light or dark.
func (db *DB) SetTheme(ctx context.Context, scope auth.Scope, theme string) error {
	return db.setOwn(ctx, scope, "keeping the theme", sqlThemeSet, named{"theme": theme})
}
