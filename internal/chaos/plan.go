package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/heddle/heddle/internal/failpoint"
)

// Tier is how much of the protocol is carried out.
type Tier struct {
	Name string
	Runs int
	// Load is over how long the runs are begun; faults happen in the same time,
	// after Calm.
	Load time.Duration
	// Calm is without faults: the first half measures delays, during the second
	// clients that never read are there as well.
	Calm time.Duration
	// Settle bounds what may be left to do after the last fault.
	Settle time.Duration

	Lease, Renew, Sweep, Drain time.Duration
	// Statement bounds a statement, and with it the silence of a half-open link.
	Statement time.Duration
	// Pace is the model's pause between two words.
	Pace time.Duration
	// Clients follow the threads, each of which has Watchers.
	Clients, Watchers int
	// RestartWithin is how long a killed node stays away at most.
	RestartWithin time.Duration
	// Cut is the least and the most a link is cut.
	Cut [2]time.Duration

	// How often each fault happens; Points is for each of the fail points.
	Kills, Drains, Freezes, Points       int
	RedisKills, RedisFlushes             int
	FastRestarts, Crashes, BackendsEnded int
	LinksCut, LinksHalfOpen, LinksSlow   int
	Skew                                 time.Duration
	ToolFaultsPerMille                   int
	// Reviews lets two in five runs wait for a person.
	Reviews bool
	// Strict judges delays and limits of time that a busy machine would break.
	Strict bool
	// Smooth says that nothing goes wrong but what is drained: runs that are handed
	// over go on at once, none is lost.
	Smooth bool
}

// Short is the tier of every test run: a minute on a machine that has other
// things to do as well.
func Short() Tier {
	return Tier{
		Name: "short", Runs: 50, Load: 30 * time.Second, Calm: 4 * time.Second, Settle: 60 * time.Second,
		Lease: 2 * time.Second, Renew: 600 * time.Millisecond, Sweep: 300 * time.Millisecond, Drain: 3 * time.Second, Statement: 8 * time.Second,
		Pace: 15 * time.Millisecond, Clients: 60, Watchers: 3, RestartWithin: 2 * time.Second, Cut: [2]time.Duration{2 * time.Second, 4 * time.Second},
		Kills: 5, Drains: 2, Freezes: 1, Points: 1, RedisKills: 1, RedisFlushes: 1, FastRestarts: 1, Crashes: 1, BackendsEnded: 3,
		LinksCut: 1, LinksHalfOpen: 1, LinksSlow: 1, Skew: 90 * time.Second, ToolFaultsPerMille: 50, Reviews: true,
	}
}

// Long is the tier before a release, with the product's own times.
func Long() Tier {
	return Tier{
		Name: "long", Runs: 500, Load: 9 * time.Minute, Calm: 40 * time.Second, Settle: 3 * time.Minute,
		Lease: 15 * time.Second, Renew: 5 * time.Second, Sweep: 2 * time.Second, Drain: 20 * time.Second, Statement: time.Minute,
		Pace: 50 * time.Millisecond, Clients: 60, Watchers: 2, RestartWithin: 5 * time.Second, Cut: [2]time.Duration{5 * time.Second, 20 * time.Second},
		Kills: 60, Drains: 15, Freezes: 10, Points: 20, RedisKills: 10, RedisFlushes: 10, FastRestarts: 3, Crashes: 3, BackendsEnded: 20,
		LinksCut: 5, LinksHalfOpen: 5, LinksSlow: 5, Skew: 90 * time.Second, ToolFaultsPerMille: 50, Reviews: true, Strict: true,
	}
}

// Kind names a fault.
type Kind string

// The faults. A fail point's is its name behind "point ".
const (
	Kill         Kind = "kill -9"
	Drain        Kind = "SIGTERM"
	Freeze       Kind = "SIGSTOP for two leases"
	RedisKill    Kind = "redis kill -9"
	RedisFlush   Kind = "redis FLUSHALL"
	FastRestart  Kind = "postgres fast restart"
	Crash        Kind = "postgres immediate restart"
	EndBackend   Kind = "postgres backend terminated"
	LinkCut      Kind = "network cut"
	LinkHalfOpen Kind = "network half-open"
	LinkSlow     Kind = "network delay"
	ClockSkew    Kind = "clock skew"
)

// AtPoint is the fault of a fail point.
func AtPoint(p failpoint.Point) Kind { return Kind("point " + string(p)) }

func pointOf(k Kind) (failpoint.Point, bool) {
	name, ok := strings.CutPrefix(string(k), "point ")
	return failpoint.Point(name), ok
}

var everyPoint = []failpoint.Point{failpoint.AfterClaim, failpoint.BeforeJournal, failpoint.AfterTool, failpoint.BeforeCommit, failpoint.AfterCommit}

// Fault is one thing that goes wrong.
type Fault struct {
	// At is when, after the load began.
	At   time.Duration
	Kind Kind
	// Node is whom it hits, from 0; -1 for the servers.
	Node int
	// Lasts is how long it stays so, or how long a killed node stays away.
	Lasts time.Duration
	// Detail narrows a fail point, Skew is a clock's error.
	Detail string
	Skew   time.Duration
}

// String says the fault in one line.
func (f Fault) String() string {
	where := "servers"
	if f.Node >= 0 {
		where = fmt.Sprintf("node-%d", f.Node+1)
	}
	text := fmt.Sprintf("%6.1fs %-8s %s", f.At.Seconds(), where, f.Kind)
	if f.Detail != "" {
		text += " " + f.Detail
	}
	if f.Skew != 0 {
		text += " " + f.Skew.String()
	}
	if f.Lasts > 0 {
		text += fmt.Sprintf(" (%.1fs)", f.Lasts.Seconds())
	}
	return text
}

// Plan is what goes wrong where: a list per node, and one for the servers, each
// in the order of time. The same seed makes the same plan.
type Plan struct {
	Seed    uint64
	Nodes   [][]Fault
	Servers []Fault
}

// nodes is how many nodes an installation of the protocol has.
const nodes = 3

// NewPlan spreads a tier's faults over its time.
func NewPlan(seed uint64, t Tier) Plan {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := Plan{Seed: seed, Nodes: make([][]Fault, nodes)}
	within := func(low, high time.Duration) time.Duration { return low + time.Duration(rnd.Int64N(int64(high-low)+1)) }
	var onNodes []Fault
	add := func(n int, make func() Fault) {
		for range n {
			onNodes = append(onNodes, make())
		}
	}
	away := func() time.Duration { return within(0, t.RestartWithin) }
	add(t.Kills, func() Fault { return Fault{Kind: Kill, Lasts: away()} })
	add(t.Drains, func() Fault { return Fault{Kind: Drain, Lasts: away()} })
	add(t.Freezes, func() Fault { return Fault{Kind: Freeze, Lasts: 2 * t.Lease} })
	for _, point := range everyPoint {
		add(t.Points, func() Fault { return Fault{Kind: AtPoint(point), Lasts: away()} })
	}
	add(t.LinksCut, func() Fault { return Fault{Kind: LinkCut, Lasts: within(t.Cut[0], t.Cut[1])} })
	add(t.LinksHalfOpen, func() Fault { return Fault{Kind: LinkHalfOpen, Lasts: within(t.Cut[0], t.Cut[1])} })
	add(t.LinksSlow, func() Fault { return Fault{Kind: LinkSlow, Lasts: within(t.Cut[0], t.Cut[1])} })
	rnd.Shuffle(len(onNodes), func(i, j int) { onNodes[i], onNodes[j] = onNodes[j], onNodes[i] })
	// Each goes to the node whose faults have taken least so far.
	var busy [nodes]time.Duration
	for _, f := range onNodes {
		f.Node = slices.Index(busy[:], slices.Min(busy[:]))
		busy[f.Node] += f.Lasts + time.Second
		p.Nodes[f.Node] = append(p.Nodes[f.Node], f)
	}
	if t.Skew != 0 {
		skewed, skew := rnd.IntN(nodes), t.Skew
		if rnd.IntN(2) == 0 {
			skew = -skew
		}
		at := len(p.Nodes[skewed]) / 2
		p.Nodes[skewed] = slices.Insert(p.Nodes[skewed], at, Fault{Kind: ClockSkew, Node: skewed, Skew: skew})
	}
	for i := range p.Nodes {
		spread(p.Nodes[i], t, rnd)
	}
	server := func(n int, k Kind, lasts func() time.Duration) {
		for range n {
			p.Servers = append(p.Servers, Fault{Kind: k, Node: -1, Lasts: lasts()})
		}
	}
	none := func() time.Duration { return 0 }
	server(t.RedisKills, RedisKill, func() time.Duration { return within(0, 500*time.Millisecond) })
	server(t.RedisFlushes, RedisFlush, none)
	server(t.FastRestarts, FastRestart, none)
	server(t.Crashes, Crash, none)
	server(t.BackendsEnded, EndBackend, none)
	rnd.Shuffle(len(p.Servers), func(i, j int) { p.Servers[i], p.Servers[j] = p.Servers[j], p.Servers[i] })
	spread(p.Servers, t, rnd)
	return p
}

// spread gives faults their times, evenly with some play. What takes long moves
// those behind it.
func spread(list []Fault, t Tier, rnd *rand.Rand) {
	if len(list) == 0 {
		return
	}
	each := (t.Load - t.Calm) / time.Duration(len(list))
	for i := range list {
		list[i].At = t.Calm + each*time.Duration(i) + time.Duration(rnd.Int64N(int64(each)/2+1))
	}
}
