package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/heddle/heddle/internal/fault"
)

// conn is one connection with the statements that were prepared on it. One
// goroutine at a time has it.
type conn struct {
	db       *sqlite3.Conn
	prepared map[string]*sqlite3.Stmt
}

// row is a statement that stands at a row of its result; what it gives is valid
// until the next.
type row = *sqlite3.Stmt

// args are a statement's named arguments, without the @.
type args map[string]any

// dial opens a connection.
func (c *Checkpointer) dial(ctx context.Context) (*conn, error) {
	db, err := sqlite3.OpenContext(ctx, c.path)
	if err != nil {
		return nil, err
	}
	out := &conn{db: db, prepared: map[string]*sqlite3.Stmt{}}
	sync := "full"
	if c.o.Relaxed {
		sync = "normal"
	}
	if err := db.BusyTimeout(c.o.BusyTimeout); err != nil {
		return nil, errors.Join(err, out.close())
	}
	if err := db.Exec("pragma foreign_keys = on; pragma synchronous = " + sync + "; pragma journal_size_limit = 67108864"); err != nil {
		return nil, errors.Join(err, out.close())
	}
	return out, nil
}

func (c *conn) close() error {
	var all error
	for _, s := range c.prepared {
		all = errors.Join(all, s.Close())
	}
	return errors.Join(all, c.db.Close())
}

// each runs a statement, prepared once, and hands over the rows of its result.
// The statement must not run again before it has returned.
func (c *conn) each(sql string, a args, do func(row) error) (err error) {
	s := c.prepared[sql]
	if s == nil {
		if s, _, err = c.db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
		c.prepared[sql] = s
	}
	defer func() {
		resetErr := s.Reset() // repeats the statement's own error
		if clearErr := s.ClearBindings(); err == nil {
			err = errors.Join(resetErr, clearErr)
		}
	}()
	for name, value := range a {
		if err := bind(s, name, value); err != nil {
			return fmt.Errorf("binding @%s: %w", name, err)
		}
	}
	for s.Step() {
		if err := do(s); err != nil {
			return err
		}
	}
	return s.Err()
}

func bind(s *sqlite3.Stmt, name string, value any) error {
	at := s.BindIndex("@" + name)
	switch v := value.(type) {
	case nil:
		return s.BindNull(at)
	case string:
		return s.BindText(at, v)
	case int:
		return s.BindInt(at, v)
	case int64:
		return s.BindInt64(at, v)
	default:
		return fmt.Errorf("a %T can't be bound", value)
	}
}

// exec runs a statement without a result.
func (c *conn) exec(sql string, a args) error {
	return c.each(sql, a, func(row) error { return nil })
}

// one runs a statement and hands over the first row of its result, if there is
// one.
func (c *conn) one(sql string, a args, do func(row) error) (found bool, err error) {
	err = c.each(sql, a, func(r row) error {
		if found {
			return nil
		}
		found = true
		return do(r)
	})
	return found, err
}

const (
	sqlBeginRead  = `begin`
	sqlBeginWrite = `begin immediate`
	sqlCommit     = `commit`
	sqlRollback   = `rollback`
)

// transact runs do in a transaction, which ctx interrupts wherever it is. When
// it gives no error, everything is committed; otherwise nothing.
func (c *conn) transact(ctx context.Context, begin string, do func(*conn) error) (err error) {
	c.db.SetInterrupt(ctx)
	defer func() {
		c.db.SetInterrupt(context.Background())
		if c.db.GetAutocommit() { // committed, or SQLite rolled back by itself
			return
		}
		if undo := c.exec(sqlRollback, nil); undo != nil {
			err = errors.Join(err, fmt.Errorf("rolling back: %w", undo))
		}
	}()
	if err := c.exec(begin, nil); err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	return c.exec(sqlCommit, nil)
}

// pool lends connections. Each slot is one; nil is one that is to be opened.
type pool struct {
	slots  chan *conn
	closed chan struct{}
	once   sync.Once
}

func newPool(size int, first *conn) *pool {
	p := &pool{slots: make(chan *conn, size), closed: make(chan struct{})}
	p.slots <- first
	for range size - 1 {
		p.slots <- nil
	}
	return p
}

var errClosed = errors.New("the checkpointer is closed")

// lend waits for a connection and hands it to do.
func (p *pool) lend(ctx context.Context, dial func(context.Context) (*conn, error), do func(*conn) error) error {
	select {
	case <-p.closed:
		return errClosed
	default:
	}
	var c *conn
	select {
	case <-p.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	case c = <-p.slots:
	}
	defer func() { p.slots <- c }()
	if c == nil {
		fresh, err := dial(ctx)
		if err != nil {
			return fmt.Errorf("opening a connection: %w", err)
		}
		c = fresh
	}
	return do(c)
}

// close waits for the connections that are lent, and closes all.
func (p *pool) close() error {
	var all error
	p.once.Do(func() {
		close(p.closed)
		for range cap(p.slots) {
			if c := <-p.slots; c != nil {
				all = errors.Join(all, c.close())
			}
		}
	})
	return all
}

// read runs do in a transaction that sees one state of the database.
func (c *Checkpointer) read(ctx context.Context, doing string, do func(*conn) error) error {
	err := c.readers.lend(ctx, c.dial, func(c *conn) error { return c.transact(ctx, sqlBeginRead, do) })
	return explain(ctx, doing, err)
}

// write runs do in a transaction that nobody else writes beside.
func (c *Checkpointer) write(ctx context.Context, doing string, do func(*conn) error) error {
	err := c.writer.lend(ctx, c.dial, func(c *conn) error { return c.transact(ctx, sqlBeginWrite, do) })
	return explain(ctx, doing, err)
}

// explain says in our words what SQLite reports.
func explain(ctx context.Context, doing string, err error) error {
	var public *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &public):
		return err
	case ctx.Err() != nil && (errors.Is(err, sqlite3.INTERRUPT) || errors.Is(err, sqlite3.BUSY)):
		err = ctx.Err()
	case errors.Is(err, sqlite3.BUSY):
		err = fault.Unavailable("Another program keeps the database busy.", err)
	case errors.Is(err, sqlite3.FULL):
		err = fault.Unavailable("The disk of the database is full.", err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// defaultBusy is how long a write waits for another program's, unless the options
// say otherwise.
const defaultBusy = 10 * time.Second
