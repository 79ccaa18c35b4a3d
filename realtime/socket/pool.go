package socket

import (
	"sync"
	"sync/atomic"
)

// takeAtOnce is how many connections a worker takes from the line: enough that
// the line's lock does not matter, few enough that others get their share.
const takeAtOnce = 64

// pool writes for all connections with a few workers. Its line is bounded by
// the number of open connections, since each stands in it at most once.
type pool struct {
	mu     sync.Mutex
	filled sync.Cond
	line   []*outbox
	closed bool

	lags atomic.Int64 // places lost by sockets that read too slowly
}

func newPool() *pool {
	p := &pool{}
	p.filled.L = &p.mu
	return p
}

func (p *pool) add(o *outbox) {
	p.mu.Lock()
	p.line = append(p.line, o)
	p.mu.Unlock()
	p.filled.Signal()
}

// work writes until the pool is closed and its line empty.
func (p *pool) work() {
	buf := make([]byte, 0, writeBatch)
	var mine []*outbox
	for {
		p.mu.Lock()
		for len(p.line) == 0 && !p.closed {
			p.filled.Wait()
		}
		if len(p.line) == 0 {
			p.mu.Unlock()
			return
		}
		n := min(takeAtOnce, len(p.line))
		mine = append(mine[:0], p.line[:n]...)
		rest := copy(p.line, p.line[n:])
		clear(p.line[rest:])
		p.line = p.line[:rest]
		p.mu.Unlock()
		for _, o := range mine {
			buf = o.drain(buf)
			if cap(buf) > 2*writeBatch {
				buf = make([]byte, 0, writeBatch)
			}
		}
		clear(mine)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.filled.Broadcast()
}
