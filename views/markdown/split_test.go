package markdown

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pieces are fragments whose joints are where a splitter goes wrong.
var pieces = []string{
	"A paragraph.\n", "Title\n===\n", "Title\n---\n", "# Heading\n", "\n", "\n\n", "  \n", "\t\n",
	"- one\n", "- two\n\n", "  more of it\n", "    deeper\n", "* star\n", "1. first\n", "2) second\n\n", "10. tenth\n",
	"```go\n", "```\n", "~~~\n", "````\n", "  ```\n", "- ```js\n", "    code\n", "\tcode\n", "> quote\n", "> - in quote\n", ">\n",
	"| a | b |\n|---|---|\n", "| 1 | 2 |\n", "***\n", "- - -\n", "[1]: https://example.com\n", "[text][1]\n", "<div>\n", "</div>\n", "<!--\n", "-->\n",
	"word", " ", "-", "1", "`", "*", "[", "]", "(", ")", "!", "#", ">", "|", "\r\n", "é", "日本", "- [ ] task\n", "text with ```\n",
}

func document(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(30) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func TestClosedBlocksNeverChangeAsTextGrows(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	closedSeen := 0
	for range 3000 {
		doc := document(r)
		whole := All(doc)
		var before []Block
		for i := 0; i <= len(doc); i++ {
			closed, open := Split(doc[:i])
			require.GreaterOrEqual(t, len(closed), len(before), "a closed block vanished in %q at %d", doc, i)
			require.True(t, slices.Equal(before, closed[:len(before)]), "a closed block changed in %q at %d", doc, i)
			require.LessOrEqual(t, len(closed), len(whole), "%q at %d", doc, i)
			require.True(t, slices.Equal(closed, whole[:len(closed)]), "%q at %d", doc, i)
			require.Equal(t, len(closed), open.Index)
			before = slices.Clone(closed)
		}
		closedSeen += len(before)
	}
	require.Greater(t, closedSeen, 1000, "the documents must have closed blocks for this to prove anything")
}

func TestSplittingLosesNoText(t *testing.T) {
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	r := rand.New(rand.NewPCG(3, 5))
	for range 3000 {
		doc := document(r)
		closed, open := Split(doc)
		var b strings.Builder
		for _, block := range append(closed, open) {
			b.WriteString(block.Source + "\n")
		}
		require.Equal(t, squeeze(doc), squeeze(b.String()), "%q", doc)
	}
}

func TestBlocksEndWhereNothingCanContinueThem(t *testing.T) {
	for name, c := range map[string]struct {
		src    string
		closed []string
		open   string
	}{
		"a paragraph ends at its blank line":          {"one\n\n", []string{"one"}, ""},
		"a line without end stays open":               {"one\n\ntw", []string{"one"}, "tw"},
		"a loose list is one block":                   {"- a\n\n- b\n\nafter\n", []string{"- a\n\n- b"}, "after"},
		"a list waits for the next line to end":       {"- a\n\nafter", nil, "- a\n\nafter"},
		"an indented line goes on with the item":      {"1. a\n\n   more\n\n2. b\n", nil, "1. a\n\n   more\n\n2. b"},
		"a fence holds its blank lines":               {"```\na\n\nb\n```\n\n", []string{"```\na\n\nb\n```"}, ""},
		"an unclosed fence stays open":                {"```\na\n\nb\n", nil, "```\na\n\nb"},
		"a fence right after a list is a fence":       {"1. Do:\n```\na\n\nb\n```\n\nend\n", []string{"1. Do:\n```\na\n\nb\n```"}, "end"},
		"a shorter fence does not close a longer one": {"````\n```\n\n````\n\n", []string{"````\n```\n\n````"}, ""},
		"a setext heading keeps its underline":        {"Title\n===\n\n", []string{"Title\n==="}, ""},
		"indented code goes on over blank lines":      {"    a\n\n    b\n\nc\n", []string{"    a\n\n    b"}, "c"},
		"a table ends at its blank line":              {"|a|\n|-|\n|1|\n\n", []string{"|a|\n|-|\n|1|"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			closed, open := Split(c.src)
			var got []string
			for _, b := range closed {
				got = append(got, b.Source)
			}
			require.Equal(t, c.closed, got)
			require.Equal(t, c.open, open.Source)
		})
	}
}

func TestBlocksTogetherRenderLikeTheWhole(t *testing.T) {
	r := New(ForMessages())
	for _, doc := range []string{
		"# A\n\ntext\n\n- a\n- b\n\n```go\nx\n\ny\n```\n\n> q\n\n| a |\n|---|\n| 1 |\n\nend",
		"1. a\n\n   p\n\n2. b\n\nafter\n\n---\n\nSetext\n---\n\n    code\n\n    code\n\nlast\n",
	} {
		whole := r.Block(Block{Source: doc}).String()
		require.Equal(t, whole, r.Render(doc).String())
	}
}
