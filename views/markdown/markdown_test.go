package markdown

import (
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"
)

func render(t *testing.T, src string) (*goquery.Document, string) {
	t.Helper()
	out := New(ForMessages()).Render(src).String()
	doc, err := goquery.NewDocumentFromReader(strings.NewReader(out))
	require.NoError(t, err)
	return doc, out
}

func TestGitHubDialectRenders(t *testing.T) {
	doc, out := render(t, "# Title\n\n**b** *i* ~~s~~ `c`\nnext line\n\n- [x] done\n- [ ] open\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n3. three\n4. four\n")
	require.Equal(t, "Title", doc.Find("h3").Text())
	require.Equal(t, "b", doc.Find("strong").Text())
	require.Equal(t, "i", doc.Find("em").Text())
	require.Equal(t, "s", doc.Find("del").Text())
	require.Equal(t, "c", doc.Find("p code").Text())
	require.Equal(t, 1, doc.Find("p br").Length(), out)
	require.Equal(t, 1, doc.Find(`.task-done[aria-label="done"]`).Length(), out)
	require.Equal(t, 1, doc.Find(`.task[aria-label="open"]`).Length())
	require.Equal(t, "2", doc.Find(`td[align="right"]`).Text(), out)
	require.Equal(t, 1, doc.Find(`.table-wrap[tabindex="0"][role="group"] table`).Length())
	require.Equal(t, "3", doc.Find("ol").AttrOr("start", ""))
}

func TestLinksOpenElsewhereWithoutReferrer(t *testing.T) {
	doc, out := render(t, "[a](https://a.example/?x=1&y=2) https://b.example/p <me@c.example> www.d.example")
	links := doc.Find("a")
	require.Equal(t, 4, links.Length(), out)
	links.Each(func(_ int, a *goquery.Selection) {
		if strings.HasPrefix(a.AttrOr("href", ""), "mailto:") {
			return // opens a mail program, not a page
		}
		for _, word := range []string{"noopener", "nofollow", "noreferrer"} {
			require.Contains(t, strings.Fields(a.AttrOr("rel", "")), word, out)
		}
		require.Equal(t, "_blank", a.AttrOr("target", ""), out)
	})
	require.Equal(t, "https://a.example/?x=1&y=2", links.First().AttrOr("href", ""))
	require.Equal(t, "mailto:me@c.example", links.Eq(2).AttrOr("href", ""))
}

func TestImagesAreNeverLoaded(t *testing.T) {
	for _, src := range []string{
		"![cat](https://evil.example/c.png?q=secret)",
		"[![cat](https://evil.example/c.png)](https://a.example)",
		"![cat][ref]\n\n[ref]: https://evil.example/c.png",
		"![cat](data:image/png;base64,AAAA)", "![cat](//evil.example/c.png)", "<img src=https://evil.example/x>",
	} {
		doc, out := render(t, src)
		require.Zero(t, doc.Find("img, picture, svg, source, video").Length(), out)
		require.NotEmpty(t, strings.TrimSpace(doc.Text()), out)
	}
	doc, out := render(t, "![a cat](https://pics.example/c.png)")
	require.Equal(t, "a cat (picture)", doc.Find(`a[href="https://pics.example/c.png"]`).Text(), out)
}

func TestReferenceDefinitionsStayVisible(t *testing.T) {
	doc, out := render(t, "see [docs][1]\n\n[1]: https://docs.example/x")
	require.Contains(t, doc.Text(), "see [docs][1]", out)
	require.Equal(t, "https://docs.example/x", doc.Find("a").AttrOr("href", ""), out)
}

func TestCodeHasLanguageCopyButtonAndColours(t *testing.T) {
	doc, out := render(t, "```go\nfunc main() { // hi\n\tx := \"<b>\"\n}\n```\n")
	require.Equal(t, "Go", doc.Find(".code .code-lang").Text())
	require.Equal(t, 1, doc.Find(`.code button.copy[type="button"][data-copy="code"]`).Length(), out)
	require.Equal(t, 1, doc.Find(`pre.code-body[tabindex="0"][role="group"][aria-label="Code: Go"]`).Length(), out)
	require.Equal(t, "func main() { // hi\n\tx := \"<b>\"\n}\n", doc.Find("pre code").Text())
	require.Equal(t, "func", doc.Find(".c-kw").First().Text(), out)
	require.Equal(t, `"<b>"`, doc.Find(".c-str").Text(), out)

	for info, label := range map[string]string{"": "Text", "nosuchthing": "nosuchthing", "c++": "C++", "\"><script>": "Text"} {
		doc, out := render(t, "```"+info+"\na < b\n```")
		require.Equal(t, label, doc.Find(".code-lang").Text(), out)
		require.Equal(t, "a < b\n", doc.Find("pre code").Text())
	}
}

func TestMarkupInTheTextShowsAsText(t *testing.T) {
	doc, out := render(t, "<script>alert(1)</script>\n\nx <b onclick=alert(1)>bold</b>\n\n<div>\n\n*in*\n\n</div>")
	require.Zero(t, doc.Find("script, b, [onclick]").Length(), out)
	require.Contains(t, doc.Text(), "<script>alert(1)</script>")
	require.Contains(t, doc.Text(), "<b onclick=alert(1)>bold</b>")
}
