package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

func TestTheOperatorVerifiesAndExportsAuditLogs(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	i := install(t, "DATABASE_URL="+s.DatabaseURL, "REDIS_URL="+s.RedisURL)
	ada := s.Scope("acme", "ada@acme.test")
	for range 3 {
		require.NoError(t, s.App.Database().Audit(t.Context(), ada, auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea"}))
	}
	code, out, stderr := i.run(t, "audit", "verify")
	require.Zero(t, code, stderr)
	require.Regexp(t, `(?m)^acme: 3 entries, \S+Z to \S+Z, head 3 [0-9a-f]{64}$`, out)
	require.Regexp(t, `(?m)^globex: no entries$`, out)
	code, out, stderr = i.run(t, "audit", "export", "--org", "acme")
	require.Zero(t, code, stderr)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	for n, text := range lines {
		var line struct {
			Seq  int    `json:"seq"`
			Name string `json:"actor_name"`
			Prev string `json:"prev_hash"`
			Hash string `json:"hash"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		require.Equal(t, []any{n + 1, "Ada"}, []any{line.Seq, line.Name})
		if n+1 < len(lines) {
			require.Contains(t, lines[n+1], `"prev_hash":"`+line.Hash+`"`)
		}
	}

	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "set role heddle_owner; alter table audit_log no force row level security; update audit_log set action = 'tea.spilt' where seq = 2")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	code, out, stderr = i.run(t, "audit", "verify", "--org", "acme")
	require.Equal(t, 1, code)
	require.Equal(t, "acme: broken at entry 2: hash differs; 1 entries before it hold\n", out)
	require.Contains(t, stderr, "1 of 1 audit logs broken")
	code, _, _ = i.run(t, "audit", "verify", "--org", "globex")
	require.Zero(t, code)
	code, _, stderr = i.run(t, "audit", "verify", "--org", "nobody")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "not found")
}
