// Package store is all SQL of the product. It owns the two connection pools,
// the rule that every query runs under an organisation, and one file per
// aggregate.
//
// Invariants:
//   - Every method takes (ctx, auth.Scope, …) and runs as heddle_app with
//     heddle.org set to the scope's organisation; row-level security and an
//     explicit org_id in each query both hold. Methods that precede or cross
//     organisations live in files named *_system.go and run as heddle_system.
//   - Absent and foreign are the same fault.NotFound; nil, nil is never returned.
//   - A statement is a constant named sql… beside its method; a test prepares
//     every one of them on a freshly migrated database.
//
// It imports agents, auth, event and pgx. app and tests import it; handlers
// never do.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/heddle/heddle/agents"
)

// Options says how to reach PostgreSQL.
type Options struct {
	// URL is a libpq connection string. Its role must be able to SET ROLE to
	// heddle_app and heddle_system, which Migrate grants.
	URL string
	// MaxConns and MinConns bound the pool of scoped queries; the system pool
	// has a quarter of them, at least four. Defaults 20 and 2.
	MaxConns, MinConns int32
	// Bounds of runs; what is zero has its default.
	Bounds Bounds
	// StatementTimeout bounds every statement; default 60 s (LG-48).
	StatementTimeout time.Duration
}

// connectTimeout bounds a connection's beginning when the URL doesn't.
const connectTimeout = 5 * time.Second

// Bounds are how many runs there may be. Those beyond what executes wait; beyond
// what waits, new ones are refused as limited.
type Bounds struct {
	// ExecutingPerOrg and ExecutingPerPerson bound what executes at once, over all
	// nodes; defaults 100 and 25.
	ExecutingPerOrg, ExecutingPerPerson int
	// QueuedPerOrg and QueuedPerPerson bound what stands in line on all threads;
	// defaults 1,000 and 200. QueuedPerThread is what stands in one; default 25.
	QueuedPerOrg, QueuedPerPerson, QueuedPerThread int
}

func (b Bounds) withDefaults() Bounds {
	for at, value := range map[*int]int{&b.ExecutingPerOrg: 100, &b.ExecutingPerPerson: 25, &b.QueuedPerOrg: 1000, &b.QueuedPerPerson: 200,
		&b.QueuedPerThread: 25} {
		if *at == 0 {
			*at = value
		}
	}
	return b
}

// DB is the product's access to PostgreSQL. Safe for concurrent use.
type DB struct {
	app    *pgxpool.Pool
	system *pgxpool.Pool
	links  *links
	url    string
	bounds Bounds

	packs  *packs
	steps  *gather[*entry]
	places *gather[*placing]
	// keys looks up API keys, of all organisations.
	keys     *gather[*keySought]
	states   *lru[stateKey, keptState]
	active   *lru[stateKey, agents.LineID]
	versions *lru[versionKey, agents.Assistant]
	known    *lru[knownKey, agents.Assistant]
	opened   *lru[openedKey, time.Time]
}

// Open makes the pools. It does not connect: the first query does, so that a
// server can start and report itself not ready while the database is away.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.MaxConns == 0 {
		o.MaxConns = 20
	}
	if o.MinConns == 0 {
		o.MinConns = 2
	}
	if o.StatementTimeout == 0 {
		o.StatementTimeout = time.Minute
	}
	links := newLinks(o.StatementTimeout)
	app, err := openPool(ctx, o, links, "heddle_app", o.MaxConns)
	if err != nil {
		return nil, err
	}
	system, err := openPool(ctx, o, links, "heddle_system", max(4, o.MaxConns/4))
	if err != nil {
		app.Close()
		return nil, err
	}
	db := &DB{
		app: app, system: system, links: links, url: o.URL, bounds: o.Bounds.withDefaults(), packs: newPacks(),
		states: newLRU[stateKey](maxKeptStates, keptState.weight), active: newLRU[stateKey, agents.LineID](maxKeptLines, nil),
		known:    newLRU[knownKey, agents.Assistant](maxKeptVersions, nil),
		versions: newLRU[versionKey, agents.Assistant](maxKeptVersions, nil),
		opened:   newLRU[openedKey, time.Time](maxOpened, nil),
	}
	db.steps = newGather((*entry).thread, db.writeTogether)
	db.places = newGather((*placing).thread, db.placeTogether)
	db.keys = newGather(nil, db.findKeys)
	return db, nil
}

func openPool(ctx context.Context, o Options, links *links, role string, size int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", withoutPassword(err))
	}
	cfg.MaxConns = size
	cfg.MinConns = min(o.MinConns, size)
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.ConnConfig.RuntimeParams["application_name"] = "heddle"
	cfg.ConnConfig.RuntimeParams["statement_timeout"] = fmt.Sprint(o.StatementTimeout.Milliseconds())
	cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "60000"
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	var pool *pgxpool.Pool
	links.use(cfg.ConnConfig)
	links.watch(cfg, func() *pgxpool.Pool { return pool })
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// role is one of two constants of this file, never input.
		if _, err := conn.Exec(ctx, "set role "+role); err != nil {
			return fmt.Errorf("taking the role %s: %w", role, err)
		}
		return nil
	}
	if pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("opening the %s pool: %w", role, err)
	}
	return pool, nil
}

// withoutPassword keeps pgx's parse error from quoting the connection string.
func withoutPassword(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("it is not a PostgreSQL connection string")
	}
	return err
}

// Close waits for queries in flight, but not for a server that does not answer,
// and closes all connections.
func (db *DB) Close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		db.app.Close()
		db.system.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeLimit):
	}
	db.links.cut() // also those that the driver closes behind the pools' back
	<-closed
}

// Ping reports whether the database answers within the context's deadline.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.system.Ping(ctx); err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	return nil
}
