package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/tern/v2/migrate"
)

// versionTable is where tern keeps the number of the newest migration.
const versionTable = "public.heddle_schema_version"

// roles need no login: every connection takes one with SET ROLE, so that one
// DATABASE_URL is enough and nobody needs a superuser.
var roles = []string{"heddle_owner", "heddle_app", "heddle_system", "heddle_search"}

// migrationLock serialises the nodes of one database. The number is arbitrary,
// but fixed.
const migrationLock = 7_305_417_001

// MigrationState says which migration a database has and which this binary
// expects.
type MigrationState struct {
	Current, Wanted int32
}

// Behind reports whether migrations are due.
func (s MigrationState) Behind() bool { return s.Current < s.Wanted }

// Migrate makes the roles, grants them to the connecting role and brings the
// schema to the newest version. Two nodes may call it at once: an advisory
// lock lets one work and the other wait. It returns the state found before
// and the one reached.
func Migrate(ctx context.Context, url string, files fs.FS, progress func(name string)) (before, after MigrationState, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return before, after, fmt.Errorf("connecting to migrate: %w", withoutPassword(err))
	}
	defer conn.Close(context.WithoutCancel(ctx))

	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return before, after, fmt.Errorf("waiting for the migration lock: %w", err)
	}
	if err := prepareRoles(ctx, conn); err != nil {
		return before, after, err
	}
	if _, err := conn.Exec(ctx, `set role heddle_owner`); err != nil {
		return before, after, fmt.Errorf("taking the role heddle_owner: %w", err)
	}
	m, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return before, after, fmt.Errorf("preparing to migrate: %w", err)
	}
	// Before migrating, so that a node can say how far a failed migration came.
	const grant = `grant select on ` + versionTable + ` to heddle_system, heddle_app`
	if _, err := conn.Exec(ctx, grant); err != nil {
		return before, after, fmt.Errorf("granting the version table: %w", err)
	}
	if err := m.LoadMigrations(files); err != nil {
		return before, after, fmt.Errorf("loading the migrations: %w", err)
	}
	if progress != nil {
		m.OnStart = func(_ int32, name, _, _ string) { progress(name) }
	}
	current, err := m.GetCurrentVersion(ctx)
	if err != nil {
		return before, after, fmt.Errorf("reading the schema version: %w", err)
	}
	wanted := int32(len(m.Migrations))
	before = MigrationState{Current: current, Wanted: wanted}
	if current > wanted {
		return before, before, fmt.Errorf("the database is at migration %d and this binary knows only %d: run a newer binary", current, wanted)
	}
	if err := m.Migrate(ctx); err != nil {
		return before, before, fmt.Errorf("migrating from %d to %d: %w", current, wanted, err)
	}
	return before, MigrationState{Current: wanted, Wanted: wanted}, nil
}

// prepareRoles makes what migrations need and a plain owner of the database
// with CREATEROLE may make; everything is idempotent.
func prepareRoles(ctx context.Context, conn *pgx.Conn) error {
	for _, role := range roles {
		create := fmt.Sprintf(`do $$ begin
			if not exists (select 1 from pg_roles where rolname = '%[1]s') then
				create role %[1]s nologin;
			end if; end $$`, role)
		if err := shared(ctx, conn, create); err != nil {
			return fmt.Errorf("making the role %s (the connecting role needs CREATEROLE once): %w", role, err)
		}
		member := fmt.Sprintf(`do $$ begin
			if not pg_has_role(current_user, '%[1]s', 'member') then
				execute 'grant %[1]s to ' || quote_ident(current_user);
			end if; end $$`, role)
		if err := shared(ctx, conn, member); err != nil {
			return fmt.Errorf("joining the role %s: %w", role, err)
		}
	}
	const search = `do $$ begin
		if not pg_has_role('heddle_owner', 'heddle_search', 'member') then grant heddle_search to heddle_owner; end if;
	end $$`
	if err := shared(ctx, conn, search); err != nil {
		return fmt.Errorf("joining the role heddle_search: %w", err)
	}
	for _, statement := range []string{
		// Granted only once: whoever joined heddle_owner since would be taken to
		// grant the option back to its own grantor.
		`do $$ begin
			if not has_schema_privilege('heddle_owner', 'public', 'create with grant option') then
				grant usage, create on schema public to heddle_owner with grant option;
				grant usage on schema public to heddle_app, heddle_system, heddle_search;
			end if; end $$`,
		`create extension if not exists btree_gin`,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("preparing the database (the connecting role must own it): %w", err)
		}
	}
	return nil
}

// sharedTries bounds how often a change of roles is tried.
const sharedTries = 10

// shared runs a statement about roles. They belong to the whole server, and no
// lock is common to its databases: when another one changes the same role at
// the same time, one of the two fails and finds the work done at its next try.
func shared(ctx context.Context, conn *pgx.Conn, statement string) error {
	var err error
	for range sharedTries {
		_, err = conn.Exec(ctx, statement)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || !slices.Contains([]string{codeUniqueViolation, codeDuplicateObject, codeConcurrentUpdate}, pg.Code) {
			return err
		}
	}
	return err
}

// roleMissing reports whether a connection could not take its role because no
// migration has made it yet or granted it to the connecting role.
func roleMissing(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == codeInvalidParameter || pg.Code == codeInsufficientPrivilege)
}

const sqlSchemaVersion = `select version from ` + versionTable

// Migrations compares the database with the files this binary carries.
func (db *DB) Migrations(ctx context.Context, files fs.FS) (MigrationState, error) {
	names, err := migrate.FindMigrations(files)
	if err != nil {
		return MigrationState{}, fmt.Errorf("listing the migrations: %w", err)
	}
	state := MigrationState{Wanted: int32(len(names))}
	var exists bool
	err = db.system.QueryRow(ctx, `select to_regclass($1) is not null`, versionTable).Scan(&exists)
	if roleMissing(err) {
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("looking for the schema version: %w", err)
	}
	if !exists {
		return state, nil
	}
	if err := db.system.QueryRow(ctx, sqlSchemaVersion).Scan(&state.Current); err != nil {
		return state, fmt.Errorf("reading the schema version: %w", err)
	}
	return state, nil
}
