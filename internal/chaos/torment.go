package chaos

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// pointPatience is how long an armed point may go unreached.
const pointPatience = 8 * time.Second

// torment does to nodes what a list of the plan says, one after the other.
func (s *suite) torment(ctx context.Context, list []Fault) {
	for _, f := range list {
		n := s.nodes[f.Node]
		pause(ctx, f.At-time.Since(s.began))
		if ctx.Err() != nil {
			return
		}
		s.say("%s %s", n.name, f)
		s.hit(ctx, n, f)
	}
}

func (s *suite) hit(ctx context.Context, n *node, f Fault) {
	if point, ok := pointOf(f.Kind); ok {
		s.atPoint(ctx, n, f, string(point))
		return
	}
	s.count(string(f.Kind))
	switch f.Kind {
	case Kill:
		s.die(n)
		s.bringBack(ctx, n, f.Lasts)
	case ClockSkew:
		n.mu.Lock()
		n.skew = f.Skew
		n.mu.Unlock()
		s.die(n)
		s.bringBack(ctx, n, 0)
	case Drain:
		s.drain(n)
		s.bringBack(ctx, n, f.Lasts)
	case Freeze:
		n.signal(syscall.SIGSTOP)
		pause(ctx, f.Lasts)
		n.signal(syscall.SIGCONT)
		s.mu.Lock()
		s.lastThaw = time.Now()
		s.mu.Unlock()
	case LinkCut, LinkHalfOpen, LinkSlow:
		w := map[Kind]weather{LinkCut: cut, LinkHalfOpen: half, LinkSlow: slow}[f.Kind]
		n.toPG.turn(w)
		n.toRedis.turn(w)
		pause(ctx, f.Lasts)
		n.toPG.turn(clear)
		n.toRedis.turn(clear)
	}
}

// die is kill -9.
func (s *suite) die(n *node) {
	worker, at := n.worker(), time.Now()
	<-n.signalKill()
	n.ended()
	s.mu.Lock()
	s.deaths = append(s.deaths, death{worker, at})
	s.mu.Unlock()
}

// dump lets a process that does not end say in its log what it does, and kills it.
func (n *node) dump() {
	exited := n.signal(syscall.SIGQUIT)
	select {
	case <-exited:
	case <-time.After(2 * time.Second):
	}
	<-n.signalKill()
}

// signalKill kills whatever runs, frozen or not, and gives what ends with it.
func (n *node) signalKill() chan struct{} { return n.signal(syscall.SIGKILL) }

func (s *suite) drain(n *node) {
	worker, at := n.worker(), time.Now()
	exited := n.signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(s.o.Tier.Drain + 30*time.Second):
		s.broken("I9", "%s did not end within %s after SIGTERM", worker, s.o.Tier.Drain+30*time.Second)
		n.dump()
	}
	took, code := time.Since(at), n.ended()
	s.mu.Lock()
	s.drains = append(s.drains, drained{worker, at, took, code})
	s.mu.Unlock()
	s.say("%s drained in %.1fs, code %d", worker, took.Seconds(), code)
}

// atPoint arms a fail point and waits until the node has died there.
func (s *suite) atPoint(ctx context.Context, n *node, f Fault, point string) {
	worker := n.worker()
	if err := n.arm(ctx, point, f.Detail); err != nil {
		s.say("%s could not be armed: %v", n.name, err)
	}
	n.mu.Lock()
	exited := n.exited
	n.mu.Unlock()
	select {
	case <-exited:
		n.ended()
		s.mu.Lock()
		s.deaths = append(s.deaths, death{worker, time.Now()})
		s.mu.Unlock()
		s.count(string(f.Kind))
		s.bringBack(ctx, n, f.Lasts)
	case <-time.After(pointPatience):
		_ = n.arm(ctx, "", "") // it may die at just this moment
		s.mu.Lock()
		s.unreached[f.Kind]++
		s.mu.Unlock()
		if !n.up() {
			n.ended()
			s.bringBack(ctx, n, f.Lasts)
		}
	case <-ctx.Done():
	}
}

// bringBack starts a node again after a while, as often as it takes.
func (s *suite) bringBack(ctx context.Context, n *node, after time.Duration) {
	pause(ctx, after)
	for ctx.Err() == nil {
		err := n.start(ctx)
		if err == nil {
			return
		}
		s.say("%s did not start, trying again: %v", n.name, err)
		<-n.signalKill()
		pause(ctx, 200*time.Millisecond)
	}
}

func (s *suite) tormentServers(ctx context.Context, list []Fault) {
	var heard sync.WaitGroup
	defer heard.Wait()
	for _, f := range list {
		pause(ctx, f.At-time.Since(s.began))
		if ctx.Err() != nil {
			return
		}
		s.say("servers %s", f)
		s.count(string(f.Kind))
		if err := s.hitServer(ctx, f); err != nil {
			s.say("%s went wrong: %v", f.Kind, err)
			s.broken("harness", "%s: %v", f.Kind, err)
		}
		if f.Kind == RedisKill {
			heard.Go(func() { s.hearAgain(ctx) })
		}
	}
}

func (s *suite) hitServer(ctx context.Context, f Fault) error {
	switch f.Kind {
	case RedisKill:
		if err := s.redis.kill(); err != nil {
			return err
		}
		pause(ctx, f.Lasts)
		return s.redis.start(ctx)
	case RedisFlush:
		return s.redis.flush(ctx)
	case FastRestart, Crash:
		if err := s.pg.restart(ctx, f.Kind == FastRestart); err != nil {
			return err
		}
		s.mu.Lock()
		s.pgBack = append(s.pgBack, time.Now())
		s.mu.Unlock()
		return nil
	case EndBackend:
		// One of the product's, whichever: a pool's, or one that holds a worker's lock.
		_, err := query(ctx, s, `select pg_terminate_backend(pid)::text from pg_stat_activity
			where application_name like 'heddle%' and pid <> pg_backend_pid() order by md5(pid::text || $1) limit 1`, pgx.RowTo[string], fmt.Sprint(f.At))
		return err
	default:
		return fmt.Errorf("no fault of the servers: %s", f.Kind)
	}
}

// hearAgain measures how long nodes that are up need to hear each other after
// Redis is back.
func (s *suite) hearAgain(ctx context.Context) {
	back := time.Now()
	for _, n := range s.nodes {
		worker := n.worker()
		for ctx.Err() == nil && n.up() && n.worker() == worker && time.Since(back) < 20*time.Second {
			if degraded, ok := n.ready(ctx); ok && !degraded {
				s.mu.Lock()
				s.redisHeard = append(s.redisHeard, time.Since(back))
				s.mu.Unlock()
				break
			}
			pause(ctx, 20*time.Millisecond)
		}
	}
}
