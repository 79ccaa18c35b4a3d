package store_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testpg"
)

// systemTables are those that what precedes or crosses organisations may see
// whole. A new name here widens what a mistake in a *_system.go file can reach:
// it needs a reason in the review.
var systemTables = []string{
	"api_keys", "audit_heads", "audit_log", "checkpoints", "events", "former_members", "idempotency_keys", "identities", "invitations", "lines",
	"login_attempts", "memberships", "messages", "org_domains", "orgs", "pending_writes", "reviews", "runs", "sessions",
	"store_items", // what has expired alone: TestSweepsSeeExpiredItemsAlone
	"sweeps", "thread_heads", "threads", "users", "webhook_deliveries", "webhook_secrets", "workers",
}

// tablesWithoutOrg hold no rows of one organisation: people, who may belong to
// several, and what precedes a sign-in.
var tablesWithoutOrg = []string{"heddle_schema_version", "identities", "login_attempts", "orgs", "sweeps", "users", "workers"}

// appVisibleWithoutOrg are the tables without org_id that heddle_app sees a part of.
var appVisibleWithoutOrg = []string{"heddle_schema_version", "orgs", "users"}

const orgPolicy = `(org_id = (NULLIF(current_setting('heddle.org'::text, true), ''::text))::uuid)`

func TestEveryTableWithAnOrganisationIsWalledOff(t *testing.T) {
	conn := connect(t, testpg.Database(t, migrated()), "")
	tables := tenantTables(t, conn)
	require.Greater(t, len(tables), 10)
	for _, table := range tables {
		require.True(t, scan[bool](t, conn, `select relrowsecurity and relforcerowsecurity from pg_class where oid = $1::regclass`, table), table)
		require.Equal(t, "uuid", scan[string](t, conn, `select format_type(atttypid, null) from pg_attribute
			where attrelid = $1::regclass and attname = 'org_id' and attnotnull`, table), table)
		policies := collect[string](t, conn, `select cmd || ' ' || permissive || ' ' || qual || ' ' || with_check from pg_policies
			where schemaname = 'public' and tablename = $1 and 'heddle_app' = any(roles)`, table)
		require.Equal(t, []string{"ALL PERMISSIVE " + orgPolicy + " " + orgPolicy}, policies, table)
	}
	require.Empty(t, collect[string](t, conn, `select tablename || '.' || policyname from pg_policies
		where schemaname = 'public' and 'public' = any(roles)`))
}

func TestListsOfTablesOutsideTheWallAreFixed(t *testing.T) {
	conn := connect(t, testpg.Database(t, migrated()), "")
	require.Equal(t, systemTables, collect[string](t, conn, `select distinct tablename::text from pg_policies
		where schemaname = 'public' and 'heddle_system' = any(roles) order by 1`))
	require.Equal(t, []string{"documents"}, collect[string](t, conn, `select distinct tablename::text from pg_policies
		where schemaname = 'public' and 'heddle_search' = any(roles) order by 1`))
	all := collect[string](t, conn, `select relname::text from pg_class
		where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f') order by 1`)
	var without []string
	tenant := tenantTables(t, conn)
	for _, table := range all {
		if !contains(tenant, table) {
			without = append(without, table)
		}
	}
	require.Equal(t, tablesWithoutOrg, without)
	for _, table := range without {
		visible := scan[bool](t, conn, `select has_table_privilege('heddle_app', $1, 'select, insert, update, delete')
			or has_any_column_privilege('heddle_app', $1, 'select, insert, update')`, table)
		require.Equal(t, contains(appVisibleWithoutOrg, table), visible, table)
	}
}

func TestSystemRoleHasNoPrivilegeOnTheOtherTables(t *testing.T) {
	conn := connect(t, testpg.Database(t, migrated()), "")
	for _, table := range tenantTables(t, conn) {
		if contains(systemTables, table) {
			continue
		}
		require.False(t, scan[bool](t, conn, `select has_any_column_privilege('heddle_system', $1, 'select, insert, update')
			or has_table_privilege('heddle_system', $1, 'delete, truncate')`, table), table)
	}
}

func TestNobodyMayTruncateOrSwitchOffTheWall(t *testing.T) {
	conn := connect(t, testpg.Database(t, migrated()), "")
	require.Empty(t, collect[string](t, conn, `select relname::text from pg_class where relnamespace = 'public'::regnamespace
		and relkind in ('r', 'p') and pg_get_userbyid(relowner) <> 'heddle_owner'`))
	require.Empty(t, collect[string](t, conn, `select c.relname || ' ' || r.rolname || ' ' || p
		from pg_class c, pg_roles r, unnest(array['truncate', 'references', 'trigger']) p
		where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
			and r.rolname in ('heddle_app', 'heddle_system', 'heddle_search') and has_table_privilege(r.oid, c.oid, p)`))
	require.False(t, scan[bool](t, conn, `select has_schema_privilege('heddle_app', 'public', 'create')
		or has_schema_privilege('heddle_system', 'public', 'create') or has_schema_privilege('heddle_search', 'public', 'create')`))
}

func TestRolesBypassNothing(t *testing.T) {
	conn := connect(t, testpg.Database(t, migrated()), "")
	require.Equal(t, []string{"heddle_app", "heddle_owner", "heddle_search", "heddle_system"}, collect[string](t, conn,
		`select rolname::text from pg_roles where rolname like 'heddle\_%' and rolname in ('heddle_app', 'heddle_owner', 'heddle_search', 'heddle_system')
			and not (rolsuper or rolbypassrls or rolcanlogin or rolcreaterole or rolcreatedb or rolreplication) order by 1`))
	require.Empty(t, collect[string](t, conn, `select m.roleid::regrole || ' has member ' || m.member::regrole from pg_auth_members m
		where m.member in ('heddle_app'::regrole, 'heddle_system'::regrole, 'heddle_search'::regrole)`))
}

// TestFunctionsAreClosedAndKnowTheirSearchPath leaves out those of extensions.
func TestFunctionsAreClosedAndKnowTheirSearchPath(t *testing.T) {
	conn := connect(t, testpg.Database(t, migrated()), "")
	type function struct {
		Name, Owner string
		Definer     bool
		Public      bool
		Path        string
	}
	rows, _ := conn.Query(t.Context(), `select p.proname::text as name, pg_get_userbyid(p.proowner)::text as owner, p.prosecdef as definer,
			exists (select 1 from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0) as public,
			coalesce(array_to_string(p.proconfig, ';'), '') as path
		from pg_proc p where p.pronamespace = 'public'::regnamespace
			and not exists (select 1 from pg_depend d where d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e')
		order by 1`)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[function])
	require.NoError(t, err)
	require.NotEmpty(t, found)
	var definers []string
	for _, f := range found {
		require.False(t, f.Public, "%s may be executed by everyone", f.Name)
		if f.Definer {
			definers = append(definers, f.Name+" of "+f.Owner)
			require.Equal(t, "search_path=pg_catalog, public, pg_temp", f.Path, f.Name)
		}
	}
	require.Equal(t, []string{"search_documents of heddle_search"}, definers)
}

func contains(list []string, wanted string) bool {
	for _, s := range list {
		if s == wanted {
			return true
		}
	}
	return false
}
