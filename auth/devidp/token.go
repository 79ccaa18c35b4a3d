package devidp

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"github.com/go-jose/go-jose/v4"

	"github.com/heddle/heddle/auth"
)

const (
	keyID = "dev-1"
	// maxTokenRequest bounds the body of a token request, in bytes.
	maxTokenRequest = 16 << 10
)

// token is the token endpoint (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxTokenRequest)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "unreadable form")
		return
	}
	if !p.isClient(r) {
		w.Header().Set("WWW-Authenticate", "Basic")
		refuse(w, http.StatusUnauthorized, "invalid_client", "wrong client id or secret")
		return
	}
	if r.PostForm.Get("grant_type") != "authorization_code" {
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "only authorization_code")
		return
	}
	c, ok := p.codes.take(r.PostForm.Get("code"))
	if !ok || r.PostForm.Get("redirect_uri") != p.callback || !verifies(c.challenge, r.PostForm.Get("code_verifier")) {
		refuse(w, http.StatusBadRequest, "invalid_grant", "the code is unknown, used or expired, or its verifier is wrong")
		return
	}
	idToken, err := p.sign(c)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "server_error", "signing failed")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": p.tokens.put(c.person), "token_type": "Bearer",
		"expires_in": int(tokenLifetime.Seconds()), "id_token": idToken, "scope": "openid email profile",
	})
}

// isClient checks the client's secret, sent as a header (form-encoded, RFC
// 6749 section 2.3.1) or in the form.
func (p *Provider) isClient(r *http.Request) bool {
	id, secret, basic := r.BasicAuth()
	if basic {
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return false
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	return auth.Token(secret).Digest().Equal(p.secret) && id == p.clientID
}

// verifies checks a PKCE verifier of 43 to 128 characters (RFC 7636 section 4.1).
func verifies(challenge, verifier string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(challenge)) == 1
}

// sign makes the id_token (OpenID Connect Core 1.0 section 2).
func (p *Provider) sign(c code) (string, error) {
	key, err := p.key()
	if err != nil {
		return "", fmt.Errorf("making the signing key: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", keyID))
	if err != nil {
		return "", fmt.Errorf("making the signer: %w", err)
	}
	now := p.clock.Now()
	claims := map[string]any{
		"iss": p.issuer, "aud": p.clientID, "azp": p.clientID, "iat": now.Unix(),
		"auth_time": c.at.Unix(), "exp": now.Add(tokenLifetime).Unix(),
	}
	if c.nonce != "" {
		claims["nonce"] = c.nonce
	}
	maps.Copy(claims, personClaims(c.person))
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("writing the claims: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signed.CompactSerialize()
}
