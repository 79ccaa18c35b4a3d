package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/heddle/heddle/store/embedded"
)

// startLimit bounds the start of a server, in crowded runs too.
const startLimit = time.Minute

// postgres is a durable cluster of this protocol, which it may stop in both ways.
type postgres struct {
	opts   embedded.Options
	server *embedded.Server
	// direct addresses the cluster without a proxy, as the product's role.
	direct string
	socket string
}

func startPostgres(ctx context.Context, dir string) (*postgres, error) {
	p := &postgres{opts: embedded.Options{
		DataDir: dir, Log: slog.New(slog.DiscardHandler),
		// A crash must lose nothing here: commits are what is judged.
		// And a connection that a half-open link lost before it said who it is must
		// not hold up a restart for the usual minute.
		Settings: map[string]string{"max_connections": "300", "authentication_timeout": "5s"},
	}}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	p.direct = p.server.URL()
	u, err := url.Parse(p.direct)
	if err != nil {
		return nil, err
	}
	p.socket = filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port"))
	return p, nil
}

func (p *postgres) start(ctx context.Context) error {
	var err error
	p.server, err = embedded.Start(ctx, p.opts)
	return err
}

// restart stops the cluster and starts it again. fast cuts connections and
// writes a checkpoint; otherwise everything is dropped and recovered.
func (p *postgres) restart(ctx context.Context, fast bool) error {
	stopping, cancel := context.WithTimeout(ctx, startLimit)
	if !fast {
		cancel() // no patience at all
	}
	defer cancel()
	if err := p.server.Stop(stopping); err != nil && fast {
		return err
	}
	return p.start(ctx)
}

func (p *postgres) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return p.server.Stop(ctx)
}

// super connects as the superuser, whom no policy hides anything from.
func (p *postgres) super(ctx context.Context) (*pgx.Conn, error) {
	u, err := url.Parse(p.direct)
	if err != nil {
		return nil, err
	}
	u.User = url.User("postgres")
	for {
		conn, err := pgx.Connect(ctx, u.String())
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		pause(ctx, 20*time.Millisecond) // it may be starting
	}
}

// redisServer is a redis-server that keeps nothing and may be killed.
type redisServer struct {
	program, dir, password, addr string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

func startRedis(ctx context.Context, dir string) (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server is not installed (apt install redis-server, brew install redis): %w", err)
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	r := &redisServer{program: program, dir: dir, password: rand.Text(), addr: addr}
	return r, r.start(ctx)
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// url addresses the server at addr, its own or a proxy's.
func (r *redisServer) url(addr string) string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: addr, Path: "/0"}
	return u.String()
}

// start returns when the server answers. The goroutine that waits for the child
// keeps the thread that the kernel's death signal means.
func (r *redisServer) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	_, port, _ := net.SplitHostPort(r.addr)
	cmd := exec.Command(r.program, "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("bind 127.0.0.1\nport %s\nrequirepass %s\nsave \"\"\nappendonly no\ndaemonize no\ndir %q\n", port, r.password, r.dir))
	cmd.SysProcAttr = childAttr(syscall.SIGKILL)
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // a killed server's status says nothing
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting redis-server: %w", err)
	}
	r.mu.Lock()
	r.cmd, r.exited = cmd, exited
	r.mu.Unlock()
	for {
		err := r.do(func(c *redis.Client) error { return c.Ping(ctx).Err() })
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("redis-server ended while it started: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for redis-server: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (r *redisServer) kill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return nil
	}
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-r.exited
	r.cmd = nil
	return nil
}

// do runs work on a connection that gives up at its first error.
func (r *redisServer) do(work func(*redis.Client) error) error {
	opts, err := redis.ParseURL(r.url(r.addr))
	if err != nil {
		return err
	}
	opts.MaxRetries, opts.DialerRetries, opts.PoolSize = -1, 1, 1
	client := redis.NewClient(opts)
	return errors.Join(work(client), client.Close())
}

func (r *redisServer) flush(ctx context.Context) error {
	return r.do(func(c *redis.Client) error { return c.FlushAll(ctx).Err() })
}

// clients counts the connections that are open beside the one that asks.
func (r *redisServer) clients(ctx context.Context) (int, error) {
	n := 0
	err := r.do(func(c *redis.Client) error {
		list, err := c.ClientList(ctx).Result()
		n = strings.Count(strings.TrimSpace(list), "\n")
		return err
	})
	return n, err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
