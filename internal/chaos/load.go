package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/internal/id"
)

// job is one run of the load, on a thread of its own.
type job struct {
	task
	org    *org
	thread string
	at     time.Duration
	// late reviews are answered when every node has been restarted since the
	// request was seen; open ones never.
	late, open bool

	mu       sync.Mutex
	accepted bool
	// fresh says that the client had to name its request anew: the first one's
	// answer was lost with its node.
	fresh bool
}

// jobs makes the load of a tier: two in five wait for a review, half of those
// for a late one, and one in twenty of them for ever.
func jobs(seed uint64, t Tier, all []*org) []*job {
	rnd := rand.New(rand.NewPCG(seed, 2))
	out := make([]*job, t.Runs)
	each := t.Load / time.Duration(t.Runs)
	for i := range out {
		o := all[i%len(all)]
		j := &job{org: o, thread: id.New(), at: each*time.Duration(i) + time.Duration(rnd.Int64N(int64(each)/2+1)),
			task: task{Tag: fmt.Sprintf("run-%04d", i), Canary: o.canary, Hold: t.Reviews && (i+i/5)%5 < 2}}
		j.late = j.Hold && i%2 == 0
		j.open = j.Hold && i%20 == 1
		out[i] = j
	}
	return out
}

// submit asks until a node has accepted the run.
func (s *suite) submit(ctx context.Context, j *job) {
	once, tries := id.New(), 0
	text, err := json.Marshal(j.task)
	if err != nil {
		panic("chaos: a task is always JSON: " + err.Error())
	}
	body := map[string]any{
		"assistant_id": j.org.assistant, "if_not_exists": "create",
		"input": map[string]any{"messages": []any{map[string]any{"role": "user", "content": string(text)}}},
	}
	// Who may still be at the request: a node that gave no answer and lives, until
	// its statements have come to an end.
	asked := map[string]time.Time{}
	atIt := func(n *node) bool {
		return time.Since(asked[n.worker()]) < s.o.Tier.Statement+s.o.Tier.Statement/8+5*time.Second
	}
	for ; ctx.Err() == nil; tries++ {
		n := s.pick(tries)
		if n == nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		worker := n.worker()
		err := call(ctx, s.client, n.url(), j.org.asker.key, http.MethodPost, "/api/threads/"+j.thread+"/runs", once, body, nil)
		said := refused(err)
		switch {
		case err == nil:
			s.accept(j)
			return
		case said != nil && said.inFlight():
			if slices.ContainsFunc(s.nodes, atIt) {
				break
			}
			// The node that took the request died with it. Whether it carried it out,
			// the thread says, once its link has passed on what was on its way.
			pause(ctx, 2*time.Second)
			if s.exists(ctx, j) {
				s.accept(j)
				return
			}
			once, j.fresh = id.New(), true
		case said != nil && said.status < 500 && said.status != http.StatusTooManyRequests:
			s.broken("I1", "run %s on thread %s was refused: %v", j.Tag, j.thread, err)
			return
		case said == nil:
			asked[worker] = time.Now()
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// exists asks for a job's thread until a node knows.
func (s *suite) exists(ctx context.Context, j *job) bool {
	for tries := 0; ctx.Err() == nil; tries++ {
		if n := s.pick(tries); n != nil {
			err := call(ctx, s.client, n.url(), j.org.asker.key, http.MethodGet, "/api/threads/"+j.thread, "", nil, nil)
			if err == nil {
				return true
			}
			if said := refused(err); said != nil && said.status == http.StatusNotFound {
				return false
			}
		}
		pause(ctx, 100*time.Millisecond)
	}
	return false
}

func (s *suite) accept(j *job) {
	j.mu.Lock()
	j.accepted = true
	j.mu.Unlock()
	for _, c := range s.watchers[j.thread] {
		c.follow(j.thread)
	}
	for _, c := range s.ignorant {
		if c.org == j.org {
			c.follow(j.thread)
		}
	}
}

// request is an open review, as the database has it.
type request struct {
	id, org, thread, interrupt, rule, key string
}

// verdict is what two people said about one request at the same time.
type verdict struct {
	request
	kinds [2]string
	// won says whose decision counted; lost answers leave it open.
	won     [2]bool
	unclear [2]bool
}

// review looks for open requests and lets people answer them, until ctx ends.
func (s *suite) review(ctx context.Context) {
	var deciding sync.WaitGroup
	defer deciding.Wait()
	seen := map[string][nodes]int{}
	busy := map[string]bool{}
	var mu sync.Mutex
	for ctx.Err() == nil {
		open, err := s.openRequests(ctx)
		if err != nil {
			pause(ctx, 100*time.Millisecond) // the database is away just now
			continue
		}
		for _, r := range open {
			j := s.byThread[r.thread]
			if j == nil {
				continue
			}
			if _, known := seen[r.id]; !known {
				seen[r.id] = s.incarnations()
			}
			mu.Lock()
			taken := busy[r.id]
			mu.Unlock()
			if taken || !s.due(j, r, seen[r.id]) {
				continue
			}
			mu.Lock()
			busy[r.id] = true
			mu.Unlock()
			deciding.Go(func() {
				if !s.decide(ctx, j, r) {
					mu.Lock()
					delete(busy, r.id)
					mu.Unlock()
				}
			})
		}
		pause(ctx, 100*time.Millisecond)
	}
}

const unknownRule = "unknown outcome"

// due says whether people answer a request now.
func (s *suite) due(j *job, r request, since [nodes]int) bool {
	if r.rule == unknownRule {
		// Whoever finds out whether a call took effect has to know that nobody is
		// still about to make it.
		return time.Since(s.thawed()) > 2*time.Second
	}
	if j.open {
		return false
	}
	if !j.late {
		return true
	}
	for i, now := range s.incarnations() {
		if now <= since[i] || !s.nodes[i].up() {
			return false
		}
	}
	return true
}

const sqlOpenRequests = `select v.id::text, v.org_id::text, v.thread_id::text, v.interrupt_id, v.rule, v.line_id::text || ':' || v.call_id
	from reviews v join runs r on r.org_id = v.org_id and r.thread_id = v.thread_id and r.status = 'waiting'
	where v.status = 'open'`

func (s *suite) openRequests(ctx context.Context) ([]request, error) {
	return query(ctx, s, sqlOpenRequests, func(row pgx.CollectableRow) (request, error) {
		var r request
		return r, row.Scan(&r.id, &r.org, &r.thread, &r.interrupt, &r.rule, &r.key)
	})
}

// decide lets both reviewers answer at the same time, on different nodes where
// there are two. It reports whether the answer is known.
func (s *suite) decide(ctx context.Context, j *job, r request) bool {
	v := verdict{request: r, kinds: [2]string{"approve", "approve"}}
	said := map[string]any{}
	switch {
	case r.rule == unknownRule && s.ledger.happened(r.key):
		v.kinds = [2]string{"respond", "respond"}
		said["message"] = "It happened."
	case r.rule != unknownRule && len(j.Tag) > 0 && j.Tag[len(j.Tag)-1] == '5':
		v.kinds[1] = "reject" // they do not agree
	}
	var both sync.WaitGroup
	for i := range v.kinds {
		both.Go(func() {
			decision := map[string]any{"type": v.kinds[i]}
			for k, w := range said {
				decision[k] = w
			}
			body := map[string]any{"assistant_id": j.org.assistant, "command": map[string]any{
				"resume": map[string]any{r.interrupt: map[string]any{"decisions": []any{decision}}}}}
			v.won[i], v.unclear[i] = s.insist(ctx, j, i, body)
		})
	}
	both.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	// What was unclear before may have counted and be all that this time is refused
	// for.
	before := s.unclear[r.id]
	for i := range v.unclear {
		v.unclear[i] = !v.won[i] && (v.unclear[i] || before[i])
	}
	s.unclear[r.id] = v.unclear
	s.verdicts = append(s.verdicts, v)
	return v.won[0] || v.won[1]
}

// insist sends one reviewer's decision until it is known whether it counted.
func (s *suite) insist(ctx context.Context, j *job, who int, body any) (won, unclear bool) {
	once := id.New()
	maybe := false // whether an earlier try may have counted
	for tries := who; ctx.Err() == nil && tries < 200; tries++ {
		n := s.pick(tries)
		if n == nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		err := call(ctx, s.client, n.url(), j.org.reviewers[who].key, http.MethodPost, "/api/threads/"+j.thread+"/runs", once, body, nil)
		answer := refused(err)
		switch {
		case err == nil:
			return true, false
		case answer == nil:
			maybe = true // the answer is lost, the decision may not be
		case answer.inFlight():
			// The node died with the request: only the database knows.
			return false, true
		case answer.status == http.StatusConflict || answer.status == http.StatusBadRequest || answer.status == http.StatusUnprocessableEntity:
			return false, maybe
		case answer.status < 500 && answer.status != http.StatusTooManyRequests:
			s.broken("I6", "the decision of %s on thread %s was refused: %v", j.org.reviewers[who].scope.User, j.thread, err)
			return false, false
		}
		pause(ctx, 100*time.Millisecond)
	}
	return false, true
}
