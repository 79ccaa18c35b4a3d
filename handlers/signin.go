package handlers

import (
	"net/url"
	"strings"

	"github.com/a-h/templ"

	"github.com/heddle/heddle/auth/devidp"
	"github.com/heddle/heddle/views/account"
	"github.com/heddle/heddle/views/layout"
	"github.com/heddle/heddle/views/ui"
)

// SignIn renders the sign-in page; people are the demo's, in development only.
func (f *Frame) SignIn(l LoginPage, people []devidp.Person) templ.Component {
	p := layout.Page{Title: "Sign in", Nonce: l.Nonce, Theme: layout.Theme(l.Theme), Assets: f.assets}
	if l.Problem != "" {
		p.Flash = []ui.Flash{{Tone: ui.Bad, Text: l.Problem}}
	}
	var s account.SignIn
	for _, link := range l.Links {
		s.Providers = append(s.Providers, account.Provider{Label: link.Label, Href: link.URL, Icon: icon(link.Name)})
		if link.Name != devidp.ProviderName {
			continue
		}
		for _, person := range people {
			glue := "?"
			if strings.Contains(link.URL, "?") {
				glue = "&"
			}
			s.People = append(s.People, account.Person{
				Name: person.Name, Email: person.Email(), Role: string(person.Role), Org: person.OrgName,
				Href: link.URL + glue + "login_hint=" + url.QueryEscape(person.Email()),
			})
		}
	}
	return account.SignInPage(p, s)
}

func icon(provider string) string {
	if provider == "github" {
		return "github"
	}
	return "key"
}
