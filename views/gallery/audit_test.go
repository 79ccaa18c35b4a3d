package gallery

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/testbrowser"
	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/ui"
)

func adminNav(current string) admin.Nav {
	return admin.Nav{Current: current, Rooms: []admin.Room{
		{Name: "assistants", Label: "Assistants", Icon: "assistant", Href: "/admin/assistants"}, {Name: "memory", Label: "Memory", Icon: "memory", Href: "/admin/memory"},
		{Name: "members", Label: "Members", Icon: "people", Href: "/admin/members"}, {Name: "keys", Label: "API keys", Icon: "key", Href: "/admin/keys"},
		{Name: "audit", Label: "Audit log", Icon: "audit", Href: "/admin/audit"}}}
}

const auditHash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func auditFilter() admin.AuditFilter {
	return admin.AuditFilter{People: []ui.Option{{Label: "Anybody"}, {Value: "u1", Label: "Ada"}, {Value: "u2", Label: "Olga"}},
		Actions: []ui.Option{{Value: "thread.read_by_admin", Label: "Opened the private thread"}}, Kinds: []ui.Option{{Value: "thread"}}}
}

func auditLog() admin.AuditLog {
	when := func(text string) ui.Time {
		return ui.Time{ISO: "2026-11-21T09:41:07.123456Z", Text: text, Title: "21 November 2026, 09:41:07.123456 UTC"}
	}
	facts := func(seq, action, object string) []admin.AuditFact {
		return []admin.AuditFact{{Name: "Entry", Value: seq}, {Name: "Action", Value: action}, {Name: "Object", Value: object},
			{Name: "Person", Value: "0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5b"}, {Name: "Hash", Value: auditHash}}
	}
	return admin.AuditLog{CSRF: csrf, Export: "/admin/audit/export", Older: "/admin/audit?before=1199", Filter: auditFilter(),
		Chain: admin.AuditChain{Entries: "1,204 entries.", Tone: ui.Good, Verdict: "Verified up to entry 1,203", By: "Olga", Hash: auditHash,
			Checked: at("2026-11-21T09:40:00Z", "2 min ago")},
		Entries: []admin.AuditEntry{
			{ID: "1204", At: when("21 Nov 2026, 09:41:07"), Who: "Olga", Words: "Changed the role of", Object: "Max", Door: "Browser", Address: "192.0.2.10",
				Rule: "members.manage", Changed: true, Changes: []admin.AuditChange{{Field: "role", Before: "member", After: "reviewer"}},
				Facts: facts("1204", "member.role_changed", "member 0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5c")},
			{ID: "1203", At: when("21 Nov 2026, 09:12:55"), Who: "Ada", Words: "Opened the private thread", Object: "Refund for order 1182, which came back without a receipt", ObjectHref: "/threads/t1",
				Door: "Browser", Address: "2001:db8:85a3::8a2e:370:7334", Rule: "thread.read_any", Changes: []admin.AuditChange{{Field: "owner_id", After: "Mia"}},
				Facts: facts("1203", "thread.read_by_admin", "thread 0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5d")},
			{ID: "1202", At: when("20 Nov 2026, 17:03:41"), Who: "Ada", Words: "Changed the assistant", Object: "Heddle guide", Door: "API key", Address: "198.51.100.7", Changed: true,
				Changes: []admin.AuditChange{{Field: "instructions", Before: "Answer briefly.\nNever guess.", After: "Answer briefly.\nNever guess.\nName the document that you rely on."},
					{Field: "model.temperature", Before: "0.7", After: "0.2"}, {Field: "tools.send_email.policy", Before: "allow", After: "review"}},
				Facts: facts("1202", "assistant.updated", "assistant 0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5e")},
			{ID: "1201", At: when("20 Nov 2026, 16:58:02"), Who: "Former member 2e3f4a5b", Words: "Exported the", Object: "audit log", Door: "Browser", Address: "192.0.2.10",
				Changes: []admin.AuditChange{{Field: "filter", After: "{}"}, {Field: "up_to", After: "1200"}}, Facts: facts("1201", "audit.exported", "audit_log")},
			{ID: "1200", At: when("20 Nov 2026, 00:00:00"), Who: "Nobody", Words: "Retention applied", Object: "thread 2e3f4a5f", Door: "Server",
				Facts: facts("1200", "retention.applied", "thread 0198f3c2-7a10-7c3e-9a55-0c1d2e3f4a5f")},
		}}
}

// auditBroken is the page when the worst was found and a filter is wrong.
func auditBroken() admin.AuditLog {
	a := admin.AuditLog{CSRF: csrf, Filter: auditFilter(), Chain: admin.AuditChain{Entries: "1,204 entries.", Tone: ui.Bad, Verdict: "Broken at entry 17: hash differs",
		By: "Olga", Hash: auditHash, Checked: at("2026-11-21T09:40:00Z", "2 min ago")}}
	a.Filter.Active, a.Filter.Open, a.Filter.From, a.Filter.Action = true, true, "2026-11-31", "thread."
	a.Filter.Errors = map[string]string{"from": "Must be a day such as 2026-11-21."}
	return a
}

func auditEmpty() admin.AuditLog {
	return admin.AuditLog{CSRF: csrf, Export: "/admin/audit/export", Filter: auditFilter(), Chain: admin.AuditChain{Entries: "0 entries."}}
}

func TestTheAuditPageSaysWhatIsWrongAndWorksWithoutScript(t *testing.T) {
	p := page(plainAssets(t), layout.ThemeDark, "Audit log")
	doc := parse(t, html(admin.AuditPage(p, adminNav("audit"), auditBroken())))
	require.Contains(t, doc.Find(".audit-chain .badge-bad").Text(), "Broken at entry 17")
	require.Contains(t, doc.Find("#audit-from-error").Text(), "Must be a day")
	require.Equal(t, "get", doc.Find("form.audit-filter").AttrOr("method", ""))
	require.Equal(t, "/admin/audit/verify", doc.Find(`form[method="post"][action^="/admin"]`).AttrOr("action", ""))
	doc = parse(t, html(admin.AuditPage(p, adminNav("audit"), auditLog())))
	require.Equal(t, 5, doc.Find(".audit-table tbody tr").Length())
	require.Equal(t, 5, doc.Find(".audit-details summary").Length())
	require.Equal(t, "page", doc.Find(`.admin-nav a[href="/admin/audit"]`).AttrOr("aria-current", ""))
}

func TestAnEntryOfTheAuditLogOpensInPlace(t *testing.T) {
	server, _ := serve(t)
	tb := openTab(t, testbrowser.Start(t))
	for _, v := range []viewport{desktop, phone} {
		for _, theme := range []string{"light", "dark"} {
			tb.run(v.action())
			tb.open(server.URL + "/admin/audit?theme=" + theme)
			require.False(t, eval[bool](tb, `document.querySelector("#entry-1202 ins").checkVisibility()`))
			tb.run(chromedp.Click(chromedp.CSS("#entry-1202 summary")))
			tb.until(`document.querySelector("#entry-1202 ins").checkVisibility()`)
			tb.do(`document.querySelector("#entry-1203").scrollIntoView()`)
			require.False(t, eval[bool](tb, `document.documentElement.scrollWidth > document.documentElement.clientWidth`))
			require.False(t, eval[bool](tb, `document.querySelector(".table-wrap").scrollWidth > document.querySelector(".table-wrap").clientWidth`), "at %s px", v.name)
			tb.photograph(screenshots(t), "audit-open-"+v.name+"-"+theme)
		}
	}
}
