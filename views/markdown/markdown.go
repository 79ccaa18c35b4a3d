// Package markdown turns text written by models, tools and documents into HTML
// that is safe to show. One renderer serves the page, the socket and exports,
// so that a patch and a reload agree byte for byte.
//
// Invariants: no HTML of the input survives as HTML (the parser does not know
// it, so it shows as text); links are http, https or mailto and open elsewhere
// without a referrer, or lead to a document of this server; nothing is ever loaded from a remote address (an image
// becomes a link); every result has passed an allow-list; the work per call is
// bounded by [MaxBytes], [MaxBlockBytes] and a nesting limit.
//
// Reference definitions ("[1]: https://…") are not part of this dialect: they
// would let a later line change how an earlier one looks, so they stay visible
// as text with a link. Footnotes are left out for the same reason.
//
// Views and handlers may import it.
package markdown

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/util"
)

// HTML is markup that has passed the allow-list. Only this package makes a
// value that is not empty; templates print it as the component it is.
type HTML struct{ safe string }

// Render writes the markup. It makes HTML a templ component and is the only
// door through which raw markup of foreign text enters a page.
func (h HTML) Render(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, h.safe)
	return err
}

// String gives the markup, for patches and tests.
func (h HTML) String() string { return h.safe }

// Empty reports whether there is nothing to show.
func (h HTML) Empty() bool { return h.safe == "" }

// Options of a Renderer.
type Options struct {
	// HeadingShift is added to the level of each heading (at most 6), so that
	// a document's first level does not compete with the page's own. Range 0
	// to 5.
	HeadingShift int
	// MergeTop treats headings of the first level like those of the second:
	// models begin with either, and a page must not skip a level.
	MergeTop bool
}

// ForMessages suits answers that stand below a heading of the second level.
func ForMessages() Options { return Options{HeadingShift: 1, MergeTop: true} }

// ForDocuments suits documents whose title is the page's first heading.
func ForDocuments() Options { return Options{HeadingShift: 1} }

// Renderer renders Markdown. It holds no state of a document and is safe for
// concurrent use.
type Renderer struct {
	engine goldmark.Markdown
	policy *bluemonday.Policy
}

// New makes a renderer.
func New(opts Options) *Renderer {
	nodes := &nodeRenderer{shift: min(max(opts.HeadingShift, 0), 5), mergeTop: opts.MergeTop}
	engine := goldmark.New(
		goldmark.WithParser(parser.NewParser(
			parser.WithBlockParsers(blockParsers()...),
			parser.WithInlineParsers(inlineParsers()...),
		)),
		goldmark.WithExtensions(
			extension.NewLinkify(extension.WithLinkifyAllowedProtocols([]string{"http", "https", "mailto"})),
			extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
			extension.Strikethrough,
			extension.TaskList,
		),
		goldmark.WithRendererOptions(
			html.WithHardWraps(),
			renderer.WithNodeRenderers(util.Prioritized(nodes, 10)),
		),
	)
	return &Renderer{engine: engine, policy: policy()}
}

// Render renders a whole text: the blocks of [All], one after the other.
func (r *Renderer) Render(src string) HTML {
	var b strings.Builder
	for _, block := range All(src) {
		b.WriteString(r.Block(block).safe)
	}
	return HTML{b.String()}
}

// Block renders one block on its own. The result depends on nothing but the
// block's source.
func (r *Renderer) Block(b Block) HTML {
	if strings.TrimSpace(b.Source) == "" {
		return HTML{}
	}
	if tooComplex(b.Source) {
		return plain(b.Source)
	}
	var out bytes.Buffer
	if err := r.engine.Convert([]byte(b.Source), &out); err != nil {
		// Writing to memory cannot fail; a renderer that reports an error all
		// the same must not take the text with it.
		return plain(b.Source)
	}
	return HTML{r.policy.SanitizeReader(&out).String()}
}

// blockParsers is CommonMark without HTML blocks.
func blockParsers() []util.PrioritizedValue {
	return []util.PrioritizedValue{
		util.Prioritized(parser.NewSetextHeadingParser(), 100),
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(parser.NewListParser(), 300),
		util.Prioritized(parser.NewListItemParser(), 400),
		util.Prioritized(parser.NewCodeBlockParser(), 500),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
		util.Prioritized(parser.NewBlockquoteParser(), 800),
		util.Prioritized(parser.NewParagraphParser(), 1000),
	}
}

// inlineParsers is CommonMark without raw HTML.
func inlineParsers() []util.PrioritizedValue {
	return []util.PrioritizedValue{
		util.Prioritized(parser.NewCodeSpanParser(), 100),
		util.Prioritized(parser.NewLinkParser(), 200),
		util.Prioritized(parser.NewAutoLinkParser(), 300),
		util.Prioritized(parser.NewEmphasisParser(), 500),
	}
}
