package socket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/realtime"
)

// maxCommands bounds the commands of one topic that wait for the one in
// progress.
const maxCommands = 32

// member is one socket's place on one wire topic. Its commands run one after
// the other, in a goroutine that exists only while there are some.
type member struct {
	conn    *conn
	topic   string
	joinRef json.RawMessage
	channel Channel

	// Guarded by the outbox's lock.
	mute   bool // takes no more deliveries
	queued int  // bytes waiting
	last   int64

	// Guarded by the connection's lock.
	commands []func(context.Context)
	running  bool
	ended    bool

	// Touched only by the member's commands.
	joined bool
	hub    string
	state  any
	detach func()
	cancel context.CancelFunc // ends the replay
	id     Identity
}

// Deliver implements [realtime.Sink].
func (m *member) Deliver(d *realtime.Delivery) { m.conn.out.push(m, d) }

// Reset implements [realtime.Sink]: the client joins again and is told by the
// reply that the log was cut.
func (m *member) Reset(realtime.Position) { m.conn.out.lose(m) }

func (m *member) public() Member {
	return Member{Identity: m.id, Topic: m.topic, HubTopic: m.hub, State: m.state, m: m}
}

// lagTail is what follows the join_ref of a lag notice.
func lagTail(topic string, from int64) []byte {
	payload := fmt.Appendf(nil, `{"topic":%s,"from":%d}`, quote(topic), from)
	return encodeTail(null, topic, eventLag, payload)
}

// do queues a command; it reports whether there was room.
func (m *member) do(ctx context.Context, command func(context.Context)) bool {
	c := m.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.ended || len(m.commands) >= maxCommands {
		return false
	}
	m.queue(ctx, command)
	return true
}

// queue adds a command. The caller holds the connection's lock.
func (m *member) queue(ctx context.Context, command func(context.Context)) {
	m.commands = append(m.commands, command)
	if m.running {
		return
	}
	m.running = true
	m.conn.work.Go(func() { m.work(ctx) })
}

func (m *member) work(ctx context.Context) {
	c := m.conn
	for {
		c.mu.Lock()
		if len(m.commands) == 0 {
			m.running = false
			c.mu.Unlock()
			return
		}
		command := m.commands[0]
		m.commands = m.commands[1:]
		c.mu.Unlock()
		command(ctx)
	}
}

// guard runs fn, which answers ref, under a deadline, and turns a panic into a
// refusal.
func (m *member) guard(life context.Context, ref json.RawMessage, fn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(life, m.conn.srv.opt.CommandTimeout)
	defer cancel()
	err := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				m.conn.srv.opt.Logger.Error("channel panicked", "topic", m.topic, "err", fmt.Sprint(r), "stack", string(debug.Stack()))
				err = errors.New("channel panicked")
			}
		}()
		return fn(ctx)
	}()
	if err == nil {
		return
	}
	if fault.Is(err, fault.KindInternal) && life.Err() == nil {
		m.conn.srv.opt.Logger.Error("socket command failed", "topic", m.topic, "err", err)
	}
	m.conn.refuse(m.joinRef, ref, m.topic, err)
}

// recheck asks whether the identity still stands.
func (m *member) recheck(ctx context.Context) error {
	err := m.id.Recheck(ctx)
	if fault.Is(err, fault.KindUnauthenticated) {
		m.conn.close(CloseRevoked, fault.Public(err))
	}
	return err
}

// join runs phx_join.
func (m *member) join(ctx context.Context, ref, payload json.RawMessage) {
	m.guard(ctx, ref, func(short context.Context) error {
		if err := m.recheck(short); err != nil {
			return err
		}
		j, err := m.channel.Join(short, m.id, m.topic, payload)
		if err != nil {
			return err
		}
		m.hub, m.state = j.HubTopic, j.State
		if err := m.attach(ctx, short, ref, j); err != nil {
			return err
		}
		m.joined = true
		return nil
	})
	if !m.joined {
		m.conn.forget(m)
	}
}

// attach connects the member to the hub, replies and starts what follows. ctx
// lasts as long as the connection, short as long as the command.
func (m *member) attach(ctx, short context.Context, ref json.RawMessage, j Joined) error {
	hub := m.conn.srv.opt.Hub
	if j.Format == FormatHTML {
		v, err := hub.Project(short, j.HubTopic, j.ProjectionName, j.Projector, j.Start, m)
		if err != nil {
			return err
		}
		if err := m.welcome(ref, j, v.At, v.Cut); err != nil {
			v.Close()
			return err
		}
		m.detach = v.Close
		v.Begin()
		return nil
	}
	f, err := hub.Feed(short, j.HubTopic, j.Start, m)
	if err != nil {
		return err
	}
	if err := m.welcome(ref, j, f.At, f.Cut); err != nil {
		f.Close()
		return err
	}
	m.detach = f.Close
	replay, cancel := context.WithCancel(ctx)
	m.cancel = cancel
	m.conn.work.Go(func() {
		defer cancel()
		err := f.CatchUp(replay, func(ctx context.Context) error { return m.conn.out.room(ctx.Done()) })
		if err != nil && replay.Err() == nil {
			m.conn.srv.opt.Logger.Warn("replay to a socket ended early", "topic", m.topic, "err", err)
			m.conn.out.lose(m)
		}
	})
	return nil
}

// welcome sends the join's reply.
func (m *member) welcome(ref json.RawMessage, j Joined, at realtime.Position, cut bool) error {
	response := map[string]any{}
	if j.Reply != nil {
		data, err := json.Marshal(j.Reply)
		if err == nil {
			err = json.Unmarshal(data, &response)
		}
		if err != nil {
			return fmt.Errorf("encoding the reply of a join to %s: %w", m.topic, err)
		}
	}
	response["seq"], response["epoch"] = at.Seq, at.Epoch
	if cut {
		response["reset"] = true
	}
	m.conn.out.mu.Lock()
	m.last = at.Seq
	m.conn.out.mu.Unlock()
	m.conn.reply(m.joinRef, ref, m.topic, "ok", response)
	return nil
}

// push runs an event of the client.
func (m *member) push(ctx context.Context, f frame) {
	if !m.joined {
		m.conn.refuse(m.joinRef, f.ref, m.topic, fault.NotFound("topic"))
		return
	}
	m.guard(ctx, f.ref, func(ctx context.Context) error {
		if err := m.recheck(ctx); err != nil {
			return err
		}
		answer, err := m.channel.Handle(ctx, m.public(), f.event, f.payload)
		if err != nil {
			return err
		}
		m.conn.reply(m.joinRef, f.ref, m.topic, "ok", answer)
		return nil
	})
}

// leave lets go of the hub and tells the channel.
func (m *member) leave(ctx context.Context) {
	if !m.joined {
		return
	}
	m.joined = false
	if m.cancel != nil {
		m.cancel()
	}
	m.detach()
	m.guard(context.WithoutCancel(ctx), null, func(ctx context.Context) error {
		m.channel.Leave(ctx, m.public())
		return nil
	})
}
