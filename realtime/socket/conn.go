package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/heddle/heddle/internal/fault"
)

// conn is one open socket.
type conn struct {
	srv  *Server
	id   Identity
	out  *outbox
	seen atomic.Int64 // unix nanoseconds of the last frame

	mu      sync.Mutex
	members map[string]*member
	work    sync.WaitGroup // commands and replays
}

// serve reads until the connection ends. When it returns nothing uses the
// connection any more.
func (c *conn) serve(ctx context.Context, ws *websocket.Conn, crowded bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		c.out.shut()
		cancel()
		c.endAll(ctx)
		c.work.Wait()
	}()
	// The library's own handlers write past our writer.
	ws.SetPingHandler(func(data string) error { c.saw(); c.out.pong(data); return nil })
	ws.SetPongHandler(func(string) error { c.saw(); return nil })
	ws.SetCloseHandler(func(code int, _ string) error {
		if code == websocket.CloseNoStatusReceived {
			code = CloseNormal
		}
		c.close(code, "")
		return nil
	})
	if crowded {
		c.close(CloseTooMany, "too many open sockets")
		c.hangUp(ws)
		return
	}
	limit := bucket{rate: c.srv.opt.PerSecond, most: c.srv.opt.Burst, left: c.srv.opt.Burst}
	for {
		data, kind, err := c.read(ws)
		switch {
		case errors.Is(err, errTooBig):
			c.close(CloseTooBig, fmt.Sprintf("a frame may have %d bytes", c.srv.opt.FrameBytes))
			c.hangUp(ws)
			return
		case err != nil:
			return
		case kind != websocket.TextMessage:
			c.close(CloseUnsupported, "only text frames")
			c.hangUp(ws)
			return
		}
		if c.out.ending() {
			continue // whoever was told goodbye is no longer served
		}
		c.saw()
		f, err := decodeFrame(data)
		if err != nil {
			c.close(CloseMalformed, err.Error())
			c.hangUp(ws)
			return
		}
		if !limit.take(c.srv.opt.Clock.Now()) {
			if limit.refused > 10*limit.most {
				c.close(CloseTooMany, "too many messages")
				c.hangUp(ws)
				return
			}
			c.refuse(f.joinRef, f.ref, f.topic, fault.Limited("Too many messages. Slow down."))
			continue
		}
		c.dispatch(ctx, f)
	}
}

var errTooBig = errors.New("frame too big")

// read returns the next message. It checks the size itself: the library would
// answer past our writer.
func (c *conn) read(ws *websocket.Conn) ([]byte, int, error) {
	kind, r, err := ws.NextReader()
	if err != nil {
		return nil, 0, err
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(r, int64(c.srv.opt.FrameBytes)+1))
	if err != nil {
		return nil, 0, err
	}
	if n > int64(c.srv.opt.FrameBytes) {
		return nil, 0, errTooBig
	}
	return b.Bytes(), kind, nil
}

// hangUp waits for the client's own close, so that ours is not lost in a reset
// caused by bytes nobody read. The deadline set by close ends it.
func (c *conn) hangUp(ws *websocket.Conn) {
	for {
		if _, _, err := ws.NextReader(); err != nil {
			return
		}
	}
}

func (c *conn) saw() { c.seen.Store(c.srv.opt.Clock.Now().UnixNano()) }

// dispatch starts what a frame asks for.
func (c *conn) dispatch(ctx context.Context, f frame) {
	if f.topic == topicPhoenix {
		if f.event == eventHeartbeat {
			c.reply(f.joinRef, f.ref, f.topic, "ok", nil)
			return
		}
		c.refuse(f.joinRef, f.ref, f.topic, fault.NotFound("event"))
		return
	}
	if len(f.payload) == 0 || f.payload[0] != '{' {
		c.refuse(f.joinRef, f.ref, f.topic, fault.Invalid("payload", "must be an object"))
		return
	}
	if f.event == eventJoin {
		c.join(ctx, f)
		return
	}
	c.mu.Lock()
	m := c.members[f.topic]
	c.mu.Unlock()
	if m == nil || (!bytes.Equal(f.joinRef, null) && !bytes.Equal(f.joinRef, m.joinRef)) {
		if f.event == eventLeave {
			c.reply(f.joinRef, f.ref, f.topic, "ok", nil)
			return
		}
		c.refuse(f.joinRef, f.ref, f.topic, fault.NotFound("topic"))
		return
	}
	if f.event == eventLeave {
		c.end(ctx, m)
		c.reply(m.joinRef, f.ref, f.topic, "ok", nil)
		c.event(m, eventClose)
		return
	}
	if !m.do(ctx, func(ctx context.Context) { m.push(ctx, f) }) {
		c.refuse(f.joinRef, f.ref, f.topic, fault.Limited("Too many commands wait on this topic."))
	}
}

// join makes a member and starts its join. A second join of a topic replaces
// the first, as a client does after a lag.
func (c *conn) join(ctx context.Context, f frame) {
	channel := c.srv.opt.Router.find(f.topic)
	if channel == nil {
		c.refuse(f.joinRef, f.ref, f.topic, fault.NotFound("topic"))
		return
	}
	if bytes.Equal(f.joinRef, null) {
		c.refuse(f.joinRef, f.ref, f.topic, fault.Invalid("join_ref", "must be given for a join"))
		return
	}
	c.mu.Lock()
	old := c.members[f.topic]
	count := len(c.members)
	c.mu.Unlock()
	if old == nil && count >= c.srv.opt.Topics {
		c.refuse(f.joinRef, f.ref, f.topic, fault.Limited(fmt.Sprintf("A socket may join %d topics.", c.srv.opt.Topics)))
		return
	}
	if old != nil {
		c.end(ctx, old)
		c.event(old, eventClose)
	}
	m := &member{conn: c, topic: f.topic, joinRef: f.joinRef, channel: channel, id: c.id}
	c.mu.Lock()
	c.members[f.topic] = m
	c.mu.Unlock()
	m.do(ctx, func(ctx context.Context) { m.join(ctx, f.ref, f.payload) })
}

// end takes m off the socket; its channel is told after the commands that wait.
func (c *conn) end(ctx context.Context, m *member) {
	c.out.silence(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.ended {
		return
	}
	m.ended = true
	if c.members[m.topic] == m {
		delete(c.members, m.topic)
	}
	m.queue(ctx, m.leave)
}

// forget takes off a member whose join was refused.
func (c *conn) forget(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.ended = true
	if c.members[m.topic] == m {
		delete(c.members, m.topic)
	}
}

func (c *conn) endAll(ctx context.Context) {
	c.mu.Lock()
	all := make([]*member, 0, len(c.members))
	for _, m := range c.members {
		all = append(all, m)
	}
	c.mu.Unlock()
	for _, m := range all {
		c.end(ctx, m)
	}
}

func (c *conn) close(code int, reason string) { c.out.seal(closeFrame(code, reason)) }

// event sends an event of the protocol itself to one topic.
func (c *conn) event(m *member, event string) {
	c.out.send(entry{head: m.joinRef, tail: encodeTail(m.joinRef, m.topic, event, []byte("{}"))})
}

func (c *conn) refuse(joinRef, ref json.RawMessage, topic string, err error) {
	c.reply(joinRef, ref, topic, "error", c.srv.opt.Reply(err))
}

// reply answers a command. A client that gave no ref wants none.
func (c *conn) reply(joinRef, ref json.RawMessage, topic, status string, response any) {
	if bytes.Equal(ref, null) {
		return
	}
	if response == nil {
		response = struct{}{}
	}
	data, err := json.Marshal(reply{Status: status, Response: response})
	if err != nil {
		c.srv.opt.Logger.Error("reply could not be encoded", "topic", topic, "err", err)
		data = []byte(`{"status":"error","response":{"reason":"internal error","code":"internal"}}`)
	}
	c.out.send(entry{head: joinRef, tail: encodeTail(ref, topic, eventReply, data)})
}

// bucket is a token bucket without a timer; only the reader uses it.
type bucket struct {
	rate, most, left int
	refused          int
	filled           time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.filled.IsZero() {
		b.filled = now
	}
	if fresh := int(now.Sub(b.filled).Seconds() * float64(b.rate)); fresh > 0 {
		b.left = min(b.most, b.left+fresh)
		b.filled = now
	}
	if b.left == 0 {
		b.refused++
		return false
	}
	b.left--
	b.refused = 0
	return true
}
