package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/app/demo"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/store"
)

func toHit(h store.DocumentHit) builtin.Hit {
	return builtin.Hit{ID: h.Slug, Title: h.Title, Snippet: h.Snippet, URL: "/documents/" + h.Slug, Score: h.Score}
}

func TestFixedQuestionsFindTheirDocumentFirst(t *testing.T) {
	b := setup(t)
	documents, err := demo.Documents()
	require.NoError(t, err)
	for _, d := range documents {
		require.NoError(t, b.db.PutDocument(t.Context(), b.ada, store.Document{
			Slug: d.Slug, Title: d.Title, Tags: strings.Join(d.Tags, ", "), Body: d.Body}))
	}
	var searcher builtin.Searcher = store.NewSearcher(b.db, toHit)
	questions, err := demo.Questions()
	require.NoError(t, err)
	require.Len(t, questions, 20)
	for _, q := range questions {
		hits, err := searcher.Search(t.Context(), b.mia, q.Question, 5)
		require.NoError(t, err)
		var slugs []string
		for _, h := range hits {
			slugs = append(slugs, fmt.Sprintf("%s %.4f", h.ID, h.Score))
		}
		if len(hits) == 0 || hits[0].ID != q.Slug {
			t.Errorf("%q should find %s first, not %v", q.Question, q.Slug, slugs)
			continue
		}
		require.Contains(t, hits[0].Snippet, builtin.HitStart, q.Question)
		require.NotEmpty(t, hits[0].Title)
	}
}

func TestDocumentIsReplacedBySlugAndListed(t *testing.T) {
	b := setup(t)
	put := func(slug, body string) {
		require.NoError(t, b.db.PutDocument(t.Context(), b.ada, store.Document{Slug: slug, Title: "About " + slug, Tags: "x", Body: body}))
	}
	put("b", "first words")
	first, err := b.db.Document(t.Context(), b.mia, "b")
	require.NoError(t, err)
	put("b", "first words")
	same, err := b.db.Document(t.Context(), b.mia, "b")
	require.NoError(t, err)
	require.Equal(t, first, same, "the same content is no change")
	put("b", "other words")
	put("a", "of zebras")
	changed, err := b.db.Document(t.Context(), b.mia, "b")
	require.NoError(t, err)
	require.Equal(t, "other words", changed.Body)
	require.True(t, changed.UpdatedAt.After(first.UpdatedAt))

	page, err := b.db.Documents(t.Context(), b.mia, "", 1)
	require.NoError(t, err)
	require.Equal(t, "a", page[0].Slug)
	require.Empty(t, page[0].Body)
	page, err = b.db.Documents(t.Context(), b.mia, "a", 10)
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, "b", page[0].Slug)

	hits, err := b.db.SearchDocuments(t.Context(), b.mia, "a zebra's words", 10)
	require.NoError(t, err)
	require.Len(t, hits, 2)
	for _, nothing := range []string{"", "the of and", "quux", "'; drop table documents; --", `\`, "q & z | !k <-> :*"} {
		hits, err = b.db.SearchDocuments(t.Context(), b.mia, nothing, 10)
		require.NoError(t, err, nothing)
		require.Empty(t, hits, nothing)
	}
	_, err = b.db.SearchDocuments(t.Context(), b.mia, strings.Repeat("a", 401), 10)
	requireKind(t, fault.KindInvalid, err)
	_, err = b.db.SearchDocuments(t.Context(), b.mia, "a\x00b", 10)
	requireKind(t, fault.KindInvalid, err)
}

func TestDocumentsAreWrittenByAdminsWithinBounds(t *testing.T) {
	b := setup(t)
	good := store.Document{Slug: "a", Title: "A", Body: "text"}
	requireKind(t, fault.KindForbidden, b.db.PutDocument(t.Context(), b.mia, good))
	for _, change := range []func(*store.Document){
		func(d *store.Document) { d.Slug = "" },
		func(d *store.Document) { d.Slug = "Upper" },
		func(d *store.Document) { d.Slug = "-a" },
		func(d *store.Document) { d.Slug = strings.Repeat("a", 101) },
		func(d *store.Document) { d.Title = "" },
		func(d *store.Document) { d.Title = strings.Repeat("ä", 201) },
		func(d *store.Document) { d.Tags = strings.Repeat("t", 501) },
		func(d *store.Document) { d.Body = "" },
		func(d *store.Document) { d.Body = strings.Repeat("b", 512<<10+1) },
		func(d *store.Document) { d.Body = "a\x00" },
	} {
		d := good
		change(&d)
		requireKind(t, fault.KindInvalid, b.db.PutDocument(t.Context(), b.ada, d))
	}
	// As many different words as fit: PostgreSQL limits a search vector to 1 MiB.
	var body strings.Builder
	for i := 0; body.Len() < 512<<10-12; i++ {
		fmt.Fprintf(&body, "w%07d ", i)
	}
	good.Body = body.String()
	require.NoError(t, b.db.PutDocument(t.Context(), b.ada, good))
}

// TestSearchKeepsToItsOrganisationAndItsIndex counts how the table was read
// while the function ran: as its owner heddle_search sees every row, only its
// own condition keeps organisations apart.
func TestSearchKeepsToItsOrganisationAndItsIndex(t *testing.T) {
	b := setup(t)
	fill := connect(t, b.url, "heddle_app")
	for _, scope := range []string{string(b.mia.Org), string(b.gia.Org)} {
		_, err := fill.Exec(t.Context(), "select set_config('heddle.org', $1, false)", scope)
		require.NoError(t, err)
		_, err = fill.Exec(t.Context(), `insert into documents (org_id, slug, title, tags, body)
			select $1, 'page-' || n, 'Page ' || n, 'tag' || n % 40, 'Some words about topic' || n % 97 || ' and subject' || n % 31 || ', written down '
				|| repeat('with filler text that nobody asks for ', 10) from generate_series(1, 2000) n`, scope)
		require.NoError(t, err)
	}
	require.NoError(t, b.db.PutDocument(t.Context(), b.ada, store.Document{Slug: "ours", Title: "Secret handshake", Body: "Three taps on the table."}))
	require.NoError(t, b.db.PutDocument(t.Context(), b.gus, store.Document{Slug: "theirs", Title: "Secret handshake", Body: "A wink and a nod."}))
	owner := connect(t, b.url, "heddle_owner")
	_, err := owner.Exec(t.Context(), "analyze documents")
	require.NoError(t, err)

	for question, slug := range map[string]string{"secret handshake": "ours", "wink nod": "", "three taps": "ours"} {
		hits, err := b.db.SearchDocuments(t.Context(), b.mia, question, 50)
		require.NoError(t, err)
		if slug == "" {
			require.Empty(t, hits, question)
			continue
		}
		require.Len(t, hits, 1, question)
		require.Equal(t, slug, hits[0].Slug)
	}
	hits, err := b.db.SearchDocuments(t.Context(), b.gia, "secret handshake", 50)
	require.NoError(t, err)
	require.Len(t, hits, 1)
	require.Equal(t, "theirs", hits[0].Slug)

	conn := connect(t, b.url, "heddle_app")
	require.Zero(t, scan[int](t, conn, "select count(*) from search_documents('secret handshake', 50)"), "no organisation is set")
	_, err = conn.Exec(t.Context(), "select set_config('heddle.org', $1, false)", string(b.mia.Org))
	require.NoError(t, err)
	reads := func() (index, sequential int64) {
		_, err := conn.Exec(t.Context(), "select pg_stat_force_next_flush()")
		require.NoError(t, err)
		require.NoError(t, conn.QueryRow(t.Context(), `select i.idx_scan, t.seq_scan from pg_stat_all_indexes i, pg_stat_all_tables t
			where i.indexrelname = 'documents_search' and t.relname = 'documents'`).Scan(&index, &sequential))
		return index, sequential
	}
	index, sequential := reads()
	require.Equal(t, 1, scan[int](t, conn, "select count(*) from search_documents('secret handshake', 50)"))
	require.Positive(t, scan[int](t, conn, "select count(*) from search_documents('what about topic17 or subject3', 50)"))
	indexAfter, sequentialAfter := reads()
	require.Equal(t, index+2, indexAfter, "reads through the index")
	require.Equal(t, sequential, sequentialAfter, "reads of the whole table")

	// Without the function the wall hides the other organisation's rows too.
	require.Equal(t, 2001, scan[int](t, conn, "select count(*) from documents"))
	_, err = connect(t, b.url, "heddle_system").Exec(t.Context(), "select * from search_documents('secret', 1)")
	require.ErrorContains(t, err, "permission denied")
}
