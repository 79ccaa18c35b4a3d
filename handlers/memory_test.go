package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

func keep(t *testing.T, s *testweb.Server, scope auth.Scope, area agents.Area, namespace, key, value string) {
	t.Helper()
	_, err := s.App.Database().PutItem(t.Context(), scope, area,
		agents.Item{Namespace: strings.Split(namespace, "."), Key: key, Value: json.RawMessage(value)})
	require.NoError(t, err)
}

// audits counts the lines of the audit log that name the action and hold the
// person's id.
func audits(t *testing.T, s *testweb.Server, scope auth.Scope, action string, holder auth.UserID) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "set role heddle_system")
	require.NoError(t, err)
	var n int
	require.NoError(t, conn.QueryRow(t.Context(), `select count(*) from audit_log where org_id = $1 and action = $2
		and (object_id = $3 or after::text like '%' || $3 || '%')`, string(scope.Org), action, string(holder)).Scan(&n))
	require.NoError(t, conn.Close(t.Context()))
	return n
}

func TestWhatARunRemembersIsShownWithItsThread(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia, max, ada := s.SignIn("mia@acme.test"), s.SignIn("max@acme.test"), s.SignIn("ada@acme.test")
	thread := s.NewThread(mia, "remember that I like green tea")
	s.WaitIdle(mia, thread)
	p := s.Page(mia, "/account/memory")
	require.Equal(t, http.StatusOK, p.Status)
	row := p.Find(".memory-row")
	require.Equal(t, 1, row.Length())
	require.Equal(t, "I like green tea", p.Text(".memory-text"))
	require.Contains(t, p.Text(".memory-row"), "Remembered by a run on "+time.Now().UTC().Format("2 Jan 2006")+" in thread")
	require.Equal(t, 1, row.Find(`a[href="/threads/`+thread+`"]`).Length())
	require.Equal(t, "facts", p.Text(".card h2:not([id])"))

	item := s.Page(mia, row.Find(".memory-text").AttrOr("href", ""))
	require.Contains(t, item.Text(".facts"), "Toolremember")
	require.JSONEq(t, `{"fact":"I like green tea"}`, item.Text(".memory-value"))
	require.NotContains(t, s.Get(max, "/account/memory").Body, "green tea")
	scope := s.Scope("acme", "mia@acme.test")
	require.Contains(t, s.Get(ada, "/admin/memory/user/"+string(scope.User)).Body, "green tea")

	var file struct {
		Items []struct {
			Namespace []string
			Value     json.RawMessage
		}
	}
	export := s.Get(mia, p.Find("a[download]").AttrOr("href", ""))
	require.Contains(t, export.Header.Get("Content-Disposition"), "attachment")
	export.JSON(t, &file)
	require.Len(t, file.Items, 1)
	require.Equal(t, []string{"facts"}, file.Items[0].Namespace)
	require.JSONEq(t, `{"fact":"I like green tea"}`, string(file.Items[0].Value))
	require.Contains(t, export.Body, `"thread_id":"`+thread+`","tool":"remember"`)

	s.Post(mia, "/threads/"+thread+"/delete", nil)
	p = s.Page(mia, "/account/memory")
	require.Contains(t, p.Text(".memory-row"), "Remembered by a run on")
	require.Zero(t, p.Find(`.memory-row a[href^="/threads/"]`).Length(), "the memory outlives its thread")
}

func TestAMemoryIsSearchedNarrowedAndPaged(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	scope := s.Scope("acme", "mia@acme.test")
	for i := range 60 {
		keep(t, s, scope, agents.AreaUser, "facts", fmt.Sprintf("fact-%02d", i), fmt.Sprintf(`{"fact":"number %d"}`, i))
	}
	keep(t, s, scope, agents.AreaUser, "projects.heddle", "loom", `{"a":1,"b":"<script>"}`)
	p := s.Page(mia, "/account/memory")
	require.Equal(t, 50, p.Find(".memory-row").Length())
	require.Contains(t, p.Text(".memory-spaces"), "facts 60")
	require.Contains(t, p.Text(".memory-spaces"), "projects › heddle 1")
	more := s.Page(mia, p.Find("a.earlier").AttrOr("href", ""))
	require.Equal(t, 11, more.Find(".memory-row").Length())
	require.Zero(t, more.Find("a.earlier").Length())
	require.Contains(t, more.Text(".memory-text"), `{"a": 1, "b": "<script>"}`)

	p = s.Page(mia, "/account/memory?q=LOOM")
	require.Equal(t, "LOOM", p.Find("[name=q]").AttrOr("value", ""))
	require.Equal(t, "loom", p.Text(".memory-key"))
	p = s.Page(mia, "/account/memory?ns=projects")
	require.Equal(t, "loom", p.Text(".memory-key"))
	p = s.Page(mia, "/account/memory?q=unicorn")
	require.Contains(t, p.Text(".empty"), "unicorn")
	require.Zero(t, p.Find("main script").Length())
	for _, path := range []string{"/account/memory?after=nonsense", "/account/memory?after=bnVsbA"} {
		require.Equal(t, 50, s.Page(mia, path).Find(".memory-row").Length(), path)
	}
	for path, status := range map[string]int{"/account/memory?area=organisation": 404, "/account/memory?ns=a..b": 422, "/account/memory?q=" + strings.Repeat("x", 401): 422,
		"/account/memory/item": 404, "/account/memory/item?ns=*&key=k": 404, "/account/memory/item?ns=facts&key=absent": 404, "/account/memory?q=%00": 422} {
		require.Equal(t, status, s.Page(mia, path).Status, path)
	}
}

// form reads the fields of a form.
func form(p *testweb.Page, action string) url.Values {
	out := url.Values{}
	f := p.Find(`form[method=post][action="` + action + `"]`)
	fields := f.Find("input[type=hidden]")
	for i := range fields.Length() {
		out.Set(fields.Eq(i).AttrOr("name", ""), fields.Eq(i).AttrOr("value", ""))
	}
	if text := f.Find("textarea"); text.Length() == 1 {
		out.Set(text.AttrOr("name", ""), text.Text())
	}
	return out
}

func TestAnEditKeepsWhatWasTypedWhateverHappens(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	scope := s.Scope("acme", "mia@acme.test")
	keep(t, s, scope, agents.AreaUser, "facts", "tea & co", `{"fact":"tea"}`)
	address := s.Page(mia, "/account/memory").Find(".memory-text").AttrOr("href", "")
	const action = "/account/memory/item"
	first := form(s.Page(mia, address), action)
	require.Equal(t, "{\n  \"fact\": \"tea\"\n}", strings.TrimSpace(first.Get("value")))

	first.Set("value", `{"fact": "oolong"`)
	a := s.Post(mia, action, first)
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	p := s.PageOf(a)
	require.Equal(t, `{"fact": "oolong"`, strings.TrimSpace(p.Find("textarea").Text()))
	require.Contains(t, p.Text(".field-error"), "Must be JSON")
	require.JSONEq(t, `{"fact":"tea"}`, p.Text(".memory-value"))

	keep(t, s, scope, agents.AreaUser, "facts", "tea & co", `{"fact":"chai"}`)
	first.Set("value", `{"fact": "oolong"}`)
	a = s.Post(mia, action, first)
	require.Equal(t, http.StatusConflict, a.Status)
	p = s.PageOf(a)
	require.JSONEq(t, `{"fact":"oolong"}`, p.Find("textarea").Text())
	require.JSONEq(t, `{"fact":"chai"}`, p.Text(".memory-value"))
	require.Contains(t, p.Text(".field-error"), "changed while you were editing")
	a = s.Post(mia, action, form(p, action))
	require.Equal(t, http.StatusOK, a.Status, "saving again replaces it knowingly")
	require.Equal(t, action, a.Path)
	require.JSONEq(t, `{"fact":"oolong"}`, s.PageOf(a).Text(".memory-value"))
	require.Contains(t, s.PageOf(a).Text(".facts"), "Written by you")
	require.Equal(t, 1, audits(t, s, scope, "memory.edited", scope.User))

	p = s.PageOf(a)
	require.Contains(t, p.Text("#delete-confirm .btn-danger"), "Delete «facts › tea & co»")
	stale := form(p, action)
	require.Equal(t, "/account/memory", s.Post(mia, action+"/delete", form(p, action+"/delete")).Path)
	require.Contains(t, s.Page(mia, "/account/memory").Text(".empty"), "Nothing is remembered")
	require.Equal(t, 1, audits(t, s, scope, "memory.deleted", scope.User))
	stale.Set("value", `{"fact": "my long text"}`)
	a = s.Post(mia, action, stale)
	require.Equal(t, http.StatusNotFound, a.Status)
	require.Contains(t, s.PageOf(a).Text(".memory-value"), "my long text")

	keep(t, s, scope, agents.AreaUser, "facts", "big", `"`+strings.Repeat("x", 70<<10)+`"`)
	p = s.Page(mia, action+"?ns=facts&key=big")
	require.Zero(t, p.Find("textarea").Length())
	require.Contains(t, p.Text("main"), "larger than 64 KiB")
}

func TestForgettingEverythingTakesOnlyWhatIsShown(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.SignIn("mia@acme.test")
	scope, other := s.Scope("acme", "mia@acme.test"), s.Scope("acme", "max@acme.test")
	keep(t, s, scope, agents.AreaUser, "facts", "k", `"tea"`)
	keep(t, s, scope, agents.AreaAPI, "cache", "k", `"state"`)
	keep(t, s, other, agents.AreaUser, "facts", "k", `"max"`)
	p := s.Page(mia, "/account/memory")
	require.Contains(t, p.Text(".memory-areas"), "About you (1)API clients (1)")
	require.Equal(t, "Forget 1 item about me", p.Text("#forget-confirm .btn-danger"))
	a := s.Post(mia, "/account/memory/forget", form(p, "/account/memory/forget"))
	require.Contains(t, s.PageOf(a).Text(".empty"), "Nothing is remembered")
	api := s.Page(mia, "/account/memory?area=api")
	require.Equal(t, "state", api.Text(".memory-text"))
	require.Equal(t, "state", strings.Trim(s.Page(mia, api.Find(".memory-text").AttrOr("href", "")).Text(".memory-value"), `"`))
	require.Equal(t, 1, audits(t, s, scope, "memory.forgotten", scope.User))
	s.Post(mia, "/account/memory/forget", form(api, "/account/memory/forget"))
	require.Contains(t, s.Page(mia, "/account/memory?area=api").Text(".empty"), "Nothing is remembered")
	require.Equal(t, "max", s.Page(s.SignIn("max@acme.test"), "/account/memory").Text(".memory-text"))
}

func TestAnAdminBrowsesTheOrganisationsMemoriesAndItIsWrittenDown(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada, max, gus := s.SignIn("ada@acme.test"), s.SignIn("max@acme.test"), s.SignIn("gus@globex.test")
	scope := s.Scope("acme", "mia@acme.test")
	keep(t, s, scope, agents.AreaUser, "facts", "k", `{"fact":"canary tea"}`)
	p := s.Page(ada, "/admin/memory")
	require.Equal(t, http.StatusOK, p.Status)
	require.Equal(t, "page", p.Find(`.admin-room[href="/admin/memory"]`).AttrOr("aria-current", ""))
	require.Contains(t, p.Text("table"), "mia@acme.test1just now")
	require.Contains(t, p.Text("table"), "max@acme.test0never")
	require.NotContains(t, p.Text("main"), "canary")
	require.NotContains(t, p.Text("main"), "globex")
	require.Zero(t, audits(t, s, scope, "memory.read", scope.User), "counts alone tell nothing")

	home := "/admin/memory/user/" + string(scope.User)
	require.Equal(t, home, p.Find(`td a:contains("Mia")`).AttrOr("href", ""))
	page := s.Page(ada, home)
	require.Equal(t, "canary tea", page.Text(".memory-text"))
	require.Equal(t, 1, audits(t, s, scope, "memory.read", scope.User), "once for a view")
	item := s.Page(ada, page.Find(".memory-text").AttrOr("href", ""))
	require.Contains(t, item.Text(".facts"), "Memory ofMia")
	require.Equal(t, 2, audits(t, s, scope, "memory.read", scope.User))
	found := s.Page(ada, "/admin/memory?q=canary")
	require.Contains(t, found.Text(".memory-row"), "Mia · ")
	require.Equal(t, 3, audits(t, s, scope, "memory.read", scope.User))
	require.Contains(t, s.Page(ada, "/admin/memory?area=api").Text(".empty"), "Nothing stored")

	change := form(item, home+"/item")
	change.Set("value", `"changed by ada"`)
	a := s.Post(ada, home+"/item", change)
	require.Contains(t, s.PageOf(a).Text(".facts"), "Written by you")
	own := s.Page(s.SignIn("mia@acme.test"), "/account/memory")
	require.Contains(t, own.Text(".memory-row"), "changed by ada Written by Ada on")

	for name, c := range map[string]struct {
		client *http.Client
		status int
	}{"member": {max, 403}, "foreign admin": {gus, 404}} {
		for _, path := range []string{home, home + "/item?ns=facts&key=k", home + "/export", "/admin/memory/api/" + string(scope.User), "/admin/memory/organisation/" + string(scope.User)} {
			got := s.Get(c.client, path, "Accept", "text/html")
			require.Equal(t, c.status, got.Status, "%s %s", name, path)
			require.NotContains(t, got.Body, "changed by ada")
		}
		for _, path := range []string{home + "/item", home + "/item/delete", home + "/forget"} {
			require.Equal(t, c.status, s.Post(c.client, path, url.Values{"ns": {"facts"}, "key": {"k"}, "value": {"1"}}).Status, "%s %s", name, path)
		}
	}
	require.Equal(t, 403, s.Page(max, "/admin/memory").Status)
	require.NotContains(t, s.Page(gus, "/admin/memory?q=changed").Text("main .rows"), "changed")

	require.Equal(t, "/admin/memory", s.Post(ada, home+"/forget", nil).Path)
	require.Equal(t, 1, audits(t, s, scope, "memory.forgotten", scope.User))
	require.Equal(t, http.StatusOK, s.Page(ada, home).Status)
	require.Equal(t, 404, s.Page(ada, "/admin/memory/organisation/"+string(scope.User)).Status)
}
