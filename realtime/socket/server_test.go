package socket_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/fasthttp/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/realtime/socket"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp keeps one process-wide clock for its Date header.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// Its worker pool's cleaner notices a shutdown only after its pause of 10 s.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// origin is the page's own in these tests.
const origin = "https://heddle.test"

// person is an identity whose session can be revoked.
type person struct {
	key, session string
	gone         *sync.Map
}

func (p person) Key() string     { return p.key }
func (p person) Session() string { return p.session }
func (p person) Recheck(context.Context) error {
	if _, gone := p.gone.Load(p.session); gone {
		return fault.Unauthenticated("Sign in again.")
	}
	return nil
}

// world is one node with its own sockets; several may share a Redis and a log.
type world struct {
	t      *testing.T
	hub    *realtime.Hub
	server *socket.Server
	log    *tokenLog
	addr   string
	gone   *sync.Map
	rooms  *rooms
	stop   func()
}

// tokenLog is a dense log in memory.
type tokenLog struct {
	mu   sync.Mutex
	rows map[string][]realtime.Message
	size int // bytes of padding per message
}

func (l *tokenLog) append(topic string, n int) []realtime.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	var made []realtime.Message
	for range n {
		seq := int64(len(l.rows[topic]) + 1)
		m := realtime.Message{Event: "envelope", Seq: seq, Epoch: "e1",
			Payload: fmt.Appendf(nil, `{"seq":%d,"pad":%q}`, seq, strings.Repeat("x", l.size))}
		l.rows[topic] = append(l.rows[topic], m)
		made = append(made, m)
	}
	return made
}

func (l *tokenLog) ReadLog(_ context.Context, topic string, after int64, limit int) (realtime.Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := l.rows[topic]
	p := realtime.Page{Head: int64(len(rows)), Epoch: "e1"}
	if limit > 0 && int(after) < len(rows) {
		end := min(int(after)+limit, len(rows))
		p.Messages = append(p.Messages, rows[after:end]...)
		p.More = end < len(rows)
	}
	return p, nil
}

func (l *tokenLog) ReadHeads(_ context.Context, topics []string) ([]realtime.Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	heads := make([]realtime.Page, len(topics))
	for i, name := range topics {
		heads[i] = realtime.Page{Head: int64(len(l.rows[name])), Epoch: "e1"}
	}
	return heads, nil
}

// rooms is a channel as handlers write one: "room:<name>" is open to all but
// rooms that are foreign or absent.
type rooms struct {
	log  *tokenLog
	left atomic.Int32
}

func (r *rooms) Join(_ context.Context, id socket.Identity, topic string, payload json.RawMessage) (socket.Joined, error) {
	j, err := socket.ParseJoin(payload)
	if err != nil {
		return j, err
	}
	name := strings.TrimPrefix(topic, "room:")
	switch {
	case name == "foreign", name == "absent":
		return j, fault.NotFound("room")
	case name == "panic":
		panic("a bug with secret details")
	case name == "internal":
		return j, errors.New("secret details")
	}
	j.HubTopic = "org:1:" + topic
	j.Reply = map[string]string{"you": id.Key()}
	j.State = name
	j.ProjectionName = "html/en"
	j.Projector = func() realtime.Projector { return &lines{log: r.log, topic: "org:1:" + topic} }
	return j, nil
}

func (r *rooms) Handle(_ context.Context, m socket.Member, event string, payload json.RawMessage) (any, error) {
	switch event {
	case "echo":
		return map[string]any{"payload": payload, "state": m.State, "hub": m.HubTopic}, nil
	case "push":
		return nil, m.Push("pushed", map[string]int{"n": 1})
	case "big":
		return nil, m.Push("pushed", map[string]string{"x": strings.Repeat("x", 3<<20)})
	case "panic":
		panic("a bug with secret details")
	}
	return nil, fault.Invalid("event", "is not known")
}

func (r *rooms) Leave(context.Context, socket.Member) { r.left.Add(1) }

// lines is a projector with one region per number.
type lines struct {
	log         *tokenLog
	topic       string
	at, flushed int64
}

func (p *lines) Load(ctx context.Context) (realtime.Position, error) {
	page, err := p.log.ReadLog(ctx, p.topic, 0, 0)
	p.at, p.flushed = page.Head, page.Head
	return realtime.Position{Seq: page.Head, Epoch: page.Epoch}, err
}
func (p *lines) Apply(m realtime.Message) error { p.at = m.Seq; return nil }
func (p *lines) Changed(after int64) ([]byte, error) {
	patch := realtime.Patch{Seq: p.at}
	for n := after + 1; n <= p.at; n++ {
		patch.Regions = append(patch.Regions, realtime.Region{ID: fmt.Sprint("r", n), HTML: "<i>"})
	}
	if patch.Regions == nil {
		return nil, nil
	}
	return patch.Encode()
}
func (p *lines) Flush() ([]byte, error) {
	b, err := p.Changed(p.flushed)
	p.flushed = p.at
	return b, err
}

func newWorld(t *testing.T, redisAddr string, log *tokenLog, change ...func(*socket.Options)) *world {
	t.Helper()
	w := &world{t: t, gone: &sync.Map{}, log: log, rooms: &rooms{log: log}}
	client := redis.NewClient(&redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true, MaxRetries: 1})
	quiet := slog.New(slog.DiscardHandler)
	w.hub = realtime.New(realtime.Options{Redis: client, Log: log, Logger: quiet, PingEvery: 500 * time.Millisecond})
	router := socket.NewRouter()
	router.Handle("room:*", w.rooms)
	o := socket.Options{Hub: w.hub, Router: router, Logger: quiet, Origins: []string{origin},
		Authenticate: func(_ context.Context, h socket.Handshake) (socket.Identity, error) {
			name := h.Cookie("session")
			if h.Token != "" {
				name = h.Token
			}
			if name == "" || name == "wrong" {
				return nil, fault.Unauthenticated("Sign in first.")
			}
			return person{key: "user-" + name, session: name, gone: w.gone}, nil
		}}
	for _, c := range change {
		c(&o)
	}
	var err error
	w.server, err = socket.New(o)
	require.NoError(t, err)
	app := fiber.New(fiber.Config{DisableStartupMessage: true, ReduceMemoryUsage: true})
	app.Get("/socket/websocket", w.server.Handler())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.addr = l.Addr().String()

	ctx, cancel := context.WithCancel(context.Background())
	const orders = "heddle:sys:disconnect"
	others, err := client.PubSubNumSub(ctx, orders).Result()
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.hub.Run(ctx) })
	wg.Go(func() { _ = w.server.Run(ctx) })
	wg.Go(func() { _ = app.Listener(l) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		_ = app.Shutdown()
		wg.Wait()
		_ = client.Close()
	})
	t.Cleanup(w.stop)
	require.Eventually(t, func() bool {
		n, _ := client.PubSubNumSub(ctx, orders).Result()
		return w.hub.State().Connected && n[orders] > others[orders]
	}, 10*time.Second, 5*time.Millisecond)
	return w
}

func newWorlds(t *testing.T, n int, change ...func(*socket.Options)) []*world {
	redisAddr := miniredis.RunT(t).Addr()
	log := &tokenLog{rows: map[string][]realtime.Message{}}
	var ws []*world
	for range n {
		ws = append(ws, newWorld(t, redisAddr, log, change...))
	}
	return ws
}

func (w *world) publish(topic string, n int) {
	w.t.Helper()
	require.NoError(w.t, w.hub.Publish(context.Background(), topic, w.log.append(topic, n)...))
}

// client is a small Phoenix client of the tests.
type client struct {
	t    *testing.T
	ws   *websocket.Conn
	ref  int
	kept []message
}

type message struct {
	joinRef, ref *string
	topic, event string
	payload      map[string]any
	raw          json.RawMessage
}

func (w *world) url() string { return "ws://" + w.addr + "/socket/websocket?vsn=2.0.0" }

func (w *world) try(url string, h http.Header, protocols ...string) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{HandshakeTimeout: 5 * time.Second, Subprotocols: protocols}
	return d.Dial(url, h)
}

func (w *world) connect(session string) *client {
	w.t.Helper()
	ws, _, err := w.try(w.url(), http.Header{"Origin": {origin}, "Cookie": {"session=" + session}})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(15 * time.Second))
	return &client{t: w.t, ws: ws}
}

func (c *client) raw(s string) {
	c.t.Helper()
	require.NoError(c.t, c.ws.WriteMessage(websocket.TextMessage, []byte(s)))
}

// push sends a frame and returns its ref.
func (c *client) push(joinRef, topic, event, payload string) string {
	c.t.Helper()
	c.ref++
	ref := fmt.Sprint(c.ref)
	if joinRef == "" {
		joinRef = ref
	}
	c.raw(fmt.Sprintf(`[%q,%q,%q,%q,%s]`, joinRef, ref, topic, event, payload))
	return ref
}

func (c *client) read() (message, error) {
	if len(c.kept) > 0 {
		m := c.kept[0]
		c.kept = c.kept[1:]
		return m, nil
	}
	_, data, err := c.ws.ReadMessage()
	if err != nil {
		return message{}, err
	}
	var parts []json.RawMessage
	require.NoError(c.t, json.Unmarshal(data, &parts), string(data))
	require.Len(c.t, parts, 5)
	m := message{raw: parts[4]}
	for i, dst := range []any{&m.joinRef, &m.ref, &m.topic, &m.event, &m.payload} {
		require.NoError(c.t, json.Unmarshal(parts[i], dst), string(data))
	}
	return m, nil
}

func (c *client) next() message {
	c.t.Helper()
	m, err := c.read()
	require.NoError(c.t, err)
	return m
}

// reply waits for the reply to ref and keeps what came before.
func (c *client) reply(ref string) (status string, response map[string]any) {
	c.t.Helper()
	var before []message
	for {
		m := c.next()
		if m.event == "phx_reply" && m.ref != nil && *m.ref == ref {
			c.kept = append(before, c.kept...)
			response, _ := m.payload["response"].(map[string]any)
			return m.payload["status"].(string), response
		}
		before = append(before, m)
	}
}

func (c *client) join(topic, payload string) (joinRef string, response map[string]any) {
	c.t.Helper()
	ref := c.push("", topic, "phx_join", payload)
	status, response := c.reply(ref)
	require.Equal(c.t, "ok", status, response)
	return ref, response
}

// closed reads until the socket closes and returns code and reason.
func (c *client) closed() (int, string) {
	c.t.Helper()
	for {
		_, err := c.read()
		if err == nil {
			continue
		}
		var ce *websocket.CloseError
		require.ErrorAs(c.t, err, &ce)
		return ce.Code, ce.Text
	}
}

// seqs reads n numbered frames.
func (c *client) seqs(n int) []int64 {
	c.t.Helper()
	var got []int64
	for len(got) < n {
		m := c.next()
		if m.event == "envelope" {
			got = append(got, int64(m.payload["seq"].(float64)))
		}
	}
	return got
}

func upTo(from, to int64) []int64 {
	var ns []int64
	for n := from; n <= to; n++ {
		ns = append(ns, n)
	}
	return ns
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
