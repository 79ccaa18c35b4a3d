package testpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/heddle/heddle/store/embedded"
)

// prepareLock keeps test processes that share a server from creating the same
// roles at once. The number is arbitrary.
const prepareLock = 7_202_611

// dirPrefix starts the name of every cluster's temporary directory.
const dirPrefix = "heddle-testpg-"

var templateName = regexp.MustCompile(`^[a-z0-9_]{1,30}$`)

// cluster is the server of this process, private or given.
type cluster struct {
	base   *url.URL         // the owner's own database, from where others are made
	server *embedded.Server // nil for a given one
	dir    string           // of the private one
	tag    string           // tells our databases from those of other processes

	mu        sync.Mutex
	templates map[string]*prepared
}

// prepared is a template that was made, or could not be.
type prepared struct {
	once sync.Once
	name string
	err  error
}

func open(ctx context.Context) (*cluster, error) {
	c := &cluster{tag: strings.ToLower(rand.Text()[:10]), templates: map[string]*prepared{}}
	address := os.Getenv(urlVariable)
	if address == "" {
		if err := c.start(ctx); err != nil {
			return nil, err
		}
		address = c.server.URL()
	}
	var err error
	if c.base, err = url.Parse(address); err == nil && !strings.HasPrefix(c.base.Scheme, "postgres") {
		err = errors.New("it must begin with postgres://")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", urlVariable, errors.Join(err, c.close(ctx)))
	}
	if err := c.check(ctx); err != nil {
		return nil, errors.Join(err, c.close(ctx))
	}
	return c, nil
}

// start starts a private server in a directory that its account can reach
// when root drops to one.
func (c *cluster) start(ctx context.Context) error {
	sweep()
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return fmt.Errorf("making a directory for the cluster: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("opening the directory of the cluster: %w", err)
	}
	server, err := embedded.Start(ctx, embedded.Options{
		DataDir:               dir,
		Log:                   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Volatile:              true,
		OwnerCreatesDatabases: true,
		Settings:              map[string]string{"max_connections": "500"},
	})
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	c.server, c.dir = server, dir
	return nil
}

// sweep removes the directories of test processes that were killed. Young ones
// are left: their owner may be about to take the lock.
func sweep() {
	// The only error of Glob is a malformed pattern, and this one is constant.
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < 10*time.Minute {
			continue
		}
		if lock, err := embedded.Lock(dir); err == nil {
			_ = os.RemoveAll(dir) // another run tries again
			_ = lock.Release()    // its directory is gone
		}
	}
}

// check refuses a server whose owner would hide mistakes or lacks a right.
func (c *cluster) check(ctx context.Context) error {
	return c.do(ctx, func(conn *pgx.Conn) error {
		var super, bypass, createDB, createRole bool
		err := conn.QueryRow(ctx, `select rolsuper, rolbypassrls, rolcreatedb, rolcreaterole
			from pg_roles where rolname = current_user`).Scan(&super, &bypass, &createDB, &createRole)
		switch {
		case err != nil:
			return err
		case super || bypass:
			return errors.New("the role of the tests must be no superuser and must not bypass row-level security")
		case !createDB || !createRole:
			return errors.New("the role of the tests needs CREATEDB and CREATEROLE")
		}
		return nil
	})
}

// do runs work on a connection to the owner's own database.
func (c *cluster) do(ctx context.Context, work func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, c.base.String())
	if err != nil {
		return fmt.Errorf("connecting to the test server: %w", err)
	}
	return errors.Join(work(conn), conn.Close(ctx))
}

// url addresses a database of the cluster.
func (c *cluster) url(name string) string {
	u := *c.base
	u.Path = "/" + name
	return u.String()
}

// clone makes a database from a template, which the first call prepares.
func (c *cluster) clone(ctx context.Context, t Template) (string, error) {
	if !templateName.MatchString(t.Name) {
		return "", errors.New("its name must be 1 to 30 lower-case letters, digits and underscores")
	}
	c.mu.Lock()
	p := c.templates[t.Name]
	if p == nil {
		p = &prepared{name: "template_" + t.Name + "_" + c.tag}
		c.templates[t.Name] = p
	}
	c.mu.Unlock()
	// The first test's end must not fail the others' template.
	p.once.Do(func() { p.err = c.prepare(context.WithoutCancel(ctx), p.name, t) })
	if p.err != nil {
		return "", p.err
	}
	name := "test_" + c.tag + "_" + strings.ToLower(rand.Text()[:12])
	err := c.do(ctx, func(conn *pgx.Conn) error {
		// Copying files takes half the time of logging pages, since nothing here is synced.
		_, err := conn.Exec(ctx, "create database "+name+" template "+p.name+" strategy file_copy")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("copying it: %w", err)
	}
	return name, nil
}

// prepare makes and fills a template, then closes it to connections: an open
// one would make every copy wait.
func (c *cluster) prepare(ctx context.Context, name string, t Template) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.do(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "select pg_advisory_lock($1)", prepareLock); err != nil {
			return fmt.Errorf("waiting for other test processes: %w", err)
		}
		if _, err := conn.Exec(ctx, "create database "+name+" template template0"); err != nil {
			return fmt.Errorf("making it: %w", err)
		}
		if t.Prepare != nil {
			if err := t.Prepare(ctx, c.url(name)); err != nil {
				return fmt.Errorf("preparing it: %w", err)
			}
		}
		if _, err := conn.Exec(ctx, "alter database "+name+" allow_connections false"); err != nil {
			return fmt.Errorf("closing it: %w", err)
		}
		return nil
	})
}

func (c *cluster) drop(ctx context.Context, name string) error {
	return c.do(ctx, func(conn *pgx.Conn) error {
		for {
			_, err := conn.Exec(ctx, "drop database if exists "+name+" with (force)")
			var refused *pgconn.PgError
			switch {
			case err == nil:
				return nil
			case !errors.As(err, &refused) || refused.Code != codeInsufficientPrivilege || ctx.Err() != nil:
				return fmt.Errorf("dropping database %s: %w", name, err)
			}
			// The server's own housekeeping is at work there, which only a superuser may
			// end; it is soon done.
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// codeInsufficientPrivilege is PostgreSQL's word for what a role may not do.
const codeInsufficientPrivilege = "42501"

// close stops a private server and removes its files; a given one only loses
// our templates.
func (c *cluster) close(ctx context.Context) error {
	if c.server != nil {
		return errors.Join(c.server.Stop(ctx), os.RemoveAll(c.dir))
	}
	var errs []error
	for _, p := range c.templates {
		errs = append(errs, c.drop(ctx, p.name))
	}
	return errors.Join(errs...)
}
