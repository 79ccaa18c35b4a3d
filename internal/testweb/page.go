package testweb

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"golang.org/x/net/html"

	"github.com/heddle/heddle/realtime"
)

// Page is a page as a browser holds it: loaded once, then patched.
type Page struct {
	tb  testing.TB
	doc *goquery.Document
	// Status is the HTTP status it came with.
	Status int
}

// Page loads a page.
func (s *Site) Page(c *http.Client, path string) *Page {
	s.tb.Helper()
	a := s.Get(c, path, "Accept", "text/html")
	return s.PageOf(a)
}

// PageOf reads an answer as a page.
func (s *Site) PageOf(a Answer) *Page {
	s.tb.Helper()
	doc, err := goquery.NewDocumentFromReader(strings.NewReader(a.Body))
	if err != nil {
		s.tb.Fatalf("testweb: reading a page: %v", err)
	}
	return &Page{tb: s.tb, doc: doc, Status: a.Status}
}

// Clone gives a second browser's copy of the page as it is now.
func (p *Page) Clone() *Page {
	return &Page{tb: p.tb, doc: goquery.CloneDocument(p.doc), Status: p.Status}
}

// At gives the place in the thread's log that the page shows.
func (p *Page) At() realtime.Position {
	p.tb.Helper()
	main := p.doc.Find("main[data-seq]")
	seq, err := strconv.ParseInt(main.AttrOr("data-seq", ""), 10, 64)
	if err != nil {
		p.tb.Fatalf("testweb: the page (%d) is of no thread", p.Status)
	}
	return realtime.Position{Seq: seq, Epoch: main.AttrOr("data-epoch", "")}
}

// Busy reports whether the page says that a run works or is about to.
func (p *Page) Busy() bool {
	p.tb.Helper()
	state, ok := p.doc.Find("#status").Attr("data-run")
	if !ok {
		p.tb.Fatalf("testweb: the page (%d) has no line of status", p.Status)
	}
	return state == "working" || state == "continuing" || state == "stopping"
}

// Find selects elements, as CSS does.
func (p *Page) Find(selector string) *goquery.Selection { return p.doc.Find(selector) }

// Text gives the words of the elements a selector finds, with single spaces.
func (p *Page) Text(selector string) string {
	return strings.Join(strings.Fields(p.doc.Find(selector).Text()), " ")
}

// Patch applies a view frame as the page's script does: a region that is there
// is replaced, one that is not goes to the end of its place.
func (p *Page) Patch(payload json.RawMessage) realtime.Patch {
	p.tb.Helper()
	var patch realtime.Patch
	if err := json.Unmarshal(payload, &patch); err != nil {
		p.tb.Fatalf("testweb: reading a patch: %v", err)
	}
	for _, r := range patch.Regions {
		present := p.byID(r.ID)
		switch {
		case r.Remove:
			present.Remove()
		case present.Length() > 0:
			present.ReplaceWithHtml(r.HTML)
		case r.Into != "":
			place := p.byID(r.Into)
			if place.Length() == 0 {
				p.tb.Fatalf("testweb: region %s goes into %s, which is not on the page", r.ID, r.Into)
			}
			place.AppendHtml(r.HTML)
		}
	}
	return patch
}

func (p *Page) byID(id string) *goquery.Selection {
	return p.doc.Find("*").FilterFunction(func(_ int, s *goquery.Selection) bool { return s.AttrOr("id", "") == id })
}

// Region gives the normal form of an element: one line per tag and text,
// attributes sorted, spaces single, the words of times left out since they tell
// how long ago something was when it was rendered.
func (p *Page) Region(id string) string {
	p.tb.Helper()
	found := p.byID(id)
	if found.Length() != 1 {
		p.tb.Fatalf("testweb: the page has %d elements with the id %s", found.Length(), id)
	}
	var out strings.Builder
	normal(&out, found.Get(0), 0)
	return out.String()
}

func normal(out *strings.Builder, n *html.Node, depth int) {
	indent := strings.Repeat(" ", depth)
	switch n.Type {
	case html.TextNode:
		if text := strings.Join(strings.Fields(n.Data), " "); text != "" {
			out.WriteString(indent + text + "\n")
		}
	case html.ElementNode:
		attrs := make([]string, 0, len(n.Attr))
		for _, a := range n.Attr {
			if n.Data == "time" && (a.Key == "datetime" || a.Key == "title") {
				continue
			}
			attrs = append(attrs, a.Key+"="+strconv.Quote(a.Val))
		}
		slices.Sort(attrs)
		out.WriteString(indent + "<" + strings.Join(append([]string{n.Data}, attrs...), " ") + ">\n")
		if n.Data == "time" {
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			normal(out, c, depth+1)
		}
	default: // comments show nothing
	}
}
