package gallery

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/diff"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/ui"
)

func assistants() admin.Assistants {
	return admin.Assistants{Full: true, Lines: []admin.AssistantLine{
		{ID: "a1", Name: "Operations desk", Graph: "chat", Model: "mock", Version: 5, By: "Ada", Saved: at("2026-11-21T09:12:00Z", "30 min ago"), Threads: 128},
		{ID: "a2", Name: "Heddle guide", Graph: "chat", Model: "mock", Version: 1, Saved: at("2026-10-02T09:00:00Z", "2 Oct 2026"), Threads: 12},
		{ID: "a3", Name: "chat", Graph: "chat", Model: "mock", Version: 1, Saved: at("2026-10-02T09:00:00Z", "2 Oct 2026"), Default: true},
	}}
}

func condition(row int, path, op, value string) admin.ConditionForm {
	c := admin.ConditionForm{Row: row, Path: path, Value: value}
	for _, o := range []ui.Option{{Value: "exists", Label: "is there"}, {Value: "contains", Label: "contains"}, {Value: "greater", Label: "is greater than"}} {
		o.Selected = o.Value == op
		c.Ops = append(c.Ops, o)
	}
	return c
}

func toolOf(name, title, effect, review string) admin.ToolForm {
	t := admin.ToolForm{Name: name, Title: title, Effect: effect, Description: "Does what its name says.", Registered: review, Used: true,
		Conditions: []admin.ConditionForm{condition(0, "", "", ""), condition(1, "", "", ""), condition(2, "", "", "")}}
	for _, r := range []ui.Option{{Value: "never", Label: "Never reviewed"}, {Value: "always", Label: "Always reviewed"}, {Value: "when", Label: "Reviewed when …"}} {
		r.Selected = r.Value == review
		t.Reviews = append(t.Reviews, r)
	}
	for _, r := range []string{"member", "reviewer", "admin", "owner"} {
		t.Roles = append(t.Roles, admin.Choice{Value: r, Label: r})
	}
	for _, d := range []string{"approve", "edit", "reject", "respond"} {
		t.Decisions = append(t.Decisions, admin.Choice{Value: d, Label: d})
	}
	return t
}

func save(version int, comment, by string, active bool) admin.Save {
	return admin.Save{Version: version, Name: "Operations desk", Comment: comment, By: by, At: at("2026-11-21T09:12:00Z", "30 min ago"), Active: active}
}

func assistant() admin.Assistant {
	mail := toolOf("send_email", "Send an e-mail", "outbound", "when")
	mail.Open, mail.Due = true, "30"
	mail.Conditions[0] = condition(0, "to.0.address", "contains", "@")
	mail.Conditions[1] = condition(1, "attachments", "greater", "0")
	mail.Roles[2].Checked, mail.Roles[3].Checked = true, true
	return admin.Assistant{ID: "a1", Name: "Operations desk", Version: 5, CSRF: csrf, Triable: true,
		Values: map[string]string{"name": "Operations desk", "description": "Answers about orders and ships mail", "graph": "chat", "model": "mock", "temperature": "0.7",
			"max_tokens": "2000", "recursion_limit": "25", "max_model_calls": "10", "max_tool_calls": "", "on_limit": "end", "tool_timeout": "30", "assistant_role": "helpful", "enable_tools": "on", "enable_memory": "on", "base": "5",
			"prompt": "You are the operations desk of a small shop.\n\nAnswer briefly and name your sources."},
		Graphs:     []ui.Option{{Value: "chat", Label: "chat", Selected: true}, {Value: "echo", Label: "echo"}},
		Models:     []ui.Option{{Value: "mock", Label: "Mock model"}, {Value: "openai:*", Label: "OpenAI, by name", Selected: true}},
		OnLimit:    []ui.Option{{Value: "end", Label: "say so and end the answer", Selected: true}, {Value: "error", Label: "fail the run"}},
		Strategies: []ui.Option{{Label: "as the server is set", Selected: true}, {Value: "enqueue", Label: "waits its turn"}},
		NamesModel: true,
		Tools: []admin.ToolForm{toolOf("search", "Search the handbook", "read", "never"), mail, toolOf("remember", "Remember a fact", "write", "never"),
			toolOf("drop_order", "Delete an order", "destructive", "always"), {Name: "fax", Title: "fax", Used: true, Missing: true}},
		Starters: []string{"What is our refund policy?", "Ship dates this week", "", "", "", ""},
		History:  []admin.Save{save(5, "Mail is reviewed", "Ada", true), save(4, "Version 2 again", "Olga", false), save(1, "First version", "", false)},
	}
}

func refusedAssistant() admin.Assistant {
	a := assistant()
	a.Values["temperature"], a.Values["comment"] = "2.01", ""
	a.Errors = map[string]string{"temperature": "Must be between 0 and 2.", "comment": "Is required: say what changed and why.", "tools": "Must be tools of this server; \"fax\" is none.",
		"starters": "Must be at most six.", "model": "\"gone\" is not one of the configured models."}
	a.Tools[1].Errors = map[string]string{"when.1.value": "Must be a number.", "review": "Needs at least one condition.", "roles": "Must be among member, reviewer, admin and owner, each once."}
	a.Problem = "Not saved yet."
	a.Conflict = &admin.Conflict{By: "Olga", Version: 6, Base: 5, Comment: "Longer answers", Theirs: fieldDiffs()[:1], Mine: fieldDiffs()[1:]}
	return a
}

func newAssistant() admin.Assistant {
	a := assistant()
	a.ID, a.Name, a.Version, a.History = "", "", 0, nil
	a.Values["name"], a.Values["try_message"] = "", "email bob@example.com that we ship on friday"
	a.Tools = a.Tools[:3]
	a.Trial = &admin.Trial{Message: "email bob@example.com that we ship on friday", Answer: "I have prepared the mail; in a thread it would go to a reviewer first.",
		Usage: "0.4 s · 120 tokens in · 40 tokens out · nothing was stored", Problem: "The trial was stopped after 10 steps.", Steps: []admin.TrialStep{
			{Tool: "search", Args: `{"query":"ship dates"}`, Result: "1 result: Shipping"},
			{Tool: "send_email", Args: `{"to":"bob@example.com","subject":"We ship on Friday"}`, Result: "This is a trial: nothing was done. A call of send_email would ask for a review.", Held: true},
			{Tool: "weather", Args: `{}`, Result: "city: is required", Failed: true}}}
	return a
}

func fieldDiffs() []admin.FieldDiff {
	return []admin.FieldDiff{
		{Label: "Prompt", Parts: diff.Words("You are the operations desk of a small shop.\n\nAnswer briefly and name your sources.", "You are the operations desk of a small shop.\n\nAnswer politely, at length, and name your sources.")},
		{Label: "Temperature", Parts: diff.Words("0.7", "0.2")}, {Label: "Tools", Parts: diff.Words("search\nremember", "search\nsend_email\nremember")},
		{Label: "Personality", Parts: diff.Words("", "calm <b>")},
	}
}

func archivedAssistant() admin.Assistant {
	a := assistant()
	a.Archived, a.Triable, a.Notice = true, false, "Assistant «Operations desk» created."
	return a
}

func version() admin.Version {
	return admin.Version{ID: "a1", Name: "Operations desk", Save: save(2, "Shorter answers", "Olga", false), Current: 5, CSRF: csrf,
		Fields: []admin.FieldText{{Label: "Name", Text: "Operations desk"}, {Label: "Description"}, {Label: "Prompt", Text: "You are the operations desk.\n\nAnswer briefly."}}}
}

func comparison() admin.Comparison {
	return admin.Comparison{ID: "a1", Name: "Operations desk", From: save(4, "Version 2 again", "Olga", false), To: save(5, "Mail is reviewed", "Ada", true), Saved: true,
		Fields: fieldDiffs(), Versions: assistant().History}
}

// adminPages are the pages of the administration by path.
func adminPages(p func(string) layout.Page) map[string]templ.Component {
	n := adminNav("assistants")
	return map[string]templ.Component{
		"/admin/assistants":         admin.AssistantsPage(p("Assistants"), n, assistants()),
		"/admin/assistants/none":    admin.AssistantsPage(p("Assistants"), n, admin.Assistants{Query: "unicorns"}),
		"/admin/assistants/a1":      admin.AssistantPage(p("Operations desk"), n, assistant()),
		"/admin/assistants/refused": admin.AssistantPage(p("Operations desk"), n, refusedAssistant()),
		"/admin/assistants/old":     admin.AssistantPage(p("Operations desk"), n, archivedAssistant()),
		"/admin/assistants/new":     admin.AssistantPage(p("New assistant"), n, newAssistant()),
		"/admin/assistants/version": admin.VersionPage(p("Version 2"), n, version()),
		"/admin/assistants/diff":    admin.ComparisonPage(p("What changed"), n, comparison()),
	}
}

func TestAWholeAssistantIsEditedByKeyboardAlone(t *testing.T) {
	posts := make(chan url.Values, 1)
	mux := http.NewServeMux()
	mux.Handle("GET /", handler(builtAssets(t)))
	mux.HandleFunc("POST /admin/assistants/a1", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		posts <- r.PostForm
		http.Redirect(w, r, "/admin/assistants/diff", http.StatusSeeOther)
	})
	sockets := newSocketServer()
	mux.Handle("GET /socket/websocket", sockets.handler())
	server := httptest.NewServer(mux)
	t.Cleanup(func() { sockets.closeAll(); server.Close() })
	tb := openTab(t, testbrowser.Start(t))
	tb.run(desktop.action())
	tb.open(server.URL + "/admin/assistants/a1")
	focused := func() string {
		return eval[string](tb, `document.activeElement.name + "=" + (document.activeElement.type === "checkbox" ? document.activeElement.value : "") + (document.activeElement.textContent || "").trim().slice(0, 30)`)
	}
	reach := func(what string) {
		for range 200 {
			tb.run(chromedp.KeyEvent(kb.Tab))
			if eval[bool](tb, what) {
				require.True(t, eval[bool](tb, `(() => { const r = document.activeElement.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight + 1; })()`), "what has the focus is in sight: %s", focused())
				return
			}
		}
		require.Fail(t, "not reached by Tab", "%s, at %s", what, focused())
	}
	named := func(name string) string { return `document.activeElement.name === "` + name + `"` }
	write := func(name, text string) {
		reach(named(name))
		tb.do(`document.activeElement.select()`)
		tb.run(chromedp.KeyEvent(text))
	}
	write("name", "Front desk")
	write("temperature", "0.2")
	reach(named("prompt"))
	tb.run(chromedp.KeyEvent(kb.End), chromedp.KeyEvent(" Be kind."))
	reach(named("tools") + ` && document.activeElement.value === "search"`)
	tb.run(chromedp.KeyEvent(" "))
	reach(named("policy.search.review"))
	tb.run(chromedp.KeyEvent("Reviewed when"))
	reach(`document.activeElement.tagName === "SUMMARY"`)
	tb.run(chromedp.KeyEvent(kb.Enter))
	write("policy.search.when.0.path", "query")
	reach(named("policy.search.when.0.op"))
	tb.run(chromedp.KeyEvent("contains"))
	write("policy.search.when.0.value", "salary")
	reach(named("policy.search.roles") + ` && document.activeElement.value === "admin"`)
	tb.run(chromedp.KeyEvent(" "))
	reach(named("enable_memory"))
	tb.run(chromedp.KeyEvent(" "))
	write("comment", "By keyboard")
	reach(`document.activeElement.textContent.includes("Save as version 6")`)
	tb.run(chromedp.KeyEvent(kb.Enter))
	var got url.Values
	select {
	case got = <-posts:
	case <-time.After(15 * time.Second):
		require.Fail(t, "nothing was posted")
	}
	tb.until(`location.pathname === "/admin/assistants/diff"`)
	for field, want := range map[string]string{"name": "Front desk", "temperature": "0.2", "policy.search.review": "when", "policy.search.when.0.path": "query",
		"policy.search.when.0.op": "contains", "policy.search.when.0.value": "salary", "policy.search.roles": "admin", "comment": "By keyboard", "base": "5", "_csrf": csrf} {
		require.Equal(t, want, got.Get(field), field)
	}
	require.Contains(t, got.Get("prompt"), "Be kind.")
	require.NotContains(t, got["tools"], "search")
	require.Contains(t, got["tools"], "send_email")
	require.False(t, got.Has("enable_memory"))
}

// TestTheFormOfAnAssistantIsPhotographedWhole takes pictures as tall as the page.
func TestTheFormOfAnAssistantIsPhotographedWhole(t *testing.T) {
	server, _ := serve(t)
	tb := openTab(t, testbrowser.Start(t))
	for theme, v := range map[string]viewport{"light": {"1280", 1280, 3900, false}, "dark": {"390", 390, 6400, true}} {
		tb.run(v.action())
		for name, path := range map[string]string{"whole-refused": "/admin/assistants/refused", "whole-new": "/admin/assistants/new"} {
			tb.open(server.URL + path + "?theme=" + theme)
			tb.photograph(screenshots(t), "assistant-"+name+"-"+v.name+"-"+theme)
		}
	}
}
