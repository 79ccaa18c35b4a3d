package demo

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,99}$`)

func TestDocumentsAreShortWholeAndDistinct(t *testing.T) {
	docs, err := Documents()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(docs), 36)
	titles := map[string]bool{}
	for _, d := range docs {
		require.Regexp(t, slug, d.Slug)
		require.False(t, titles[d.Title], d.Title)
		titles[d.Title] = true
		words := len(strings.Fields(d.Body))
		require.True(t, words >= 100 && words <= 300, "%s has %d words", d.Slug, words)
		require.NotContains(t, d.Body, "\n---\n")
		require.NotContains(t, d.Body, "!")
	}
}

func TestEveryQuestionHasADocument(t *testing.T) {
	docs, err := Documents()
	require.NoError(t, err)
	known := map[string]bool{}
	for _, d := range docs {
		known[d.Slug] = true
	}
	questions, err := Questions()
	require.NoError(t, err)
	require.Len(t, questions, 20)
	asked := map[string]bool{}
	for _, q := range questions {
		require.True(t, known[q.Slug], q.Slug)
		require.False(t, asked[q.Question])
		asked[q.Question] = true
	}
}

func TestBrokenDocumentsAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "title: x", "---\ntitle: x\n", "---\ntitle: x\nslug: y\n---\nbody", "---\ncolour: red\n---\nbody",
		"---\ntitle: x\nslug: y\ntags: z\n---\n \n",
	} {
		_, err := parse(text)
		require.Error(t, err, text)
	}
}
