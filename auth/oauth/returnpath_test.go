package oauth

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLocalPathKeepsPathsOfThisServerOnly(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"/", "/threads", "/threads/1?tab=a#b", "/a%20b", "/q?next=//x", "/q?u=https://x.test", "/authors"} {
		require.Equal(t, good, LocalPath(good))
	}
	for _, bad := range []string{
		"", "threads", "https://evil.test", "//evil.test", "///evil.test", `/\evil.test`, `\\evil.test`, `\/evil.test`,
		"/\t/evil.test", "/\n/evil.test", "\t//evil.test", " //evil.test", "/%5cevil.test", "/%2f/evil.test", "/%2fevil.test",
		"/a//b", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1", "/a%0d%0aX: y", "http:evil.test", "https:/evil.test",
		"?x", "#x", "/%zz", "/auth/login", "/auth", "/auth/dev?login_hint=x", "/\x00", "/a\x7f", "/" + strings.Repeat("a", maxReturnPath),
		"/.//evil.test", "@evil.test",
	} {
		require.Equal(t, "/", LocalPath(bad), "%q", bad)
	}
}

func FuzzLocalPathNeverLeavesTheServer(f *testing.F) {
	for _, s := range []string{"/", "//x", `/\x`, "/%2fx", "/a?b#c", "/\t/x"} {
		f.Add(s)
	}
	base, err := url.Parse("https://heddle.test/auth/idp/callback")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, s string) {
		u, err := base.Parse(LocalPath(s))
		require.NoError(t, err)
		require.Equal(t, "https://heddle.test", u.Scheme+"://"+u.Host)
	})
}
