package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/heddle/heddle/internal/fault"
)

// CSRF makes and checks the tokens that every unsafe request of a browser must
// carry. A token is an HMAC over session and organisation, so nothing is
// stored, a token of another session is worthless, and a tab that was opened
// for one organisation cannot post into the other. Safe for concurrent use.
type CSRF struct{ key []byte }

// The codes of the two refusals.
const (
	// CodeCSRF means no token, or one that this session did not get.
	CodeCSRF = "csrf"
	// CodeOrgSwitched means the token is this session's own, for another
	// organisation: a stale tab. The handler names the present organisation.
	CodeOrgSwitched = "org_switched"
)

const (
	csrfOrgLen = 16
	csrfLen    = csrfOrgLen + sha256.Size
)

// NewCSRF derives its own key from the server's secret key, which therefore
// can serve other purposes as well.
func NewCSRF(serverKey []byte) *CSRF {
	mac := hmac.New(sha256.New, serverKey)
	mac.Write([]byte("heddle csrf 1"))
	return &CSRF{key: mac.Sum(nil)}
}

// Token gives a token for the scope's session and organisation. Each call
// masks it anew: a page that is compressed and reflects input gives nothing
// away about it by its length (the BREACH attack). It returns "" for a scope
// without a session, such as an API key's.
func (c *CSRF) Token(scope Scope) string {
	org, ok := orgBytes(scope.Org)
	if scope.Session == "" || !ok {
		return ""
	}
	var buf [2 * csrfLen]byte
	mask, masked := buf[:csrfLen], buf[csrfLen:]
	_, _ = rand.Read(mask) // documented never to fail
	copy(masked, org)
	copy(masked[csrfOrgLen:], c.mac(scope.Session, org))
	subtle.XORBytes(masked, masked, mask)
	return base64.RawURLEncoding.EncodeToString(buf[:])
}

// Verify checks the token of a request made under scope. It returns nil, a
// forbidden fault with [CodeCSRF], or a conflict fault with [CodeOrgSwitched].
func (c *CSRF) Verify(scope Scope, token string) error {
	refused := fault.Forbidden("This page is out of date. Reload it and try again.").WithCode(CodeCSRF)
	org, ok := orgBytes(scope.Org)
	buf, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || !ok || len(buf) != 2*csrfLen || scope.Session == "" {
		return refused
	}
	plain := make([]byte, csrfLen)
	subtle.XORBytes(plain, buf[:csrfLen], buf[csrfLen:])
	if !hmac.Equal(plain[csrfOrgLen:], c.mac(scope.Session, plain[:csrfOrgLen])) {
		return refused
	}
	if subtle.ConstantTimeCompare(plain[:csrfOrgLen], org) != 1 {
		return fault.Conflict("You switched to another organisation in this browser. Reload the page to go on.").
			WithCode(CodeOrgSwitched)
	}
	return nil
}

// mac has no ambiguity between its two inputs: the organisation has a fixed
// length and comes first.
func (c *CSRF) mac(session SessionID, org []byte) []byte {
	mac := hmac.New(sha256.New, c.key)
	mac.Write(org)
	mac.Write([]byte(session))
	return mac.Sum(nil)
}

func orgBytes(org OrgID) ([]byte, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(string(org), "-", ""))
	return b, err == nil && len(b) == csrfOrgLen
}
