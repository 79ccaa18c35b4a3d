package store

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/heddle/heddle/auth"
)

// What one organisation's runs on this node have to write at the same moment is
// written together: one statement, one round trip, one commit for all of them. Nobody
// waits for company: one statement is on its way, and whoever comes meanwhile forms
// the next. So one run alone loses nothing, and a busy node spends a fraction on each.
//
// What is written together changes only threads that nobody else has locked and that
// are as they should be. Whatever that leaves out, and everything if PostgreSQL
// refuses one of them, is written by itself, and so says by itself what is wrong
// with it.

const (
	// maxTogether bounds one statement.
	maxTogether = 32
	// togetherLimit bounds the wait for one: all that the organisation executes here
	// waits behind it.
	togetherLimit = 10 * time.Second
)

// gather writes entries of each organisation together. Safe for concurrent use.
type gather[E any] struct {
	// thread names what an entry changes: a statement changes a row once. It is nil
	// where nothing is changed.
	thread func(E) string
	// send writes entries and marks in them what came of it.
	send func(ctx context.Context, org auth.OrgID, some []E) error

	mu  sync.Mutex
	all map[auth.OrgID]*company[E]
}

// company is those who write for one organisation. turn is held by the one of them
// who writes for all that wait.
type company[E any] struct {
	waiting []*waiting[E]
	members int
	turn    chan struct{}
}

type waiting[E any] struct {
	what E
	done chan struct{}
	err  error
}

func newGather[E any](thread func(E) string, send func(context.Context, auth.OrgID, []E) error) *gather[E] {
	return &gather[E]{thread: thread, send: send, all: map[auth.OrgID]*company[E]{}}
}

// write returns once the entry has been sent. An error means that nobody knows
// whether it was written; without one the entry itself says.
func (g *gather[E]) write(ctx context.Context, org auth.OrgID, what E) error {
	e := &waiting[E]{what: what, done: make(chan struct{})}
	g.mu.Lock()
	c, found := g.all[org]
	if !found {
		c = &company[E]{turn: make(chan struct{}, 1)}
		g.all[org] = c
	}
	c.members++
	c.waiting = append(c.waiting, e)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if c.members--; c.members == 0 {
			delete(g.all, org)
		}
	}()
	for {
		select {
		case <-e.done:
			return e.err
		case c.turn <- struct{}{}:
			runtime.Gosched() // whoever is about to say something, too, comes along
		}
		if some := g.take(c); len(some) > 0 {
			g.sendAll(ctx, org, some)
		}
		<-c.turn
	}
}

// take takes what waits, of each thread at most one entry.
func (g *gather[E]) take(c *company[E]) []*waiting[E] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var some, rest []*waiting[E]
	threads := map[string]bool{}
	for _, e := range c.waiting {
		thread := ""
		if g.thread != nil {
			thread = g.thread(e.what)
		}
		if len(some) == maxTogether || threads[thread] {
			rest = append(rest, e)
			continue
		}
		threads[thread] = g.thread != nil
		some = append(some, e)
	}
	c.waiting = rest
	return some
}

func (g *gather[E]) sendAll(ctx context.Context, org auth.OrgID, some []*waiting[E]) {
	// The one who writes may have been told to stop; the others were not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), togetherLimit)
	defer cancel()
	all := make([]E, len(some))
	for i, e := range some {
		all[i] = e.what
	}
	err := g.send(ctx, org, all)
	if errors.As(err, new(*pgconn.PgError)) {
		err = nil // nothing of it was written: each finds out by itself
	}
	for _, e := range some {
		e.err = err
		close(e.done)
	}
}
