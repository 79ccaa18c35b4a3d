package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/store"
)

func TestMain(m *testing.M) { testpg.Main(m) }

func migrated() testpg.Template {
	return testpg.Template{Name: "store", Prepare: func(ctx context.Context, url string) error {
		_, _, err := store.Migrate(ctx, url, migrations.FS, nil)
		return err
	}}
}

// bundle is a migrated database with two organisations that know nothing of
// each other, each with one assistant of the same id.
type bundle struct {
	db  *store.DB
	url string
	// The members of acme; ada is an admin.
	mia, max, ada auth.Scope
	// The members of globex; gus is an admin.
	gia, gus  auth.Scope
	assistant agents.Assistant
	// looking is the connection that takes pictures, once there is one.
	looking *pgx.Conn
}

func setup(t testing.TB) *bundle {
	t.Helper()
	url := testpg.Database(t, migrated())
	b := &bundle{db: open(t, url), url: url}
	b.mia = b.person(t, "acme", "mia", auth.RoleMember)
	b.max = b.person(t, "acme", "max", auth.RoleMember)
	b.ada = b.person(t, "acme", "ada", auth.RoleAdmin)
	b.gia = b.person(t, "globex", "gia", auth.RoleMember)
	b.gus = b.person(t, "globex", "gus", auth.RoleAdmin)
	b.assistant = agents.Assistant{ID: agents.AssistantID(id.New()), Graph: "chat", Version: 1, Name: "Guide", IsDefault: true}
	for _, scope := range []auth.Scope{b.ada, b.gus} {
		require.NoError(t, b.db.EnsureAssistant(t.Context(), scope, b.assistant))
	}
	return b
}

func open(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: url})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func (b *bundle) person(t testing.TB, org, name string, role auth.Role) auth.Scope {
	t.Helper()
	scope, err := b.db.EnsurePerson(t.Context(), auth.Person{
		Identity: auth.Identity{Issuer: "https://idp.test", Subject: org + "/" + name}, Provider: "test",
		Email: name + "@" + org + ".test", Name: name, OrgSlug: org, OrgName: org, Role: role})
	require.NoError(t, err)
	return scope
}

// connect gives a connection of its own under a role; the owner's for "".
func connect(t testing.TB, url, role string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	if role != "" {
		_, err = conn.Exec(t.Context(), "set role "+role)
		require.NoError(t, err)
	}
	return conn
}

// inOrg gives a connection as heddle_app that stays in one organisation.
func (b *bundle) inOrg(t testing.TB, scope auth.Scope) *pgx.Conn {
	t.Helper()
	conn := connect(t, b.url, "heddle_app")
	_, err := conn.Exec(t.Context(), "select set_config('heddle.org', $1, false)", string(scope.Org))
	require.NoError(t, err)
	return conn
}

func scan[T any](t testing.TB, conn *pgx.Conn, query string, args ...any) T {
	t.Helper()
	var value T
	require.NoError(t, conn.QueryRow(t.Context(), query, args...).Scan(&value), query)
	return value
}

func collect[T any](t testing.TB, conn *pgx.Conn, query string, args ...any) []T {
	t.Helper()
	rows, _ := conn.Query(t.Context(), query, args...) // its error comes back from CollectRows
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err, query)
	return values
}

func (b *bundle) thread(t testing.TB, scope auth.Scope, visibility agents.Visibility) agents.Thread {
	t.Helper()
	thread, err := b.db.CreateThread(t.Context(), scope, agents.NewThread{Title: "Of " + string(scope.Org), Visibility: visibility})
	require.NoError(t, err)
	return thread
}

func (b *bundle) submission(thread agents.ThreadID) agents.Submission {
	run := agents.RunID(id.New())
	return agents.Submission{
		Run: run, Thread: thread, Assistant: b.assistant, Strategy: agents.StrategyEnqueue,
		Input:  agents.RunInput{Messages: []agents.Message{{ID: agents.MessageID("m-" + run), Role: agents.RoleUser, Text: "hello"}}},
		Queued: func(int, bool) (event.Envelope, error) { return envelope(thread, "queued"), nil },
		Displacing: agents.Displacing{Ended: cancelled, Withdrawn: withdrawn, RolledBack: func(r agents.Run) ([]event.Envelope, error) {
			return []event.Envelope{envelope(thread, "ended"), envelope(thread, "snapshot")}, nil
		}},
	}
}

func (b *bundle) submit(t testing.TB, scope auth.Scope, thread agents.ThreadID) agents.Run {
	t.Helper()
	out, err := b.db.Submit(t.Context(), scope, b.submission(thread))
	require.NoError(t, err)
	return out.Run
}

// start submits a run and claims it.
func (b *bundle) start(t testing.TB, scope auth.Scope, thread agents.ThreadID) (agents.Lease, agents.WorkerID) {
	t.Helper()
	run := b.submit(t, scope, thread)
	worker := agents.WorkerID(id.New())
	claimed, err := b.db.Claim(t.Context(), worker, 100, time.Minute)
	require.NoError(t, err)
	for _, c := range claimed {
		if c.Run.ID == run.ID && c.Run.Org == scope.Org {
			return agents.Lease{Thread: thread, Run: run.ID, Token: c.Run.Token}, worker
		}
	}
	require.Fail(t, "the run was not claimed")
	return agents.Lease{}, ""
}

func envelope(thread agents.ThreadID, what string) event.Envelope {
	return event.Envelope{Type: event.Custom, Time: time.Now(), ThreadID: string(thread), Data: json.RawMessage(fmt.Sprintf(`{"name":%q}`, what))}
}

func rename(ctx context.Context, db *store.DB, scope auth.Scope, thread agents.ThreadID, title string) error {
	_, err := db.RenameThread(ctx, scope, thread, title, envelope(thread, "thread.changed"))
	return err
}

// text is a step that appends one message.
func text(line agents.LineID, step int, message agents.MessageID, events ...event.Envelope) agents.Step {
	return agents.Step{
		Line: line, Step: step, Source: agents.SourceLoop, Events: events,
		Messages: []agents.Message{{ID: message, Role: agents.RoleAssistant, Text: "text of " + string(message)}},
		Ops:      []agents.Op{{Kind: agents.OpAppend, ID: message}},
	}
}

// tenantTables lists the tables with rows of organisations.
func tenantTables(t testing.TB, conn *pgx.Conn) []string {
	t.Helper()
	return collect[string](t, conn, `select c.relname::text from pg_class c
		join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id' and not a.attisdropped
		where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by 1`)
}
