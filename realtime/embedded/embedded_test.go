package embedded

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startServer(t *testing.T) (*Server, *redis.Client) {
	t.Helper()
	s, err := Start()
	require.NoError(t, err)
	t.Cleanup(s.Close)
	opts, err := redis.ParseURL(s.URL())
	require.NoError(t, err)
	opts.MaxRetries, opts.DialerRetries = -1, 1
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return s, client
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestServerAdmitsOnlyItsPasswordAndOnlyLocally(t *testing.T) {
	s, client := startServer(t)
	require.NoError(t, client.Ping(within(t)).Err())
	host, _, err := net.SplitHostPort(s.redis.Addr())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", host)

	stranger := redis.NewClient(&redis.Options{Addr: s.redis.Addr()})
	defer func() { require.NoError(t, stranger.Close()) }()
	require.ErrorContains(t, stranger.Get(within(t), "key").Err(), "NOAUTH")

	other, _ := startServer(t)
	require.NotEqual(t, s.password, other.password)
	require.NotEqual(t, s.redis.Addr(), other.redis.Addr())
}

func TestKeysExpireByTheWallClock(t *testing.T) {
	_, client := startServer(t)
	ctx := within(t)
	require.NoError(t, client.Set(ctx, "short", "x", 30*time.Millisecond).Err())
	require.NoError(t, client.Set(ctx, "long", "x", time.Hour).Err())
	require.Eventually(t, func() bool { return client.Exists(ctx, "short").Val() == 0 }, 5*time.Second, 5*time.Millisecond)
	require.EqualValues(t, 1, client.Exists(ctx, "long").Val())
}

func TestSubscriberGetsWhatIsPublished(t *testing.T) {
	_, client := startServer(t)
	ctx := within(t)
	sub := client.Subscribe(ctx, "topic")
	defer func() { require.NoError(t, sub.Close()) }()
	_, err := sub.Receive(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, client.Publish(ctx, "topic", "hello").Val())
	message, err := sub.ReceiveMessage(ctx)
	require.NoError(t, err)
	require.Equal(t, "hello", message.Payload)
}

func TestCloseCutsConnectionsAndMayBeRepeated(t *testing.T) {
	s, client := startServer(t)
	require.NoError(t, client.Ping(within(t)).Err())
	s.Close()
	s.Close()
	require.Error(t, client.Ping(within(t)).Err())
}
