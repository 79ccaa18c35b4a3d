package store

import (
	"context"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Document is one page of an organisation's knowledge.
type Document struct {
	// Slug is the page's name in addresses: 1 to 100 small letters, digits and
	// hyphens.
	Slug string
	// Title is 1 to 200 characters.
	Title string
	// Tags are further words to find the page by, at most 500 characters.
	Tags string
	// Body is Markdown, 1 byte to 512 KiB.
	Body      string
	UpdatedAt time.Time
}

// DocumentHit is a document that fits a question.
type DocumentHit struct {
	Slug  string
	Title string
	// Snippet is the best passage; ⟦ and ⟧ stand around matching words.
	Snippet string
	// Score compares hits of one search only; higher is better.
	Score float64
}

// Bounds of documents and of their search.
const (
	maxDocumentBytes = 512 << 10
	maxQuestionRunes = 400
	maxHits          = 50
)

var documentSlug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,99}$`)

const sqlDocumentPut = `insert into documents (org_id, slug, title, tags, body)
values (@org, @slug, @title, @tags, @body)
on conflict (org_id, slug) do update set title = excluded.title, tags = excluded.tags, body = excluded.body, updated_at = now()
where (documents.title, documents.tags, documents.body) is distinct from (excluded.title, excluded.tags, excluded.body)`

// PutDocument writes a document, replacing the one with its slug. The same
// content again changes nothing.
func (db *DB) PutDocument(ctx context.Context, scope auth.Scope, d Document) error {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return err
	}
	broken := map[string]string{}
	if !documentSlug.MatchString(d.Slug) {
		broken["slug"] = "must be 1 to 100 small letters, digits and hyphens"
	}
	if n := utf8.RuneCountInString(d.Title); n < 1 || n > 200 {
		broken["title"] = "must be 1 to 200 characters"
	}
	if utf8.RuneCountInString(d.Tags) > 500 {
		broken["tags"] = "must be at most 500 characters"
	}
	if len(d.Body) < 1 || len(d.Body) > maxDocumentBytes {
		broken["body"] = "must be 1 byte to 512 KiB"
	}
	if len(broken) > 0 {
		return fault.InvalidFields(broken)
	}
	_, err := db.exec(ctx, scope, "writing a document", sqlDocumentPut, named{
		"org": string(scope.Org), "slug": d.Slug, "title": d.Title, "tags": d.Tags, "body": d.Body})
	return err
}

const sqlDocumentBySlug = `select slug, title, tags, body, updated_at from documents where org_id = @org and slug = @slug`

// Document reads a document of the scope's organisation.
func (db *DB) Document(ctx context.Context, scope auth.Scope, slug string) (Document, error) {
	d, err := one[Document](ctx, db, scope, "Document", "reading a document", sqlDocumentBySlug,
		named{"org": string(scope.Org), "slug": slug})
	d.UpdatedAt = d.UpdatedAt.UTC()
	return d, err
}

const sqlDocuments = `select slug, title, tags, '' as body, updated_at from documents
	where org_id = @org and slug > @after order by slug limit @limit`

// Documents lists documents without their bodies in the order of their slugs,
// after a slug ("" from the start), at most 200.
func (db *DB) Documents(ctx context.Context, scope auth.Scope, after string, limit int) ([]Document, error) {
	if limit < 1 || limit > 200 {
		limit = 200
	}
	out, err := many[Document](ctx, db, scope, "listing documents", sqlDocuments,
		named{"org": string(scope.Org), "after": after, "limit": limit})
	for i := range out {
		out[i].UpdatedAt = out[i].UpdatedAt.UTC()
	}
	return out, err
}

const sqlDocumentSearch = `select slug, title, snippet, score::float8 as score from search_documents(@question, @limit)`

// SearchDocuments finds at most limit (1 to 50) documents of the scope's
// organisation that hold words of a question in plain language, best first.
func (db *DB) SearchDocuments(ctx context.Context, scope auth.Scope, question string, limit int) ([]DocumentHit, error) {
	if utf8.RuneCountInString(question) > maxQuestionRunes {
		return nil, fault.Invalid("query", "must be at most 400 characters")
	}
	return many[DocumentHit](ctx, db, scope, "searching documents", sqlDocumentSearch,
		named{"question": question, "limit": min(max(limit, 1), maxHits)})
}

// Searcher is what the tool that searches works on, in hits of the tool's own
// type H: it knows the address of a document, the store does not.
type Searcher[H any] struct {
	db  *DB
	hit func(DocumentHit) H
}

// NewSearcher makes the search of the tool; hit turns a finding into the tool's.
func NewSearcher[H any](db *DB, hit func(DocumentHit) H) Searcher[H] {
	return Searcher[H]{db: db, hit: hit}
}

// Search is [DB.SearchDocuments].
func (s Searcher[H]) Search(ctx context.Context, scope auth.Scope, query string, limit int) ([]H, error) {
	found, err := s.db.SearchDocuments(ctx, scope, query, limit)
	if err != nil {
		return nil, err
	}
	out := make([]H, len(found))
	for i, d := range found {
		out[i] = s.hit(d)
	}
	return out, nil
}
