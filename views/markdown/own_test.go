package markdown

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinksToOwnDocumentsAreTheOnlyLocalOnes(t *testing.T) {
	r := New(ForMessages())
	require.Contains(t, r.Render("See [Refunds](/knowledge/refund-policy).").String(), `<a href="/knowledge/refund-policy" rel="nofollow noreferrer"`)
	for _, target := range []string{
		"/", "/auth/logout", "/knowledge/", "/knowledge/../auth/login", "/knowledge/a/b", "/knowledge/a?x=1", "//evil.test/knowledge/a",
		"/Knowledge/a", "/knowledge/a#b", "knowledge/a", "\\knowledge/a",
	} {
		require.NotContains(t, r.Render("["+"x"+"]("+target+")").String(), "<a ", target)
	}
}
