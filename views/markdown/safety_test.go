package markdown

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// attacks holds one case per way that text has become script elsewhere.
var attacks = []string{
	`<script>alert(1)</script>`, `<img src=x onerror=alert(1)>`, `<svg/onload=alert(1)>`, `<iframe srcdoc="<script>alert(1)</script>">`,
	`[x](javascript:alert(1))`, `[x](JaVaScRiPt:alert(1))`, "[x](java\tscript:alert(1))", `[x](&#106;avascript:alert(1))`, `[x](javascript&colon;alert(1))`,
	`[x](vbscript:msgbox(1))`, `[x](data:text/html,<script>alert(1)</script>)`, `[x](//evil.example)`, `[x](/\evil.example)`, `[x](file:///etc/passwd)`,
	`[x](https://user:pw@evil.example)`, `<javascript:alert(1)>`, `![x](javascript:alert(1))`, `![" onerror="alert(1)](x)`, `[x](https://a.example "onmouseover=alert(1)")`,
	`[x](https://a.example/"onmouseover="alert(1))`, "```\"><script>alert(1)</script>\nx\n```", "```js onload=alert(1)\n</code></pre><script>alert(1)</script>\n```",
	"`</code><script>alert(1)</script>`", `<a href="javascript:alert(1)">x</a>`, `<math><mi//xlink:href="data:x,<script>alert(1)</script>">`,
	`<details open ontoggle=alert(1)>`, `<form action=//evil.example><button>go</button></form>`, `<style>@import '//evil.example'</style>`,
	`<base href=//evil.example>`, `<meta http-equiv=refresh content=0>`, "| <script>alert(1)</script> |\n|---|\n| `</td><script>` |",
	"[x]: javascript:alert(1)\n\n[x]", "<!--><script>alert(1)</script>-->", "<![CDATA[<script>alert(1)</script>]]>", "<x hx-on:click=alert(1) hx-get=/ onclick=1>",
	"\x00<script>\x00alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
	"<textarea></textarea><script>alert(1)</script>", "[a](https://x.example/\u202e)", "<button class=copy data-copy=code form=thread-action formaction=/x>",
}

// allowedAttrs is what may appear, by element.
var allowedAttrs = map[string][]string{
	"a": {"href", "rel", "target"}, "ol": {"start"}, "th": {"align"}, "td": {"align"},
	"div": {"class", "role", "aria-label", "tabindex"}, "pre": {"class", "role", "aria-label", "tabindex"},
	"span": {"class", "role", "aria-label"}, "button": {"class", "type", "data-copy"},
}

var allowedElements = []string{"html", "head", "body", "p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "h1", "h2", "h3", "h4",
	"h5", "h6", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "div", "span", "button", "a"}

// harmless parses markup as a browser would and reports what must not be there.
func harmless(t testing.TB, src, markup string) {
	root, err := html.Parse(strings.NewReader(markup))
	require.NoError(t, err)
	for n := range root.Descendants() {
		switch n.Type {
		case html.ElementNode:
			require.Contains(t, allowedElements, n.Data, "%q gave %q", src, markup)
			for _, a := range n.Attr {
				require.True(t, slices.Contains(allowedAttrs[n.Data], a.Key), "%s %s: %q gave %q", n.Data, a.Key, src, markup)
				if a.Key == "href" {
					u, err := url.Parse(a.Val)
					require.NoError(t, err, "%q gave %q", src, markup)
					require.Contains(t, []string{"http", "https", "mailto"}, u.Scheme, "%q gave %q", src, markup)
				}
			}
		case html.CommentNode, html.DoctypeNode:
			require.Fail(t, "a comment came through", "%q gave %q", src, markup)
		}
	}
}

func TestNoAttackBecomesMarkup(t *testing.T) {
	r := New(Options{})
	for _, attack := range attacks {
		for _, frame := range []string{"%", "> %", "- %\n\n  %", "| a |\n|---|\n| % |", "**%**", "# %", "[%](https://a.example)", "```\n%"} {
			src := strings.ReplaceAll(frame, "%", attack)
			harmless(t, src, r.Render(src).String())
		}
	}
}

func TestSanitisedMarkupIsAFixedPoint(t *testing.T) {
	r := New(Options{})
	for _, src := range append(slices.Clone(attacks), "a & b < c > d \" '", "```go\nx < y\n```", "| a |\n|--|\n| 1 |") {
		once := r.Render(src).String()
		require.Equal(t, once, r.policy.Sanitize(once), "%q", src)
	}
}

// TestBombsAreCheap feeds what parsers are known to choke on. The bound is
// loose because machines differ; without the limits these take seconds.
func TestBombsAreCheap(t *testing.T) {
	r := New(Options{})
	const n = 60_000
	for name, src := range map[string]string{
		"quotes": strings.Repeat(">", n), "nested lists": strings.Repeat("- ", n/2), "brackets": strings.Repeat("[", n), "pairs": strings.Repeat("[]", n/2),
		"links": strings.Repeat("[a](", n/4), "images": strings.Repeat("![a](b", n/6), "stars": strings.Repeat("*a ", n/3), "mixed": strings.Repeat("*a_ ", n/4),
		"ticks": func() string {
			var b strings.Builder
			for i := 1; b.Len() < n; i++ {
				b.WriteString(strings.Repeat("`", i) + " ")
			}
			return b.String()
		}(),
		"autolinks": strings.Repeat("<http://", n/8), "urls": strings.Repeat("http://a.", n/9), "mails": strings.Repeat("a@", n/2), "entities": strings.Repeat("&#", n/2),
		"table": "|" + strings.Repeat("a|", 2000) + "\n|" + strings.Repeat("-|", 2000) + "\n" + strings.Repeat("|"+strings.Repeat("b|", 20)+"\n", 400),
		"pipes": strings.Repeat("|", n), "stairs": func() string {
			var b strings.Builder
			for i := 0; b.Len() < n; i++ {
				b.WriteString(strings.Repeat(" ", i*2) + "- a\n")
			}
			return b.String()
		}(),
		"heavy code": "```js\n" + strings.Repeat("/(a+)+$/ \"${\\", 1500) + "\n```", "one line of code": "```sql\n" + strings.Repeat("'", n) + "\n```",
		"many ends": strings.Repeat("x\n===\n", n/6), "tildes": strings.Repeat("~~a", n/3), "backslashes": strings.Repeat("\\", n), "blank quotes": strings.Repeat(">\n", n/2),
		"escalating quotes": func() string {
			var b strings.Builder
			for i := 0; b.Len() < n; i++ {
				b.WriteString(strings.Repeat(">", i%200) + "a\n")
			}
			return b.String()
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			out := r.Render(src).String()
			took := time.Since(started)
			t.Logf("%s: %d bytes to %d in %s", name, len(src), len(out), took.Round(time.Millisecond))
			require.Less(t, took, 1500*time.Millisecond)
		})
	}
}

// FuzzRender parses, sanitises and parses again. Pauses in its count of
// executions are the fuzzer's own minimising.
func FuzzRender(f *testing.F) {
	for _, a := range attacks {
		f.Add(a)
	}
	for _, p := range pieces {
		f.Add(p)
	}
	r := New(Options{})
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 8<<10 {
			return
		}
		done := make(chan string, 1)
		go func() { done <- r.Render(src).String() }()
		var out string
		select {
		case out = <-done:
		case <-time.After(2 * time.Second):
			require.Fail(t, "rendering does not end", "%q", src)
		}
		harmless(t, src, out)
		require.Equal(t, out, r.policy.Sanitize(out))
		closed, _ := Split(src)
		require.True(t, slices.Equal(closed, All(src)[:len(closed)]))
	})
}
