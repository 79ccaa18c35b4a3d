package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/heddle/heddle/auth"
)

// The headers of a delivery, as Standard Webhooks names them.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// mark begins a secret, so that it is known for what it is where it turns up.
const mark = "whsec_"

// secretBytes is the length of a key (Standard Webhooks: 24 to 64).
const secretBytes = 32

// NewSecret makes a secret.
func NewSecret() auth.Token {
	var b [secretBytes]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return auth.Token(mark + base64.StdEncoding.EncodeToString(b[:]))
}

// Sign gives the signatures of a message, one for each secret: HMAC-SHA256 over
// the id, the moment in seconds since 1970 and the body, with dots between them.
func Sign(secrets []auth.Token, id string, at time.Time, body []byte) (string, error) {
	signed := make([]string, len(secrets))
	for i, s := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Reveal(), mark))
		if err != nil {
			return "", fmt.Errorf("reading secret %d: %w", i, err)
		}
		mac := hmac.New(sha256.New, key)
		for _, part := range []string{id, ".", strconv.FormatInt(at.Unix(), 10), "."} {
			mac.Write([]byte(part)) // no hash fails
		}
		mac.Write(body)
		signed[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signed, " "), nil
}
