package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/chaos/effect"
)

// findings are what the database says when nothing runs any more.
type findings struct {
	runs    []runRow
	logs    map[string][]event.Envelope
	heads   map[string]int64
	journal []journalRow
	reviews []reviewRow
	turns   []turnRow
	steps   []stepRow
	effects []entry
}

type runRow struct {
	ID, OrgID, ThreadID, Status string
	Attempt, Failures           int
	Error                       *string
}

type journalRow struct {
	ThreadID, Key, Tool, Status string
	Round                       int
}

type reviewRow struct {
	ID, ThreadID, Key, Status, Rule string
	Round                           int
	DecidedBy                       *string
}

type turnRow struct {
	RunID, ThreadID, Status string
	Attempt, Failures       int
	Token                   *int64
	Worker                  *string
	At                      time.Time
}

type stepRow struct {
	LineID   string
	Step     int
	RunID    *string
	ThreadID string
	Token    int64
	At       time.Time
}

func (s *suite) find(ctx context.Context) (f findings, err error) {
	f.effects, _ = s.ledger.all()
	if f.heads, err = s.heads(ctx); err != nil {
		return f, err
	}
	if f.runs, err = query(ctx, s, `select id::text, org_id::text, thread_id::text, status, attempt, failures, error->>'message' as error
		from runs order by created_at, id`, pgx.RowToStructByName[runRow]); err != nil {
		return f, err
	}
	if f.journal, err = query(ctx, s, `select thread_id::text, line_id::text || ':' || call_id as key, tool, status, round from tool_journal`,
		pgx.RowToStructByName[journalRow]); err != nil {
		return f, err
	}
	if f.reviews, err = query(ctx, s, `select id::text, thread_id::text, line_id::text || ':' || call_id as key, status, rule, round,
		decided_by::text from reviews order by created_at`, pgx.RowToStructByName[reviewRow]); err != nil {
		return f, err
	}
	if f.turns, err = query(ctx, s, `select t.run_id::text, t.thread_id::text, t.status, t.attempt, t.failures, t.token, w.name as worker, t.at
		from chaos.turns t left join chaos.workers w on w.id = t.worker_id order by t.n`, pgx.RowToStructByName[turnRow]); err != nil {
		return f, err
	}
	if f.steps, err = query(ctx, s, `select line_id::text, step, run_id::text, thread_id::text, token, at from chaos.steps order by n`,
		pgx.RowToStructByName[stepRow]); err != nil {
		return f, err
	}
	f.logs = map[string][]event.Envelope{}
	for _, j := range s.jobs {
		if _, there := f.heads[j.thread]; !there {
			continue // I1 says so if it should be there
		}
		if f.logs[j.thread], err = s.readLog(ctx, j); err != nil {
			return f, err
		}
	}
	return f, nil
}

// readLog reads a thread's log and judges that its numbers are dense.
func (s *suite) readLog(ctx context.Context, j *job) ([]event.Envelope, error) {
	var out []event.Envelope
	last := int64(0)
	for {
		rows, head, err := s.db.LogOf(ctx, j.org.asker.scope.Org, agents.ThreadID(j.thread), last, 500)
		if err != nil {
			return nil, fmt.Errorf("reading the log of thread %s: %w", j.thread, err)
		}
		for _, r := range rows {
			if r.From != last+1 {
				s.broken("I4", "the log of thread %s has %d after %d", j.thread, r.From, last)
			}
			last = r.Seq
			e, err := event.Parse(r.Payload(head.Epoch))
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
		if len(rows) == 0 {
			if last != head.Seq {
				s.broken("I4", "the log of thread %s ends at %d and its head says %d", j.thread, last, head.Seq)
			}
			return out, nil
		}
	}
}

// judge asks every invariant. The nodes have ended by then.
func (s *suite) judge(ctx context.Context) error {
	f, err := s.find(ctx)
	if err != nil {
		return fmt.Errorf("reading what is left: %w", err)
	}
	s.everyRunEnds(f)
	s.keyedOnce(f)
	s.plainAtMostOnce(f)
	s.noOldToken(f)
	if err := s.everyClientHasAll(ctx, f); err != nil {
		return err
	}
	s.decidedOnce(f)
	if err := s.noWordCrosses(ctx, f); err != nil {
		return err
	}
	s.nobodyHoldsUp()
	s.recovered = s.recoveries(f)
	s.drainsInTime(f)
	if err := s.nothingLeft(ctx); err != nil {
		return err
	}
	return nil
}

// gaveUp is what a run says that lost its worker at one step as often as the
// product tries.
const gaveUp = "its worker was lost each time"

// everyRunEnds is I1: every accepted run ends, or waits for a review that is
// visible. The one failure that is no violation is that the faults hit the same
// step three times: the product promises to stop then, and to say so.
func (s *suite) everyRunEnds(f findings) {
	last := map[string]runRow{}
	for _, r := range f.runs {
		last[r.ThreadID] = r
	}
	open := map[string]bool{}
	for _, r := range f.reviews {
		if r.Status == "open" {
			open[r.ThreadID] = true
		}
	}
	for _, j := range s.jobs {
		r, there := last[j.thread]
		switch {
		case !j.accepted:
			s.broken("I1", "%s on thread %s was never accepted", j.Tag, j.thread)
		case !there:
			s.broken("I1", "%s was accepted and thread %s has no run", j.Tag, j.thread)
		case r.Status == "success":
			if !s.answered(j, f) {
				s.broken("I1", "run %s on thread %s says success without its last answer", r.ID, j.thread)
			}
			s.count("run ended")
		case r.Status == "waiting" && open[j.thread] && j.open:
			s.count("run waits for a review")
		case r.Status == "error" && r.Error != nil && strings.Contains(*r.Error, gaveUp):
			s.count("run given up after three lost attempts")
			s.say("%s was given up: %s", j.Tag, s.turnsOf(r.ID, f))
		default:
			why := ""
			if r.Error != nil {
				why = ": " + *r.Error
			}
			s.broken("I1", "run %s on thread %s is %s after %d attempts%s", r.ID, j.thread, r.Status, r.Attempt, why)
		}
		if j.fresh {
			s.count("request named anew after its node died")
		}
	}
}

// turnsOf tells in one line who had a run, and when.
func (s *suite) turnsOf(run string, f findings) string {
	var out []string
	for _, t := range f.turns {
		if t.RunID == run {
			who := ""
			if t.Status == "running" && t.Worker != nil {
				who = " on " + *t.Worker
			}
			out = append(out, fmt.Sprintf("%.2fs %s%s", t.At.Sub(s.began).Seconds(), t.Status, who))
		}
	}
	return strings.Join(out, ", ")
}

// answered reports whether the log has the run's last answer.
func (s *suite) answered(j *job, f findings) bool {
	told := newStory()
	for _, e := range f.logs[j.thread] {
		told.apply(e)
	}
	for _, text := range told.texts() {
		if text == finalText(j.task) {
			return true
		}
	}
	return false
}

// succeeded are the threads whose run came to its last answer.
func succeeded(f findings) map[string]bool {
	out := map[string]bool{}
	for _, r := range f.runs {
		out[r.ThreadID] = r.Status == "success"
	}
	return out
}

// keyedOnce is I2: exactly one effect per idempotency key at the keyed tool, and
// one key per run.
func (s *suite) keyedOnce(f findings) {
	keys := map[string][]string{}
	for _, e := range f.effects {
		if e.Tool == effect.Keyed {
			keys[e.Thread] = append(keys[e.Thread], e.Key)
		}
	}
	done := succeeded(f)
	for _, j := range s.jobs {
		got := keys[j.thread]
		distinct := slices.Compact(slices.Sorted(slices.Values(got)))
		switch {
		case len(got) != len(distinct):
			s.broken("I2", "a key of %s on thread %s had %d effects", j.Tag, j.thread, len(got))
		case len(got) > 1:
			s.broken("I2", "%s on thread %s called the keyed tool under %d keys", j.Tag, j.thread, len(got))
		case len(got) == 0 && done[j.thread]:
			s.broken("I2", "%s on thread %s ended and its keyed tool never had an effect", j.Tag, j.thread)
		}
		s.mu.Lock()
		s.counts["keyed effect"] += len(got)
		s.mu.Unlock()
	}
}

// plainAtMostOnce is I3: at most one effect per call at the tool that knows no
// key; a call whose outcome nobody knows is in front of a person, or was.
func (s *suite) plainAtMostOnce(f findings) {
	perCall, perThread := map[string]int{}, map[string]int{}
	journal := map[string]journalRow{}
	for _, j := range f.journal {
		journal[j.Key] = j
	}
	for _, e := range f.effects {
		if e.Tool != effect.Plain {
			continue
		}
		perCall[e.Key]++
		perThread[e.Thread]++
		if perCall[e.Key] == 2 {
			s.broken("I3", "the call %s of %s on thread %s had more than one effect", e.Key, e.Tag, e.Thread)
		}
		if _, noted := journal[e.Key]; !noted {
			s.broken("I3", "the call %s of %s on thread %s had an effect and the journal knows nothing of it", e.Key, e.Tag, e.Thread)
		}
		s.count("plain effect")
	}
	for thread, n := range perThread {
		if n > 1 && s.byThread[thread] != nil {
			s.broken("I3", "thread %s had %d effects of the plain tool, one was asked for", thread, n)
		}
	}
	asked := map[string]int{}
	for _, r := range f.reviews {
		if r.Rule == unknownRule {
			asked[r.Key] = max(asked[r.Key], r.Round)
			s.count("unknown outcome")
		}
	}
	failed := map[string]bool{}
	for _, r := range f.runs {
		failed[r.ThreadID] = r.Status == "error"
	}
	for _, j := range f.journal {
		if j.Tool == effect.Plain && j.Status != "confirmed" && asked[j.Key] <= j.Round && !failed[j.ThreadID] {
			s.broken("I3", "the outcome of the call %s on thread %s is %s and nobody was asked", j.Key, j.ThreadID, j.Status)
		}
	}
}

// noOldToken is I4: no step was stored under a token that was not the thread's,
// nothing of an attempt is in the log after a later one began, and the steps of
// a line are dense.
func (s *suite) noOldToken(f findings) {
	tokens := map[string]int64{}
	for _, t := range f.turns {
		if t.Status == "running" && t.Token != nil {
			tokens[fmt.Sprint(t.RunID, " ", t.Attempt)] = *t.Token
		}
	}
	next := map[string]int{}
	stored := map[string]int64{}
	for _, st := range f.steps {
		if st.Step != next[st.LineID] {
			s.broken("I4", "line %s of thread %s has step %d after %d", st.LineID, st.ThreadID, st.Step, next[st.LineID]-1)
		}
		next[st.LineID] = st.Step + 1
		stored[fmt.Sprint(st.ThreadID, " ", st.Step)] = st.Token
		s.count("step stored")
	}
	for thread, log := range f.logs {
		attempts := map[string]int{}
		for _, e := range log {
			if e.Attempt == 0 || e.RunID == "" {
				continue
			}
			if before := attempts[e.RunID]; e.Attempt < before {
				s.broken("I4", "attempt %d of run %s wrote number %d of thread %s after attempt %d had begun", e.Attempt, e.RunID, e.Seq, thread, before)
			}
			attempts[e.RunID] = max(attempts[e.RunID], e.Attempt)
			name, value := e.CustomName()
			if name != event.CheckpointMade {
				continue
			}
			var v event.CheckpointValue
			if json.Unmarshal(value, &v) != nil || v.Line != "" {
				continue
			}
			held, ok := stored[fmt.Sprint(thread, " ", v.Step)]
			of := tokens[fmt.Sprint(e.RunID, " ", e.Attempt)]
			if !ok || held != of {
				s.broken("I4", "step %d of thread %s was stored by attempt %d of run %s under token %d while the thread's was %d", v.Step, thread, e.Attempt, e.RunID, of, held)
			}
		}
	}
}

// everyClientHasAll is I5: each client was sent each number once and in order
// (judged when it came), up to the last, and its texts are the database's.
func (s *suite) everyClientHasAll(ctx context.Context, f findings) error {
	truth := map[string]map[string]string{}
	for _, j := range s.jobs {
		if _, there := f.heads[j.thread]; !there {
			continue
		}
		state, err := s.db.State(ctx, j.org.asker.scope, agents.ThreadID(j.thread))
		if err != nil {
			return fmt.Errorf("reading thread %s: %w", j.thread, err)
		}
		texts := map[string]string{}
		for _, m := range state.Messages {
			if m.Role == agents.RoleAssistant && m.Text != "" {
				texts[string(m.ID)] = m.Text
			}
		}
		truth[j.thread] = texts
	}
	for _, c := range s.clients {
		c.mu.Lock()
		for _, w := range c.topics {
			if w.last != f.heads[w.thread] {
				s.broken("I5", "%s was sent %d of %d numbers of thread %s", c.name, w.last, f.heads[w.thread], w.thread)
				continue
			}
			if w.frames != w.last {
				continue // told when it came
			}
			told := w.told.texts()
			for id, text := range truth[w.thread] {
				if told[id] != text {
					s.broken("I5", "%s has %q as message %s of thread %s, the database %q", c.name, told[id], id, w.thread, text)
				}
				delete(told, id)
			}
			for id, text := range told {
				s.broken("I5", "%s has the message %s of thread %s, %q, and the database has none", c.name, id, w.thread, text)
			}
			s.count("thread followed to its end")
			s.mu.Lock()
			s.counts["envelope received"] += int(w.frames)
			s.counts[sawContinuing] += w.told.continued
			s.counts[sawTakenBack] += len(w.told.void)
			s.counts[sawFailure] += w.told.failed
			s.mu.Unlock()
		}
		c.mu.Unlock()
	}
	return nil
}

// decidedOnce is I6: requests survive; of two who decide at once one wins, and
// that is who the database names.
func (s *suite) decidedOnce(f findings) {
	rows := map[string]reviewRow{}
	for _, r := range f.reviews {
		rows[r.ID] = r
		if r.Status == "void" || r.Status == "withdrawn" || r.Status == "expired" {
			s.broken("I6", "review %s of thread %s is %s, and nobody made it so", r.ID, r.ThreadID, r.Status)
		}
	}
	told := map[string]int{}
	for _, log := range f.logs {
		for _, e := range log {
			if name, value := e.CustomName(); name == event.ReviewDecided {
				var v event.DecidedValue
				if json.Unmarshal(value, &v) == nil {
					told[v.ReviewID]++
				}
			}
		}
	}
	for id, r := range rows {
		if want := 1; r.Status != "open" && told[id] != want {
			s.broken("I6", "the decision on review %s of thread %s is %d times in the log", id, r.ThreadID, told[id])
		}
	}
	reviewers := func(j *job, i int) string { return string(j.org.reviewers[i].scope.User) }
	for _, v := range s.verdicts {
		r, there := rows[v.id]
		j := s.byThread[v.thread]
		switch {
		case !there:
			s.broken("I6", "review %s of thread %s is gone", v.id, v.thread)
			continue
		case v.won[0] && v.won[1]:
			s.broken("I6", "both decisions on review %s of thread %s counted", v.id, v.thread)
		case !v.won[0] && !v.won[1] && !v.unclear[0] && !v.unclear[1]:
			s.broken("I6", "neither decision on review %s of thread %s counted", v.id, v.thread)
		}
		for i := range v.won {
			if v.won[i] && (r.DecidedBy == nil || *r.DecidedBy != reviewers(j, i)) {
				s.broken("I6", "review %s of thread %s told %s that it decided, and names another", v.id, v.thread, reviewers(j, i))
			}
			if r.DecidedBy != nil && *r.DecidedBy == reviewers(j, i) && !v.won[i] && !v.unclear[i] {
				s.broken("I6", "review %s of thread %s names %s, who was told that another decided", v.id, v.thread, reviewers(j, i))
			}
		}
		s.count("review decided")
	}
	// A call that a reviewer rejected never ran.
	happened := map[string]bool{}
	for _, e := range f.effects {
		if e.Tool == effect.Plain {
			happened[e.Key] = true
		}
	}
	for _, r := range f.reviews {
		if r.Status == "rejected" && r.Round == 0 && happened[r.Key] {
			s.broken("I6", "the call %s of thread %s was rejected and ran", r.Key, r.ThreadID)
		}
	}
}

// sqlTextTables lists the tables whose rows belong to an organisation.
const sqlTextTables = `select table_name::text from information_schema.columns where table_schema = 'public' and column_name = 'org_id'
	and table_name in (select table_name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE')`

// noWordCrosses is I7: the word of an organisation is in no row, envelope, call
// or file of another.
func (s *suite) noWordCrosses(ctx context.Context, f findings) error {
	tables, err := query(ctx, s, sqlTextTables, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, table := range tables {
		for _, o := range s.orgs {
			// The name comes from the catalogue.
			n, err := s.number(ctx, "select count(*)::int from "+pgx.Identifier{table}.Sanitize()+" t where t.org_id <> $1 and t::text like '%' || $2 || '%'",
				string(o.asker.scope.Org), o.canary)
			if err != nil {
				return err
			}
			if n > 0 {
				s.broken("I7", "%d rows of table %s hold the word of %s and belong to another", n, table, o.slug)
			}
		}
	}
	for _, j := range s.jobs {
		for _, e := range f.logs[j.thread] {
			if foreign := foreignCanary(s.orgs, j.org, string(e.Data)); foreign != "" {
				s.broken("I7", "number %d of thread %s of %s holds the word of %s", e.Seq, j.thread, j.org.slug, foreign)
			}
		}
	}
	for _, e := range f.effects {
		j := s.byThread[e.Thread]
		if j == nil || e.Org != string(j.org.asker.scope.Org) || e.Canary != j.org.canary {
			s.broken("I7", "the tool %s was called for %s with the word %s and the thread %s", e.Tool, e.Org, e.Canary, e.Thread)
		}
	}
	return nil
}

// The limits of I8. A connection that is not read may fill its buffers first.
const (
	ignoredLimit = 30 * time.Second
	heapLimit    = 64 << 20
)

// nobodyHoldsUp is I8: who never reads is dropped, and holds up nobody.
func (s *suite) nobodyHoldsUp() {
	for _, d := range s.ignored {
		// Later ones may wait for a database that is away: what is not sent fills
		// nothing.
		calm := d.began.Before(s.began.Add(s.o.Tier.Calm))
		if s.o.Tier.Strict && calm && d.took > ignoredLimit {
			s.broken("I8", "a client that never reads was dropped only after %.1f s", d.took.Seconds())
		}
	}
	if len(s.ignored) == 0 && s.o.Tier.Strict {
		s.broken("I8", "no client that never reads was dropped")
	}
	if s.heap[1] > s.heap[0]+heapLimit {
		s.broken("I8", "a node's heap grew from %d to %d bytes with clients that never read", s.heap[0], s.heap[1])
	}
	before, with := percentile(s.delays[0], 99), percentile(s.delays[1], 99)
	// Below a tenth of a second two measurements differ by more than by their cause.
	if s.o.Tier.Strict && with > max(2*before, 100*time.Millisecond) {
		s.broken("I8", "the others' delay at the 99th of 100 was %s before and %s with clients that never read", before, with)
	}
}

// The limits of I9 beside the grace. On a machine that has other things to do
// everything may take busy longer.
const (
	drainSlack    = time.Second
	handOverLimit = 2 * time.Second
	busy          = 15 * time.Second
)

// drainsInTime is I9: a drain ends within its grace and a second, loses no run,
// and what it hands over goes on within two.
func (s *suite) drainsInTime(f findings) {
	more := busy
	if s.o.Tier.Strict {
		more = 0
	}
	for _, d := range s.drains {
		limit := s.o.Tier.Drain + drainSlack + more
		if d.took > limit {
			s.broken("I9", "%s took %.1f s to drain, %s are allowed", d.worker, d.took.Seconds(), limit)
		}
		if d.code != 0 && d.code != 7 {
			s.broken("I9", "%s ended with code %d", d.worker, d.code)
		}
	}
	// A run that a drain hands back is no failure and keeps its count: it shows as
	// a turn to pending while its worker drained. That it ends is I1's.
	if !s.o.Tier.Smooth {
		return
	}
	for _, t := range f.turns {
		if t.Status == "pending" && t.Failures > 0 {
			s.broken("I9", "run %s of thread %s counts %d lost workers and none was lost", t.RunID, t.ThreadID, t.Failures)
		}
	}
	for _, took := range s.recovered.afterDrain {
		if took > handOverLimit+more {
			s.broken("I9", "a run that was handed over went on only after %.1f s", took.Seconds())
		}
	}
	if len(s.recovered.afterDrain) == 0 {
		s.broken("harness", "no run was at work where nodes were drained")
	}
}

// nothingLeft is I10: no goroutine, connection, lock, worker, child process or
// temporary file is left when the nodes have ended.
func (s *suite) nothingLeft(ctx context.Context) error {
	for _, n := range s.nodes {
		for _, leak := range n.leaks {
			s.broken("I10", "%s", leak)
		}
	}
	s.db.Close()
	deadline := time.Now().Add(5 * time.Second)
	for {
		open, err1 := query(ctx, s, `select pid::text || ' ' || application_name || ' ' || state from pg_stat_activity
			where usename = 'heddle'`, pgx.RowTo[string])
		locks, err2 := s.number(ctx, "select count(*)::int from pg_locks where locktype = 'advisory'")
		listening, err3 := s.redis.clients(ctx)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		if len(open)+locks+listening == 0 {
			break
		}
		if time.Now().After(deadline) {
			s.broken("I10", "left behind: connections to PostgreSQL %v, advisory locks %d, connections to Redis %d", open, locks, listening)
			break
		}
		pause(ctx, 100*time.Millisecond)
	}
	held, err := s.number(ctx, "select count(*)::int from thread_heads where run_id is not null")
	if err != nil {
		return err
	}
	if held > 0 {
		s.broken("I10", "%d threads are still held by somebody", held)
	}
	return nil
}

// visible checks, while nodes live, that whoever may decide sees what waits.
func (s *suite) visible(ctx context.Context) {
	open, err := s.openRequests(ctx)
	if err != nil {
		s.broken("I1", "open requests can't be read: %v", err)
		return
	}
	for _, r := range open {
		j, n := s.byThread[r.thread], s.pick(0)
		if j == nil || n == nil {
			continue
		}
		var state struct {
			Interrupts []struct{ ID string }
		}
		err := call(ctx, s.client, n.url(), j.org.reviewers[0].key, http.MethodGet, "/api/threads/"+r.thread+"/state", "", nil, &state)
		if err != nil || !slices.ContainsFunc(state.Interrupts, func(i struct{ ID string }) bool { return i.ID == r.interrupt }) {
			s.broken("I1", "the open review %s of thread %s is not shown to a reviewer: %v", r.id, r.thread, err)
		}
		// And to nobody else's reviewers.
		other := s.orgs[0]
		if other == j.org {
			other = s.orgs[1]
		}
		err = call(ctx, s.client, n.url(), other.reviewers[0].key, http.MethodGet, "/api/threads/"+r.thread+"/state", "", nil, nil)
		if answer := refused(err); answer == nil || answer.status != http.StatusNotFound {
			s.broken("I7", "thread %s of %s does not look absent to %s: %v", r.thread, j.org.slug, other.slug, err)
		}
	}
}
