package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model/openai/openaitest"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// filled reads the form of an assistant's page as a browser would post it.
func filled(p *testweb.Page) url.Values {
	out := url.Values{}
	p.Find("form#assistant").Find("input, select, textarea").Each(func(_ int, e *goquery.Selection) {
		name, kind := e.AttrOr("name", ""), e.AttrOr("type", "")
		switch {
		case goquery.NodeName(e) == "select":
			chosen := e.Find("option[selected]")
			if chosen.Length() == 0 {
				chosen = e.Find("option").First()
			}
			out.Add(name, chosen.AttrOr("value", ""))
		case goquery.NodeName(e) == "textarea":
			out.Add(name, strings.TrimPrefix(e.Text(), "\n"))
		case kind == "checkbox":
			if _, on := e.Attr("checked"); on {
				out.Add(name, e.AttrOr("value", ""))
			}
		default:
			out.Add(name, e.AttrOr("value", ""))
		}
	})
	return out
}

// desk makes an assistant through the form and gives its address.
func desk(t *testing.T, s *testweb.Server, ada *http.Client, name string) string {
	t.Helper()
	form := filled(s.Page(ada, "/admin/assistants/new"))
	form.Set("name", name)
	form.Set("prompt", "Answer briefly.")
	form["tools"] = []string{"search", "remember"}
	a := s.Post(ada, "/admin/assistants", form)
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	require.Regexp(t, `^/admin/assistants/[0-9a-f-]{36}$`, a.Path)
	require.Contains(t, s.PageOf(a).Text(".notice"), "created")
	return a.Path
}

func TestAnAssistantIsMadeEditedAndTakenBack(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	blank := s.Page(ada, "/admin/assistants/new")
	for field, want := range map[string]string{"temperature": "0.7", "max_tokens": "2000", "recursion_limit": "25", "max_model_calls": "10", "max_tool_calls": "", "tool_timeout": "30", "assistant_role": "helpful"} {
		require.Equal(t, want, blank.Find("[name="+field+"]").AttrOr("value", ""), field)
	}
	require.Equal(t, "end", blank.Find("[name=on_limit] option[selected]").AttrOr("value", ""))
	require.Equal(t, 2, blank.Find("[name=enable_tools][checked], [name=enable_memory][checked]").Length())
	at := desk(t, s, ada, "Operations desk")

	form := filled(s.Page(ada, at))
	form.Set("prompt", "Answer politely.\r\nName your sources.")
	form.Set("temperature", "0,2")
	form.Set("policy.search.review", "when")
	form.Set("policy.search.when.0.path", "query")
	form.Set("policy.search.when.0.op", "contains")
	form.Set("policy.search.when.0.value", "salary")
	form.Set("policy.search.when.2.path", "limit")
	form.Set("policy.search.when.2.op", "greater")
	form.Set("policy.search.when.2.value", "5")
	form["policy.search.roles"] = []string{"admin", "owner"}
	form["policy.search.decisions"] = []string{"approve", "reject"}
	form.Set("policy.search.due", "30")
	form["starters"] = []string{"", "What is new?", "", "", "", ""}
	refused := s.Post(ada, at, form)
	require.Equal(t, http.StatusUnprocessableEntity, refused.Status)
	require.Contains(t, s.PageOf(refused).Text(".field-bad"), "say what changed", "a comment is asked for")
	form.Set("comment", "Politer, and salaries are reviewed")
	saved := s.PageOf(s.Post(ada, at, form))
	require.Equal(t, "Version 2 of Operations desk saved", saved.Text("h1"))
	differs := saved.Text(".field-diffs")
	require.Contains(t, differs, "[removed: briefly]")
	require.Contains(t, differs, "[added: politely.")
	require.Contains(t, differs, "[removed: 0.7] [added: 0.2]")
	require.Contains(t, differs, `search: reviewed when query contains "salary" and limit is greater than 5; for admin, owner; decisions approve, reject; due in 30 min`)
	require.NotContains(t, differs, "Model")

	again := filled(s.Page(ada, at))
	require.Equal(t, "Answer politely.\nName your sources.", again.Get("prompt"))
	require.Equal(t, []string{"What is new?", "", "", "", "", ""}, again["starters"])
	require.Equal(t, "limit", again.Get("policy.search.when.1.path"))
	require.Equal(t, "5", again.Get("policy.search.when.1.value"))
	require.Equal(t, 5, s.Page(ada, at).Find(`[name^="policy.search.when."][name$=".path"]`).Length(), "three spare rows")
	again.Set("comment", "nothing")
	same := s.Post(ada, at, again)
	require.Equal(t, http.StatusUnprocessableEntity, same.Status)
	require.Contains(t, s.PageOf(same).Text(".notice"), "nothing to save")

	page := s.Page(ada, at)
	require.Equal(t, 2, page.Find("#history + .rows .row").Length())
	require.Contains(t, page.Text("#history + .rows"), "Politer, and salaries are reviewed")
	require.Contains(t, page.Text("#history + .rows"), "by Ada")
	old := s.Page(ada, at+"/versions/1")
	require.Contains(t, old.Text(".version-facts"), "Answer briefly.")
	back := s.PageOf(s.Post(ada, at+"/versions/1/activate", url.Values{"base": {"2"}}))
	require.Equal(t, "Version 3 of Operations desk saved", back.Text("h1"))
	require.Contains(t, back.Text(".sides"), "Version 1 again")
	require.Equal(t, http.StatusConflict, s.Post(ada, at+"/versions/2/activate", url.Values{"base": {"2"}}).Status)
	require.Contains(t, s.Page(ada, at+"/diff?from=1&to=3").Text("main"), "Nothing differs.")
	require.Contains(t, s.Page(ada, at+"/diff?from=2&to=3").Text(".field-diffs"), "politely")
	for _, path := range []string{"/diff", "/diff?from=1&to=9", "/diff?from=x&to=1", "/versions/0", "/versions/9", "/versions/x", "/versions/99999999999"} {
		require.Equal(t, http.StatusNotFound, s.Page(ada, at+path).Status, path)
	}
}

func TestAnAssistantTakesAModelOfAProviderByName(t *testing.T) {
	t.Parallel()
	provider := httptest.NewServer(openaitest.New(openaitest.Options{}))
	t.Cleanup(provider.Close)
	s := testweb.Start(t, testweb.Options{Env: []string{"OPENAI_BASE_URL=" + provider.URL + "/v1"}})
	ada := s.SignIn("ada@acme.test")
	at := desk(t, s, ada, "Desk")
	form := filled(s.Page(ada, at))
	form.Set("comment", "another model")
	form.Set("model", "openai:*")
	refused := s.Post(ada, at, form)
	require.Equal(t, http.StatusUnprocessableEntity, refused.Status)
	require.Equal(t, 1, s.PageOf(refused).Find(`.field-bad [name="model_name"]`).Length())
	form.Set("model_name", " any ")
	require.Equal(t, http.StatusOK, s.Post(ada, at, form).Status)
	page := s.Page(ada, at)
	require.Equal(t, "openai:*", filled(page).Get("model"))
	require.Equal(t, "any", filled(page).Get("model_name"))
	require.NotContains(t, page.Text("#f-model"), "not on this server")
	form = filled(page)
	form.Set("try_message", "hello there")
	form.Set("comment", "")
	tried := s.PageOf(s.Post(ada, at+"/try", form))
	require.Contains(t, tried.Text("main"), "You said: hello there", "the draft asks the provider")
}

func TestARefusedAssistantComesBackAsItWasTyped(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	at := desk(t, s, ada, "Desk")
	for field, bad := range map[string][]string{
		"temperature": {"-0.01", "2.01", "hot", "NaN"}, "max_tokens": {"99", "10001", "0", "1e3", "-1"},
		"recursion_limit": {"501", "0"}, "max_model_calls": {"501", "0", "x"}, "max_tool_calls": {"1001", "0"}, "on_limit": {"shrug"}, "multitask_strategy": {"hope"}, "tool_timeout": {"0", "601"}, "name": {"", " ", strings.Repeat("x", 81)},
		"model": {"gone"}, "params": {"[]", "{"}, "prompt": {strings.Repeat("x", 20_001)}, "comment": {"", strings.Repeat("x", 501)},
		"tools": {"fly"}, "policy.search.when.0.value": {"", "(?=x)"}, "policy.search.due": {"0", "43201", "soon"},
		"policy.search.review": {"never", "sometimes"}, "policy.search.roles": {"root"}, "policy.search.decisions": {"shrug"},
		"policy.search.when.0.op": {"like"}, "policy.search.when.0.path": {"", "a b"},
	} {
		for _, typed := range bad {
			form := filled(s.Page(ada, at))
			form.Set("comment", "x")
			form.Set("description", "typed and kept")
			form.Set("policy.search.review", "when")
			form.Set("policy.search.when.0.path", "query")
			form.Set("policy.search.when.0.op", "matches")
			form.Set("policy.search.when.0.value", "^x")
			form.Set(field, typed)
			a := s.Post(ada, at, form)
			require.Equal(t, http.StatusUnprocessableEntity, a.Status, "%s=%.30q", field, typed)
			p := s.PageOf(a)
			require.NotZero(t, p.Find(".field-error").Length(), "%s=%.30q", field, typed)
			require.Equal(t, "typed and kept", p.Find("[name=description]").AttrOr("value", ""))
			if p.Find(`[name="`+field+`"]`).Length() == 1 && field != "model" && field != "on_limit" && field != "multitask_strategy" && !strings.Contains(field, ".review") && !strings.HasSuffix(field, ".op") {
				require.Equal(t, typed, filled(p).Get(field), field)
				require.Equal(t, 1, p.Find(`.field-bad [name="`+field+`"]`).Length(), "%s=%.30q", field, typed)
			}
		}
	}
	for field, good := range map[string][]string{"temperature": {"0", "2"}, "max_tokens": {"100", "10000"}} {
		for _, typed := range good {
			form := filled(s.Page(ada, at))
			form.Set("comment", "x")
			form.Set(field, typed)
			require.Equal(t, http.StatusOK, s.Post(ada, at, form).Status, "%s=%s", field, typed)
		}
	}
	for _, field := range []string{"web_search", "policy.search.color", "policy.fly.review", "policy.search.when.99.path", "policy.search.when.01.path"} {
		form := filled(s.Page(ada, at))
		form.Set("comment", "x")
		form.Set(field, "1")
		a := s.Post(ada, at, form)
		require.Equal(t, http.StatusUnprocessableEntity, a.Status, field)
		require.Contains(t, a.Body, "is not a field of this form", field)
	}
	form := filled(s.Page(ada, at))
	form.Set("comment", "x")
	form.Set("base", "99")
	require.Equal(t, http.StatusUnprocessableEntity, s.Post(ada, at, form).Status)
}

func TestASaveInBetweenLosesNothingAndHidesNothing(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada, olga := s.SignIn("ada@acme.test"), s.SignIn("olga@acme.test")
	at := desk(t, s, ada, "Desk")
	mine, theirs := filled(s.Page(ada, at)), filled(s.Page(olga, at))
	theirs.Set("prompt", "Answer at length.")
	theirs.Set("comment", "Longer")
	require.Equal(t, http.StatusOK, s.Post(olga, at, theirs).Status)
	mine.Set("personality", "calm & <kind>")
	mine.Set("comment", "Calmer")
	a := s.Post(ada, at, mine)
	require.Equal(t, http.StatusConflict, a.Status)
	p := s.PageOf(a)
	require.Contains(t, p.Text("#conflict"), "Olga saved version 2 in the meantime")
	sides := p.Find(".conflict-sides > div")
	require.Contains(t, sides.Eq(0).Text(), "at length")
	require.Contains(t, sides.Eq(0).Text(), "«Longer»")
	require.Contains(t, sides.Eq(1).Text(), "calm & <kind>")
	again := filled(p)
	require.Equal(t, "2", again.Get("base"))
	again.Del("base")
	kept := filled(p)
	kept.Del("base")
	mine.Del("base")
	mine.Del("_csrf")
	kept.Del("_csrf")
	require.Equal(t, mine, kept, "everything is as it was typed")
	final := s.PageOf(s.Post(ada, at, filled(p)))
	require.Equal(t, "Version 3 of Desk saved", final.Text("h1"))
	require.Contains(t, final.Text(".field-diffs"), "calm")
}

func TestAThreadKeepsItsVersionAcrossASaveAndMovesOnPurpose(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada, mia := s.SignIn("ada@acme.test"), s.SignIn("mia@acme.test")
	at := desk(t, s, ada, "Desk")
	assistant := strings.TrimPrefix(at, "/admin/assistants/")
	begin := func() string {
		a := s.Post(mia, "/threads", url.Values{"message": {"hello"}, "assistant_id": {assistant}})
		thread, ok := strings.CutPrefix(a.Path, "/threads/")
		require.True(t, ok, a.Body)
		s.WaitIdle(mia, thread)
		return thread
	}
	versionOf := func(thread string) int {
		v, err := s.App.Database().View(t.Context(), s.Scope("acme", "mia@acme.test"), agents.ThreadID(thread))
		require.NoError(t, err)
		require.Equal(t, v.Latest.AssistantVersion, v.Thread.AssistantVersion)
		return v.Latest.AssistantVersion
	}
	thread := begin()
	require.Equal(t, 1, versionOf(thread))
	const offer = `#thread-menu [name=version]`
	require.Zero(t, s.Page(mia, "/threads/"+thread).Find(offer).Length())
	form := filled(s.Page(ada, at))
	form.Set("name", "Front desk")
	form.Set("comment", "Another name")
	require.Equal(t, http.StatusOK, s.Post(ada, at, form).Status)

	say := func() {
		require.Equal(t, http.StatusOK, s.Post(mia, "/threads/"+thread+"/messages", url.Values{"message": {"hello again"}}).Status)
		s.WaitIdle(mia, thread)
	}
	say()
	require.Equal(t, 1, versionOf(thread), "the thread keeps its version")
	require.Equal(t, 2, versionOf(begin()))
	page := s.Page(mia, "/threads/"+thread)
	require.Contains(t, page.Text("#thread-menu"), "Use version 2 of this assistant")
	require.Equal(t, "Desk", page.Text(".work-assistant"))
	socket := s.Dial(mia)
	socket.Join("thread:"+thread, map[string]any{"after": page.At().Seq, "epoch": page.At().Epoch, "format": "envelope"})
	require.Equal(t, http.StatusUnprocessableEntity, s.Post(mia, "/threads/"+thread+"/assistant", url.Values{"version": {"9"}}).Status)
	require.Equal(t, http.StatusUnprocessableEntity, s.Post(mia, "/threads/"+thread+"/assistant", url.Values{"version": {"x"}}).Status)
	moved := s.PageOf(s.Post(mia, "/threads/"+thread+"/assistant", url.Values{"version": {page.Find(offer).AttrOr("value", "")}}))
	require.Equal(t, "Front desk", moved.Text(".work-assistant"))
	require.Zero(t, moved.Find(offer).Length())
	require.Equal(t, page.At().Seq+1, moved.At().Seq, "watchers are told")
	say()
	require.Equal(t, 2, versionOf(thread))

	require.Equal(t, http.StatusOK, s.Post(ada, at+"/archive", nil).Status)
	require.NotContains(t, s.Page(mia, "/").Text("#assistant"), "Front desk", "an archived assistant is not offered")
	require.Equal(t, http.StatusNotFound, s.Post(mia, "/threads", url.Values{"message": {"hello"}, "assistant_id": {assistant}}).Status)
	say()
	require.Contains(t, s.Page(mia, "/").Text("#thread-"+thread), "Front desk")
	require.Contains(t, s.Page(ada, "/admin/assistants?archived=1&q=front").Text("tbody"), "archived")
	require.NotContains(t, s.Page(ada, "/admin/assistants").Text("tbody"), "Front desk")
	require.Equal(t, http.StatusOK, s.Post(ada, at+"/restore", nil).Status)
	require.Contains(t, s.Page(mia, "/").Text("#assistant"), "Front desk")
}

func TestTheListOfAssistantsSaysWhoSavedWhat(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	at := desk(t, s, ada, "A <b>desk</b>")
	p := s.Page(ada, "/admin/assistants")
	row := p.Find("tbody tr").First()
	require.Equal(t, at, row.Find("a").AttrOr("href", ""))
	require.Equal(t, "A <b>desk</b>", row.Find("th").Text())
	require.Contains(t, row.Text(), "Ada")
	require.Contains(t, p.Text("tbody"), "Heddle guide")
	require.Contains(t, s.Page(ada, "/admin/assistants?q=unicorn%25").Text("main"), "Nothing found")
	require.Equal(t, 1, s.Page(ada, "/admin/assistants?q=DESK").Find("tbody tr").Length())
	require.Equal(t, "page", p.Find(`.admin-room[href="/admin/assistants"]`).AttrOr("aria-current", ""))
}

func TestMembersAndOtherOrganisationsReachNoAssistantsPages(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada, mia, gus := s.SignIn("ada@acme.test"), s.SignIn("mia@acme.test"), s.SignIn("gus@globex.test")
	at := desk(t, s, ada, "canary")
	before := picture(t, s)
	for _, r := range s.App.Routes() {
		if !strings.HasPrefix(r.Path, "/admin/assistants") || r.Method == "HEAD" {
			continue
		}
		o := things{assistant: strings.TrimPrefix(at, "/admin/assistants/")}
		header := func(c *http.Client) []string { return []string{"Accept", "text/html", "X-CSRF-Token", s.CSRF(c)} }
		member := visit(t, s, mia, r.Method, o.fill(t, r), header(mia)...)
		require.Equal(t, http.StatusForbidden, member.status, "%s %s", r.Method, r.Path)
		absentToMember := visit(t, s, mia, r.Method, absent().fill(t, r), header(mia)...)
		require.Equal(t, fresh.ReplaceAllString(absentToMember.body, "$1"), fresh.ReplaceAllString(member.body, "$1"))
		if !strings.Contains(r.Path, ":id") {
			continue
		}
		foreign := visit(t, s, gus, r.Method, o.fill(t, r), header(gus)...)
		none := visit(t, s, gus, r.Method, absent().fill(t, r), header(gus)...)
		malformed := visit(t, s, gus, r.Method, things{assistant: "no-id"}.fill(t, r), header(gus)...)
		require.Equal(t, http.StatusNotFound, foreign.status, "%s %s", r.Method, r.Path)
		require.Equal(t, fresh.ReplaceAllString(none.body, "$1"), fresh.ReplaceAllString(foreign.body, "$1"), r.Path)
		require.Equal(t, fresh.ReplaceAllString(none.body, "$1"), fresh.ReplaceAllString(malformed.body, "$1"), r.Path)
		require.NotContains(t, foreign.body, "canary")
	}
	require.Equal(t, before, picture(t, s))
	require.NotContains(t, s.Get(gus, "/admin/assistants").Body, "canary")
}

// picture counts the rows of every table of the product but those that a request
// itself touches.
func picture(t *testing.T, s *testweb.Server) map[string]int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
		and relname not in ('workers', 'sessions', 'heddle_schema_version', 'login_attempts', 'idempotency_keys')`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Greater(t, len(tables), 12)
	out := map[string]int{}
	for _, table := range tables {
		// The owner is bound by the walls too, so it looks without one.
		_, err := conn.Exec(t.Context(), fmt.Sprintf(`alter table %q no force row level security`, table))
		require.NoError(t, err)
		var n int
		require.NoError(t, conn.QueryRow(t.Context(), fmt.Sprintf(`select count(*) from %q`, table)).Scan(&n))
		_, err = conn.Exec(t.Context(), fmt.Sprintf(`alter table %q force row level security`, table))
		require.NoError(t, err)
		out[table] = n
	}
	return out
}

func TestATrialAnswersAndStoresNothing(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	at := desk(t, s, ada, "Desk")
	before := picture(t, s)
	require.NotZero(t, before["assistant_versions"])
	form := filled(s.Page(ada, at))
	form["tools"] = []string{"calculator", "remember"}
	form.Set("description", "not saved")
	form.Set("try_message", "what is 17*23")
	a := s.Post(ada, at+"/try", form)
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	p := s.PageOf(a)
	require.Contains(t, p.Text(".trial-answer"), "391")
	require.Contains(t, p.Text(".trial-steps"), "calculator")
	require.Contains(t, p.Text(".trial"), "nothing was stored")
	require.Equal(t, "not saved", filled(p).Get("description"), "the form stays as it is")
	form.Set("try_message", "remember that I like tea")
	p = s.PageOf(s.Post(ada, at+"/try", form))
	require.Contains(t, p.Text(".trial-steps"), "not run")
	form.Set("policy.calculator.review", "always")
	form.Set("try_message", "what is 17*23")
	p = s.PageOf(s.Post(ada, at+"/try", form))
	require.Contains(t, p.Text(".trial-steps"), "would ask for a review")

	fresh := filled(s.Page(ada, "/admin/assistants/new"))
	fresh.Set("try_message", "hello")
	p = s.PageOf(s.Post(ada, "/admin/assistants/new/try", fresh))
	require.NotEmpty(t, p.Text(".trial-answer"))
	fresh.Set("try_message", " ")
	fresh.Set("max_tokens", "99")
	bad := s.Post(ada, "/admin/assistants/new/try", fresh)
	require.Equal(t, http.StatusUnprocessableEntity, bad.Status)
	require.Equal(t, 2, s.PageOf(bad).Find(".field-error").Length())
	require.Equal(t, before, picture(t, s), "nothing is stored")
	require.Contains(t, s.Page(ada, "/admin/assistants").Text("tbody"), "Desk")
	require.NotContains(t, s.Page(ada, at).Text("#history + .rows"), "Version 2")
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

func TestToolsThatAreSwitchedOffDoNotRun(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	ada := s.SignIn("ada@acme.test")
	at := desk(t, s, ada, "Desk")
	form := filled(s.Page(ada, at))
	form["tools"] = []string{"calculator"}
	form.Del("enable_tools")
	form.Set("comment", "No tools")
	require.Equal(t, http.StatusOK, s.Post(ada, at, form).Status)
	a := s.Post(ada, "/threads", url.Values{"message": {"what is 17*23"}, "assistant_id": {uuid.FindString(at)}})
	thread := strings.TrimPrefix(a.Path, "/threads/")
	s.WaitIdle(ada, thread)
	require.Zero(t, s.Page(ada, "/threads/"+thread).Find(".step").Length())
	require.Empty(t, s.Page(ada, at).Find("[name=enable_tools]").AttrOr("checked", ""))
	require.NotEqual(t, http.StatusOK, s.Post(ada, "/admin/assistants/"+id.New(), form).Status)
}
