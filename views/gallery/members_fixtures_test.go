package gallery

import (
	"github.com/a-h/templ"

	"github.com/heddle/heddle/views/admin"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/ui"
)

// administration is the navigation of an owner.
func administration(current string) admin.Nav {
	return admin.Nav{Current: current, Rooms: []admin.Room{
		{Name: "assistants", Label: "Assistants", Icon: "assistant", Href: "/admin/assistants"},
		{Name: "memory", Label: "Memory", Icon: "memory", Href: "/admin/memory"},
		{Name: "members", Label: "Members", Icon: "people", Href: "/admin/members"},
		{Name: "keys", Label: "API keys", Icon: "key", Href: "/admin/keys"},
		{Name: "audit", Label: "Audit log", Icon: "audit", Href: "/admin/audit"},
		{Name: "organisation", Label: "Organisation", Icon: "settings", Href: "/admin/organisation"},
	}}
}

func roles(chosen string) []ui.Option {
	var out []ui.Option
	for _, r := range []string{"member: chats", "reviewer: also decides reviews", "admin: also runs the administration"} {
		out = append(out, ui.Option{Value: r, Label: r, Selected: r == chosen})
	}
	return out
}

func members() admin.Members {
	joined, seen := at("2026-09-02T08:00:00Z", "2 Sep 2026"), at("2026-11-21T09:41:00Z", "4 min ago")
	return admin.Members{Org: "Acme", CSRF: csrf, Sort: "name", Dir: "asc", Found: "5 members",
		Roles: []ui.Option{{Value: "", Label: "All roles", Selected: true}, {Value: "member", Label: "member"}, {Value: "owner", Label: "owner"}},
		Columns: []admin.MemberColumn{{Label: "Name", Href: "/admin/members?dir=desc", Sorted: "ascending"},
			{Label: "Role", Href: "/admin/members?sort=role"}, {Label: "Joined", Href: "/admin/members?sort=joined", Wide: true}},
		Members: []admin.MemberRow{
			{ID: "u1", Name: "Ada", Email: "ada@acme.test", Role: "admin", You: true, Joined: joined, Seen: seen},
			{ID: "u2", Name: "Max", Email: "max@acme.test", Role: "member", Joined: joined},
			{ID: "u3", Name: "Mia", Email: "mia.with.a.very.long.address@sales.europe.acme.test", Role: "member", Joined: joined, Seen: seen},
			{ID: "u4", Name: "Olga", Email: "olga@acme.test", Role: "owner", Joined: joined, Seen: seen},
			{ID: "u5", Name: "Ray", Email: "ray@acme.test", Role: "reviewer", Joined: joined, Seen: seen},
		},
		Before: "/admin/members", After: "/admin/members?page=3",
		Invitations: []admin.OpenInvitation{
			{ID: "i1", Email: "bob@example.com", Role: "member", Inviter: "Ada", Made: at("2026-11-20T09:00:00Z", "20 Nov 2026"), Expires: at("2026-11-27T09:00:00Z", "27 Nov 2026")},
			{ID: "i2", Email: "gia@globex.test", Role: "reviewer", Made: at("2026-11-10T09:00:00Z", "10 Nov 2026"), Expires: at("2026-11-17T09:00:00Z", "17 Nov 2026"), Expired: true},
		},
		Invite: admin.InviteForm{Roles: roles("member: chats")}}
}

// justInvited is the page that shows a link, and a second form that was refused.
func justInvited(mail admin.Mail) admin.Members {
	m := members()
	m.Members, m.Invitations, m.Text, m.Filtered, m.Found, m.Before, m.After = nil, nil, "unicorn", true, "0 members", "", ""
	m.Invited = &admin.Invited{Email: "bob@example.com", Role: "member", Mail: mail, Expires: at("2026-11-28T09:00:00Z", "28 Nov 2026"),
		Link: "https://heddle.test/auth/login?invitation=q7Zr1bC9pYw3nXk5TtVdJ2mL8sHgFe4aUo6iRyQxB0c"}
	m.Invite.Email, m.Invite.Errors = "nobody", map[string]string{"email": "Must be an e-mail address.", "role": "Must be a role that is not above your own."}
	return m
}

func member() admin.Member {
	return admin.Member{ID: "u3", Name: "Mia", Email: "mia@acme.test", Role: "member", Org: "Acme", CSRF: csrf, Roles: roles("member: chats"),
		Joined: at("2026-09-02T08:00:00Z", "2 Sep 2026"), Seen: at("2026-11-21T09:41:00Z", "4 min ago"), Keys: "2 keys", KeysHref: "/admin/keys?person=mia%40acme.test"}
}

func oneself() admin.Member {
	m := member()
	m.Name, m.You, m.Keys, m.KeysHref, m.Seen = "Ada", true, "0 keys", "", ui.Time{}
	return m
}

func above() admin.Member {
	m := member()
	m.Name, m.Role, m.Locked = "Olga", "owner", "Only an owner can change an owner."
	return m
}

func everyonesKeys() admin.Keys {
	made := at("2026-10-02T08:00:00Z", "2 Oct 2026")
	return admin.Keys{Org: "Acme", Person: "acme", Found: "3 keys", CSRF: csrf, Keys: []admin.Key{
		{ID: "k1", Name: "nightly report", Owner: "Ada", Email: "ada@acme.test", Prefix: "hdl_abcdefghijkl", Scopes: []string{"run", "admin"}, Created: made,
			Used: at("2026-11-21T09:41:00Z", "4 min ago"), Expires: at("2027-01-02T08:00:00Z", "2 Jan 2027")},
		{ID: "k2", Name: "laptop", Owner: "Mia", Email: "mia.with.a.very.long.address@sales.europe.acme.test", Prefix: "hdl_mnopqrstuvwx", Scopes: []string{"run"}, Created: made},
		{ID: "k3", Name: "old", Owner: "Max", Email: "max@acme.test", Prefix: "hdl_yz234567abcd", Scopes: []string{"run"}, Created: made,
			Expires: at("2026-11-02T08:00:00Z", "2 Nov 2026"), Expired: true},
	}}
}

// memberPages are the pages of members, keys and the organisation by path.
func memberPages(p func(title string) layout.Page) map[string]templ.Component {
	saved := p("Organisation")
	saved.Flash = []ui.Flash{{Tone: ui.Good, Text: "The rule was saved."}}
	return map[string]templ.Component{
		"/admin/members":             admin.MembersPage(p("Members"), administration("members"), members()),
		"/admin/members/invited":     admin.MembersPage(p("Members"), administration("members"), justInvited(admin.MailNone)),
		"/admin/members/u3":          admin.MemberPage(p("Mia"), administration("members"), member()),
		"/admin/members/u1":          admin.MemberPage(p("Ada"), administration("members"), oneself()),
		"/admin/members/u4":          admin.MemberPage(p("Olga"), administration("members"), above()),
		"/admin/keys":                admin.KeysPage(p("API keys of everyone"), administration("keys"), everyonesKeys()),
		"/admin/keys/none":           admin.KeysPage(p("API keys of everyone"), administration("keys"), admin.Keys{Org: "Acme", Found: "0 keys", CSRF: csrf}),
		"/admin/organisation":        admin.OrganisationPage(saved, administration("organisation"), admin.Organisation{Name: "Acme", Slug: "acme", FourEyes: true, CSRF: csrf}),
		"/admin/organisation/errors": admin.OrganisationPage(p("Organisation"), administration("organisation"), admin.Organisation{Slug: "acme", CSRF: csrf, Errors: map[string]string{"name": "Must have 1 to 80 characters.", "four_eyes": "Must be on or off."}}),
	}
}

// memberStates are the same pages by the name of their golden file.
func memberStates(p layout.Page) map[string]templ.Component {
	page := func(title string) layout.Page { q := p; q.Title = title; return q }
	return map[string]templ.Component{
		"page-members":        admin.MembersPage(page("Members"), administration("members"), members()),
		"page-members-mailed": admin.MembersPage(page("Members"), administration("members"), justInvited(admin.MailSent)),
		"page-member":         admin.MemberPage(page("Mia"), administration("members"), member()),
		"page-member-self":    admin.MemberPage(page("Ada"), administration("members"), oneself()),
		"page-member-above":   admin.MemberPage(page("Olga"), administration("members"), above()),
		"page-admin-keys":     admin.KeysPage(page("API keys of everyone"), administration("keys"), everyonesKeys()),
		"page-organisation":   admin.OrganisationPage(page("Organisation"), administration("organisation"), admin.Organisation{Name: "Acme", Slug: "acme", FourEyes: true, CSRF: csrf}),
	}
}

// memberShots are the pages that are photographed.
func memberShots() map[string]string {
	return map[string]string{"members": "/admin/members", "members-invited": "/admin/members/invited", "member": "/admin/members/u3", "member-above": "/admin/members/u4",
		"admin-keys": "/admin/keys", "organisation": "/admin/organisation"}
}
