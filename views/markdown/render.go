package markdown

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark/ast"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// nodeRenderer writes the nodes whose markup is ours: headings, links, images,
// code and tables.
type nodeRenderer struct {
	shift    int
	mergeTop bool
}

// RegisterFuncs implements renderer.NodeRenderer.
func (n *nodeRenderer) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindHeading, n.heading)
	r.Register(ast.KindLink, n.link)
	r.Register(ast.KindAutoLink, n.autoLink)
	r.Register(ast.KindImage, n.image)
	r.Register(ast.KindFencedCodeBlock, n.fenced)
	r.Register(ast.KindCodeBlock, n.indented)
	r.Register(east.KindTable, n.table)
	r.Register(east.KindTaskCheckBox, n.task)
}

func (n *nodeRenderer) heading(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	level := node.(*ast.Heading).Level
	if n.mergeTop {
		level = max(level, 2)
	}
	level = min(level+n.shift, 6)
	_, _ = w.WriteString("<")
	if !entering {
		_, _ = w.WriteString("/")
	}
	_, _ = w.WriteString("h" + string(rune('0'+level)) + ">")
	return ast.WalkContinue, nil
}

func (n *nodeRenderer) link(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	target, ok := safeURL(string(node.(*ast.Link).Destination))
	switch {
	case !ok:
	case entering:
		openLink(w, target)
	default:
		_, _ = w.WriteString("</a>")
	}
	return ast.WalkContinue, nil
}

func (n *nodeRenderer) autoLink(w util.BufWriter, src []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	link := node.(*ast.AutoLink)
	label, dest := link.Label(src), string(link.URL(src))
	if link.AutoLinkType == ast.AutoLinkEmail && !strings.HasPrefix(strings.ToLower(dest), "mailto:") {
		dest = "mailto:" + dest
	}
	target, ok := safeURL(dest)
	if ok {
		openLink(w, target)
	}
	_, _ = w.Write(util.EscapeHTML(label))
	if ok {
		_, _ = w.WriteString("</a>")
	}
	return ast.WalkContinue, nil
}

// image shows a link in the picture's place: loading it would tell a foreign
// server what was read here.
func (n *nodeRenderer) image(w util.BufWriter, src []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	target, ok := safeURL(string(node.(*ast.Image).Destination))
	text := strings.TrimSpace(plainText(node, src))
	if text == "" {
		text = "picture"
	}
	if !ok {
		_, _ = w.Write(util.EscapeHTML([]byte(text)))
		return ast.WalkSkipChildren, nil
	}
	// A link in a link is not HTML; the outer one stands.
	inLink := false
	for p := node.Parent(); p != nil; p = p.Parent() {
		inLink = inLink || p.Kind() == ast.KindLink
	}
	if !inLink {
		openLink(w, target)
	}
	_, _ = w.Write(util.EscapeHTML([]byte(text + " (picture)")))
	if !inLink {
		_, _ = w.WriteString("</a>")
	}
	return ast.WalkSkipChildren, nil
}

func (n *nodeRenderer) table(w util.BufWriter, _ []byte, _ ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		_, _ = w.WriteString(`<div class="table-wrap" role="group" aria-label="Table" tabindex="0"><table>` + "\n")
	} else {
		_, _ = w.WriteString("</table></div>\n")
	}
	return ast.WalkContinue, nil
}

func (n *nodeRenderer) task(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		if node.(*east.TaskCheckBox).IsChecked {
			_, _ = w.WriteString(`<span class="task task-done" role="img" aria-label="done"></span> `)
		} else {
			_, _ = w.WriteString(`<span class="task" role="img" aria-label="open"></span> `)
		}
	}
	return ast.WalkContinue, nil
}

func openLink(w util.BufWriter, target string) {
	_, _ = w.WriteString(`<a href="`)
	_, _ = w.Write(util.EscapeHTML([]byte(target)))
	if ownDocument.MatchString(target) {
		_, _ = w.WriteString(`" rel="noreferrer nofollow">`)
		return
	}
	_, _ = w.WriteString(`" rel="noopener noreferrer nofollow" target="_blank">`)
}

// ownDocument is the address of a document of this server, the one kind of
// local link an answer may hold.
var ownDocument = regexp.MustCompile(`^/knowledge/[a-z0-9][a-z0-9-]{0,99}$`)

// safeURL accepts absolute http and https addresses with a host, mailto, and
// documents of this server.
func safeURL(raw string) (string, bool) {
	raw = strings.TrimSpace(string(util.UnescapePunctuations([]byte(raw))))
	if ownDocument.MatchString(raw) {
		return raw, true
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || !slices.Contains([]string{"http", "https", "mailto"}, u.Scheme) {
		return "", false
	}
	if u.Scheme == "mailto" {
		return u.String(), u.Opaque != ""
	}
	return u.String(), u.Host != "" && u.User == nil
}

// plainText collects the text below node.
func plainText(node ast.Node, src []byte) string {
	var b strings.Builder
	_ = ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch t := n.(type) {
		case *ast.Text:
			b.Write(t.Segment.Value(src))
		case *ast.String:
			b.Write(t.Value)
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}
