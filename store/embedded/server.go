package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// startLimit bounds a start whose context has no deadline. Recovery after a
	// crash replays at most max_wal_size, 1 GB, which takes a slow disk a while.
	startLimit = 2 * time.Minute
	// quitLimit is how long the server gets after SIGQUIT; it kills its own
	// children 5 s after that signal.
	quitLimit = 7 * time.Second
	// restartAfter is the pause before the one restart.
	restartAfter = 250 * time.Millisecond
	// logLimit is the size in bytes from which a start sets the log aside.
	logLimit = 4 << 20
)

// Options say where the server lives and how careful it is.
type Options struct {
	// DataDir is made if needed. Ignored when Lock is set.
	DataDir string
	// Lock is the data directory's lock if the caller holds it already, and
	// goes on holding it after Stop. Without it Start takes and Stop releases one.
	Lock *DirLock
	// BinDir is the only place to look for the programs; empty means PATH and
	// the usual places.
	BinDir string
	// Log must not be nil.
	Log *slog.Logger
	// Volatile trades durability for speed: a crash of the server loses its last
	// commits, a crash of the machine may break the cluster. For tests.
	Volatile bool
	// OwnerCreatesDatabases lets the product's role make databases. For tests.
	OwnerCreatesDatabases bool
	// Settings are further server settings by name; they win over ours.
	Settings map[string]string
}

// Server is a running PostgreSQL. Its methods are safe for concurrent use.
type Server struct {
	cluster cluster
	opts    Options
	log     *slog.Logger
	lock    *DirLock // ours to release; nil if the caller's

	stopping  chan struct{} // closed by the first Stop
	stopOnce  sync.Once
	hurry     chan struct{} // closed when a Stop runs out of patience
	hurryOnce sync.Once
	done      chan struct{} // closed when nothing of us runs any more
	err       error         // read it after done is closed
}

// Start starts the server of a data directory, which it creates if needed, and
// returns when it answers. ctx bounds the start alone; without a deadline it
// may take two minutes. Errors to tell apart: *[LockedError], *[BinariesError].
func Start(ctx context.Context, opts Options) (*Server, error) {
	ctx, cancel := withLimit(ctx, startLimit)
	defer cancel()
	s := &Server{
		opts: opts, log: opts.Log,
		stopping: make(chan struct{}), hurry: make(chan struct{}), done: make(chan struct{}),
	}
	lock := opts.Lock
	if lock == nil {
		var err error
		if lock, err = Lock(opts.DataDir); err != nil {
			return nil, err
		}
		s.lock = lock
	}
	p, fresh, err := s.begin(ctx, lock.Dir())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the embedded PostgreSQL: %w", err), s.release())
	}
	go s.supervise(p, fresh)
	return s, nil
}

// URL addresses the product's database as its owner. It holds no secret: the
// kernel tells the server who connects.
func (s *Server) URL() string { return socketURL(s.cluster.sock, Owner, Owner) }

// Done is closed when the server has ended for good: after Stop, or when it
// died twice. Then [Server.Err] says why.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is nil while the server runs and after a clean Stop.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Stop ends the server: open connections are cut, committed data is kept. When
// ctx ends first, the server drops everything and recovers at its next start.
// It returns once the server is gone; further calls wait for the same end.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stopping) })
	select {
	case <-s.done:
	case <-ctx.Done():
		s.hurryOnce.Do(func() { close(s.hurry) })
		<-s.done
	}
	return s.err
}

// begin does all that comes before a running server.
func (s *Server) begin(ctx context.Context, dataDir string) (*process, bool, error) {
	c := &s.cluster
	c.data, c.dir = dataDir, filepath.Join(dataDir, "postgres")
	major, err := clusterMajor(c.dir)
	if err != nil {
		return nil, false, err
	}
	if c.bins, err = findBinaries(ctx, s.opts.BinDir, major); err != nil {
		return nil, false, err
	}
	if c.acct, err = chooseAccount(ctx, c.bins, dataDir); err != nil {
		return nil, false, err
	}
	if c.acct.namespace {
		s.log.Warn("the data directory is closed to other accounts, so postgres runs as root under another name: this is no privilege drop", "data_dir", dataDir)
	}
	usable := func(base string) error { return c.acct.probe(ctx, c.bins, base) }
	if c.sock, err = makeSocketDir(dataDir, c.acct, usable); err != nil {
		return nil, false, err
	}
	fresh, err := c.create(ctx, locales[:])
	if err != nil {
		return nil, false, err
	}
	if err := c.acct.ownTree(c.dir); err != nil {
		return nil, false, fmt.Errorf("taking over the cluster: %w", err)
	}
	if err := c.configure(); err != nil {
		return nil, false, err
	}
	p, err := s.launch(ctx)
	return p, fresh, err
}

// launch starts a server process and returns when it answers.
func (s *Server) launch(ctx context.Context) (*process, error) {
	c := &s.cluster
	if err := c.clearRemains(ctx); err != nil {
		return nil, err
	}
	out, err := openLog(filepath.Join(c.data, "postgres.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	before, err := out.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the server's log: %w", err)
	}
	began := time.Now()
	p, err := start(program{
		path: c.bins.path("postgres"), args: c.arguments(s.opts.Volatile, s.opts.Settings),
		dir: c.dir, as: c.acct, out: out,
		death: syscall.SIGINT, guard: !kernelEndsOrphans,
	})
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, p); err != nil {
		quit := make(chan struct{})
		close(quit)
		err = errors.Join(err, end(p, quit))
		return nil, fmt.Errorf("%w: %s", err, tail(out, before.Size()))
	}
	s.log.Info("postgres is ready", "pid", p.pid, "version", c.bins.major, "took", time.Since(began))
	return p, nil
}

func (s *Server) ready(ctx context.Context, p *process) error {
	conn, err := s.cluster.connect(ctx, p)
	if err != nil {
		return err
	}
	err = ensureOwner(ctx, conn, s.opts.OwnerCreatesDatabases)
	return errors.Join(err, conn.Close(ctx))
}

func (s *Server) release() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Release()
}

// openLog opens the file the server writes to. It is a file and not a pipe, so
// that the server never waits for a reader and can still speak when we are gone.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("setting the server's log aside: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the server's log: %w", err)
	}
	return file, nil
}

// tail is what the server wrote from offset on.
func tail(file *os.File, offset int64) string {
	text := make([]byte, 16<<10)
	n, err := file.ReadAt(text, offset)
	if n == 0 && err != nil {
		return "it wrote nothing to its log"
	}
	return lastLines(text[:n])
}

func withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
