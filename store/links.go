package store

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// pingAfter and pingLimit say when a connection that lay idle is asked whether
	// it is still one, and for how long.
	pingAfter = time.Second
	pingLimit = 2 * time.Second
	// closeLimit is how long statements in flight may take when the store closes.
	closeLimit = 2 * time.Second
)

// keepAlive finds a peer that is gone within a quarter of a minute.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}

// links are the store's connections. A server that hangs, and a network that
// forgot a connection, tell nobody: without them a statement would wait for
// ever, and with it the request or run that it is for.
type links struct {
	// silence is how long a server may say nothing while it is listened to. It
	// ends each statement earlier than that.
	silence time.Duration

	mu   sync.Mutex
	open map[*link]struct{}
}

func newLinks(statementTimeout time.Duration) *links {
	return &links{silence: statementTimeout + statementTimeout/10 + time.Second, open: map[*link]struct{}{}}
}

// use lets the connections of a configuration be ours.
func (l *links) use(cfg *pgx.ConnConfig) {
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout, KeepAliveConfig: keepAlive}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := &link{Conn: conn, all: l}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open[c] = struct{}{}
		return c, nil
	}
}

// watch gives up the idle connections of a pool when one of them is dead: the
// others are as old.
func (l *links) watch(cfg *pgxpool.Config, pool func() *pgxpool.Pool) {
	cfg.PingTimeout = pingLimit
	cfg.ShouldPing = func(ctx context.Context, p pgxpool.ShouldPingParams) bool {
		if p.IdleDuration < pingAfter {
			return false
		}
		ping, cancel := context.WithTimeout(ctx, pingLimit)
		defer cancel()
		if err := p.Conn.Ping(ping); err == nil || ctx.Err() != nil {
			return false
		}
		// Nobody waits for its goodbye.
		_ = p.Conn.PgConn().Conn().Close()
		pool().Reset()
		return true // the pool finds out, and takes another
	}
}

// cut ends all connections, and with them what waits for an answer.
func (l *links) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.Conn.Close() // whoever uses it sees that
	}
}

// link is one connection.
type link struct {
	net.Conn
	all *links

	mu sync.Mutex
	// given says that its user has set a deadline, which then holds.
	given bool
}

// Read waits for the server, but not for ever.
func (c *link) Read(p []byte) (int, error) {
	c.mu.Lock()
	if !c.given {
		if err := c.Conn.SetReadDeadline(time.Now().Add(c.all.silence)); err != nil {
			c.mu.Unlock()
			return 0, err
		}
	}
	c.mu.Unlock()
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.given {
			_ = c.Conn.Close() // nobody waits for the goodbye of a server that is silent
		}
	}
	return n, err
}

// Write waits until the server takes what is said, but not for ever.
func (c *link) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.given {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.all.silence)); err != nil {
			c.mu.Unlock()
			return 0, err
		}
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// SetDeadline implements [net.Conn]; the zero time gives it back to us.
func (c *link) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given = !t.IsZero(); !c.given {
		t = time.Now().Add(c.all.silence)
	}
	return c.Conn.SetDeadline(t)
}

// Close implements [net.Conn].
func (c *link) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}
