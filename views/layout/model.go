// Package layout is the frame around every page: the document, the rail, the
// phone's bar, notices, the sheet of shortcuts.
//
// [Page] is what a frame needs to know; one function in handlers fills it, no
// page rebuilds it. No inline script or style: the Content-Security-Policy is
// script-src 'self'. Views and handlers may import it.
package layout

import (
	"strconv"

	"github.com/heddle/heddle/static"
	"github.com/heddle/heddle/views/ui"
)

// Theme is the person's choice of colours.
type Theme string

// The themes.
const (
	ThemeSystem Theme = "system"
	ThemeLight  Theme = "light"
	ThemeDark   Theme = "dark"
)

// Themes lists the choices in the order they are shown.
func Themes() []Theme { return []Theme{ThemeSystem, ThemeLight, ThemeDark} }

// Label is the theme's name on the page.
func (t Theme) Label() string {
	switch t {
	case ThemeLight:
		return "Light"
	case ThemeDark:
		return "Dark"
	default:
		return "As the system"
	}
}

// Icon names the theme's sign.
func (t Theme) Icon() string {
	switch t {
	case ThemeLight:
		return "sun"
	case ThemeDark:
		return "moon"
	default:
		return "computer"
	}
}

// scheme is the value of data-theme; the system's choice has none.
func (t Theme) scheme() string {
	if t == ThemeLight || t == ThemeDark {
		return string(t)
	}
	return ""
}

// Page is everything the frame needs.
type Page struct {
	// Title stands before the product's name in the browser's tab.
	Title string
	// Nonce is the response's CSP nonce; the page's own files need none, it is
	// there for what a later page cannot do without.
	Nonce string
	// CSRF binds session and organisation; every form and fetch carries it.
	CSRF   string
	Theme  Theme
	Org    Org
	Orgs   []Org // all the person belongs to
	User   User
	Nav    []NavItem
	Flash  []ui.Flash
	Assets *static.Assets
	// LetterKeysOff tells the scripts that shortcuts of a single key must not work.
	LetterKeysOff bool
	// Refresh makes the page reload itself, only without script, after so many
	// seconds: a run is working. 0 means never.
	Refresh int
}

// Org is an organisation as the frame shows it.
type Org struct {
	ID, Name string
}

// User is the signed-in person.
type User struct {
	ID, Name, Email string
	// Role is the word for the person's standing in the organisation.
	Role string
}

// initial gives the letter of the person's sign.
func (u User) initial() string {
	for _, r := range u.Name + u.Email {
		return string(r)
	}
	return "?"
}

// NavItem is one room of the product.
type NavItem struct {
	Label, Icon, Href string
	Active            bool
	// Count is shown as a small number; empty for none. CountID names the number
	// for patches.
	Count, CountID string
}

// ReviewCount names the number of requests that wait, in the rail; only
// reviewers have it.
const ReviewCount = "review-count"

// CountText is a number as the rail shows it; none is no text.
func CountText(n int) string {
	switch {
	case n <= 0:
		return ""
	case n > 99:
		return "99+"
	default:
		return strconv.Itoa(n)
	}
}

func (p Page) documentTitle() string {
	if p.Title == "" {
		return "Heddle"
	}
	return p.Title + " · Heddle"
}

// htmxConfig turns off everything of the library that we do not use: it only
// moves markup that dom.js hands to it.
const htmxConfig = `{"history":false,"includeIndicatorCSS":false,"mode":"same-origin","extensions":"heddle","defaultSwap":"none","implicitInheritance":false}`
