package webhook

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/outbound/egress"
)

// TestSignaturesAreThoseOfStandardWebhooks holds ours against an example that the
// libraries for receivers are tested with.
func TestSignaturesAreThoseOfStandardWebhooks(t *testing.T) {
	secret, id, at := auth.Token("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0)
	body := []byte(`{"test": 2432232314}`)
	got, err := Sign([]auth.Token{secret}, id, at, body)
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", got)

	other := NewSecret()
	both, err := Sign([]auth.Token{other, secret}, id, at, body)
	require.NoError(t, err)
	parts := strings.Split(both, " ")
	require.Len(t, parts, 2)
	require.Equal(t, got, parts[1])
	require.NotEqual(t, got, parts[0])
	_, err = Sign([]auth.Token{"whsec_not base64"}, id, at, body)
	require.Error(t, err)

	require.NotEqual(t, other, NewSecret())
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(other.Reveal(), "whsec_"))
	require.NoError(t, err)
	require.Len(t, key, 32)
}

func TestPausesGrowAndDifferByChance(t *testing.T) {
	p := DefaultPace()
	var sum time.Duration
	for attempt := 1; attempt < p.Attempts; attempt++ {
		low, middle, high := p.pause(attempt, 0), p.pause(attempt, 0.5), p.pause(attempt, 1)
		require.InDelta(t, 0.8, float64(low)/float64(middle), 0.001)
		require.InDelta(t, 1.2, float64(high)/float64(middle), 0.001)
		if attempt > 1 {
			require.Greater(t, low, p.pause(attempt-1, 1), "later pauses are always longer")
		}
		sum += middle
	}
	require.Equal(t, 5*time.Second, p.pause(1, 0.5))
	require.InDelta(t, 13.7, sum.Hours(), 0.1)
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "999999": time.Hour, "-1": 0, "Wed, 21 Oct 2015 07:28:00 GMT": 0} {
		require.Equal(t, want, asked(http.Header{"Retry-After": {text}}), text)
	}
}

func TestStampingKeepsTheObjectWhole(t *testing.T) {
	at := time.Date(2026, 11, 26, 9, 0, 0, 5e6, time.UTC)
	require.JSONEq(t, `{"a":{"b":1},"webhook_sent_at":"2026-11-26T09:00:00.005Z"}`, string(stamped(`{"a":{"b":1}}`, at)))
}

func TestAddressesThatCannotBeReachedAreRefused(t *testing.T) {
	client := egress.New(egress.Options{})
	for _, good := range []string{"https://example.com/in?x=1", "http://93.184.216.34/", "https://example.com:8443/", "https://[2606:2800:220:1::1]/"} {
		require.NoError(t, Check(client, "webhook", good), good)
	}
	for bad, rule := range map[string]string{
		"": "must be an address", "/in": "must be an address", "example.com/in": "must be an address", "mailto:bob@example.com": "must be an address",
		"http://%zz/": "must be an address", "ftp://example.com/": "http and https", "https://u:p@example.com/": "user name",
		"http://127.0.0.1/": "public internet", "http://localhost/": "public internet", "http://a.localhost:80/": "public internet",
		"http://[fe80::1%25eth0]/": "network interface", "http://017700000001/": "unusual form", "http://93.184.216.34:22/": "80 and 443",
	} {
		err := Check(client, "webhook", bad)
		require.True(t, fault.Is(err, fault.KindInvalid), "%s: %v", bad, err)
		require.Contains(t, fault.FieldsOf(err)["webhook"], rule, bad)
	}
}
