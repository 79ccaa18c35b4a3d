package chaos

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/heddle/heddle/agents/event"
)

// manner is how a client behaves.
type manner int

const (
	steady manner = iota
	restless
	slowly
	never
)

// The protocol's numbers of clients.
const (
	restlessLow, restlessHigh = time.Second, 5 * time.Second
	slowBytes                 = 1000
	heartbeat                 = 15 * time.Second
)

// client follows threads over any number of connections and keeps what it was
// told of each.
type client struct {
	name    string
	manner  manner
	org     *org
	pick    func() *node
	canary  func(payload []byte) string
	broken  func(invariant, format string, args ...any)
	rnd     *rand.Rand
	hurry   atomic.Bool // slow ones read at full speed from now on
	dials   atomic.Int64
	delayed func(time.Duration)

	mu     sync.Mutex
	topics map[string]*followed
	ws     *websocket.Conn
	ref    int
}

// followed is one thread as one client knows it.
type followed struct {
	thread  string
	joinRef string
	joined  bool
	epoch   string
	last    int64
	frames  int64
	told    *story
}

func newClient(name string, m manner, o *org, seed uint64) *client {
	return &client{name: name, manner: m, org: o, rnd: rand.New(rand.NewPCG(seed, 77)), topics: map[string]*followed{}}
}

// follow makes the client watch a thread from its beginning.
func (c *client) follow(thread string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &followed{thread: thread, told: newStory()}
	c.topics["thread:"+thread] = f
	if c.ws != nil {
		c.join(f)
	}
}

// positions gives how far the client has come on each thread.
func (c *client) positions() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]int64, len(c.topics))
	for _, f := range c.topics {
		out[f.thread] = f.last
	}
	return out
}

// join asks for a topic from where the client stands. The caller holds c.mu. A
// write that fails is found out by the reader.
func (c *client) join(f *followed) {
	c.ref++
	f.joinRef, f.joined = fmt.Sprint(c.ref), false
	after := map[string]any{"after": f.last}
	if f.epoch != "" {
		after["epoch"] = f.epoch
	}
	c.send(f.joinRef, "thread:"+f.thread, "phx_join", after)
}

func (c *client) send(joinRef, topic, name string, payload any) {
	text, err := json.Marshal([]any{joinRef, joinRef, topic, name, payload})
	if err != nil || c.ws == nil {
		return
	}
	_ = c.ws.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_ = c.ws.WriteMessage(websocket.TextMessage, text)
}

// run connects again and again until ctx ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		n := c.pick()
		if n == nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		c.session(ctx, n)
		if ctx.Err() == nil {
			pause(ctx, 20*time.Millisecond+time.Duration(c.rnd.IntN(80))*time.Millisecond)
		}
	}
}

func (c *client) dial(ctx context.Context, n *node, wrap func(net.Conn) net.Conn) (*websocket.Conn, error) {
	token := base64.RawURLEncoding.EncodeToString([]byte(c.org.asker.key))
	dialer := websocket.Dialer{
		HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"phoenix", "base64url.bearer.phx." + token},
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return wrap(conn), nil
		},
	}
	ws, _, err := dialer.DialContext(ctx, "ws://"+n.addr+"/socket/websocket?vsn=2.0.0", nil)
	if err == nil {
		c.dials.Add(1)
	}
	return ws, err
}

// session is one connection, until it ends or the client has had enough of it.
func (c *client) session(ctx context.Context, n *node) {
	ws, err := c.dial(ctx, n, func(conn net.Conn) net.Conn {
		if c.manner == slowly {
			return &dripping{Conn: conn, hurry: &c.hurry}
		}
		return conn
	})
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	if c.manner == restless {
		ctx, cancel = context.WithTimeout(ctx, restlessLow+time.Duration(c.rnd.Int64N(int64(restlessHigh-restlessLow))))
	}
	var beat sync.WaitGroup
	beat.Go(func() {
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				_ = ws.Close() // as a lost network does: without a word
				return
			case <-tick.C:
				c.mu.Lock()
				c.send("hb", "phoenix", "heartbeat", map[string]any{})
				c.mu.Unlock()
			}
		}
	})
	c.mu.Lock()
	c.ws = ws
	for _, f := range c.topics {
		c.join(f)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.ws = nil
		c.mu.Unlock()
		cancel()
		beat.Wait()
	}()
	for {
		// A frozen node says nothing: whoever waits goes elsewhere, as the
		// official client does when a heartbeat has no answer.
		_ = ws.SetReadDeadline(time.Now().Add(2 * heartbeat))
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		c.frame(data)
	}
}

type reply struct {
	Status   string `json:"status"`
	Response struct {
		Seq   int64  `json:"seq"`
		Epoch string `json:"epoch"`
		Reset bool   `json:"reset"`
	} `json:"response"`
}

func (c *client) frame(data []byte) {
	var joinRef, ref *string
	var topic, name string
	var payload json.RawMessage
	parts := []any{&joinRef, &ref, &topic, &name, &payload}
	if err := json.Unmarshal(data, &parts); err != nil {
		c.broken("I5", "%s got a frame that is none: %s", c.name, clip(data))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.topics[topic]
	if f == nil || joinRef != nil && *joinRef != f.joinRef {
		return
	}
	switch name {
	case "phx_reply":
		var r reply
		if json.Unmarshal(payload, &r) != nil || ref == nil || *ref != f.joinRef {
			return
		}
		if r.Status != "ok" {
			c.rejoinLater(f)
			return
		}
		f.joined = true
		if r.Response.Reset {
			c.broken("I5", "%s was told that the log of thread %s was cut at %d, and nobody cut it", c.name, f.thread, f.last)
		}
	case "phx_error", "phx_close":
		c.join(f)
	case "envelope":
		c.envelope(f, payload)
	}
}

// rejoinLater asks again for a topic that was refused, such as by a node whose
// database is away.
func (c *client) rejoinLater(f *followed) {
	ref := f.joinRef
	time.AfterFunc(300*time.Millisecond, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if f.joinRef == ref && !f.joined {
			c.join(f)
		}
	})
}

func (c *client) envelope(f *followed, payload []byte) {
	if foreign := c.canary(payload); foreign != "" {
		c.broken("I7", "%s of %s was sent an envelope of thread %s with the word of %s", c.name, c.org.slug, f.thread, foreign)
	}
	e, err := event.Parse(payload)
	if err != nil {
		c.broken("I5", "%s could not read an envelope of thread %s: %v", c.name, f.thread, err)
		return
	}
	switch {
	case e.Seq == f.last+1:
	case e.Seq <= f.last:
		c.broken("I5", "%s was sent number %d of thread %s again, after %d", c.name, e.Seq, f.thread, f.last)
		return
	default:
		c.broken("I5", "%s was sent number %d of thread %s after %d: %d are missing", c.name, e.Seq, f.thread, f.last, e.Seq-f.last-1)
	}
	if f.epoch != "" && e.Epoch != f.epoch {
		c.broken("I5", "%s saw the epoch of thread %s change without a reset", c.name, f.thread)
	}
	f.last, f.epoch = e.Seq, e.Epoch
	f.frames++
	f.told.apply(e)
	if c.delayed != nil && c.manner == steady {
		c.delayed(time.Since(e.Time))
	}
}

func clip(b []byte) string { return string(b[:min(len(b), 200)]) }

// dripping is a connection that is read at a thousand bytes a second.
type dripping struct {
	net.Conn
	hurry *atomic.Bool
}

func (d *dripping) Read(p []byte) (int, error) {
	if d.hurry.Load() {
		return d.Conn.Read(p)
	}
	n, err := d.Conn.Read(p[:min(len(p), slowBytes/10)])
	for range 10 {
		if d.hurry.Load() || err != nil {
			break
		}
		time.Sleep(time.Duration(n) * time.Second / slowBytes / 10)
	}
	return n, err
}

// ignoring is a client that asks for a thread again and again and never reads an
// answer. It reports each connection that its node ended, with when it began.
func (c *client) ignoring(ctx context.Context, ended func(began time.Time)) {
	for ctx.Err() == nil {
		n := c.pick()
		if n == nil || len(c.positions()) == 0 {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		worker := n.worker()
		ws, err := c.dial(ctx, n, func(conn net.Conn) net.Conn {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(4 << 10) // the smaller the sooner it is full
			}
			return conn
		})
		if err != nil {
			pause(ctx, 100*time.Millisecond)
			continue
		}
		began := time.Now()
		for err == nil && ctx.Err() == nil {
			c.mu.Lock()
			c.ref++
			ref := fmt.Sprint(c.ref)
			topics := make([]string, 0, len(c.topics))
			for t := range c.topics {
				topics = append(topics, t)
			}
			c.mu.Unlock()
			slices.Sort(topics)
			text, _ := json.Marshal([]any{ref, ref, topics[c.rnd.IntN(len(topics))], "phx_join", map[string]any{"after": 0}})
			_ = ws.SetWriteDeadline(time.Now().Add(time.Second))
			err = ws.WriteMessage(websocket.TextMessage, text)
			pause(ctx, 50*time.Millisecond)
		}
		_ = ws.Close()
		if ctx.Err() == nil && n.up() && n.worker() == worker {
			ended(began)
		}
	}
}

// story is the text of a thread's answers, as its envelopes tell it.
type story struct {
	text map[string]*strings.Builder
	void map[string]bool
	// continued and failed are how often a run was told to go on elsewhere, and to
	// have failed.
	continued, failed int
}

func newStory() *story { return &story{text: map[string]*strings.Builder{}, void: map[string]bool{}} }

func (s *story) apply(e event.Envelope) {
	switch e.Type {
	case event.TextMessageContent:
		var d event.TextContentData
		if e.Decode(&d) != nil {
			return
		}
		if s.text[d.MessageID] == nil {
			s.text[d.MessageID] = &strings.Builder{}
		}
		s.text[d.MessageID].WriteString(d.Delta)
	case event.TextMessageEnd:
		var d event.TextEndData
		if e.Decode(&d) == nil && d.Broken {
			s.void[d.MessageID] = true
		}
	case event.Custom:
		if name, value := e.CustomName(); name == event.RunContinued {
			s.continued++
			var v event.ContinuedValue
			if json.Unmarshal(value, &v) == nil {
				for _, id := range v.Discarded {
					s.void[id] = true
				}
			}
		}
	case event.RunError:
		s.failed++
	default:
	}
}

// texts are the messages that stand.
func (s *story) texts() map[string]string {
	out := map[string]string{}
	for id, b := range s.text {
		if !s.void[id] && b.Len() > 0 {
			out[id] = b.String()
		}
	}
	return out
}
