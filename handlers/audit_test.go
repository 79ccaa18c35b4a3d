package handlers_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

func auditOf(t *testing.T, s *testweb.Server, org, email string) []auth.AuditRow {
	t.Helper()
	page, err := s.App.Database().AuditLog(t.Context(), s.Scope(org, email), auth.AuditQuery{Limit: 200})
	require.NoError(t, err)
	return page.Rows
}

// opened are the entries of admins who opened a private thread.
func opened(rows []auth.AuditRow) (out []auth.AuditRow) {
	for _, r := range rows {
		if r.Action == "thread.read_by_admin" {
			out = append(out, r)
		}
	}
	return out
}

func actions(rows []auth.AuditRow) (out []string) {
	for _, r := range rows {
		out = append(out, r.Action)
	}
	return out
}

func TestOnlyWhoMayReadTheAuditLogDoes(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	for _, email := range []string{"mia@acme.test", "ray@acme.test"} {
		c := s.SignIn(email)
		require.Equal(t, http.StatusForbidden, s.Get(c, "/admin/audit", "Accept", "text/html").Status, email)
		require.Equal(t, http.StatusForbidden, s.Get(c, "/admin/audit/export").Status, email)
		require.Equal(t, http.StatusForbidden, s.Post(c, "/admin/audit/verify", nil).Status, email)
		require.Zero(t, s.Page(c, "/").Find(`.rail a[href="/admin"]`).Length())
	}
	require.Empty(t, auditOf(t, s, "acme", "ada@acme.test"), "a refused request is no export")

	require.NoError(t, s.App.Database().Audit(t.Context(), s.Scope("acme", "olga@acme.test"), auth.AuditEntry{
		Action: "member.role_changed", ObjectKind: "member", ObjectName: "Max <b>", Rule: "members.manage",
		Before: json.RawMessage(`{"role":"member"}`), After: json.RawMessage(`{"role":"reviewer"}`)}))
	for _, email := range []string{"ada@acme.test", "olga@acme.test"} {
		p := s.Page(s.SignIn(email), "/admin/audit")
		require.Equal(t, http.StatusOK, p.Status)
		row := p.Find(".audit-table tbody tr")
		require.Equal(t, 1, row.Length())
		require.Equal(t, "Olga", row.Find(".audit-who").Text())
		require.Contains(t, strings.Join(strings.Fields(row.Find(".audit-what > p").Text()), " "), "Changed the role of Max <b>")
		require.Equal(t, "member", row.Find("del").Text())
		require.Equal(t, "reviewer", row.Find("ins").Text())
		require.Contains(t, row.Find(".audit-rule").Text(), "members.manage")
		require.Contains(t, row.Find(".audit-from").Text(), "Server")
		require.Contains(t, p.Text(".audit-chain"), "Not checked yet")
	}
	gus := s.SignIn("gus@globex.test")
	p := s.Page(gus, "/admin/audit")
	require.Contains(t, p.Text(".empty"), "Nothing recorded yet")
	require.NotContains(t, s.Get(gus, "/admin/audit/export").Body, "Max")
}

func TestTheAuditLogIsFilteredByItsAddress(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	db, olga, ada := s.App.Database(), s.Scope("acme", "olga@acme.test"), s.Scope("acme", "ada@acme.test")
	for range 60 {
		require.NoError(t, db.Audit(t.Context(), olga, auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea", ObjectID: "cup"}))
	}
	require.NoError(t, db.Audit(t.Context(), ada, auth.AuditEntry{Action: "loom.mended", ObjectKind: "loom", ObjectName: "Loom & co"}))
	c := s.SignIn("ada@acme.test")
	rows := func(query string) int {
		p := s.Page(c, "/admin/audit?"+query)
		require.Equal(t, http.StatusOK, p.Status, query)
		return p.Find(".audit-table tbody tr").Length()
	}
	today := time.Now().UTC().Format("2006-01-02")
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format("2006-01-02")
	for query, want := range map[string]int{"": 50, "action=loom.": 1, "kind=tea&object=cup": 50, "actor=" + string(ada.User): 1, "text=Loom+%26": 1, "text=nothing": 0,
		"from=" + tomorrow: 0, "kind=loom&to=" + tomorrow: 1, "from=2000-01-01&to=2000-01-02": 0, "before=3": 2} {
		require.Equal(t, want, rows(query), query)
	}
	require.GreaterOrEqual(t, rows("kind=loom&from="+time.Now().UTC().AddDate(0, 0, -1).Format("2006-01-02")+"&to="+tomorrow), 1, today)
	p := s.Page(c, "/admin/audit?kind=tea")
	require.Equal(t, "tea", p.Find("[name=kind]").AttrOr("value", ""))
	older := p.Find(`.pager a`).Last().AttrOr("href", "")
	require.Equal(t, 10, s.Page(c, older).Find(".audit-table tbody tr").Length(), older)
	require.Equal(t, "/admin/audit/export?kind=tea", p.Find(".admin-head a").AttrOr("href", ""))

	for query, field := range map[string]string{"from=yesterday": "from", "to=2026-13-01": "to", "actor=ada": "actor", "text=" + strings.Repeat("x", 201): "text",
		"from=2026-02-02&to=2026-02-01": "to", "action=%ff": "action", "object=%00": "object"} {
		p := s.Page(c, "/admin/audit?"+query)
		require.Equal(t, http.StatusUnprocessableEntity, p.Status, query)
		require.Equal(t, field, p.Find(".field-bad [name]").AttrOr("name", ""), query)
		require.Zero(t, p.Find(".audit-table, .empty").Length())
		require.Equal(t, http.StatusUnprocessableEntity, s.Get(c, "/admin/audit/export?"+query).Status, query)
	}
}

func TestAnExportIsCompleteAndRecorded(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	db, olga := s.App.Database(), s.Scope("acme", "olga@acme.test")
	const count = 450
	for range count {
		require.NoError(t, db.Audit(t.Context(), olga, auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea"}))
	}
	c := s.SignIn("ada@acme.test")
	a := s.Get(c, "/admin/audit/export?kind=tea")
	require.Equal(t, http.StatusOK, a.Status)
	require.Equal(t, "application/x-ndjson", a.Header.Get("Content-Type"))
	require.Regexp(t, `^attachment; filename="audit-acme-\d{8}-\d{6}\.jsonl"$`, a.Header.Get("Content-Disposition"))
	lines := strings.Split(strings.TrimSpace(a.Body), "\n")
	require.Len(t, lines, count)
	for n, text := range lines {
		var line struct{ Seq int }
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		require.Equal(t, n+1, line.Seq)
	}
	newest := auditOf(t, s, "acme", "ada@acme.test")[0]
	require.Equal(t, []string{"audit.exported", "Ada", "page", "127.0.0.1"}, []string{newest.Action, newest.ActorName, string(newest.Via), newest.IP})
	require.NotEmpty(t, newest.RequestID)
	require.JSONEq(t, `{"filter":{"kind":"tea"},"up_to":450}`, string(newest.After))
}

func TestCheckingTheChainIsRememberedByTheLogItself(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	db, olga := s.App.Database(), s.Scope("acme", "olga@acme.test")
	for range 3 {
		require.NoError(t, db.Audit(t.Context(), olga, auth.AuditEntry{Action: "tea.drunk", ObjectKind: "tea"}))
	}
	c := s.SignIn("ada@acme.test")
	a := s.Post(c, "/admin/audit/verify", url.Values{})
	require.Equal(t, "/admin/audit", a.Path)
	require.Contains(t, s.PageOf(a).Text(".audit-chain .badge-good"), "Verified up to entry 3")
	require.Contains(t, s.PageOf(a).Text(".audit-chain"), "4 entries")
	require.Contains(t, s.Page(s.SignIn("olga@acme.test"), "/admin/audit").Text(".audit-chain"), "by Ada", "other admins see who checked")

	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "set role heddle_owner; alter table audit_log no force row level security; delete from audit_log where seq = 2")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	a = s.Post(c, "/admin/audit/verify", url.Values{})
	require.Contains(t, s.PageOf(a).Text(".audit-chain .badge-bad"), "Broken at entry 2: number missing")
}

func TestTheLogSaysWhenAnAdminReadsAPrivateThread(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	thread := s.NewThread(mia, "what is 17*23")
	s.WaitIdle(mia, thread)
	require.Empty(t, auditOf(t, s, "acme", "ada@acme.test"), "one's own thread is nobody's business")
	ada := s.SignIn("ada@acme.test")
	require.Equal(t, http.StatusOK, s.Page(ada, "/threads/"+thread).Status)
	k := s.Dial(ada)
	k.Join("thread:"+thread, map[string]any{"after": 0})
	k.Close()
	require.Equal(t, http.StatusOK, s.Page(ada, "/threads/"+thread).Status)
	rows := auditOf(t, s, "acme", "ada@acme.test")
	require.Equal(t, []string{"thread.read_by_admin"}, actions(rows), "once for the page, its socket and the page again")
	require.Equal(t, []string{"Ada", "page", "127.0.0.1", thread, "what is 17*23"},
		[]string{rows[0].ActorName, string(rows[0].Via), rows[0].IP, rows[0].ObjectID, rows[0].ObjectName})
	require.NotEmpty(t, rows[0].Session)
	link := s.Page(ada, "/admin/audit").Find(".audit-what a")
	require.Equal(t, "/threads/"+thread, link.AttrOr("href", ""))
	require.Contains(t, s.Page(ada, "/admin/audit").Text(".audit-changes"), "Mia", "whose thread it is")

	for name, read := range map[string]func(s *testweb.Server) string{
		"socket": func(s *testweb.Server) string {
			k := s.Dial(s.SignIn("olga@acme.test"))
			defer k.Close()
			k.Join("thread:"+thread, map[string]any{"after": 0})
			return "page"
		},
		"key's socket": func(s *testweb.Server) string {
			k := s.DialKey(s.Key("acme", "olga@acme.test", auth.ScopeAdmin, auth.ScopeRun))
			defer k.Close()
			k.Join("thread:"+thread, map[string]any{"after": 0})
			return "api"
		},
		"thread": func(s *testweb.Server) string {
			require.Equal(t, http.StatusOK, s.API(s.Key("acme", "olga@acme.test", auth.ScopeAdmin), "GET", "/api/threads/"+thread, nil).Status)
			return "api"
		},
		"state": func(s *testweb.Server) string {
			require.Equal(t, http.StatusOK, s.API(s.Key("acme", "olga@acme.test", auth.ScopeAdmin), "GET", "/api/threads/"+thread+"/state", nil).Status)
			return "api"
		},
		"run": func(s *testweb.Server) string {
			conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
			require.NoError(t, err)
			var run string
			_, err = conn.Exec(t.Context(), "set role heddle_system")
			require.NoError(t, err)
			require.NoError(t, conn.QueryRow(t.Context(), "select id::text from runs where thread_id = $1", thread).Scan(&run))
			require.NoError(t, conn.Close(t.Context()))
			require.Equal(t, http.StatusOK, s.API(s.Key("acme", "olga@acme.test", auth.ScopeAdmin), "GET", "/api/threads/"+thread+"/runs/"+run, nil).Status)
			return "api"
		},
		"thread that is there already": func(s *testweb.Server) string {
			require.Equal(t, http.StatusOK, s.API(s.Key("acme", "olga@acme.test", auth.ScopeAdmin, auth.ScopeRun), "POST", "/api/threads",
				map[string]any{"thread_id": thread, "if_exists": "do_nothing"}).Status)
			return "api"
		},
	} {
		// Another node remembers nothing of what was opened before.
		node := testweb.Start(t, testweb.Options{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL})
		before := len(opened(auditOf(t, s, "acme", "ada@acme.test")))
		via := read(node)
		rows := opened(auditOf(t, s, "acme", "ada@acme.test"))
		require.Len(t, rows, before+1, name)
		require.Equal(t, []string{"Olga", via, "127.0.0.1"}, []string{rows[0].ActorName, string(rows[0].Via), rows[0].IP}, name)
		node.Stop()
	}
}
