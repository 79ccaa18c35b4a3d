package socket_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/realtime/socket"
)

func TestARevokedSessionLosesItsSocketsOnEveryNode(t *testing.T) {
	ws := newWorlds(t, 2)
	here, there, other := ws[0].connect("mia"), ws[1].connect("mia"), ws[1].connect("max")
	require.Eventually(t, func() bool { return ws[0].server.Stats().Sockets == 1 && ws[1].server.Stats().Sockets == 2 }, 5*time.Second, time.Millisecond)
	begun := time.Now()
	require.NoError(t, ws[0].server.Disconnect(t.Context(), "mia", "you signed out"))
	for _, c := range []*client{here, there} {
		code, reason := c.closed()
		require.Equal(t, socket.CloseRevoked, code)
		require.Equal(t, "you signed out", reason)
	}
	require.Less(t, time.Since(begun), 5*time.Second)
	other.push("", "phoenix", "heartbeat", `{}`)
	require.Equal(t, "phx_reply", other.next().event)

	require.NoError(t, ws[0].server.Disconnect(t.Context(), "user-max", "removed"))
	code, _ := other.closed()
	require.Equal(t, socket.CloseRevoked, code)
}

func TestWithoutRedisARevokedSessionStillLosesItsSocket(t *testing.T) {
	server := miniredis.RunT(t)
	var asked atomic.Int32
	var revoked atomic.Bool
	w := newWorld(t, server.Addr(), &tokenLog{rows: map[string][]realtime.Message{}}, func(o *socket.Options) {
		o.RevalidateEvery = 100 * time.Millisecond
		o.Revalidate = func(_ context.Context, sessions []string) ([]string, error) {
			asked.Add(1)
			if revoked.Load() {
				return []string{"mia"}, nil
			}
			return nil, nil
		}
	})
	c := w.connect("mia")
	server.Close()
	require.Eventually(t, func() bool { return asked.Load() > 2 }, 5*time.Second, time.Millisecond)
	require.Equal(t, 1, w.server.Stats().Sockets)
	revoked.Store(true)
	code, _ := c.closed()
	require.Equal(t, socket.CloseRevoked, code)
}

func TestACommandOfARevokedSessionIsRefusedAndClosesTheSocket(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	join, _ := c.join("room:a", `{}`)
	w.gone.Store("mia", true)
	c.push(join, "room:a", "echo", `{}`)
	code, _ := c.closed()
	require.Equal(t, socket.CloseRevoked, code)
}

func TestASilentSocketIsClosed(t *testing.T) {
	fake := clock.NewFake(time.Now())
	w := newWorlds(t, 1, func(o *socket.Options) { o.Clock = fake })[0]
	silent, alive := w.connect("mia"), w.connect("max")
	// A client may be through its handshake before the server counts it.
	require.Eventually(t, func() bool { return w.server.Stats().Sockets == 2 }, 5*time.Second, time.Millisecond)
	for range 12 {
		fake.Advance(6 * time.Second)
		alive.push("", "phoenix", "heartbeat", `{}`)
		alive.next()
	}
	require.Eventually(t, func() bool { fake.Advance(time.Second / 10); return w.server.Stats().Sockets == 1 }, 5*time.Second, 10*time.Millisecond)
	code, _ := silent.closed()
	require.Equal(t, socket.CloseSilent, code)
	alive.push("", "phoenix", "heartbeat", `{}`)
	require.Equal(t, "phx_reply", alive.next().event)
}

func TestADrainSendsEverybodyElsewhereAndKeepsWhatWasPublished(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	c.join("room:a", `{}`)
	other := w.connect("max")
	other.join("room:a", `{}`)
	w.publish("org:1:room:a", 5)
	require.Equal(t, upTo(1, 5), other.seqs(5), "the hub has heard all that was published")
	require.NoError(t, other.ws.Close())
	drained := make(chan error, 1)
	go func() { drained <- w.server.Drain(t.Context()) }()
	require.Equal(t, upTo(1, 5), c.seqs(5))
	m, err := c.read()
	require.Error(t, err, "no phx_close: a Phoenix client would never join that topic again: %v", m.event)
	code, _ := c.closed()
	require.Equal(t, socket.CloseRestart, code)
	_ = c.ws.Close()
	require.NoError(t, <-drained)
	_, res, err := w.try(w.url(), map[string][]string{"Origin": {origin}, "Cookie": {"session=mia"}})
	require.Error(t, err)
	require.Equal(t, 503, res.StatusCode)
	require.Equal(t, int32(2), w.rooms.left.Load())
}

func TestADrainThatAClientIgnoresEndsWithItsDeadline(t *testing.T) {
	w := newWorlds(t, 1)[0]
	w.connect("mia") // never reads, so never answers the close
	require.Eventually(t, func() bool { return w.server.Stats().Sockets == 1 }, 5*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.server.Drain(ctx), context.DeadlineExceeded)
	w.stop()
	require.Zero(t, w.server.Stats().Sockets)
}

func TestAClientThatVanishesLeavesNothingBehind(t *testing.T) {
	w := newWorlds(t, 1)[0]
	w.log.append("org:1:room:a", 2000)
	for range 50 {
		c := w.connect("mia")
		c.push("", "room:a", "phx_join", `{"after":0,"epoch":"e1"}`)
		require.NoError(t, c.ws.NetConn().Close())
	}
	require.Eventually(t, func() bool { return w.server.Stats().Sockets == 0 }, 10*time.Second, 5*time.Millisecond)
}

func TestAnOriginThatIsNoneIsAMistakeOfTheOperator(t *testing.T) {
	var o socket.Options
	newWorlds(t, 1, func(given *socket.Options) { o = *given })
	for _, origin := range []string{"*", "heddle.test", "https://heddle.test/"} {
		o.Origins = []string{origin}
		_, err := socket.New(o)
		require.ErrorContains(t, err, "must be scheme://host[:port]")
	}
	_, err := socket.New(socket.Options{})
	require.ErrorContains(t, err, "required")
}

func FuzzDecodeFrame(f *testing.F) {
	for _, s := range []string{
		`[null,"1","phoenix","heartbeat",{}]`, `["1","1","room:a","phx_join",{"after":1}]`, `[]`, `[1,2,3,4,5]`,
		`["1","1","a","b",{"x":"\ud800"}]`, `[[],{},"a","b",null]`, "\xff", `[-,"1","a","b",{}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		topic, event, echo, err := socket.DecodeAndEcho(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, topic)
		require.NotEmpty(t, event)
		var parts []json.RawMessage
		require.NoError(t, json.Unmarshal(echo, &parts), "a reply to it is JSON: %s", echo)
		require.Len(t, parts, 5)
	})
}

func TestWithoutRedisASocketStillJoinsAndHearsItsNode(t *testing.T) {
	server := miniredis.RunT(t)
	w := newWorld(t, server.Addr(), &tokenLog{rows: map[string][]realtime.Message{}})
	w.log.append("org:1:room:a", 3)
	server.Close()
	require.Eventually(t, func() bool { return !w.hub.State().Connected }, 5*time.Second, time.Millisecond)
	c := w.connect("mia")
	_, response := c.join("room:a", `{"after":0,"epoch":"e1"}`)
	require.Equal(t, 0.0, response["seq"])
	require.Error(t, w.hub.Publish(t.Context(), "org:1:room:a", w.log.append("org:1:room:a", 2)...))
	require.Equal(t, upTo(1, 5), c.seqs(5))
}
