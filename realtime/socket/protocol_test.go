package socket_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/realtime/socket"
)

func TestOnlyKnownOriginsAndTokensGetASocket(t *testing.T) {
	w := newWorlds(t, 1)[0]
	cookie := []string{"session=mia"}
	for name, c := range map[string]struct {
		url       string
		header    http.Header
		protocols []string
		status    int
	}{
		"Own":               {w.url(), http.Header{"Origin": {origin}, "Cookie": cookie}, nil, 101},
		"Foreign":           {w.url(), http.Header{"Origin": {"https://evil.test"}, "Cookie": cookie}, nil, 403},
		"Null":              {w.url(), http.Header{"Origin": {"null"}, "Cookie": cookie}, nil, 403},
		"Prefix":            {w.url(), http.Header{"Origin": {origin + ".evil.test"}, "Cookie": cookie}, nil, 403},
		"OtherCase":         {w.url(), http.Header{"Origin": {"HTTPS://heddle.test"}, "Cookie": cookie}, nil, 403},
		"MissingWithCookie": {w.url(), http.Header{"Cookie": cookie}, nil, 403},
		"MissingWithToken":  {w.url(), nil, []string{"phoenix", "base64url.bearer.phx." + b64("key")}, 101},
		"ForeignWithToken":  {w.url(), http.Header{"Origin": {"https://evil.test"}}, []string{"phoenix", "base64url.bearer.phx." + b64("key")}, 403},
		"WrongToken":        {w.url(), nil, []string{"phoenix", "base64url.bearer.phx." + b64("wrong")}, 401},
		"BrokenToken":       {w.url(), nil, []string{"phoenix", "base64url.bearer.phx.!!"}, 400},
		"CookieNeverHelps":  {w.url(), http.Header{"Cookie": cookie}, []string{"phoenix", "base64url.bearer.phx." + b64("wrong")}, 401},
		"Nobody":            {w.url(), http.Header{"Origin": {origin}}, nil, 401},
		"OldVersion":        {strings.Replace(w.url(), "2.0.0", "1.0.0", 1), http.Header{"Origin": {origin}, "Cookie": cookie}, nil, 400},
		"NoVersion":         {strings.Replace(w.url(), "vsn=2.0.0", "", 1), http.Header{"Origin": {origin}, "Cookie": cookie}, nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			ws, res, err := w.try(c.url, c.header, c.protocols...)
			require.NotNil(t, res, err)
			require.Equal(t, c.status, res.StatusCode)
			if c.status != 101 {
				body, _ := io.ReadAll(res.Body)
				require.Contains(t, string(body), `"detail"`)
				return
			}
			require.NoError(t, err)
			if c.protocols != nil {
				require.Equal(t, "phoenix", ws.Subprotocol())
			}
			_ = ws.Close()
		})
	}
	res, err := http.Get("http" + strings.TrimPrefix(w.url(), "ws"))
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
	http.DefaultClient.CloseIdleConnections()
}

func TestTheProtocolOfAPhoenixClientIsSpoken(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")

	c.raw(`[null,"7","phoenix","heartbeat",{}]`)
	m := c.next()
	require.Nil(t, m.joinRef)
	require.Equal(t, "7", *m.ref)
	require.Equal(t, `{"status":"ok","response":{}}`, string(m.raw))

	w.publish("org:1:room:a", 3)
	join, response := c.join("room:a", `{"after":1,"epoch":"e1"}`)
	require.Equal(t, map[string]any{"seq": 1.0, "epoch": "e1", "you": "user-mia"}, response)
	require.Equal(t, []int64{2, 3}, c.seqs(2))
	w.publish("org:1:room:a", 1)
	m = c.next()
	require.Equal(t, join, *m.joinRef)
	require.Equal(t, "envelope", m.event)
	require.Equal(t, `{"seq":4,"pad":""}`, string(m.raw), "byte for byte")

	status, response := c.reply(c.push(join, "room:a", "echo", `{"n":1}`))
	require.Equal(t, "ok", status)
	require.Equal(t, map[string]any{"payload": map[string]any{"n": 1.0}, "state": "a", "hub": "org:1:room:a"}, response)

	ref := c.push(join, "room:a", "push", `{}`)
	require.Equal(t, "pushed", c.next().event)
	status, _ = c.reply(ref)
	require.Equal(t, "ok", status)

	status, _ = c.reply(c.push(join, "room:a", "phx_leave", `{}`))
	require.Equal(t, "ok", status)
	m = c.next()
	require.Equal(t, "phx_close", m.event)
	require.Equal(t, join, *m.joinRef)
	require.Eventually(t, func() bool { return w.rooms.left.Load() == 1 }, 5*time.Second, time.Millisecond)
	status, response = c.reply(c.push(join, "room:a", "echo", `{}`))
	require.Equal(t, "error", status)
	require.Equal(t, "not found", response["reason"])
}

func TestForeignAbsentAndUnknownTopicsLookTheSame(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("gus")
	var bodies []string
	for _, topic := range []string{"room:foreign", "room:absent", "nothing", "nothing:at-all", "room:", "room"} {
		ref := c.push("", topic, "phx_join", `{}`)
		m := c.next()
		require.Equal(t, ref, *m.ref)
		bodies = append(bodies, string(m.raw))
	}
	for _, b := range bodies {
		require.Equal(t, `{"status":"error","response":{"reason":"not found","code":"not_found"}}`, b)
	}
}

func TestWrongTypesGetAClearAnswer(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	for payload, want := range map[string]string{
		`{"after":"5"}`:     "after: must be a whole number from 0 on",
		`{"after":-1}`:      "after: must be a whole number from 0 on",
		`{"after":1.5}`:     "after: must be a whole number from 0 on",
		`{"after":1e99}`:    "after: must be a whole number from 0 on",
		`{"epoch":5}`:       "epoch: must be a string",
		`{"format":"xml"}`:  `format: must be "envelope" or "html"`,
		`[]`:                "payload: must be an object",
		`null`:              "payload: must be an object",
		`"x"`:               "payload: must be an object",
		`{"format":["a"]}`:  `format: must be "envelope" or "html"`,
		`{"after":{"a":1}}`: "after: must be a whole number from 0 on",
	} {
		status, response := c.reply(c.push("", "room:a", "phx_join", payload))
		require.Equal(t, "error", status, payload)
		require.Equal(t, want, response["reason"], payload)
		require.Equal(t, "invalid", response["code"])
	}
	c.raw(`[null,"90","room:a","phx_join",{}]`)
	status, response := c.reply("90")
	require.Equal(t, "error", status)
	require.Contains(t, response["reason"], "join_ref")

	join, _ := c.join("room:a", `{}`)
	status, response = c.reply(c.push(join, "room:a", "dance", `{}`))
	require.Equal(t, "error", status)
	require.Equal(t, map[string]any{"event": "is not known"}, response["fields"])
}

func TestFramesOutsideTheProtocolCloseThatConnectionOnly(t *testing.T) {
	w := newWorlds(t, 1)[0]
	other := w.connect("max")
	otherJoin, _ := other.join("room:a", `{}`)
	for name, c := range map[string]struct {
		kind int
		data string
		code int
	}{
		"NotJSON":    {websocket.TextMessage, `hello`, socket.CloseMalformed},
		"NotAnArray": {websocket.TextMessage, `{"topic":"x"}`, socket.CloseMalformed},
		"Null":       {websocket.TextMessage, `null`, socket.CloseMalformed},
		"Short":      {websocket.TextMessage, `["1","1","room:a","phx_join"]`, socket.CloseMalformed},
		"Long":       {websocket.TextMessage, `["1","1","room:a","phx_join",{},1]`, socket.CloseMalformed},
		"NumberName": {websocket.TextMessage, `["1","1",5,"phx_join",{}]`, socket.CloseMalformed},
		"EmptyName":  {websocket.TextMessage, `["1","1","","phx_join",{}]`, socket.CloseMalformed},
		"ObjectRef":  {websocket.TextMessage, `["1",{},"room:a","phx_join",{}]`, socket.CloseMalformed},
		"NotUTF8":    {websocket.TextMessage, "[\"1\",\"1\",\"room:\xff\",\"phx_join\",{}]", socket.CloseMalformed},
		"Binary":     {websocket.BinaryMessage, "\x00\x01", socket.CloseUnsupported},
		"TooBig":     {websocket.TextMessage, `["1","1","room:a","echo",{"x":"` + strings.Repeat("x", 65_000) + `"}]` + strings.Repeat(" ", 1000), socket.CloseTooBig},
		"FarTooBig":  {websocket.TextMessage, strings.Repeat("x", 3<<20), socket.CloseTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			cl := w.connect("mia")
			_ = cl.ws.WriteMessage(c.kind, []byte(c.data)) // the server may hang up in the middle
			code, reason := cl.closed()
			require.Equal(t, c.code, code)
			require.NotEmpty(t, reason)
		})
	}
	status, _ := other.reply(other.push(otherJoin, "room:a", "echo", `{}`))
	require.Equal(t, "ok", status)
	require.Eventually(t, func() bool { return w.server.Stats().Sockets == 1 }, 5*time.Second, time.Millisecond)
}

func TestAFrameOfExactly64KiBIsTaken(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	join, _ := c.join("room:a", `{}`)
	frame := fmt.Sprintf(`[%q,"99","room:a","echo",{"x":"`, join)
	frame += strings.Repeat("x", 64<<10-len(frame)-3) + `"}]`
	require.Len(t, frame, 64<<10)
	c.raw(frame)
	status, _ := c.reply("99")
	require.Equal(t, "ok", status)
}

func TestAPanicOrABugInAChannelIsAnsweredWithoutItsDetails(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	for _, topic := range []string{"room:panic", "room:internal"} {
		status, response := c.reply(c.push("", topic, "phx_join", `{}`))
		require.Equal(t, "error", status)
		require.Equal(t, "internal", response["code"])
		require.NotContains(t, fmt.Sprint(response), "secret")
	}
	join, _ := c.join("room:a", `{}`)
	status, response := c.reply(c.push(join, "room:a", "panic", `{}`))
	require.Equal(t, "error", status)
	require.NotContains(t, fmt.Sprint(response), "secret")
	status, _ = c.reply(c.push(join, "room:a", "echo", `{}`))
	require.Equal(t, "ok", status)
}

func TestPingsAreAnsweredThroughTheOneWriter(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	pong := make(chan string, 1)
	c.ws.SetPongHandler(func(data string) error { pong <- data; return nil })
	require.NoError(t, c.ws.WriteControl(websocket.PingMessage, []byte("hi"), time.Now().Add(time.Second)))
	c.push("", "phoenix", "heartbeat", `{}`)
	c.next()
	require.Equal(t, "hi", <-pong)
}

func TestASecondJoinReplacesTheFirst(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	w.publish("org:1:room:a", 5)
	first, _ := c.join("room:a", `{"after":5,"epoch":"e1"}`)
	second, _ := c.join("room:a", `{"after":2,"epoch":"e1"}`)
	m := c.next()
	require.Equal(t, "phx_close", m.event)
	require.Equal(t, first, *m.joinRef)
	w.publish("org:1:room:a", 1)
	for want := int64(3); want <= 6; want++ {
		m := c.next()
		require.Equal(t, second, *m.joinRef)
		require.Equal(t, float64(want), m.payload["seq"])
	}
}

func TestAJoinWithAnotherEpochIsToldToStartAnew(t *testing.T) {
	w := newWorlds(t, 1)[0]
	w.publish("org:1:room:a", 5)
	c := w.connect("mia")
	_, response := c.join("room:a", `{"after":3,"epoch":"old"}`)
	require.Equal(t, map[string]any{"reset": true, "seq": 5.0, "epoch": "e1", "you": "user-mia"}, response)
	w.publish("org:1:room:a", 1)
	require.Equal(t, []int64{6}, c.seqs(1))
}

func TestAnHTMLJoinGetsWhatChangedAsOfOneNumberAndThenPatches(t *testing.T) {
	w := newWorlds(t, 1)[0]
	w.publish("org:1:room:a", 5)
	c := w.connect("mia")
	// The first join makes the projection, which stands at 5.
	_, response := c.join("room:a", `{"after":2,"epoch":"e1","format":"html"}`)
	require.Equal(t, 5.0, response["seq"])
	m := c.next()
	require.Equal(t, realtime.ViewEvent, m.event)
	require.Equal(t, 5.0, m.payload["seq"])
	require.Len(t, m.payload["regions"], 3)
	w.publish("org:1:room:a", 1)
	require.Equal(t, `{"seq":6,"regions":[{"id":"r6","html":"<i>"}]}`, string(c.next().raw))
}

func TestNoticesReachASocketAsTheyAre(t *testing.T) {
	w := newWorlds(t, 1)[0]
	c := w.connect("mia")
	c.join("room:a", `{}`)
	require.NoError(t, w.hub.Publish(context.Background(), "org:1:room:a", realtime.Message{Event: "notice", Payload: []byte(`{"a": 1}`)}))
	m := c.next()
	require.Equal(t, "notice", m.event)
	require.Equal(t, `{"a": 1}`, string(m.raw))
}
