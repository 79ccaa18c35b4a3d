package socket

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/heddle/heddle/internal/fault"
)

// Identity is who a socket acts for. The package never looks inside. It is
// safe for concurrent use.
type Identity interface {
	// Key names the person or program, such as a user id: it bounds how many
	// sockets one may hold.
	Key() string
	// Session is the id of the credential, a browser session or an API key.
	Session() string
	// Recheck is asked before every join and push. An unauthenticated fault
	// closes the socket, any other error refuses the one command.
	Recheck(ctx context.Context) error
}

// Handshake is what a client shows when it connects.
type Handshake struct {
	// Token is the bearer of the client's authToken option, "" without one.
	Token string
	// Origin is the exact Origin header, "" if absent; it has been checked.
	Origin string
	// RemoteIP is the client's address as Options.Address sees it.
	RemoteIP string
	// UserAgent is for lists of sessions; it is not trusted.
	UserAgent string

	cookies map[string]string
}

// Cookie returns a cookie of the request, "" if absent. A request without
// Origin has none: such a client has to bring a token.
func (h Handshake) Cookie(name string) string { return h.cookies[name] }

// Subprotocols of Phoenix clients from 1.8 on.
const (
	subprotocol = "phoenix"
	tokenPrefix = "base64url.bearer.phx."
	maxToken    = 4096
)

// bearer finds the token among the offered subprotocols. Clients encode it in
// either base64 alphabet, without padding.
func bearer(offered string) (string, error) {
	for part := range strings.SplitSeq(offered, ",") {
		encoded, ok := strings.CutPrefix(strings.TrimSpace(part), tokenPrefix)
		if !ok {
			continue
		}
		encoded = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(encoded)
		token, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil || len(token) == 0 || len(token) > maxToken {
			return "", fault.Invalid("authToken", "must be base64url and not empty")
		}
		return string(token), nil
	}
	return "", nil
}
