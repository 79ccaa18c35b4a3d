// Package demo holds what a development installation is filled with: the
// handbook of an invented shop, which the search tool reads, and questions
// whose best document is known, by which the search is tested.
//
// The names, numbers and rules in it are made up. The composition root, the
// seeding command and tests of the search import it; it imports the standard
// library only.
package demo

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed documents/*.md questions.json
var files embed.FS

// Document is one page of the handbook.
type Document struct {
	// Slug is the page's name in addresses: small letters, digits and hyphens.
	Slug  string
	Title string
	Tags  []string
	// Body is Markdown, without the title.
	Body string
}

// Question is a question in natural language and the slug of the document that
// a search must put first.
type Question struct {
	Question string `json:"question"`
	Slug     string `json:"slug"`
}

// Documents gives every page in the order of their slugs.
func Documents() ([]Document, error) {
	names, err := fs.Glob(files, "documents/*.md")
	if err != nil {
		return nil, fmt.Errorf("listing the demo documents: %w", err)
	}
	out := make([]Document, 0, len(names))
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading a demo document: %w", err)
		}
		doc, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("reading demo document %s: %w", name, err)
		}
		if doc.Slug+".md" != path.Base(name) {
			return nil, fmt.Errorf("reading demo document %s: its slug is %q", name, doc.Slug)
		}
		out = append(out, doc)
	}
	return out, nil
}

// Questions gives the fixed questions.
func Questions() ([]Question, error) {
	text, err := files.ReadFile("questions.json")
	if err != nil {
		return nil, fmt.Errorf("reading the demo questions: %w", err)
	}
	var out []Question
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("reading the demo questions: %w", err)
	}
	return out, nil
}

// parse reads front matter of "key: value" lines between two lines of three
// hyphens, then the body.
func parse(text string) (Document, error) {
	head, ok := strings.CutPrefix(text, "---\n")
	head, body, closed := strings.Cut(head, "\n---\n")
	if !ok || !closed {
		return Document{}, fmt.Errorf("the front matter is missing")
	}
	doc := Document{Body: strings.TrimSpace(body)}
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			doc.Title = value
		case "slug":
			doc.Slug = value
		case "tags":
			for tag := range strings.SplitSeq(value, ",") {
				doc.Tags = append(doc.Tags, strings.TrimSpace(tag))
			}
		default:
			return Document{}, fmt.Errorf("front matter knows title, slug and tags, not %q", key)
		}
	}
	if doc.Title == "" || doc.Slug == "" || len(doc.Tags) == 0 || doc.Body == "" {
		return Document{}, fmt.Errorf("title, slug, tags and body are required")
	}
	return doc, nil
}
