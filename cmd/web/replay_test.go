package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/replay"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

func TestAThreadIsExportedReplayedAndCompared(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	i := installation{url: s.URL(), env: []string{"DATABASE_URL=" + s.DatabaseURL, "REDIS_URL=" + s.RedisURL, "HEDDLE_BASE_URL=" + s.URL(),
		"HEDDLE_DATA_DIR=" + filepath.Join(t.TempDir(), "data")}}
	mia := s.SignIn("mia@acme.test")
	folder := t.TempDir()
	export := func(name, message string) string {
		thread := s.NewThread(mia, message)
		s.WaitIdle(mia, thread)
		code, out, stderr := i.run(t, "replay", "export", "--org", "acme", "--user", "mia@acme.test", "--thread", thread)
		require.Zero(t, code, stderr)
		require.NotContains(t, out, string(s.Scope("acme", "mia@acme.test").User))
		file := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
		code, _, stderr = i.run(t, "replay", "export", "--org", "globex", "--user", "gus@globex.test", "--thread", thread)
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "not found")
		code, _, stderr = i.run(t, "replay", "export", "--org", "acme", "--user", "ada@acme.test", "--thread", thread)
		require.Zero(t, code, stderr)
		log, err := s.App.Database().AuditLog(t.Context(), s.Scope("acme", "ada@acme.test"), auth.AuditQuery{})
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(log.Rows, func(r auth.AuditRow) bool {
			return r.Action == "thread.read_by_admin" && r.ObjectID == thread
		}), "an admin's export is noted")
		return file
	}
	one, same, other := export("one.json", "what is 17*23"), export("same.json", "what is 17*23"), export("other.json", "weather in Berlin and Oslo")

	// What follows needs no database: there is none at that address.
	i.env = []string{"DATABASE_URL=postgres://127.0.0.1:1/none", "REDIS_URL=redis://127.0.0.1:1"}
	code, out, stderr := i.run(t, "replay", one, other)
	require.Zero(t, code, stderr)
	require.Contains(t, out, one+": the same\n  events: ")
	require.Contains(t, out, other+": the same\n")
	code, out, stderr = i.run(t, "replay", "--compare", one, same)
	require.Zero(t, code, stderr)
	require.Contains(t, out, "the same")
	code, out, stderr = i.run(t, "replay", "--compare", one, other)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "something differs")
	require.Contains(t, out, "different\n  first difference: step 1, node agent\n")
	require.Contains(t, out, `  one.json    TOOL_CALL_START`)
	require.Contains(t, out, `  other.json  TOOL_CALL_START`)

	raw, err := os.ReadFile(one)
	require.NoError(t, err)
	r, err := replay.Parse(raw)
	require.NoError(t, err)
	r.State.Messages[len(r.State.Messages)-1].Text = "It is 392."
	raw, err = r.Encode()
	require.NoError(t, err)
	changed := filepath.Join(folder, "changed.json")
	require.NoError(t, os.WriteFile(changed, raw, 0o600))
	code, out, stderr = i.run(t, "replay", changed, one)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "something differs")
	require.Contains(t, out, changed+": different\n  first difference: the final state\n    recorded  message 4 ")
	require.Contains(t, out, one+": the same\n", "the others are replayed all the same")

	broken := filepath.Join(folder, "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"format":7}`), 0o600))
	code, out, stderr = i.run(t, "replay", broken, filepath.Join(folder, "none.json"), one)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, broken+": reading a recording: its format is 7")
	require.Contains(t, stderr, "none.json")
	require.Contains(t, out, one+": the same\n")
	for _, args := range [][]string{{"replay"}, {"replay", "--compare", one}, {"replay", "export", "--org", "acme"}} {
		code, _, stderr = i.run(t, args...)
		require.Equal(t, 1, code, "%s", strings.Join(args, " "))
		require.NotEmpty(t, stderr)
	}
	require.Equal(t, http.StatusOK, s.Page(mia, "/").Status)
}
