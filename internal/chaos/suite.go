// Package chaos carries out the fault protocol: an installation of three nodes
// on a real PostgreSQL and a real Redis works off a load of runs with reviews,
// watched by clients of every manner, while processes are killed, frozen and
// drained, servers restarted, links cut and clocks set wrong. Afterwards ten
// invariants are judged, each by a function that names what broke it.
//
// The nodes are the product itself, built with the tag chaos (package node,
// below), which alone has fail points to die at. Model and tool server are the
// harness's, and speak their real protocols. docs/reliability.md says what is
// promised and how it is shown.
//
// A seed makes a plan of faults; what then meets what is up to the machine.
//
// Tests and its command import it; it imports app, store and the test servers.
package chaos

import (
	"context"
	_ "embed" // the protocol's triggers
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents/model/openai/openaitest"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/store"
)

//go:embed audit.sql
var auditSQL string

// Options are what a run of the protocol is given.
type Options struct {
	// Binary is the node, built with the tag chaos.
	Binary string
	Tier   Tier
	Plan   Plan
	// Off takes a promise away: fencing, journal or replay; "" none.
	Off string
	// Log is told what happens, line by line.
	Log io.Writer
	// Dir is where servers and nodes keep their files; it must be there, empty, and
	// open for other accounts to pass through.
	Dir string
}

// suite is one run of the protocol.
type suite struct {
	o       Options
	began   time.Time
	db      *store.DB
	pg      *postgres
	redis   *redisServer
	nodes   []*node
	orgs    []*org
	ledger  *ledger
	client  *http.Client
	jobs    []*job
	clients []*client

	byThread map[string]*job
	watchers map[string][]*client
	ignorant []*client

	auditMu sync.Mutex
	audit   *pgx.Conn

	mu         sync.Mutex
	violations []Violation
	verdicts   []verdict
	unclear    map[string][2]bool
	log        []string
	counts     map[string]int
	deaths     []death
	drains     []drained
	pgBack     []time.Time
	redisHeard []time.Duration
	ignored    []ignored
	lastThaw   time.Time
	phase      int
	delays     [2][]time.Duration
	heap       [2]uint64
	unreached  map[Kind]int
	recovered  recovery
	goroutines map[string]int
	faultsOver time.Time
}

// Violation is a broken promise.
type Violation struct{ Invariant, Detail string }

// String says it in one line.
func (v Violation) String() string { return v.Invariant + ": " + v.Detail }

// death is a process that was killed.
type death struct {
	worker string
	at     time.Time
}

// ignored is a connection that was not read until the node ended it.
type ignored struct {
	began time.Time
	took  time.Duration
}

type drained struct {
	worker string
	began  time.Time
	took   time.Duration
	code   int
}

// maxViolations bounds what is kept of each invariant.
const maxViolations = 20

func (s *suite) broken(invariant, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, v := range s.violations {
		if v.Invariant == invariant {
			n++
		}
	}
	if n < maxViolations {
		s.violations = append(s.violations, Violation{invariant, fmt.Sprintf(format, args...)})
	}
}

func (s *suite) say(format string, args ...any) {
	line := fmt.Sprintf("%6.1fs ", time.Since(s.began).Seconds()) + fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.log = append(s.log, line)
	s.mu.Unlock()
	if s.o.Log != nil {
		fmt.Fprintln(s.o.Log, line)
	}
}

func (s *suite) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// Run carries out the protocol and judges it. The error is of the harness: a
// broken promise stands in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	s := &suite{
		o: o, began: time.Now(), byThread: map[string]*job{}, watchers: map[string][]*client{}, counts: map[string]int{},
		unreached: map[Kind]int{}, unclear: map[string][2]bool{}, goroutines: map[string]int{}, ledger: newLedger(o.Plan.Seed, o.Tier.ToolFaultsPerMille),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}},
	}
	defer s.client.CloseIdleConnections()
	if err := s.carryOut(ctx); err != nil {
		return nil, err
	}
	return s.report(), nil
}

// carryOut starts everything, lets it go wrong, and takes it apart again.
func (s *suite) carryOut(ctx context.Context) (err error) {
	var closing []func() error
	defer func() {
		for _, end := range slices.Backward(closing) {
			err = errors.Join(err, end())
		}
	}()
	last := func(end func() error) { closing = append(closing, end) }
	dirs := map[string]string{}
	for _, name := range []string{"pg", "redis"} {
		dirs[name] = filepath.Join(s.o.Dir, name)
		if err := os.Mkdir(dirs[name], 0o711); err != nil {
			return err
		}
	}
	if s.pg, err = startPostgres(ctx, dirs["pg"]); err != nil {
		return err
	}
	last(s.pg.stop)
	if s.redis, err = startRedis(ctx, dirs["redis"]); err != nil {
		return err
	}
	last(s.redis.kill)
	if err := app.Migrate(ctx, s.pg.direct, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if s.db, err = store.Open(ctx, store.Options{URL: s.pg.direct, MaxConns: 8, MinConns: 1}); err != nil {
		return err
	}
	last(func() error { s.db.Close(); return nil })
	if s.audit, err = s.pg.super(ctx); err != nil {
		return err
	}
	last(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.audit.Close(ctx) // a restart may have cut it
		return nil
	})
	if _, err := s.audit.Exec(ctx, auditSQL); err != nil {
		return fmt.Errorf("making the protocol's triggers: %w", err)
	}
	if s.orgs, err = makeOrgs(ctx, s.db, s.o.Plan.Seed); err != nil {
		return fmt.Errorf("making the organisations: %w", err)
	}
	model, err := serve(openaitest.New(openaitest.Options{Answer: answer(s.o.Tier.Pace)}))
	if err != nil {
		return err
	}
	last(func() error { model.close(); return nil })
	tools, err := serve(s.ledger)
	if err != nil {
		return err
	}
	last(func() error { tools.close(); return nil })
	for i := range nodes {
		n, end, err := s.install(i, model.url+"/v1", tools.url)
		if err != nil {
			return err
		}
		last(end)
		s.nodes = append(s.nodes, n)
	}
	var starting sync.WaitGroup
	failed := make([]error, len(s.nodes))
	for i, n := range s.nodes {
		starting.Go(func() { failed[i] = n.start(ctx) })
	}
	starting.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	s.populate()
	return s.live(ctx)
}

// install makes a node's directory and links; its end kills what still runs.
func (s *suite) install(i int, model, tools string) (*node, func() error, error) {
	name := fmt.Sprintf("node-%d", i+1)
	n := &node{name: name, binary: s.o.Binary, dir: filepath.Join(s.o.Dir, name), client: s.client}
	if err := os.MkdirAll(filepath.Join(n.dir, "tmp"), 0o700); err != nil {
		return nil, nil, err
	}
	var err error
	if n.log, err = os.Create(filepath.Join(n.dir, "log")); err != nil {
		return nil, nil, err
	}
	if n.addr, err = freeAddress(); err != nil {
		return nil, nil, err
	}
	if n.control, err = freeAddress(); err != nil {
		return nil, nil, err
	}
	if n.toPG, err = startProxy("unix", s.pg.socket); err != nil {
		return nil, nil, err
	}
	if n.toRedis, err = startProxy("tcp", s.redis.addr); err != nil {
		return nil, nil, err
	}
	t := s.o.Tier
	n.env = []string{
		"HEDDLE_ENV=development", "HEDDLE_ADDR=" + n.addr, "HEDDLE_BASE_URL=" + n.url(), "HEDDLE_DATA_DIR=" + filepath.Join(n.dir, "data"),
		"HEDDLE_SECRET_KEY=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
		"DATABASE_URL=postgres://heddle@" + n.toPG.addr() + "/heddle?sslmode=disable", "REDIS_URL=" + s.redis.url(n.toRedis.addr()),
		"OPENAI_BASE_URL=" + model, "NO_PROXY=127.0.0.1", "CHAOS_TOOLS=" + tools, "CHAOS_OFF=" + s.o.Off,
		"HEDDLE_LEASE=" + t.Lease.String(), "HEDDLE_LEASE_RENEW=" + t.Renew.String(), "HEDDLE_SWEEP=" + t.Sweep.String(), "HEDDLE_DRAIN=" + t.Drain.String(),
		"HEDDLE_DB_STATEMENT_TIMEOUT=" + t.Statement.String(),
		"HEDDLE_LOG=info", "HEDDLE_DB_MIN_CONNS=2",
	}
	return n, func() error {
		if n.cmd != nil {
			<-n.signalKill()
		}
		n.toPG.close()
		n.toRedis.close()
		return n.log.Close()
	}, nil
}

// populate makes the load, and the clients that watch it.
func (s *suite) populate() {
	t, seed := s.o.Tier, s.o.Plan.Seed
	s.jobs = jobs(seed, t, s.orgs)
	for _, j := range s.jobs {
		s.byThread[j.thread] = j
	}
	readers := map[*org][]*client{}
	for i := range t.Clients {
		m := steady
		switch {
		case i%20 == 19:
			m = never
		case i%10 == 4:
			m = slowly
		case i%10 == 1 || i%10 == 5 || i%10 == 8:
			m = restless
		}
		o := s.orgs[(i+i/10)%len(s.orgs)]
		c := newClient(fmt.Sprintf("client %d", i+1), m, o, seed+uint64(i))
		c.pick = func() *node { return s.pick(c.rnd.IntN(nodes)) }
		c.canary = func(payload []byte) string { return foreignCanary(s.orgs, o, string(payload)) }
		c.broken, c.delayed = s.broken, s.delayed
		if m == never {
			s.ignorant = append(s.ignorant, c)
			continue
		}
		s.clients = append(s.clients, c)
		readers[o] = append(readers[o], c)
	}
	for i, j := range s.jobs {
		all := readers[j.org]
		for w := range min(t.Watchers, len(all)) {
			s.watchers[j.thread] = append(s.watchers[j.thread], all[(i/len(s.orgs)*t.Watchers+w)%len(all)])
		}
	}
}

// delayed keeps how old an envelope was when it came, while nothing is wrong.
func (s *suite) delayed(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase < len(s.delays) {
		s.delays[s.phase] = append(s.delays[s.phase], d)
	}
}

// pick gives a node that is up, beginning with the one of a number.
func (s *suite) pick(from int) *node {
	for i := range s.nodes {
		if n := s.nodes[(from+i)%len(s.nodes)]; n.up() {
			return n
		}
	}
	return nil
}

func (s *suite) incarnations() (out [nodes]int) {
	for i, n := range s.nodes {
		n.mu.Lock()
		out[i] = n.incarnation
		n.mu.Unlock()
	}
	return out
}

// thawed says when the last frozen node went on; it is now while one is frozen.
func (s *suite) thawed() time.Time {
	for _, n := range s.nodes {
		n.mu.Lock()
		frozen := n.frozen
		n.mu.Unlock()
		if frozen {
			return time.Now()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastThaw
}

// live lets the load run under the faults, waits for what is left, and judges.
func (s *suite) live(ctx context.Context) error {
	s.began = time.Now()
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	var people, watching, faults sync.WaitGroup
	for _, c := range s.clients {
		watching.Go(func() { c.run(working) })
	}
	people.Go(func() { s.review(working) })
	for _, j := range s.jobs {
		people.Go(func() {
			pause(working, j.at)
			s.submit(working, j)
		})
	}
	s.calm(working, &watching)
	for _, list := range s.o.Plan.Nodes {
		faults.Go(func() { s.torment(working, list) })
	}
	faults.Go(func() { s.tormentServers(working, s.o.Plan.Servers) })
	faults.Wait()
	pause(ctx, s.o.Tier.Load-time.Since(s.began))
	s.faultsOver = time.Now()
	s.say("the faults are over")
	s.settle(ctx)
	s.visible(ctx)
	if s.o.Off == "" {
		s.probeNodes(ctx)
	}
	s.catchUp(ctx)
	stopWorking()
	people.Wait()
	watching.Wait()
	s.say("the clients are gone")
	s.takeApart(ctx)
	return s.judge(ctx)
}

// calm is the time before the first fault. In its second half come the clients
// that never read.
func (s *suite) calm(ctx context.Context, watching *sync.WaitGroup) {
	half := s.o.Tier.Calm / 2
	s.heap[0] = s.heaps(ctx)
	pause(ctx, half)
	s.mu.Lock()
	s.phase = 1
	s.mu.Unlock()
	for _, c := range s.ignorant {
		watching.Go(func() {
			c.ignoring(ctx, func(began time.Time) {
				s.mu.Lock()
				s.ignored = append(s.ignored, ignored{began, time.Since(began)})
				s.mu.Unlock()
			})
		})
	}
	pause(ctx, half)
	s.heap[1] = s.heaps(ctx)
	s.mu.Lock()
	s.phase = 2
	s.mu.Unlock()
}

// heaps gives the largest heap of a node.
func (s *suite) heaps(ctx context.Context) uint64 {
	var most uint64
	for _, n := range s.nodes {
		if v, err := n.look(ctx); err == nil {
			most = max(most, v.Heap)
		}
	}
	return most
}
