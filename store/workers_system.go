package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// The first halves of advisory locks; 2 is that of claims (sqlClaimTurn).
const (
	workerLockClass = 1 // each worker's while it lives
	sweepLockClass  = 3 // of whoever sweeps
)

// Presence is a worker's sign of life: a row and, on a connection of its own, a
// session advisory lock that PostgreSQL frees the moment the process is gone.
// It needs a direct connection: a pooler that multiplexes sessions would keep
// the lock of a dead process.
type Presence struct {
	id   agents.WorkerID
	conn *pgx.Conn
}

const sqlWorkerInsert = `insert into workers (id, name) values (@id, @name) returning lock_key`

const sqlWorkerDelete = `delete from workers where id = @id`

// Arrive registers a worker and takes its lock.
func (db *DB) Arrive(ctx context.Context, name string) (*Presence, error) {
	cfg, err := pgx.ParseConfig(db.url)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", withoutPassword(err))
	}
	cfg.RuntimeParams["application_name"] = "heddle worker " + name
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	db.links.use(cfg)
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connecting a worker: %w", err)
	}
	p := &Presence{id: agents.WorkerID(id.New()), conn: conn}
	if err := p.register(ctx, name); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("registering a worker: %w", err)
	}
	return p, nil
}

// register takes the lock in the transaction that makes the row: no other
// worker ever sees the row without the lock.
func (p *Presence) register(ctx context.Context, name string) error {
	if _, err := p.conn.Exec(ctx, "set role heddle_system"); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, p.conn, func(tx pgx.Tx) error {
		var key int32
		args := named{"id": string(p.id), "name": name}
		if err := tx.QueryRow(ctx, sqlWorkerInsert, args).Scan(&key); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `select pg_advisory_lock($1, $2)`, int32(workerLockClass), key)
		return err
	})
}

// Worker gives the worker's id.
func (p *Presence) Worker() agents.WorkerID { return p.id }

// Alive asks the connection that holds the lock; an error means the lock is
// gone and the worker must stop, arrive anew and claim nothing in between.
func (p *Presence) Alive(ctx context.Context) error {
	if err := p.conn.Ping(ctx); err != nil {
		return fmt.Errorf("asking a worker's connection: %w", err)
	}
	return nil
}

// Leave removes the row and frees the lock.
func (p *Presence) Leave(ctx context.Context) error {
	_, err := p.conn.Exec(ctx, sqlWorkerDelete, named{"id": string(p.id)})
	if closeErr := p.conn.Close(ctx); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("signing off a worker: %w", err)
	}
	return nil
}

// sqlWorkersDead finds rows whose lock is free: taken for this transaction, so
// that two sweepers never both decide about one worker.
const sqlWorkersDead = `select id::text from workers where pg_try_advisory_xact_lock(1, lock_key)`

const sqlWorkersDelete = `delete from workers where id = any(@ids::uuid[])`

// TakeOver requeues the runs of workers whose process is gone, and of expired
// leases.
func (db *DB) TakeOver(ctx context.Context) (agents.TakenOver, error) {
	var out agents.TakenOver
	err := pgx.BeginFunc(ctx, db.system, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sqlWorkersDead)
		dead, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("looking for dead workers: %w", err)
		}
		lost, err := pgxMany[lostRow](ctx, tx, sqlSweep, named{"dead": dead})
		if err != nil {
			return fmt.Errorf("sweeping leases: %w", err)
		}
		out = agents.TakenOver{Workers: len(dead), Runs: len(lost)}
		for _, l := range lost {
			if l.Cancelled {
				out.Cancelled = append(out.Cancelled, agents.RunKey{Org: auth.OrgID(l.Org), Thread: agents.ThreadID(l.Thread), Run: agents.RunID(l.Run)})
			}
		}
		if len(dead) == 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, sqlWorkersDelete, named{"ids": dead}); err != nil {
			return fmt.Errorf("removing dead workers: %w", err)
		}
		return nil
	})
	if err != nil {
		return agents.TakenOver{}, err
	}
	return out, nil
}
