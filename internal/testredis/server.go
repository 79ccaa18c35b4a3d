package testredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// portTries is how many ports are tried: one that was free a moment ago may be
// taken when the server gets to it.
const portTries = 5

// server is a redis-server that may be killed and started again.
type server struct {
	program  string
	dir      string
	password string
	address  string

	mu   sync.Mutex
	proc *process // nil while it is dead
}

// process is a running child. Its goroutine owns the operating-system thread
// that started it: the kernel's death signal means that thread, not the process.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

func open(ctx context.Context) (*server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server is not installed (apt install redis-server, brew install redis): %w", err)
	}
	dir, err := os.MkdirTemp("", "heddle-testredis-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the server: %w", err)
	}
	s := &server{program: program, dir: dir, password: rand.Text()}
	for range portTries {
		if s.address, err = freeAddress(); err != nil {
			break
		}
		if err = s.start(ctx); err == nil || !strings.Contains(err.Error(), "in use") {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// freeAddress finds a port nobody listens on just now.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

func (s *server) url() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", s.password), Host: s.address, Path: "/0"}
	return u.String()
}

// config goes in by the standard input: arguments would show the password to
// the whole machine.
func (s *server) config() (string, error) {
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("bind 127.0.0.1\nport %s\nrequirepass %s\nsave \"\"\nappendonly no\ndaemonize no\ndir %q\n", port, s.password, s.dir), nil
}

// start returns when the server answers.
func (s *server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startLocked(ctx)
}

// revive starts the server if it is dead.
func (s *server) revive(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return nil
	}
	return s.startLocked(ctx)
}

func (s *server) startLocked(ctx context.Context) error {
	config, err := s.config()
	if err != nil {
		return fmt.Errorf("configuring redis-server: %w", err)
	}
	path := filepath.Join(s.dir, "redis.log")
	log, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("opening the server's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(s.program, "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(config), log, log
	cmd.Dir, cmd.SysProcAttr = s.dir, childAttr()
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // a killed server's status says nothing
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting redis-server: %w", err)
	}
	if err := s.answer(ctx, p); err != nil {
		killed := p.kill()
		said, _ := os.ReadFile(path) // only makes the error richer
		return errors.Join(fmt.Errorf("%w: %s", err, said), killed)
	}
	s.proc = p
	return nil
}

// answer waits until the server takes commands. Whoever answers to our
// password is our server.
func (s *server) answer(ctx context.Context, p *process) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	var dialer net.Dialer
	for {
		// The client would wait and complain between its own tries.
		conn, err := dialer.DialContext(ctx, "tcp", s.address)
		if err == nil {
			err = errors.Join(conn.Close(), s.do(func(client *redis.Client) error { return client.Ping(ctx).Err() }))
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return errors.New("redis-server ended while it started")
		case <-ctx.Done():
			return fmt.Errorf("waiting for redis-server: %w", err)
		case <-tick.C:
		}
	}
}

// do runs work on a connection that gives up at its first error.
func (s *server) do(work func(*redis.Client) error) error {
	opts, err := redis.ParseURL(s.url())
	if err != nil {
		return fmt.Errorf("addressing redis-server: %w", err)
	}
	opts.MaxRetries, opts.DialerRetries, opts.PoolSize = -1, 1, 1
	client := redis.NewClient(opts)
	return errors.Join(work(client), client.Close())
}

func (s *server) flush(ctx context.Context) error {
	return s.do(func(client *redis.Client) error { return client.FlushAll(ctx).Err() })
}

// kill does nothing to a server that is dead.
func (s *server) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proc
	s.proc = nil
	if p == nil {
		return nil
	}
	return p.kill()
}

func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing redis-server: %w", err)
	}
	<-p.exited
	return nil
}

func (s *server) close() error { return errors.Join(s.kill(), os.RemoveAll(s.dir)) }
