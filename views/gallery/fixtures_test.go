// Package gallery proves the views: it renders every page and component state
// from fixed models, compares them with golden files, and drives them in a real
// browser with the built files. It has no code of its own.
package gallery

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/a-h/templ"

	"github.com/heddle/heddle/static"
	"github.com/heddle/heddle/views/account"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/chat"
	"github.com/heddle/heddle/views/knowledge"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/markdown"
	"github.com/heddle/heddle/views/memory"
	"github.com/heddle/heddle/views/outbox"
	"github.com/heddle/heddle/views/problem"
	"github.com/heddle/heddle/views/ui"
)

const csrf = "token-of-the-fixture"

func page(assets *static.Assets, theme layout.Theme, title string) layout.Page {
	return layout.Page{
		Title: title, CSRF: csrf, Theme: theme, Assets: assets,
		Org: layout.Org{ID: "org-acme", Name: "Acme"}, Orgs: []layout.Org{{ID: "org-acme", Name: "Acme"}, {ID: "org-globex", Name: "Globex"}},
		User: layout.User{ID: "user-mia", Name: "Mia", Email: "mia@acme.test", Role: "Member"},
		Nav:  []layout.NavItem{{Label: "Chat", Icon: "thread", Href: "/", Active: true}, {Label: "Review", Icon: "review", Href: "/reviews", Count: "3"}},
	}
}

func at(iso, text string) ui.Time {
	return ui.Time{ISO: iso, Text: text, Title: "21 November 2026, " + text}
}

func list(active string) chat.List {
	item := func(id, title, when string, state chat.ThreadState) chat.ListItem {
		return chat.ListItem{ID: id, Title: title, Assistant: "Heddle guide", Updated: at("2026-11-21T09:41:00Z", when), State: state, Active: id == active}
	}
	shared := item("t5", "Ship dates for the week of the trade fair in Hannover", "Mon", chat.ThreadIdle)
	shared.Shared = true
	return chat.List{CSRF: csrf, Next: "/?before=t6", Groups: []chat.Group{
		{Label: "Today", Threads: []chat.ListItem{
			item("t1", "Refund for order 1182", "09:41", chat.ThreadBusy),
			item("t2", "Mail to Bob about Friday", "09:12", chat.ThreadWaiting),
			item("t3", "Weather for the picnic", "08:30", chat.ThreadIdle),
		}},
		{Label: "Earlier this week", Threads: []chat.ListItem{
			item("t4", "Report of last month’s sales", "Tue", chat.ThreadFailed), shared, item("t6", "17*23", "Mon", chat.ThreadIdle),
		}},
	}}
}

func composer(thread string) chat.Composer {
	action := "/threads"
	if thread != "" {
		action = "/threads/" + thread + "/messages"
	}
	return chat.Composer{Action: action, DraftKey: chat.DraftKey(thread), MaxLength: 10000, CSRF: csrf}
}

var messages = markdown.New(markdown.ForMessages())

func asked(id, text, when string) chat.Message {
	return chat.Message{ID: id, Role: chat.User, Author: "Mia", At: at("2026-11-21T09:41:00Z", when), Text: text}
}

func answered(id, src, when string, steps ...chat.Step) chat.Message {
	return chat.Message{ID: id, Role: chat.Assistive, Author: "Heddle guide", At: at("2026-11-21T09:41:04Z", when), State: chat.Complete,
		Blocks: chat.Blocks(messages, src), Source: src, Usage: "mock · 1.2 s · 312 tokens · $0.0004", Steps: steps}
}

var searched = chat.Step{CallID: "c1", Verb: "Searched", Object: "«refund policy»", Outcome: "3 results", Duration: "0.4 s", State: chat.StepDone,
	Args: "{\n  \"query\": \"refund policy\"\n}", Result: "1. Refund policy\n2. Returns of damaged goods\n3. Store credit",
	Links: []chat.Link{{Href: "/knowledge/refunds", Label: "Refund policy"}, {Href: "/knowledge/returns", Label: "Returns of damaged goods"}}}

func thread(id string) chat.Thread {
	return chat.Thread{ID: id, Title: "Refund for order 1182", Assistant: "Heddle guide", CanWrite: true, Newer: 5, Seq: 41, Epoch: "e1",
		Composer: composer(id), List: list(id), CSRF: csrf, Status: chat.Status{State: chat.RunIdle, Assistant: "Heddle guide"}}
}

const policyAnswer = "The policy allows refunds within **30 days** of delivery. Order 1182 was delivered on 2 November, so it is still inside.\n\n" +
	"What remains to do:\n\n1. Check that the goods came back.\n2. Refund to the card that paid.\n3. Tell the customer; [the template](https://docs.example/refund) has the words.\n"

func streaming() chat.Thread {
	t := thread("t1")
	open := answered("m4", "Order 1182 has **two lines**. I looked at both:\n\n| Line | Item | Amount |\n|---|---|---:|\n| 1 | Loom, small | 89.00 |\n| 2 | Shuttle, oak | 14.50 |\n\nThe shuttle is excluded from", "09:42",
		chat.Step{CallID: "c2", Verb: "Searched", Object: "«order 1182»", Outcome: "1 result", Duration: "0.3 s", State: chat.StepDone, Args: "{}", Result: "1. Order 1182"},
		chat.Step{CallID: "c3", Verb: "Calculating", Object: "89.00 + 14.50", State: chat.StepRunning, Args: "{\n  \"expression\": \"89.00 + 14.50\"\n}"},
		chat.Step{CallID: "c4", Verb: "Send e-mail", Object: "to bob@example.com", Outcome: "waiting for review", State: chat.StepWaiting, Args: "{\n  \"to\": \"bob@example.com\"\n}"})
	open.State, open.Source, open.Usage = chat.Streaming, "", ""
	t.Messages = []chat.Message{asked("m1", "Can we refund order 1182?", "09:41"), answered("m2", policyAnswer, "09:41", searched),
		asked("m3", "Both lines, or only the loom? Please add up what we would pay back.", "09:42"), open}
	t.Status = chat.Status{State: chat.RunWorking, Text: "Adding up the amounts", Since: at("2026-11-21T09:42:00Z", "4 s"), Step: "step 2", Assistant: "Heddle guide"}
	t.Queue = []chat.Queued{{RunID: "r9", Text: "And write the customer a short mail.", At: at("2026-11-21T09:42:10Z", "09:42")}}
	t.Composer.Busy = true
	return t
}

const longAnswer = "## What the script does\n\nIt reads the orders of a month and adds up refunds **per item**. Run it with `go run ./refunds -month 2026-11`.\n\n" +
	"```go\n// Total adds up refunds by item; amounts are in cents.\nfunc Total(orders []Order) map[string]int {\n\tsums := make(map[string]int, len(orders))\n\tfor _, o := range orders {\n\t\tif o.State != \"refunded\" {\n\t\t\tcontinue // paid orders do not count\n\t\t}\n\t\tsums[o.Item] += o.Cents\n\t}\n\treturn sums\n}\n```\n\n" +
	"### Figures\n\n| Item | Orders | Refunded | Share |\n|:--|--:|--:|--:|\n| Loom, small | 128 | 6 | 4.7 % |\n| Loom, large | 41 | 3 | 7.3 % |\n| Shuttle, oak | 310 | 2 | 0.6 % |\n| Warp thread, madder red, 500 m | 95 | 0 | 0.0 % |\n\n" +
	"> A share above five per cent is worth a look at the packaging.\n\nNext:\n\n- [x] figures for November\n- [ ] ask the warehouse about the large loom\n  - damage in transit\n  - wrong size ordered\n- [ ] compare with [last year](https://reports.example/2025)\n\nThe raw file is at https://reports.example/2026-11.csv and stays there for a year."

func long() chat.Thread {
	t := thread("t3")
	t.Title, t.Shared, t.Earlier = "Report of refunds by item, with a script that can be run again every month", true, "/threads/t3?before=m1"
	stopped := answered("m6", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,", "10:07")
	stopped.State = chat.Stopped
	t.Messages = []chat.Message{
		asked("m1", "Write a script that adds up refunds by item and show me November’s figures.\n\nThe file has these columns:\n  item, state, cents", "10:02"),
		answered("m2", longAnswer, "10:02", searched,
			chat.Step{CallID: "c7", Verb: "Calculated", Object: "6 / 128", Outcome: "0.046875", Duration: "2 ms", State: chat.StepDone, Args: "{}", Result: "0.046875"},
			chat.Step{CallID: "c8", Verb: "Fetched", Object: "https://reports.example/2026-11.csv?columns=item,state,cents&format=plain", Outcome: "failed", Duration: "5.0 s", State: chat.StepFailed, Args: "{}", Error: "The server did not answer within 5 seconds."}),
		asked("m3", "Thanks. https://a-very-long-address.example/that/does/not/break/anywhere/because/it/has/no/blank/in/it/at/all?really=true", "10:05"),
		answered("m4", "You’re welcome. `a_name_without_any_place_to_break_it_which_goes_on_and_on_and_on_and_on_until_it_is_wider_than_a_phone` is fine too.", "10:05"),
		asked("m5", "count to 200", "10:07"), stopped,
	}
	return t
}

func failed() chat.Thread {
	t := thread("t4")
	t.Title = "Report of last month’s sales"
	bad := chat.Message{ID: "m2", Role: chat.Assistive, Author: "Heddle guide", At: at("2026-11-21T09:41:04Z", "09:41"), State: chat.Failed,
		Reason: "The model could not be reached after 3 attempts. Your message is kept; send it again to retry.", Steps: []chat.Step{
			{CallID: "c1", Verb: "Search", Object: "«sales october»", Outcome: "failed", Duration: "0.1 s", State: chat.StepFailed, Args: "{}", Error: "The index is being rebuilt. Try again in a minute."}}}
	t.Messages = []chat.Message{asked("m1", "What did we sell last month?", "09:41"), bad}
	t.Status = chat.Status{State: chat.RunFailed, Text: "The last answer failed", Assistant: "Heddle guide", Attempts: []chat.Attempt{
		{Number: 1, At: at("2026-11-21T09:41:20Z", "3 min ago"), Worker: "heddle-worker-7d9f4-a", Why: "its worker was gone"},
		{Number: 2, At: at("2026-11-21T09:41:50Z", "2 min ago"), Worker: "heddle-worker-7d9f4-b", Why: "its worker did not renew the lease"}}}
	t.Composer.Text, t.Composer.Error = "What did we sell last month, by country?", "message: at most 10,000 characters; nothing was sent"
	return t
}

func readOnly() chat.Thread {
	t := thread("t5")
	t.CanWrite, t.Owner, t.Shared = false, "Max", true
	m := answered("m2", policyAnswer, "09:41", searched)
	m.State = chat.Continuing
	t.Messages = []chat.Message{asked("m1", "Can we refund order 1182?", "09:41"), m}
	t.Status = chat.Status{State: chat.RunWaiting, Text: "Waiting for a review of one tool call", Assistant: "Heddle guide"}
	return t
}

func home(threads chat.List) chat.Home {
	return chat.Home{Greeting: "What would you like to know?", List: threads, Composer: composer(""),
		Assistants: []chat.Assistant{{ID: "a1", Name: "Heddle guide", Description: "Searches the handbook, adds up, remembers", Selected: true}, {ID: "a2", Name: "Echo", Description: "Says it back"}},
		Starters: []chat.Starter{{Label: "Search the handbook", Text: "search for refunds"}, {Label: "Add up", Text: "what is 17*23"},
			{Label: "Remember something", Text: "remember that I like tea"}, {Label: "Watch it stream", Text: "count to 200"}}}
}

func signIn() account.SignIn {
	person := func(name, role, org string) account.Person {
		email := strings.ToLower(name) + "@" + strings.ToLower(org) + ".test"
		return account.Person{Name: name, Email: email, Role: role, Org: org, Href: "/auth/dev?login_hint=" + email}
	}
	return account.SignIn{Providers: []account.Provider{{Label: "Continue with GitHub", Href: "/auth/github"}, {Label: "Continue with Google", Href: "/auth/google"}},
		People: []account.Person{person("Olga", "Owner", "Acme"), person("Ada", "Admin", "Acme"), person("Ray", "Reviewer", "Acme"), person("Mia", "Member", "Acme"), person("Gus", "Admin", "Globex")}}
}

func profile() account.Profile {
	return account.Profile{Name: "Mia", Email: "mia@acme.test", Theme: "system", Language: "English", CSRF: csrf,
		Memberships: []account.Membership{{Org: "Acme", Role: "Member", Current: true}, {Org: "Globex", Role: "Reviewer"}},
		Sessions: []account.Session{
			{ID: "s1", Device: "Firefox on Linux", Where: "192.0.2.10", Started: at("2026-11-20T08:00:00Z", "yesterday"), Seen: at("2026-11-21T09:41:00Z", "just now"), Current: true},
			{ID: "s2", Device: "Safari on iPhone", Phone: true, Where: "198.51.100.7", Started: at("2026-11-18T08:00:00Z", "3 days ago"), Seen: at("2026-11-21T07:41:00Z", "2 h ago")}}}
}

// adminRooms is adminNav for frames that may have none.
func adminRooms(current string) *admin.Nav {
	n := adminNav(current)
	return &n
}

func remembered(base, text, key string, thread *memory.Link) memory.Item {
	return memory.Item{Href: base + "/item?ns=facts&key=" + key, Text: text, Key: key,
		Origin: memory.Origin{Verb: "Remembered by a run", When: at("2026-05-03T09:00:00Z", "3 May 2026"), Thread: thread}}
}

func ownMemory() memory.Memory {
	const base = "/account/memory"
	tea := &memory.Link{Label: "Tea for the office, and a very long title of a thread that goes on", Href: "/threads/t1"}
	expiring := remembered(base, "The trade fair is in hall 7; stand B12 until 24 November", "9c1d0a77b2e4f6510a8d33c2", nil)
	expiring.Expires = at("2026-11-24T00:00:00Z", "24 Nov 2026")
	mine := remembered(base, `{"name": "Loom", "a_name_without_any_place_to_break_it_which_goes_on_and_on_until_it_is_wider_than_a_phone": true}`, "loom", nil)
	mine.Origin = memory.Origin{Verb: "Written by you", When: at("2026-11-02T09:00:00Z", "2 Nov 2026")}
	return memory.Memory{Frame: memory.Frame{CSRF: csrf}, Title: "Memory", Lead: "What assistants remember about you in Acme. You decide what stays. Whoever manages assistants can read it too; the audit log says when they did.",
		Areas:  []memory.Area{{Label: "About you (3)", Href: base, Current: true}, {Label: "API clients (12)", Href: base + "?area=api"}},
		Search: memory.Search{Action: base, Label: "Search keys and values"}, All: base,
		Namespaces: []memory.Namespace{{Label: "facts", Href: base + "?ns=facts", Count: "2"}, {Label: "projects › heddle", Href: base + "?ns=projects.heddle", Count: "1"}},
		Groups:     []memory.Group{{Label: "facts", Items: []memory.Item{remembered(base, "I like green tea", "5f0e6b9a4d1c8e7720b3aa19", tea), expiring}}, {Label: "projects › heddle", Items: []memory.Item{mine}}},
		Next:       base + "?after=x", Export: base + "/export", Forget: &memory.Forget{Action: base + "/forget", Title: "Forget everything", Text: "Deletes all that is remembered about you here. Your threads stay.", Button: "Forget 3 items about me"}}
}

func nothingRemembered() memory.Memory {
	m := ownMemory()
	m.Areas, m.Namespaces, m.Groups, m.Next, m.Export, m.Forget = m.Areas[:1], nil, nil, "", "", nil
	m.Empty = ui.Empty{Icon: "memory", Title: "Nothing is remembered", Text: "Tell an assistant «remember that I like tea» and it will be listed here."}
	return m
}

func adminMemory() memory.Memory {
	m := ownMemory()
	m.Frame.Admin, m.Title, m.Lead, m.Back = adminRooms("memory"), "Memory of Mia", "What assistants remember about Mia.", &memory.Link{Label: "Memory", Href: "/admin/memory"}
	m.Areas[0].Label, m.Search.Text, m.Search.Clear = "Remembered (3)", "tea", "/admin/memory/user/mia"
	m.Forget.Title, m.Forget.Button = "Forget Mia", "Forget 3 items about Mia"
	return m
}

func memories() memory.Overview {
	row := func(name, note, items string, changed ui.Time) memory.Holding {
		return memory.Holding{Name: name, Note: note, Items: items, Href: "/admin/memory/user/" + name, Changed: changed}
	}
	return memory.Overview{Frame: memory.Frame{Admin: adminRooms("memory"), CSRF: csrf}, Search: memory.Search{Action: "/admin/memory", Label: "Search keys and values"},
		Areas: []memory.Area{{Label: "People", Href: "/admin/memory?area=user", Current: true}, {Label: "API clients", Href: "/admin/memory?area=api"}},
		Holdings: []memory.Holding{row("Former member", "no longer in this organisation", "4", at("2026-03-02T09:00:00Z", "2 Mar 2026")), row("Ada", "ada@acme.test", "0", ui.Time{}),
			row("Max", "max@acme.test", "128", at("2026-11-21T09:40:00Z", "1 min ago")), row("Mia", "mia@acme.test", "3", at("2026-11-21T07:41:00Z", "2 h ago"))}, Next: "/admin/memory?after=x"}
}

func foundMemories() memory.Overview {
	o := memories()
	o.Holdings, o.Search.Text, o.Search.Clear = nil, "tea", "/admin/memory"
	mia, max := remembered("/admin/memory/user/mia", "I like green tea", "5f0e6b9a4d1c8e7720b3aa19", nil), remembered("/admin/memory/user/max", "No tea after four", "77aa19", &memory.Link{Label: "Tea", Href: "/threads/t1"})
	mia.Whose, max.Whose = "Mia", "Max"
	o.Found = []memory.Item{mia, max}
	return o
}

func oneItem(base string) memory.ItemPage {
	tea := &memory.Link{Label: "Tea for the office", Href: "/threads/t1"}
	value := "{\n  \"fact\": \"I like green tea\"\n}"
	return memory.ItemPage{Frame: memory.Frame{CSRF: csrf}, Back: memory.Link{Label: "Memory", Href: base}, Title: "5f0e6b9a4d1c8e7720b3aa19", Namespace: "facts", Value: value,
		Origin: memory.Origin{Verb: "Remembered by a run", When: at("2026-05-03T09:00:00Z", "3 May 2026"), Thread: tea}, Tool: "remember",
		Created: at("2026-05-03T09:00:00Z", "3 May 2026"), Changed: at("2026-05-03T09:00:00Z", "3 May 2026"), Action: base + "/item",
		Hidden: []memory.Hidden{{Name: "ns", Value: "facts"}, {Name: "key", Value: "5f0e6b9a4d1c8e7720b3aa19"}}, Edit: &memory.Edit{Text: value, Seen: "2026-05-03T09:00:00Z"},
		DeleteText: "Assistants will not recall it any more.", Deleted: "Delete «facts › 5f0e6b9a4d1c8e7720b3aa19»"}
}

func changedItem() memory.ItemPage {
	i := oneItem("/admin/memory/user/mia")
	i.Frame.Admin, i.Whose, i.Back.Label = adminRooms("memory"), "Mia", "Memory of Mia"
	i.Edit.Text, i.Edit.Error = "{\"fact\": \"I like </textarea> & black tea\"}", "It changed while you were editing. Look at what is stored now, and save again to replace it."
	i.Expires = at("2026-12-24T00:00:00Z", "24 Dec 2026")
	return i
}

func badName() account.Profile {
	a := profile()
	a.Name, a.NameError, a.LetterKeysOff = "Mia\u202e", "Must not contain control characters.", true
	a.Sessions = a.Sessions[:1]
	return a
}

func keys() account.Keys {
	return account.Keys{CSRF: csrf, Created: &account.Created{Name: "nightly report", Secret: "hdl_7Qm2vX9cT4bN8kLw3RzY6sDfGh1JpAeU5oIx0KqVtMn"},
		Keys: []account.Key{
			{ID: "k1", Name: "nightly report", Prefix: "hdl_7Qm2", Scopes: []string{"run"}, Created: at("2026-11-21T09:41:00Z", "just now"), Expires: at("2027-02-19T09:41:00Z", "in 90 days")},
			{ID: "k2", Name: "old script", Prefix: "hdl_Xa91", Scopes: []string{"run", "review"}, Created: at("2026-05-02T09:41:00Z", "2 May"), Used: at("2026-08-02T09:41:00Z", "2 August"), Revoked: true}},
		Scopes:   []account.Scope{{Value: "read", Label: "Read", Hint: "Threads, their state and history, runs, assistants and memory"}, {Value: "run", Label: "Run", Hint: "Also change threads and memory, start and cancel runs", Checked: true}, {Value: "review", Label: "Review", Hint: "Decisions on reviewed tool calls"}},
		Expiries: []ui.Option{{Value: "30d", Label: "30 days"}, {Value: "90d", Label: "90 days", Selected: true}, {Value: "1y", Label: "One year"}}}
}

func document() knowledge.Document {
	return knowledge.Document{Title: "Refund policy", Source: "Handbook", Updated: at("2026-10-02T09:00:00Z", "2 October"),
		Body: markdown.New(markdown.ForDocuments()).Render("Refunds are possible within **30 days** of delivery.\n\n# When\n\n- The goods came back, or a photo shows the damage.\n- The order is not a gift card.\n\n# How\n\nRefund to the card that paid. Larger sums than 500 need a second person.\n\n```\norder refund 1182 --line 1\n```\n")}
}

func sentMail() outbox.Outbox {
	return outbox.Outbox{Most: 100, Messages: []outbox.Message{
		{ID: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5c", To: "bob@example.com", Subject: "We ship on Friday", At: at("2026-11-21T09:41:00Z", "just now"),
			Body: "Hello Bob,\n\norder 1182 leaves the house on Friday.\n\n  1 Loom, small\n  1 Shuttle, oak\n\nhttps://a-very-long-address.example/that/does/not/break/anywhere/because/it/has/no/blank/in/it/at/all?really=true\n\nRegards\nAcme"},
		{ID: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5b", To: "a-rather-long-name-of-a-person-that-goes-on@department-of-long-names.example.com", Body: "<b>Not bold</b>",
			Subject: "Re: Report of refunds by item, with a script that can be run again every month", At: at("2026-11-20T09:41:00Z", "yesterday")}}}
}

// pages are all pages of the gallery by path.
func pages(assets *static.Assets, theme layout.Theme) map[string]templ.Component {
	p := func(title string) layout.Page { return page(assets, theme, title) }
	flash := p("Threads")
	flash.Flash = []ui.Flash{{Tone: ui.Good, Text: "Thread «17*23» deleted."}}
	quiet := p("Account")
	quiet.LetterKeysOff = true
	out := map[string]templ.Component{
		"/sign-in": account.SignInPage(layout.Page{Title: "Sign in", Theme: theme, Assets: assets}, signIn()),
		"/empty":   chat.HomePage(p(""), home(chat.List{CSRF: csrf})), "/home": chat.HomePage(flash, home(list(""))),
		"/nothing-found": chat.HomePage(p(""), home(chat.List{Query: "unicorns", CSRF: csrf})),
		"/threads/t1":    chat.ThreadPage(p("Refund for order 1182"), streaming()), "/threads/t3": chat.ThreadPage(p("Report"), long()),
		"/threads/t4": chat.ThreadPage(p("Report"), failed()), "/threads/t5": chat.ThreadPage(p("Refund"), readOnly()),
		"/account": account.ProfilePage(p("Account"), profile()), "/account/keys": account.KeysPage(p("API keys"), keys()),
		"/dev/outbox": outbox.Page(p("Outbox"), sentMail()), "/dev/outbox/empty": outbox.Page(p("Outbox"), outbox.Outbox{}),
		"/account/memory": memory.Page(p("Memory"), ownMemory()), "/account/memory/item": memory.OneItem(p("Memory"), oneItem("/account/memory")),
		"/account/memory/none": memory.Page(p("Memory"), nothingRemembered()), "/account/name": account.ProfilePage(quiet, badName()),
		"/admin/memory": memory.OverviewPage(p("Memory"), memories()), "/admin/memory/found": memory.OverviewPage(p("Memory"), foundMemories()),
		"/admin/memory/user/mia": memory.Page(p("Memory"), adminMemory()), "/admin/memory/user/mia/item": memory.OneItem(p("Memory"), changedItem()),
		"/admin/memory/gone": memory.Gone(p("Memory"), memory.Frame{Admin: adminRooms("memory"), CSRF: csrf}, memory.Link{Label: "Memory", Href: "/admin/memory"}, "{\"fact\": 1}"),
		"/knowledge/refunds": knowledge.DocumentPage(p("Refund policy"), document()),
		"/signed-out":        problem.BarePage(layout.Page{Title: "Not available", Theme: theme, Assets: assets}, problem.Maintenance("The database is being updated. This takes a few minutes.")),
		"/admin/audit":       admin.AuditPage(p("Audit log"), adminNav("audit"), auditLog()), "/admin/audit/empty": admin.AuditPage(p("Audit log"), adminNav("audit"), auditEmpty()),
		"/admin/audit/broken": admin.AuditPage(p("Audit log"), adminNav("audit"), auditBroken()),
	}
	maps.Copy(out, memberPages(p))
	maps.Copy(out, reviewPages(p))
	maps.Copy(out, studioPages(p))
	for name, pr := range map[string]problem.Problem{"404": problem.NotFound(), "403": problem.Forbidden("Your role member does not include org.manage."), "409": problem.Switched("Globex"),
		"422": problem.Invalid("message: at most 10,000 characters"), "500": problem.Internal("0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5b"), "503": problem.Maintenance("The database is away.")} {
		out["/problem/"+name] = problem.Page(p("Problem"), pr)
	}
	maps.Copy(out, adminPages(p))
	return out
}

// html renders a component to text.
func html(c templ.Component) string {
	var b strings.Builder
	if err := c.Render(context.Background(), &b); err != nil {
		return fmt.Sprintf("rendering: %v", err)
	}
	return b.String()
}

// csp is the policy the pages must live under; no nonce is needed.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// handler serves the gallery; ?theme=light or dark fixes the colours.
func handler(assets *static.Assets) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+static.Prefix, http.StripPrefix(static.Prefix, http.FileServerFS(assets.Files())))
	mux.HandleFunc("GET /threads", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(html(chat.ThreadList(list(r.URL.Query().Get("active"))))))
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		c, ok := pages(assets, layout.Theme(r.URL.Query().Get("theme")))[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", csp)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(html(c)))
	})
	return mux
}
