package markdown

import (
	"regexp"

	"github.com/microcosm-cc/bluemonday"
)

// policy is the allow-list: exactly what the renderer writes, so that a
// mistake there cannot become markup.
func policy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote",
		"h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li",
		"table", "thead", "tbody", "tr", "th", "td", "div", "span", "button")

	// Beside foreign addresses, the documents of this server: no other page of
	// ours, since an answer must not lead a reader into an action.
	p.AllowAttrs("href").Matching(regexp.MustCompile(`^(?:https?://|mailto:|/knowledge/[a-z0-9][a-z0-9-]{0,99}$)`)).OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.RequireParseableURLs(true)
	p.AllowRelativeURLs(true)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AddTargetBlankToFullyQualifiedLinks(true)

	exact := func(words string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + words + `)$`) }
	p.AllowAttrs("start").Matching(exact(`\d{1,9}`)).OnElements("ol")
	p.AllowAttrs("align").Matching(exact(`left|center|right`)).OnElements("th", "td")
	p.AllowAttrs("class").Matching(exact(`code|code-head|table-wrap`)).OnElements("div")
	p.AllowAttrs("class").Matching(exact(`code-lang|task|task task-done|c-(?:kw|type|str|num|com|fn|ins|del)`)).OnElements("span")
	p.AllowAttrs("class").Matching(exact(`code-body|plain`)).OnElements("pre")
	p.AllowAttrs("class").Matching(exact(`copy`)).OnElements("button")
	p.AllowAttrs("type").Matching(exact(`button`)).OnElements("button")
	p.AllowAttrs("data-copy").Matching(exact(`code`)).OnElements("button")
	p.AllowAttrs("role").Matching(exact(`group`)).OnElements("div", "pre")
	p.AllowAttrs("role").Matching(exact(`img`)).OnElements("span")
	p.AllowAttrs("tabindex").Matching(exact(`0`)).OnElements("div", "pre")
	p.AllowAttrs("aria-label").Matching(exact(`Table|Code: [\w+#. /()-]{1,40}`)).OnElements("div", "pre")
	p.AllowAttrs("aria-label").Matching(exact(`done|open`)).OnElements("span")
	return p
}
