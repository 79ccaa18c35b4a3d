package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
)

// Hash identifies what the graph's declaration says: nodes, edges, where
// conditional edges start and may lead, and the reducers' labels. It doesn't
// depend on the order of declaration, nor on the code of nodes. It is 64
// hexadecimal digits of SHA-256.
func (g *Graph) Hash() string { return g.hash }

// shape is what the hash covers; its JSON is the same for the same graph.
type shape struct {
	Name     string      `json:"name"`
	Nodes    []nodeShape `json:"nodes"`
	Edges    [][]string  `json:"edges"`
	Joins    [][]string  `json:"joins,omitempty"`
	Channels [][2]string `json:"channels,omitempty"`
}

type nodeShape struct {
	Name     string `json:"name"`
	Subgraph string `json:"subgraph,omitempty"`
	Isolated bool   `json:"isolated,omitempty"`
}

func (g *Graph) fingerprint() string {
	s := shape{Name: g.name}
	for _, name := range g.Nodes() {
		n := nodeShape{Name: name}
		if sub := g.nodes[name].sub; sub != nil {
			n.Subgraph, n.Isolated = sub.graph.hash, sub.isolated()
		}
		s.Nodes = append(s.Nodes, n)
	}
	for _, e := range g.Edges() {
		if e.Kind != EdgeJoin {
			s.Edges = append(s.Edges, []string{e.From, e.To, string(e.Kind)})
		}
	}
	slices.SortFunc(s.Edges, slices.Compare)
	for _, j := range g.joins {
		s.Joins = append(s.Joins, append([]string{j.to}, j.from...))
	}
	slices.SortFunc(s.Joins, slices.Compare)
	for _, name := range slices.Sorted(maps.Keys(g.channels)) {
		s.Channels = append(s.Channels, [2]string{name, g.channels[name].label})
	}
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings only: can't happen
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
