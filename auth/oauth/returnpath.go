package oauth

import (
	"net/url"
	"strings"
)

// maxReturnPath bounds a return path, in bytes.
const maxReturnPath = 2048

// LocalPath gives s when it is a path on this server, and "/" otherwise, so
// that a sign-in link can never send people elsewhere. Refused are schemes,
// hosts, "//" anywhere in the path, backslashes and control characters (which
// browsers read as slashes or skip), also in their percent-encoded form, and
// the sign-in pages themselves.
func LocalPath(s string) string {
	if len(s) > maxReturnPath || !strings.HasPrefix(s, "/") || unsafeInPath(s) {
		return "/"
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "/"
	}
	if unsafeInPath(u.Path) || strings.Contains(u.Path, "//") ||
		u.Path == "/auth" || strings.HasPrefix(u.Path, "/auth/") {
		return "/"
	}
	return strings.Clone(s)
}

func unsafeInPath(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r == '\\' || r < 0x20 || r == 0x7f }) ||
		strings.HasPrefix(s, "//")
}
