package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/internal/id"
)

// query asks the database as the superuser, on a connection that a restart may
// cut.
func query[T any](ctx context.Context, s *suite, sql string, into pgx.RowToFunc[T], args ...any) ([]T, error) {
	s.auditMu.Lock()
	defer s.auditMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if s.audit.IsClosed() {
		conn, err := s.pg.super(ctx)
		if err != nil {
			return nil, err
		}
		s.audit = conn
	}
	rows, err := s.audit.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, into)
}

// number asks for one.
func (s *suite) number(ctx context.Context, sql string, args ...any) (int, error) {
	found, err := query(ctx, s, sql, pgx.RowTo[int], args...)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[0], nil
}

// settle restarts what reviews still wait for, and waits until nothing is left
// to do.
func (s *suite) settle(whole context.Context) {
	ctx, cancel := context.WithTimeout(whole, s.o.Tier.Settle)
	defer cancel()
	told, busy := time.Now(), time.Now()
	for ctx.Err() == nil {
		left, waiting, err := s.left(ctx)
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			s.say("left: %d runs, %d requests (%v)", left, waiting, err)
		}
		switch {
		case err != nil || left > 0:
			busy = time.Now()
		case waiting == 0:
			return
		case time.Since(busy) > time.Second:
			// What waits does so for restarts that the plan did not bring.
			var restarting sync.WaitGroup
			for _, n := range s.nodes {
				restarting.Go(func() {
					s.count("restart for a late review")
					s.drain(n)
					s.bringBack(whole, n, 0)
				})
			}
			restarting.Wait()
			busy = time.Now()
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// left counts what has to come to an end yet: runs that are due or at work, runs
// that were not accepted yet, and requests that somebody is going to answer.
func (s *suite) left(ctx context.Context) (runs, waiting int, err error) {
	for _, j := range s.jobs {
		j.mu.Lock()
		if !j.accepted {
			runs++
		}
		j.mu.Unlock()
	}
	busy, err := s.number(ctx, "select count(*)::int from runs where status in ('pending', 'running')")
	if err != nil {
		return 0, 0, err
	}
	open, err := s.openRequests(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, r := range open {
		if j := s.byThread[r.thread]; j != nil && (!j.open || r.rule == unknownRule) {
			waiting++
		}
	}
	return runs + busy, waiting, nil
}

// probeLimit bounds the wait until every node executes runs again.
const probeLimit = 20 * time.Second

// probeNodes gives the installation small runs until each node has taken one
// since the faults ended: none of them may be alive and good for nothing.
func (s *suite) probeNodes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	var idle []string
	for ctx.Err() == nil {
		idle = nil
		for _, n := range s.nodes {
			taken, err := s.number(ctx, `select count(*)::int from chaos.turns t join chaos.workers w on w.id = t.worker_id
				where t.status = 'running' and w.name = $1 and t.at > $2`, n.worker(), s.faultsOver)
			if err != nil || taken == 0 {
				idle = append(idle, n.worker())
			}
		}
		if len(idle) == 0 {
			return
		}
		for i := range 12 {
			if n := s.pick(i); n != nil {
				thread := id.New()
				_ = call(ctx, s.client, n.url(), s.orgs[0].asker.key, http.MethodPost, "/api/threads/"+thread+"/runs", "", map[string]any{
					"assistant_id": "slow", "if_not_exists": "create",
					"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": "probe"}}}}, nil) // the next round asks again
			}
		}
		pause(ctx, 500*time.Millisecond)
	}
	s.broken("I1", "after the faults no run was taken by %s within %s", strings.Join(idle, " and "), probeLimit)
}

// catchUp lets the slow clients read on at full speed and waits until all have
// what the logs hold.
func (s *suite) catchUp(ctx context.Context) {
	for _, c := range s.clients {
		c.hurry.Store(true)
	}
	limit := s.o.Tier.Settle / 2
	if s.o.Off != "" {
		limit = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	told := time.Now()
	for ctx.Err() == nil {
		behind, err := s.behind(ctx)
		if err == nil && len(behind) == 0 {
			return
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			s.say("clients are behind: %v (%v)", behind[:min(3, len(behind))], err)
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// behind lists what clients have not been sent of the threads they follow.
func (s *suite) behind(ctx context.Context) ([]string, error) {
	heads, err := s.heads(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range s.clients {
		for thread, last := range c.positions() {
			if last != heads[thread] {
				out = append(out, fmt.Sprintf("%s has %d of %d numbers of thread %s", c.name, last, heads[thread], thread))
			}
		}
	}
	return out, nil
}

func (s *suite) heads(ctx context.Context) (map[string]int64, error) {
	type head struct {
		ID  string
		Seq int64
	}
	found, err := query(ctx, s, "select thread_id::text as id, seq from thread_heads", pgx.RowToStructByName[head])
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(found))
	for _, h := range found {
		out[h.ID] = h.Seq
	}
	return out, nil
}

// takeApart drains the nodes and looks for what they leave behind.
func (s *suite) takeApart(ctx context.Context) {
	for _, n := range s.nodes {
		if v, err := n.look(ctx); err == nil {
			s.goroutines[n.name] = v.Goroutines
		}
	}
	var ending sync.WaitGroup
	for _, n := range s.nodes {
		ending.Go(func() {
			exited := n.signal(syscall.SIGTERM)
			select {
			case <-exited:
			case <-time.After(s.o.Tier.Drain + 30*time.Second):
				s.broken("I10", "%s does not end", n.worker())
				n.dump()
			}
			switch code := n.ended(); code {
			case 0, 7:
			default:
				s.broken("I10", "%s ended with code %d", n.worker(), code)
			}
			left, err := os.ReadDir(filepath.Join(n.dir, "tmp"))
			if err != nil || len(left) > 0 {
				s.broken("I10", "%s left %d temporary files, such as %v (%v)", n.name, len(left), left, err)
			}
		})
	}
	ending.Wait()
	for _, n := range s.nodes {
		// What a half-open link kept open on the servers' side would be theirs to
		// find out, by their keepalives.
		n.toPG.turn(cut)
		n.toRedis.turn(cut)
	}
	s.client.CloseIdleConnections()
}
