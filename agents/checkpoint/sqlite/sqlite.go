// Package sqlite keeps the histories of threads in one SQLite file, or in memory,
// for programs that use agents/graph as a library and want no database server.
// The server itself keeps them in PostgreSQL.
//
// # What is kept, and what loading costs
//
// As in the server's store, what was written stays until it is pruned: a message
// is stored once per form, and a step as what it changed. Every [agents.RollupEvery] steps
// the changes since the last time are kept together, every
// [agents.SnapshotEvery] the whole state, so that a state is read from 70 rows
// at most of each line it stands on, however long the thread is. A fork shares what
// came before it. Files don't shrink: what is deleted or pruned makes room for
// what comes.
//
// # Crashes
//
// A commit is one transaction in a write-ahead log: a process that is killed
// leaves what was before it or what is after it. With synchronous=FULL, the
// default, every commit is on the disk before it is confirmed, so that a power
// cut takes nothing that was confirmed either. That costs one fsync for each step
// and each kept result, beside which the rest hardly counts: where a bare row of
// the same bytes took 0.26 ms, a step took 0.28. [Options].Relaxed is synchronous=NORMAL: a power cut may
// take the newest commits, never half of one, and tasks whose results it took run
// again; 0.03 ms for the row, 0.13 for the step.
//
// One writer works at a time, in one process as among several on one machine;
// readers wait for nobody. The file must be on a local disk: the log needs memory
// that processes share.
//
// # The driver
//
// github.com/ncruces/go-sqlite3 and modernc.org/sqlite, both SQLite without cgo,
// were measured against each other on two cores (SQLite 3.54 in both). A commit
// of one row took 50 µs and a look-up 8 µs in either, within what other load
// changed. A program grew by 10.9 MB with the first and 7.7 MB with the second.
// The first took 16 s to compile, the second 15; under -race, as all of our tests
// are built, 16 s (18 s of CPU) and 23 s (24 s). The first brings two small
// modules, the second eight, a C library among them. What decides is that the
// first looks at the call's context by itself while it waits and works, where the
// second needs a goroutine beside each call. Its locks and shared memory are
// those of SQLite, so that other programs may open the file.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// Memory is the path of a database that is gone when it is closed.
const Memory = ":memory:"

// Options configure a checkpointer. Only Path is required.
type Options struct {
	// Path is the name of a file, which is made if it is absent, in a directory
	// that is there; or [Memory]; or a URL file:… with SQLite's parameters. See
	// [Location].
	Path string
	// BusyTimeout is how long a write waits for another process's; default 10 s.
	BusyTimeout time.Duration
	// Readers bounds how many states are read at once; default 4. In memory all
	// calls take turns.
	Readers int
	// Relaxed lets a power cut take the newest commits, and makes them faster.
	Relaxed bool
	Clock   clock.Clock
	NewID   id.Source
}

// Checkpointer implements graph.Checkpointer on SQLite.
type Checkpointer struct {
	o               Options
	path            string
	writer, readers *pool
}

// Open opens the database, makes it if it is absent, and brings it to the newest
// schema. What is wrong with the path is a fault of its field. Call Close.
func Open(ctx context.Context, o Options) (*Checkpointer, error) {
	switch {
	case o.Path == "":
		return nil, fault.Invalid("path", "must be given")
	case strings.Contains(o.Path, "://") && !strings.HasPrefix(o.Path, "file:"):
		return nil, fault.Invalid("path", "must be a file's name or a URL that begins with file:")
	case o.BusyTimeout < 0:
		return nil, fault.Invalid("busy_timeout", "must not be negative")
	case o.Readers < 0:
		return nil, fault.Invalid("readers", "must not be negative")
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = defaultBusy
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.NewID == nil {
		o.NewID = id.New
	}
	c := &Checkpointer{o: o, path: o.Path}
	first, err := c.dial(ctx)
	if err != nil {
		return nil, explain(ctx, "opening a database", unfit(err))
	}
	inMemory, err := c.prepare(ctx, first)
	if err != nil {
		return nil, explain(ctx, "opening a database", errors.Join(unfit(err), first.close()))
	}
	c.writer = newPool(1, first)
	c.readers = c.writer
	if !inMemory { // other connections see the same
		c.readers = newPool(o.Readers, nil)
	}
	return c, nil
}

// prepare makes a database ready on its first connection.
func (c *Checkpointer) prepare(ctx context.Context, first *conn) (inMemory bool, err error) {
	err = first.transact(ctx, sqlBeginWrite, func(tx *conn) error {
		if readOnly, _ := tx.db.ReadOnly("main"); readOnly {
			return fault.Invalid("path", "must be a file that may be written")
		}
		return migrate(tx)
	})
	if err != nil {
		return false, err
	}
	first.db.SetInterrupt(ctx)
	defer first.db.SetInterrupt(context.Background())
	mode, err := journal(first, sqlJournal)
	if err == nil && mode == "delete" {
		mode, err = c.writeAhead(ctx, first)
	}
	if err == nil && mode != "wal" && mode != "memory" {
		err = fmt.Errorf("the database keeps no write-ahead log, but one of the kind %q", mode)
	}
	return mode == "memory", err
}

// writeAhead makes a new file keep a write-ahead log. SQLite calls no busy handler
// while it changes the journal, so where several open a new file at once the
// change is tried again.
func (c *Checkpointer) writeAhead(ctx context.Context, first *conn) (mode string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.BusyTimeout)
	defer cancel()
	for {
		mode, err = journal(first, sqlJournalWAL)
		if !errors.Is(err, sqlite3.BUSY) {
			return mode, err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return mode, err
		}
	}
}

// busyPause is how long the change of a journal waits for others.
const busyPause = 5 * time.Millisecond

const (
	sqlJournal    = `pragma journal_mode`
	sqlJournalWAL = `pragma journal_mode = wal`
)

func journal(c *conn, sql string) (mode string, err error) {
	_, err = c.one(sql, nil, func(r row) error {
		mode = r.ColumnText(0)
		return nil
	})
	return mode, err
}

// unfit says which of SQLite's errors are the path's fault.
func unfit(err error) error {
	rule := ""
	switch {
	case errors.Is(err, sqlite3.NOTADB):
		rule = "is no SQLite database"
	case errors.Is(err, sqlite3.CANTOPEN):
		rule = "must be a file that may be made or opened, in a directory that is there"
	case errors.Is(err, sqlite3.READONLY), errors.Is(err, sqlite3.PERM):
		rule = "must be a file that may be written"
	case errors.Is(err, sqlite3.CORRUPT):
		rule = "is a damaged SQLite database"
	default:
		return err
	}
	return fault.Invalid("path", rule).WithCause(err)
}

// Close waits for the calls under way and closes the database. Later calls fail.
func (c *Checkpointer) Close() error {
	if err := errors.Join(c.readers.close(), c.writer.close()); err != nil {
		return fmt.Errorf("closing a database: %w", err)
	}
	return nil
}
