package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Owner is the role the product connects as, and the name of its database. It
// may log in and make roles; it is no superuser and obeys row-level security.
const Owner = "heddle"

// connectEvery is how often a starting server is asked whether it is ready. A
// refused connection to a socket costs microseconds.
const connectEvery = 3 * time.Millisecond

// cannotConnectNow is the SQLSTATE of a server that starts, recovers or stops.
const cannotConnectNow = "57P03"

// connect waits until the server answers, as the superuser.
func (c *cluster) connect(ctx context.Context, p *process) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(socketURL(c.sock, superuser, "postgres"))
	if err != nil {
		return nil, fmt.Errorf("addressing the server: %w", err)
	}
	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err == nil {
			return conn, nil
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code != cannotConnectNow {
			return nil, fmt.Errorf("connecting to the server: %w", err)
		}
		select {
		case <-p.exited:
			return nil, fmt.Errorf("the server ended while it started: %s", p.status())
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the server: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// ensureOwner makes the product's role and database, or puts the role back
// into shape. It can be cut short anywhere and run again.
func ensureOwner(ctx context.Context, conn *pgx.Conn, createDB bool) error {
	var role, shape, database bool
	err := conn.QueryRow(ctx, `
		select count(r.oid) > 0,
		       coalesce(bool_and(r.rolcanlogin and r.rolcreaterole and not r.rolsuper and not r.rolbypassrls
		                         and not r.rolreplication and r.rolcreatedb = $2), false),
		       exists (select from pg_database where datname = $1)
		from pg_roles r where r.rolname = $1`, Owner, createDB).Scan(&role, &shape, &database)
	if err != nil {
		return fmt.Errorf("looking for the product's role: %w", err)
	}
	verb, db := "alter", "nocreatedb"
	if !role {
		verb = "create"
	}
	if createDB {
		db = "createdb"
	}
	if !shape {
		if _, err := conn.Exec(ctx, verb+" role "+Owner+" login createrole nosuperuser nobypassrls noreplication "+db); err != nil {
			return fmt.Errorf("making the product's role: %w", err)
		}
	}
	if !database {
		if _, err := conn.Exec(ctx, "create database "+Owner+" owner "+Owner); err != nil {
			return fmt.Errorf("making the product's database: %w", err)
		}
	}
	return nil
}
