package chaos

import (
	"context"
	"net"
	"sync"
	"time"
)

// weather is what a link does to what passes over it.
type weather int

const (
	clear weather = iota
	// cut ends every connection and refuses new ones.
	cut
	// half lets nothing through and tells nobody: whoever writes waits, and
	// what was open then stays dead, as behind a router that forgot it.
	half
	// slow holds every piece for a while.
	slow
)

// slowBy is the delay of a slow link, each way.
const slowBy = 200 * time.Millisecond

// proxy is the link of one node to one server.
type proxy struct {
	listener net.Listener
	dial     func() (net.Conn, error)
	wg       sync.WaitGroup

	mu      sync.Mutex
	weather weather
	// changed is closed when the weather turns.
	changed chan struct{}
	pairs   map[*pair]struct{}
	closed  bool
}

type pair struct {
	a, b net.Conn
	// dead pairs were open while the link was half: nothing passes any more.
	dead bool
}

// startProxy listens on a port of its own and dials network and address for
// each connection.
func startProxy(network, address string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, changed: make(chan struct{}), pairs: map[*pair]struct{}{},
		dial: func() (net.Conn, error) { return net.DialTimeout(network, address, 5*time.Second) }}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// turn changes the weather of the link.
func (p *proxy) turn(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		if w == half {
			c.dead = true
		}
		if w == cut {
			_ = c.a.Close()
			_ = c.b.Close()
		}
	}
	p.weather = w
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	for c := range p.pairs {
		_ = c.a.Close()
		_ = c.b.Close()
	}
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	_ = p.listener.Close()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		a, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.join(a) })
	}
}

func (p *proxy) join(a net.Conn) {
	p.mu.Lock()
	refused := p.closed || p.weather == cut
	p.mu.Unlock()
	if refused {
		_ = a.Close()
		return
	}
	b, err := p.dial()
	if err != nil {
		_ = a.Close()
		return
	}
	c := &pair{a: a, b: b}
	p.mu.Lock()
	if p.closed || p.weather == cut {
		_ = a.Close()
		_ = b.Close()
	}
	c.dead = p.weather == half
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.carry(c, a, b) })
	both.Go(func() { p.carry(c, b, a) })
	both.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// carry passes on what one side says until either side ends.
func (p *proxy) carry(c *pair, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.hold(c) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			// A side that ends is news, and news does not pass a half-open link.
			p.hold(c)
			return
		}
	}
}

// hold waits as long as the link wants; false says that it is closed.
func (p *proxy) hold(c *pair) bool {
	p.mu.Lock()
	for c.dead && !p.closed && p.weather != cut {
		changed := p.changed
		p.mu.Unlock()
		<-changed
		p.mu.Lock()
	}
	w, closed := p.weather, p.closed
	p.mu.Unlock()
	if closed || w == cut {
		return false
	}
	if w == slow {
		pause(context.Background(), slowBy)
	}
	return true
}
