package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what a run of the protocol found.
type Report struct {
	Seed       uint64
	Tier       Tier
	Off        string
	Plan       Plan
	Took       time.Duration
	Violations []Violation
	// Log is what happened, line by line; NodeLogs are where the nodes spoke.
	Log    []string
	counts map[string]int
	suite  *suite
}

// What the people who watch threads were told beside the answers.
const (
	sawContinuing = `watchers told "continuing"`
	sawTakenBack  = "messages taken back from watchers"
	sawFailure    = "watchers told that a run failed"
)

// Passed reports whether no promise was broken.
func (r *Report) Passed() bool { return len(r.Violations) == 0 }

// recovery is how long things took to go on.
type recovery struct {
	afterKill, afterDrain, afterPostgres []time.Duration
}

// recoveries reads them from what the protocol's triggers noted.
func (s *suite) recoveries(f findings) recovery {
	var out recovery
	byRun := map[string][]turnRow{}
	for _, t := range f.turns {
		byRun[t.RunID] = append(byRun[t.RunID], t)
	}
	next := func(turns []turnRow, i int) (time.Time, bool) {
		for _, t := range turns[i+1:] {
			if t.Status == "running" {
				return t.At, true
			}
		}
		return time.Time{}, false
	}
	for _, turns := range byRun {
		for i, t := range turns {
			if t.Status != "running" || t.Worker == nil {
				continue
			}
			// Until when this turn lasted.
			until := time.Now()
			if i+1 < len(turns) {
				until = turns[i+1].At
			}
			for _, d := range s.deaths {
				if d.worker == *t.Worker && t.At.Before(d.at) && until.After(d.at) {
					if again, ok := next(turns, i); ok {
						out.afterKill = append(out.afterKill, again.Sub(d.at))
					}
				}
			}
			for _, d := range s.drains {
				if d.worker == *t.Worker && until.After(d.began) && i+1 < len(turns) && turns[i+1].Status == "pending" {
					if again, ok := next(turns, i); ok {
						out.afterDrain = append(out.afterDrain, again.Sub(until))
					}
				}
			}
		}
	}
	for _, back := range s.pgBack {
		for _, st := range f.steps {
			if st.At.After(back) {
				out.afterPostgres = append(out.afterPostgres, st.At.Sub(back))
				break
			}
		}
	}
	return out
}

// percentile gives the value below which p of a hundred lie; 0 of none.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func (s *suite) report() *Report {
	counts := maps.Clone(s.counts)
	return &Report{Seed: s.o.Plan.Seed, Tier: s.o.Tier, Off: s.o.Off, Plan: s.o.Plan, Took: time.Since(s.began), Violations: s.violations,
		Log: s.log, counts: counts, suite: s}
}

// Invariants are what is judged, in words.
var Invariants = [][2]string{
	{"I1", "every accepted run ends, or waits for a review that is visible; afterwards every node executes runs"},
	{"I2", "exactly one effect per idempotency key, one key per run"},
	{"I3", "at most one effect per call at the tool without keys; every unknown outcome is in front of a person"},
	{"I4", "no step under an old token, nothing of a lost attempt after its successor, steps and numbers dense"},
	{"I5", "every client gets every number once and in order; its text is the database's"},
	{"I6", "requests survive, each is decided once, of two decisions one wins"},
	{"I7", "no row, envelope or call crosses organisations"},
	{"I8", "who never reads is dropped and holds up nobody"},
	{"I9", "a drain ends in time and loses no run"},
	{"I10", "nothing is left at the end: goroutines, connections, locks, children, files"},
}

// Markdown writes the report.
func (r *Report) Markdown() string {
	s, t := r.suite, r.Tier
	var b strings.Builder
	result := "passed"
	if !r.Passed() {
		result = fmt.Sprintf("failed with %d violations", len(r.Violations))
	}
	fmt.Fprintf(&b, "# Fault protocol, seed %d, tier %s: %s\n\n", r.Seed, t.Name, result)
	if r.Off != "" {
		fmt.Fprintf(&b, "Negative control: %s is switched off.\n\n", r.Off)
	}
	fmt.Fprintf(&b, "%d runs of 12 steps in %d organisations on %d nodes, %d clients; lease %s, renewed every %s, swept every %s, drain %s. It took %.0f s.\n\n",
		t.Runs, orgs, nodes, t.Clients, t.Lease, t.Renew, t.Sweep, t.Drain, r.Took.Seconds())
	b.WriteString("## Faults\n\n| fault | happened |\n|---|---|\n")
	for _, kind := range r.kinds() {
		n := r.counts[string(kind)]
		if n+s.unreached[kind] == 0 {
			continue
		}
		missed := ""
		if m := s.unreached[kind]; m > 0 {
			missed = fmt.Sprintf(" (%d more armed and not reached in %s)", m, pointPatience)
		}
		fmt.Fprintf(&b, "| %s | %d%s |\n", kind, n, missed)
	}
	_, wrong := s.ledger.all()
	for _, kind := range slices.Sorted(maps.Keys(wrong)) {
		fmt.Fprintf(&b, "| tool server: %s | %d |\n", kind, wrong[kind])
	}
	dials := int64(0)
	for _, c := range s.clients {
		dials += c.dials.Load()
	}
	fmt.Fprintf(&b, "| connections of clients | %d |\n| clients that never read, dropped | %d |\n\n", dials, len(s.ignored))
	b.WriteString("## Invariants\n\n| | invariant | violations |\n|---|---|---|\n")
	for _, i := range Invariants {
		n := 0
		for _, v := range r.Violations {
			if v.Invariant == i[0] {
				n++
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %d |\n", i[0], i[1], n)
	}
	b.WriteString("\n| counted | |\n|---|---|\n")
	for _, what := range []string{"run ended", "run waits for a review", "run given up after three lost attempts", "request named anew after its node died",
		"step stored", "keyed effect", "plain effect", "unknown outcome", "review decided", "thread followed to its end", "envelope received",
		sawContinuing, sawTakenBack, sawFailure, "restart for a late review"} {
		fmt.Fprintf(&b, "| %s | %d |\n", what, r.counts[what])
	}
	b.WriteString("\n## Times\n\n| | n | p50 | p99 | most |\n|---|---|---|---|---|\n")
	row := func(what string, all []time.Duration) {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", what, len(all), short(percentile(all, 50)), short(percentile(all, 99)), short(percentile(all, 100)))
	}
	row("a run goes on after its node was killed", s.recovered.afterKill)
	row("a run goes on after a drain handed it over", s.recovered.afterDrain)
	var took []time.Duration
	for _, d := range s.drains {
		took = append(took, d.took)
	}
	row("a drain", took)
	row("nodes hear each other after Redis is back", s.redisHeard)
	row("the first step after PostgreSQL is back", s.recovered.afterPostgres)
	row("an envelope reaches a client, nothing wrong", s.delays[0])
	row("the same beside clients that never read", s.delays[1])
	var dropped []time.Duration
	for _, d := range s.ignored {
		dropped = append(dropped, d.took)
	}
	row("a connection that is never read is dropped", dropped)
	fmt.Fprintf(&b, "\nLargest heap of a node before and beside clients that never read: %.1f and %.1f MB. Goroutines at the end, before the nodes stopped:",
		float64(s.heap[0])/1e6, float64(s.heap[1])/1e6)
	for _, name := range slices.Sorted(maps.Keys(s.goroutines)) {
		fmt.Fprintf(&b, " %s %d", name, s.goroutines[name])
	}
	b.WriteString(".\n")
	if len(r.Violations) > 0 {
		b.WriteString("\n## Violations\n\n")
		for _, v := range r.Violations {
			fmt.Fprintf(&b, "- %s\n", v)
		}
	}
	b.WriteString("\n## Plan\n\n```\n")
	for _, list := range append(slices.Clone(r.Plan.Nodes), r.Plan.Servers) {
		for _, f := range list {
			fmt.Fprintln(&b, f)
		}
	}
	b.WriteString("```\n")
	return b.String()
}

// kinds lists the faults of the plan in the protocol's order.
func (r *Report) kinds() []Kind {
	all := []Kind{Kill, Drain, Freeze}
	for _, p := range everyPoint {
		all = append(all, AtPoint(p))
	}
	return append(all, RedisKill, RedisFlush, FastRestart, Crash, EndBackend, LinkCut, LinkHalfOpen, LinkSlow, ClockSkew)
}

func short(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
