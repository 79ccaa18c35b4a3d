package chaos

import (
	"time"

	"github.com/heddle/heddle/internal/chaos/effect"
	"github.com/heddle/heddle/internal/failpoint"
)

// Control gives the load and the plan of a negative control: a promise of the
// product is taken away, and one fault is chosen that needs it. What it must
// break is [ControlBreaks].
func Control(off string) (Tier, Plan, bool) {
	t := Short()
	t.Name, t.Runs, t.Load, t.Calm, t.Settle = "control", 8, 2*time.Second, 0, 8*time.Second
	t.Skew, t.ToolFaultsPerMille, t.Clients, t.Watchers, t.Reviews = 0, 0, 12, 2, false
	p := Plan{Seed: 1, Nodes: make([][]Fault, nodes)}
	switch off {
	case "fencing":
		// The frozen node goes on in the middle of the answers that others have
		// taken over.
		t.Lease, t.Renew, t.Sweep, t.Pace = time.Second, 300*time.Millisecond, 100*time.Millisecond, 60*time.Millisecond
		for i := range p.Nodes {
			p.Nodes[i] = []Fault{{At: 2 * time.Second, Kind: Freeze, Node: i, Lasts: 1600 * time.Millisecond}}
			if i == 1 {
				break // one stays to take over
			}
		}
	case "journal":
		p.Nodes[0] = []Fault{{At: 100 * time.Millisecond, Kind: AtPoint(failpoint.AfterTool), Detail: effect.Plain}}
	case "replay":
		// Clients that come back have missed something.
		p.Nodes[0] = []Fault{{At: 1500 * time.Millisecond, Kind: Kill, Node: 0}}
		p.Nodes[1] = []Fault{{At: 2500 * time.Millisecond, Kind: Kill, Node: 1}}
	default:
		return t, p, false
	}
	return t, p, true
}

// ControlBreaks names the invariant that a control must break.
func ControlBreaks(off string) string {
	return map[string]string{"fencing": "I4", "journal": "I3", "replay": "I5"}[off]
}

// Rolling gives the load and the plan of a rolling restart: two of the three
// nodes are drained one after the other, each is replaced before the next, and
// nothing else goes wrong.
func Rolling(seed uint64) (Tier, Plan) {
	t := Short()
	t.Name, t.Runs, t.Load, t.Calm, t.Drain, t.Pace = "rolling", 40, 8*time.Second, 0, 30*time.Second, 30*time.Millisecond
	t.Skew, t.ToolFaultsPerMille, t.Clients, t.Watchers, t.Smooth = 0, 0, 20, 2, true
	p := Plan{Seed: seed, Nodes: make([][]Fault, nodes)}
	p.Nodes[0] = []Fault{{At: 2 * time.Second, Kind: Drain, Node: 0}, {At: 4 * time.Second, Kind: Drain, Node: 1}}
	return t, p
}
