//go:build chaos

package app

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/review"
	"github.com/heddle/heddle/agents/run"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/realtime"
	"github.com/heddle/heddle/store"
)

// In a build for the fault protocol one promise of the product can be taken
// away, to show that the protocol notices: CHAOS_OFF is fencing, journal
// or replay. CHAOS_NODE is what the node's workers are called.

func promiseOff(name string) bool { return os.Getenv("CHAOS_OFF") == name }

func (a *App) runStore() run.Store {
	if promiseOff("fencing") {
		return newUnfenced(a.db, a.o.DatabaseURL)
	}
	return a.db
}

func (a *App) appender() run.Appender {
	if promiseOff("fencing") {
		return newUnfenced(a.db, a.o.DatabaseURL)
	}
	return a.db
}

func (a *App) ledger() review.Ledger {
	switch {
	case promiseOff("journal"):
		return forgetful{a.db}
	case promiseOff("fencing"):
		return newUnfenced(a.db, a.o.DatabaseURL)
	default:
		return a.db
	}
}

func (a *App) logReader() realtime.LogReader {
	if promiseOff("replay") {
		return headOnly{logReader{a.db}}
	}
	return logReader{a.db}
}

func (a *App) arrive(ctx context.Context, name string) (run.Presence, error) {
	if node := os.Getenv("CHAOS_NODE"); node != "" {
		name = node
	}
	return a.db.Arrive(ctx, name)
}

// forgetful is a ledger without a journal: it knows decisions, and nothing of
// what was handed to a tool.
type forgetful struct{ *store.DB }

func (f forgetful) CallRecords(ctx context.Context, scope auth.Scope, line agents.LineID, calls []string) (map[string]agents.CallRecord, error) {
	found, err := f.DB.CallRecords(ctx, scope, line, calls)
	for id, r := range found {
		r.Journal = nil
		found[id] = r
	}
	return found, err
}

func (forgetful) ReserveCalls(context.Context, auth.Scope, agents.Lease, agents.LineID, []agents.Reservation) error {
	return nil
}

func (forgetful) SendCall(context.Context, auth.Scope, agents.Lease, agents.LineID, agents.ToolCall, int) error {
	return nil
}

func (forgetful) ConfirmCall(context.Context, auth.Scope, agents.Lease, agents.LineID, string, int, *agents.Message) error {
	return nil
}

// headOnly reads of a log how far it goes, and nothing of what it says.
type headOnly struct{ realtime.LogReader }

func (h headOnly) ReadLog(ctx context.Context, topic string, after int64, limit int) (realtime.Page, error) {
	page, err := h.LogReader.ReadLog(ctx, topic, after, limit)
	page.Messages, page.More = nil, false
	return page, err
}

// unfenced is a store that takes any write for one of the thread's owner, and
// tells a worker that it holds all it ever claimed.
type unfenced struct {
	*store.DB
	pool *pgxpool.Pool

	mu      sync.Mutex
	claimed map[agents.RunID]int64
}

func newUnfenced(db *store.DB, url string) *unfenced {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		panic(err) // the store has read the same address
	}
	cfg.MaxConns = 4
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "set role heddle_system")
		return err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		panic(err)
	}
	return &unfenced{DB: db, pool: pool, claimed: map[agents.RunID]int64{}}
}

func (u *unfenced) token(ctx context.Context, thread agents.ThreadID, token int64) int64 {
	_ = u.pool.QueryRow(ctx, "select token from thread_heads where thread_id = $1", string(thread)).Scan(&token) // else the old one is refused
	return token
}

func (u *unfenced) lease(ctx context.Context, l agents.Lease) agents.Lease {
	l.Token = u.token(ctx, l.Thread, l.Token)
	return l
}

func (u *unfenced) Claim(ctx context.Context, worker agents.WorkerID, limit int, lease time.Duration) ([]agents.Claimed, error) {
	found, err := u.DB.Claim(ctx, worker, limit, lease)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range found {
		u.claimed[c.Run.ID] = c.Run.Token
	}
	return found, err
}

func (u *unfenced) Renew(ctx context.Context, worker agents.WorkerID, runs []agents.RunID, lease time.Duration) ([]agents.Held, error) {
	if _, err := u.DB.Renew(ctx, worker, runs, lease); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	held := make([]agents.Held, len(runs))
	for i, r := range runs {
		held[i] = agents.Held{Run: r, Token: u.claimed[r]}
	}
	return held, nil
}

func (u *unfenced) CommitSteps(ctx context.Context, scope auth.Scope, lease agents.Lease, steps []agents.Step, finish *agents.Finish) (stepped agents.Appended, finished agents.Finished, err error) {
	return u.DB.CommitSteps(ctx, scope, u.lease(ctx, lease), steps, finish)
}

func (u *unfenced) Pend(ctx context.Context, scope auth.Scope, lease agents.Lease, w agents.PendingWrites) error {
	return u.DB.Pend(ctx, scope, u.lease(ctx, lease), w)
}

func (u *unfenced) FinishRun(ctx context.Context, scope auth.Scope, lease agents.Lease, finish agents.Finish) (agents.Finished, error) {
	return u.DB.FinishRun(ctx, scope, u.lease(ctx, lease), finish)
}

func (u *unfenced) ReserveCalls(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, calls []agents.Reservation) error {
	return u.DB.ReserveCalls(ctx, scope, u.lease(ctx, lease), line, calls)
}

func (u *unfenced) SendCall(ctx context.Context, scope auth.Scope, lease agents.Lease, line agents.LineID, call agents.ToolCall, round int) error {
	return u.DB.SendCall(ctx, scope, u.lease(ctx, lease), line, call, round)
}

func (u *unfenced) Append(ctx context.Context, entries []agents.Entry) ([]agents.Numbered, error) {
	for i := range entries {
		entries[i].Token = u.token(ctx, entries[i].Thread, entries[i].Token)
	}
	found, err := u.DB.Append(ctx, entries)
	if err != nil {
		return nil, fmt.Errorf("appending without a fence: %w", err)
	}
	return found, nil
}
