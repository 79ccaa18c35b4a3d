// Package testredis gives tests a real redis-server: each test process starts
// one when its first test asks, on a random loopback port, behind a password,
// keeping nothing on disk. A test may also have one of its own to kill.
//
// The program must be installed: a test that cannot have its server fails, it
// never skips. A package that uses it ends its server in TestMain, alone or
// around another runner:
//
//	func TestMain(m *testing.M) { testredis.Main(m) }
//	func TestMain(m *testing.M) { testpg.Main(testredis.Wrap(m)) }
//
// On Linux the kernel ends the server with a test process that is killed.
//
// The state of the process's one server is kept in this package: tests have no
// composition root that could carry it. Only tests import it.
package testredis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// limit bounds each step with the server, in slow and crowded runs too.
const limit = 30 * time.Second

// Runner is what [testing.M] does.
type Runner interface{ Run() int }

// shared is the process's server. The lock is held while it starts and stops.
var shared struct {
	sync.Mutex
	owned  bool // a Runner is there to stop it
	server *server
}

// Main runs the tests of a package, stops what they started and exits.
func Main(m Runner) { os.Exit(Wrap(m).Run()) }

// Wrap gives a runner that stops the server after the tests of m.
func Wrap(m Runner) Runner { return runner{m} }

type runner struct{ inner Runner }

func (r runner) Run() int {
	shared.Lock()
	shared.owned = true
	shared.Unlock()
	code := r.inner.Run()
	shared.Lock()
	defer shared.Unlock()
	shared.owned = false
	if shared.server == nil {
		return code
	}
	if err := shared.server.close(); err != nil {
		fmt.Fprintln(os.Stderr, "testredis:", err)
		code = max(code, 1)
	}
	shared.server = nil
	return code
}

// Redis is one test's hold on a server. Its methods fail that test when they
// cannot do their work.
type Redis struct {
	tb     testing.TB
	server *server
}

// Server gives the server all tests of the process share. Keys and channels of
// other tests are on it, so use names of your own; a test that kills, restarts
// or flushes must not run in parallel with others, or take a [Private] one.
func Server(tb testing.TB) *Redis {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	s, err := current(ctx)
	if err != nil {
		tb.Fatalf("testredis: %v", err)
	}
	return &Redis{tb: tb, server: s}
}

// Private gives the test a server of its own, which ends with it.
func Private(tb testing.TB) *Redis {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	s, err := open(ctx)
	if err != nil {
		tb.Fatalf("testredis: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.close(); err != nil {
			tb.Errorf("testredis: %v", err)
		}
	})
	return &Redis{tb: tb, server: s}
}

// URL addresses the server, the same before and after a restart.
func (r *Redis) URL() string { return r.server.url() }

// Kill ends the server without warning, as kill -9 does, and returns when it
// is gone. All it held is lost.
func (r *Redis) Kill() {
	r.tb.Helper()
	if err := r.server.kill(); err != nil {
		r.tb.Fatalf("testredis: %v", err)
	}
}

// Restart kills the server if it runs and starts it on the same port, empty.
func (r *Redis) Restart() {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(r.tb.Context(), limit)
	defer cancel()
	if err := errors.Join(r.server.kill(), r.server.start(ctx)); err != nil {
		r.tb.Fatalf("testredis: restarting: %v", err)
	}
}

// Flush empties the server.
func (r *Redis) Flush() {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(r.tb.Context(), limit)
	defer cancel()
	if err := r.server.flush(ctx); err != nil {
		r.tb.Fatalf("testredis: flushing: %v", err)
	}
}

// current starts the shared server at the first call, and again if a test
// left it dead.
func current(ctx context.Context) (*server, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.owned {
		return nil, errors.New("nobody would stop the server: add func TestMain(m *testing.M) { testredis.Main(m) } to the package")
	}
	if shared.server == nil {
		s, err := open(ctx)
		if err != nil {
			return nil, err
		}
		shared.server = s
	}
	return shared.server, shared.server.revive(ctx)
}
