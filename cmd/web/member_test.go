package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

func TestCommandsAboutMembersKeepTheRulesAndAreRecordedAsCommands(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	i := installation{url: s.URL(), env: []string{"DATABASE_URL=" + s.DatabaseURL, "REDIS_URL=" + s.RedisURL, "HEDDLE_BASE_URL=" + s.URL(),
		"HEDDLE_DATA_DIR=" + filepath.Join(t.TempDir(), "data")}}
	does := func(by string, args ...string) (int, string, string) {
		return i.run(t, append(args, "--org", "acme", "--user", by)...)
	}
	code, link, stderr := does("ada@acme.test", "invite", "--email", "new@acme.test", "--role", "reviewer")
	require.Zero(t, code, stderr)
	require.Regexp(t, `^`+s.URL()+`/auth/login\?invitation=[A-Za-z0-9_-]{43}\n$`, link, "the link alone")
	code, _, stderr = does("ada@acme.test", "member", "role", "--email", "mia@acme.test", "--role", "owner")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "Nobody can give a role above their own.")
	code, _, stderr = does("ada@acme.test", "member", "role", "--email", "mia@acme.test", "--role", "reviewer")
	require.Zero(t, code, stderr)
	require.Equal(t, auth.RoleReviewer, s.Scope("acme", "mia@acme.test").Role)
	code, _, stderr = does("olga@acme.test", "member", "remove", "--email", "olga@acme.test")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "An organisation needs an owner.")

	mia := s.SignIn("mia@acme.test")
	open := s.Dial(mia)
	code, _, stderr = does("ada@acme.test", "member", "remove", "--email", "mia@acme.test")
	require.Zero(t, code, stderr)
	open.Closed() // found out by the serving process itself
	require.Equal(t, "/auth/login", s.Get(mia, "/", "Accept", "text/html").Path)
	require.Equal(t, http.StatusOK, s.Page(s.SignIn("max@acme.test"), "/").Status)

	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	_, err = conn.Exec(t.Context(), "set role heddle_system")
	require.NoError(t, err)
	rows, _ := conn.Query(t.Context(), `select a.action || ' ' || a.via || ' ' || a.object_name || ' by ' || u.email from audit_log a
		join users u on u.id = a.actor_id order by a.seq`)
	log, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{
		"invitation.created command new@acme.test by ada@acme.test",
		"member.role_changed command Mia by ada@acme.test",
		"member.removed command Mia by ada@acme.test",
	}, log, strings.Join(log, "\n"))
}
