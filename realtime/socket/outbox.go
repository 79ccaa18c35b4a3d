package socket

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/heddle/heddle/realtime"
)

// entry is one frame that waits: a text frame made of "[", head and tail, or
// raw bytes.
type entry struct {
	owner *member // whose topic it belongs to; nil for replies and control
	seq   int64
	head  []byte // the join_ref
	tail  []byte
	raw   []byte
}

func (e *entry) size() int { return len(e.head) + len(e.tail) + len(e.raw) }

func (e *entry) appendTo(b []byte) []byte {
	if e.raw != nil {
		return append(b, e.raw...)
	}
	b = appendHeader(b, opText, 1+len(e.head)+len(e.tail))
	b = append(b, '[')
	b = append(b, e.head...)
	return append(b, e.tail...)
}

const (
	// writeBatch is about how much is copied into one write.
	writeBatch = 64 << 10
	// pieceSize is what a stalled socket has to take within the stall limit.
	pieceSize = 4 << 10
	// lowWater is the share of the bounds under which a replay goes on.
	lowWater = 4
	// spareFrames is how far replies and notices of lag may exceed the bound.
	spareFrames = 64
	// goodbye is how long a closed connection may take to say goodbye itself.
	goodbye = 2 * time.Second
)

// outbox holds what waits for one connection and writes it with as few system
// calls as possible. It has no goroutine of its own: the pool's workers take
// what waits and write without blocking; only while a socket has no room, one
// goroutine waits for it.
//
// sock is the connection below all wrappers: those are reused by others as soon
// as the handler returns.
type outbox struct {
	pool   *pool
	sock   net.Conn
	write  func([]byte) (int, error) // writes without blocking; nil if sock cannot
	frames int                       // bound of waiting frames
	bytes  int                       // bound of waiting bytes
	stall  time.Duration

	mu     sync.Mutex
	list   []entry
	start  int // list[:start] has been taken
	size   int // bytes waiting in list
	own    int // those of replies and control
	busy   bool
	sealed bool // takes nothing more
	broken bool // writes nothing more
	idle   chan struct{}
	roomy  chan struct{}
	pongs  int
}

// push adds one frame of m's topic; it never blocks.
func (o *outbox) push(m *member, d *realtime.Delivery) {
	e := entry{owner: m, seq: d.Seq, head: m.joinRef, tail: d.Encoded(m.topic, tail)}
	o.mu.Lock()
	if o.sealed || m.mute {
		o.mu.Unlock()
		return
	}
	// One frame may exceed the bound: a whole page must fit however big it is.
	if o.waiting() >= o.frames || o.size >= o.bytes {
		o.shed(m)
		if m.mute || o.sealed {
			wake := o.claim()
			o.mu.Unlock()
			o.wake(wake)
			return
		}
	}
	o.add(e)
	wake := o.claim()
	o.mu.Unlock()
	o.wake(wake)
}

// send adds a reply or another frame that must not be dropped. A client that
// lets those pile up is not reading and is closed.
func (o *outbox) send(e entry) {
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return
	}
	o.add(e)
	if o.waiting() > o.frames+spareFrames || o.own > o.bytes {
		o.sealWith(closeFrame(CloseOverloaded, "the client does not read"))
	}
	wake := o.claim()
	o.mu.Unlock()
	o.wake(wake)
}

// pong answers a ping; a flood of pings is answered only so often.
func (o *outbox) pong(data string) {
	o.mu.Lock()
	if o.sealed || o.pongs >= spareFrames {
		o.mu.Unlock()
		return
	}
	o.pongs++
	o.add(entry{raw: append(appendHeader(nil, opPong, len(data)), data...)})
	wake := o.claim()
	o.mu.Unlock()
	o.wake(wake)
}

// lose mutes m, drops what waits of its topic and tells the client to join
// again, from the last number it was sent.
func (o *outbox) lose(m *member) {
	o.mu.Lock()
	if o.sealed || m.mute {
		o.mu.Unlock()
		return
	}
	o.drop(m)
	wake := o.claim()
	o.mu.Unlock()
	o.wake(wake)
}

// ending reports whether the connection takes leave.
func (o *outbox) ending() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sealed
}

// silence stops the deliveries of m without dropping what waits.
func (o *outbox) silence(m *member) {
	o.mu.Lock()
	m.mute = true
	o.mu.Unlock()
}

// seal ends the connection from our side: what waits is written, then a close
// frame, then nothing. The client has a moment to answer.
func (o *outbox) seal(frame []byte) {
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return
	}
	o.sealWith(frame)
	wake := o.claim()
	o.mu.Unlock()
	o.wake(wake)
}

func (o *outbox) sealWith(frame []byte) {
	o.add(entry{raw: frame})
	o.sealed = true
	_ = o.sock.SetDeadline(time.Now().Add(goodbye))
}

// room waits until a replay may add more.
func (o *outbox) room(stop <-chan struct{}) error {
	for {
		o.mu.Lock()
		if o.sealed || o.broken {
			o.mu.Unlock()
			return net.ErrClosed
		}
		if o.waiting() <= o.frames/lowWater && o.size <= o.bytes/lowWater {
			o.mu.Unlock()
			return nil
		}
		if o.roomy == nil {
			o.roomy = make(chan struct{})
		}
		wait := o.roomy
		o.mu.Unlock()
		select {
		case <-wait:
		case <-stop:
			return net.ErrClosed
		}
	}
}

// shut ends all writing and returns when no other goroutine uses the
// connection any more.
func (o *outbox) shut() {
	o.mu.Lock()
	o.sealed = true
	o.fail()
	_ = o.sock.SetDeadline(time.Unix(1, 0))
	if !o.busy {
		o.mu.Unlock()
		return
	}
	o.idle = make(chan struct{})
	wait := o.idle
	o.mu.Unlock()
	<-wait
}

func (o *outbox) waiting() int { return len(o.list) - o.start }

func (o *outbox) add(e entry) {
	o.list = append(o.list, e)
	o.size += e.size()
	if e.owner == nil {
		o.own += e.size()
	} else {
		e.owner.queued += e.size()
		if e.seq > 0 {
			e.owner.last = e.seq
		}
	}
}

// shed makes room by dropping the topic that has most bytes waiting.
func (o *outbox) shed(m *member) {
	worst := m
	for i := o.start; i < len(o.list); i++ {
		if w := o.list[i].owner; w != nil && !w.mute && w.queued > worst.queued {
			worst = w
		}
	}
	o.drop(worst)
	if o.waiting() > o.frames+spareFrames {
		o.sealWith(closeFrame(CloseOverloaded, "the client does not read"))
	}
}

func (o *outbox) drop(m *member) {
	from := m.last
	kept := o.list[o.start:o.start]
	for i := o.start; i < len(o.list); i++ {
		e := o.list[i]
		if e.owner != m {
			kept = append(kept, e)
			continue
		}
		if e.seq > 0 && e.seq <= from {
			from = e.seq - 1
		}
		o.size -= e.size()
	}
	clear(o.list[o.start+len(kept):])
	o.list = o.list[:o.start+len(kept)]
	m.queued = 0
	m.mute = true
	o.pool.lags.Add(1)
	o.add(entry{head: m.joinRef, tail: lagTail(m.topic, from)})
	o.add(entry{head: m.joinRef, tail: encodeTail(m.joinRef, m.topic, eventError, []byte(`{"reason":"lag"}`))})
}

// claim reports whether the caller has to hand the outbox to the pool.
func (o *outbox) claim() bool {
	if o.busy || o.broken || o.waiting() == 0 {
		return false
	}
	o.busy = true
	return true
}

func (o *outbox) wake(needed bool) {
	if needed {
		o.pool.add(o)
	}
}

// fail gives up writing. The reader is woken by a deadline in the past.
func (o *outbox) fail() {
	o.broken = true
	o.sealed = true
	o.list, o.start, o.size, o.own = nil, 0, 0, 0
	if o.roomy != nil {
		close(o.roomy)
		o.roomy = nil
	}
}

// next takes up to writeBatch bytes of what waits into buf. With nothing left
// it gives the outbox back and returns false.
func (o *outbox) next(buf []byte) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken || o.waiting() == 0 {
		o.busy = false
		o.list, o.start = o.list[:0], 0
		if cap(o.list) > spareFrames {
			o.list = nil
		}
		if o.idle != nil {
			close(o.idle)
		}
		return buf, false
	}
	for o.start < len(o.list) && (len(buf) == 0 || len(buf)+o.list[o.start].size() < writeBatch) {
		e := &o.list[o.start]
		buf = e.appendTo(buf)
		o.size -= e.size()
		if e.owner != nil {
			e.owner.queued -= e.size()
		} else {
			o.own -= e.size()
			if e.raw != nil && o.pongs > 0 {
				o.pongs--
			}
		}
		*e = entry{}
		o.start++
	}
	if o.start > len(o.list)/2 && o.start > spareFrames {
		n := copy(o.list, o.list[o.start:])
		clear(o.list[n:])
		o.list, o.start = o.list[:n], 0
	}
	if o.roomy != nil && o.waiting() <= o.frames/lowWater && o.size <= o.bytes/lowWater {
		close(o.roomy)
		o.roomy = nil
	}
	return buf, true
}

// drain writes what waits until nothing does, without blocking; the rest of a
// socket without room goes to a goroutine that waits for it.
func (o *outbox) drain(buf []byte) []byte {
	for {
		b, more := o.next(buf[:0])
		buf = b
		if !more {
			return buf
		}
		n := 0
		if o.write != nil {
			var err error
			if n, err = o.write(b); err != nil && !errors.Is(err, errAgain) {
				o.abort()
				continue
			}
			if n == len(b) {
				continue
			}
		}
		rest := append([]byte(nil), b[n:]...)
		// The handler waits for this goroutine: the outbox stays busy with it.
		go o.wait(rest)
		return buf
	}
}

// wait writes to a socket without room. Each piece must go within the stall
// limit, otherwise the client does not read and the connection ends.
func (o *outbox) wait(b []byte) {
	for more := true; more; b, more = o.next(b[:0]) {
		for len(b) > 0 {
			n := min(len(b), pieceSize)
			o.mu.Lock()
			if !o.sealed {
				_ = o.sock.SetWriteDeadline(time.Now().Add(o.stall))
			}
			o.mu.Unlock()
			if _, err := o.sock.Write(b[:n]); err != nil {
				o.abort()
				break
			}
			b = b[n:]
		}
		o.mu.Lock()
		if !o.sealed {
			_ = o.sock.SetWriteDeadline(time.Time{})
		}
		o.mu.Unlock()
	}
}

// abort ends the connection without ceremony: its handler wakes up and returns.
func (o *outbox) abort() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail()
	_ = o.sock.SetDeadline(time.Unix(1, 0))
}
