package store

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/tern/v2/migrate"
)

// versionTable is where tern keeps the number of the newest migration.
const versionTable = "public.heddle_schema_version"

// roles need no login: every connection takes one with SET ROLE, so that one
// DATABASE_URL is enough and nobody needs a superuser.
var roles = []string{"heddle_owner", "heddle_app", "heddle_system", "heddle_search"}

// migrationLock serialises the set-up of roles, which belong to the whole
// cluster, between databases and nodes. The number is arbitrary, but fixed.
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
	const grant = `grant select on ` + versionTable + ` to heddle_system, heddle_app`
	if _, err := conn.Exec(ctx, grant); err != nil {
		return before, before, fmt.Errorf("granting the version table: %w", err)
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
			end if;
		exception when duplicate_object or unique_violation then null; end $$`, role)
		if _, err := conn.Exec(ctx, create); err != nil {
			return fmt.Errorf("making the role %s (the connecting role needs CREATEROLE once): %w", role, err)
		}
		member := fmt.Sprintf(`do $$ begin
			if not pg_has_role(current_user, '%[1]s', 'member') then
				execute 'grant %[1]s to ' || quote_ident(current_user);
			end if; end $$`, role)
		if _, err := conn.Exec(ctx, member); err != nil {
			return fmt.Errorf("joining the role %s: %w", role, err)
		}
	}
	for _, statement := range []string{
		`do $$ begin
			if not pg_has_role('heddle_owner', 'heddle_search', 'member') then grant heddle_search to heddle_owner; end if;
		end $$`,
		// Only once: a role that holds the grant option can't be granted it again
		// through itself.
		`do $$ begin
			if not has_schema_privilege('heddle_owner', 'public', 'create with grant option') then
				grant usage, create on schema public to heddle_owner with grant option;
			end if;
		end $$`,
		`grant usage on schema public to heddle_app, heddle_system, heddle_search`,
		`create extension if not exists btree_gin`,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("preparing the database (the connecting role must own it): %w", err)
		}
	}
	return nil
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
	if err := db.system.QueryRow(ctx, `select to_regclass($1) is not null`, versionTable).Scan(&exists); err != nil {
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
