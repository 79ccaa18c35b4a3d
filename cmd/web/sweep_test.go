package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testweb"
)

// age makes all there is 40 days older.
func age(t *testing.T, owner *pgx.Conn) {
	t.Helper()
	for table, columns := range map[string][]string{
		"events": {"created_at"}, "checkpoints": {"created_at"}, "threads": {"created_at", "updated_at"}, "runs": {"updated_at"},
		"lines": nil, "messages": nil, "sweeps": nil,
	} {
		change := "alter table " + table + " no force row level security"
		for _, c := range columns {
			change += "; update " + table + " set " + c + " = " + c + " - interval '40 days'"
		}
		_, err := owner.Exec(t.Context(), change)
		require.NoError(t, err)
	}
}

func TestTheOperatorSeesWhatWouldGoAndRemovesIt(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_EVENT_LIFETIME=0"}}) // it sweeps nothing by itself
	mia, gia := s.SignIn("mia@acme.test"), s.SignIn("gia@globex.test")
	ours, theirs := s.NewThread(mia, "what is 17*23"), s.NewThread(gia, "hello")
	s.WaitIdle(mia, ours)
	s.WaitIdle(gia, theirs)
	owner, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	defer func() { require.NoError(t, owner.Close(t.Context())) }()
	_, err = owner.Exec(t.Context(), "set role heddle_owner")
	require.NoError(t, err)
	age(t, owner)
	rows := func(table string) (n int) {
		t.Helper()
		require.NoError(t, owner.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n))
		return n
	}
	events := rows("events")
	page := s.Page(mia, "/threads/"+ours).Region("messages")
	i := install(t, "DATABASE_URL="+s.DatabaseURL, "REDIS_URL="+s.RedisURL)

	i.env = append(i.env, "HEDDLE_EVENT_LIFETIME=41d")
	code, out, stderr := i.run(t, "sweep")
	require.Zero(t, code, stderr)
	require.Regexp(t, `(?m)^total +0 +0 +0 +0 +0 +0 +0 *$`, out, "nothing is as old")
	require.Contains(t, out, "removed; looked at 2 threads\n")

	i.env = append(i.env, "HEDDLE_EVENT_LIFETIME=30d")
	code, dry, stderr := i.run(t, "sweep", "--dry-run")
	require.Zero(t, code, stderr)
	require.Regexp(t, `(?m)^ORG +THREADS +CHECKPOINTS +MESSAGES +LOG ROWS +ITEMS +DELIVERIES +BYTES`, dry)
	require.Regexp(t, `(?m)^acme +0 +0 +0 +[1-9]\d* +0 +0 +[1-9]\d* *$`, dry)
	require.Regexp(t, `(?m)^globex +0 +0 +0 +[1-9]\d* +0 +0 +[1-9]\d* *$`, dry)
	require.Contains(t, dry, "would go; looked at 2 threads\n")
	require.Equal(t, events, rows("events"))

	// Not while another node sweeps.
	other, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	_, err = other.Exec(t.Context(), "select pg_advisory_lock(3, 0)")
	require.NoError(t, err)
	code, _, stderr = i.run(t, "sweep")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "another node sweeps at this moment")
	require.NoError(t, other.Close(t.Context()))

	code, swept, stderr := i.run(t, "sweep")
	require.Zero(t, code, stderr)
	require.Equal(t, strings.Replace(dry, "would go;", "removed;", 1), swept, "what was foretold went")
	require.Less(t, rows("events"), events)
	require.Equal(t, page, s.Page(mia, "/threads/"+ours).Region("messages"))
	code, _, stderr = i.run(t, "replay", "export", "--org", "acme", "--user", "mia@acme.test", "--thread", ours)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "its log does not reach back to its beginning")

	i.env = append(i.env, "HEDDLE_CHECKPOINT_STRATEGY=delete")
	code, _, stderr = i.run(t, "sweep")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "HEDDLE_CHECKPOINT_LIFETIME")

	// A node sweeps by itself, once it is due.
	_, err = owner.Exec(t.Context(), "update sweeps set began_at = began_at - interval '1 day'")
	require.NoError(t, err)
	testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL,
		Env: []string{"HEDDLE_CHECKPOINT_STRATEGY=delete", "HEDDLE_CHECKPOINT_LIFETIME=30d"}})
	s.Eventually("all threads are gone", func() bool { return rows("threads") == 0 })
	require.Zero(t, rows("events")+rows("checkpoints")+rows("messages")+rows("runs"))
}
