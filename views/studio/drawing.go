package studio

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The measures of a drawing, in pixels.
const (
	nodeHeight = 36
	nodePad    = 16 // on either side of a node's name
	nodeLeast  = 96
	letter     = 8  // a little more than a letter of the drawing's font
	maxLetters = 30 // longer names are cut; the whole one stands in the list
	layerGap   = 52 // between the layers
	nodeGap    = 40 // within a layer
	wayWidth   = 12 // of an edge that passes a layer
	laneGap    = 22 // between edges that lead back
	margin     = 16
	portGap    = 18
	sweeps     = 4 // over the layers, to untangle edges
)

// drawing is a graph laid out: layers from the start to the end, one below the
// other.
type drawing struct {
	width, height int
	boxes         []box
	lines         []line
}

// box is a drawn node.
type box struct {
	name, label         string
	x, y, width, middle int
	virtual             bool
}

// line is a drawn edge.
type line struct {
	path              string
	conditional, back bool
}

func (l line) class() string {
	out := "graph-edge"
	if l.conditional {
		out += " graph-conditional"
	}
	if l.back {
		out += " graph-back"
	}
	return out
}

// place is a node in its layer, or where an edge passes one.
type place struct {
	name         string // empty where an edge passes
	layer, at    int    // at is the place within the layer
	x, y, width  int    // x and y are the middle
	weight       float64
	above, below []*place
}

// way is an edge with the places it leads through.
type way struct {
	edge   Edge
	back   bool
	places []*place
}

// sketch is a drawing in the making.
type sketch struct {
	graph  Graph
	layers [][]*place
	places map[string]*place
	ways   []*way
}

// draw lays out a graph. The same graph always gives the same drawing.
func draw(g Graph) drawing {
	s := &sketch{graph: g, places: map[string]*place{}}
	s.layer()
	s.thread()
	s.untangle()
	s.coordinates()
	return s.drawing()
}

// layer puts each node below all it follows from: its layer is the longest path
// from the start. Edges that lead back don't count.
func (s *sketch) layer() {
	back := leadingBack(s.graph)
	before := map[string][]string{}
	for _, e := range s.graph.Edges {
		if !back[e] {
			before[e.To] = append(before[e.To], e.From)
		}
	}
	depth := map[string]int{}
	var deep func(string) int
	deep = func(name string) int {
		if d, ok := depth[name]; ok {
			return d
		}
		d := 0
		for _, from := range before[name] {
			d = max(d, deep(from)+1)
		}
		depth[name] = d
		return d
	}
	deepest := 0
	for _, name := range append([]string{s.graph.Start}, s.graph.Nodes...) {
		deepest = max(deepest, deep(name))
	}
	depth[s.graph.End] = deepest + 1
	s.layers = make([][]*place, deepest+2)
	for _, name := range s.names() {
		p := &place{name: name, layer: depth[name], width: max(nodeLeast, columns(shown(name))*letter+2*nodePad)}
		s.places[name] = p
		s.layers[p.layer] = append(s.layers[p.layer], p)
	}
	for _, e := range s.graph.Edges {
		s.ways = append(s.ways, &way{edge: e, back: back[e]})
	}
}

func (s *sketch) names() []string {
	return slices.Concat([]string{s.graph.Start}, s.graph.Nodes, []string{s.graph.End})
}

// leadingBack finds the edges that close a cycle. Of the edges of a cycle those
// count first that lead away from the start.
func leadingBack(g Graph) map[Edge]bool {
	next := map[string][]string{}
	for _, e := range g.Edges {
		next[e.From] = append(next[e.From], e.To)
	}
	distance, todo := map[string]int{g.Start: 0}, []string{g.Start}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		for _, to := range next[name] {
			if _, known := distance[to]; !known {
				distance[to] = distance[name] + 1
				todo = append(todo, to)
			}
		}
	}
	edges := slices.Clone(g.Edges)
	nearer := func(e Edge) int { return min(1, max(0, distance[e.From]-distance[e.To]+1)) }
	slices.SortStableFunc(edges, func(a, b Edge) int { return cmp.Compare(nearer(a), nearer(b)) })
	back, down := map[Edge]bool{}, map[string][]string{}
	for _, e := range edges {
		if e.From == e.To || leads(down, e.To, e.From) {
			back[e] = true
		} else {
			down[e.From] = append(down[e.From], e.To)
		}
	}
	return back
}

// leads reports whether a node can be reached from another.
func leads(next map[string][]string, from, to string) bool {
	seen, todo := map[string]bool{from: true}, []string{from}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if name == to {
			return true
		}
		for _, n := range next[name] {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return false
}

// thread gives edges that pass layers a place in each, so that no node is drawn
// over them.
func (s *sketch) thread() {
	for _, w := range s.ways {
		from, to := s.places[w.edge.From], s.places[w.edge.To]
		w.places = []*place{from}
		if !w.back {
			last := from
			for n := from.layer + 1; n < to.layer; n++ {
				p := &place{layer: n, width: wayWidth}
				s.layers[n] = append(s.layers[n], p)
				w.places = append(w.places, p)
				last.below, p.above = append(last.below, p), append(p.above, last)
				last = p
			}
			last.below, to.above = append(last.below, to), append(to.above, last)
		}
		w.places = append(w.places, to)
	}
}

// untangle orders each layer by the middle of what its places lead from, then of
// what they lead to. Of equals, passing edges stand at the left: edges that lead
// back are drawn at the right.
func (s *sketch) untangle() {
	renumber := func(layer []*place) {
		for i, p := range layer {
			p.at = i
		}
	}
	for _, layer := range s.layers {
		renumber(layer)
	}
	for i := range sweeps {
		for n := range s.layers {
			near := func(p *place) []*place { return p.above }
			layer := s.layers[n]
			if i%2 == 1 {
				near = func(p *place) []*place { return p.below }
				layer = s.layers[len(s.layers)-1-n]
			}
			for _, p := range layer {
				p.weight = 0.5
				if beside := near(p); len(beside) > 0 {
					p.weight = 0
					for _, b := range beside {
						p.weight += (float64(b.at) + 0.5) / float64(len(s.layers[b.layer])) / float64(len(beside))
					}
				}
			}
			slices.SortStableFunc(layer, func(a, b *place) int {
				return cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(min(len(a.name), 1), min(len(b.name), 1)), cmp.Compare(a.name, b.name))
			})
			renumber(layer)
		}
	}
}

func (s *sketch) coordinates() {
	widest := 0
	widths := make([]int, len(s.layers))
	for n, layer := range s.layers {
		for i, p := range layer {
			if i > 0 {
				widths[n] += nodeGap
			}
			widths[n] += p.width
		}
		widest = max(widest, widths[n])
	}
	for n, layer := range s.layers {
		x := margin + (widest-widths[n])/2
		for _, p := range layer {
			p.x, p.y = x+p.width/2, margin+nodeHeight/2+n*(nodeHeight+layerGap)
			x += p.width + nodeGap
		}
	}
}

// right is where the layers from one to another end at the right.
func (s *sketch) right(from, to int) int {
	out := 0
	for _, layer := range s.layers[from : to+1] {
		if last := layer[len(layer)-1]; last.x+last.width/2 > out {
			out = last.x + last.width/2
		}
	}
	return out
}

func (s *sketch) rightmost(p *place) bool { return p.at == len(s.layers[p.layer])-1 }

func (s *sketch) drawing() drawing {
	last := len(s.layers) - 1
	d := drawing{width: s.right(0, last) + margin, height: s.layers[last][0].y + nodeHeight/2 + margin}
	for _, name := range s.names() {
		p := s.places[name]
		d.boxes = append(d.boxes, box{name: name, label: shown(name), x: p.x - p.width/2, y: p.y - nodeHeight/2, width: p.width, middle: p.x,
			virtual: name == s.graph.Start || name == s.graph.End})
	}
	out, in := s.ports()
	lanes := 0
	for _, w := range s.ways {
		l := line{conditional: w.edge.Conditional, back: w.back}
		from, to := w.places[0], w.places[len(w.places)-1]
		switch {
		case w.back && from == to:
			l.path = loop(from)
			d.width = max(d.width, from.x+from.width/2+nodeGap+margin)
		case w.back:
			lanes++
			lane := s.right(to.layer, from.layer) + laneGap*lanes
			l.path = s.backwards(w, lane, out[w], in[w])
			d.width = max(d.width, lane+margin)
		default:
			l.path = forwards(w.places, out[w], in[w])
		}
		d.lines = append(d.lines, l)
	}
	return d
}

// ports says where on its nodes' sides each edge begins and ends, so that edges
// of one node stay apart.
func (s *sketch) ports() (out, in map[*way]int) {
	out, in = map[*way]int{}, map[*way]int{}
	leaving, arriving := map[*place][]*way{}, map[*place][]*way{}
	for _, w := range s.ways {
		from, to := w.places[0], w.places[len(w.places)-1]
		if from == to {
			continue
		}
		if !w.back || !s.rightmost(from) || !s.rightmost(to) {
			leaving[from], arriving[to] = append(leaving[from], w), append(arriving[to], w)
		}
	}
	spread := func(at *place, ways []*way, into map[*way]int, toward func(*way) int) {
		slices.SortStableFunc(ways, func(a, b *way) int { return cmp.Compare(toward(a), toward(b)) })
		gap := min(portGap, (at.width-nodePad)/len(ways))
		for i, w := range ways {
			into[w] = at.x + (2*i-len(ways)+1)*gap/2
		}
	}
	const far = 1 << 20 // edges that lead back go to the right
	for p, ways := range leaving {
		spread(p, ways, out, func(w *way) int {
			if w.back {
				return far
			}
			return w.places[1].x
		})
	}
	for p, ways := range arriving {
		spread(p, ways, in, func(w *way) int {
			if w.back {
				return far
			}
			return w.places[len(w.places)-2].x
		})
	}
	return out, in
}

// arrow is how far before a node its edge's line ends.
const arrow = 7

func forwards(places []*place, out, in int) string {
	var b strings.Builder
	x, y := out, places[0].y+nodeHeight/2
	fmt.Fprintf(&b, "M%d %d", x, y)
	for i, p := range places[1:] {
		toX, toY := p.x, p.y-nodeHeight/2
		if i == len(places)-2 {
			toX, toY = in, toY-arrow
		}
		bend := (toY - y) / 2
		fmt.Fprintf(&b, "C%d %d %d %d %d %d", x, y+bend, toX, toY-bend, toX, toY)
		x, y = toX, toY
		if i < len(places)-2 {
			y = p.y + nodeHeight/2
			fmt.Fprintf(&b, "V%d", y)
		}
	}
	return b.String()
}

// backwards leads up to an earlier layer, to the right of all in between: from
// side to side where nothing stands in the way, else through the gaps.
func (s *sketch) backwards(w *way, lane, out, in int) string {
	from, to := w.places[0], w.places[len(w.places)-1]
	if s.rightmost(from) && s.rightmost(to) {
		x, y, toX, toY := from.x+from.width/2, from.y, to.x+to.width/2+arrow, to.y
		bend := min(40, (y-toY)/2)
		return fmt.Sprintf("M%d %dQ%d %d %d %dV%dQ%d %d %d %d", x, y, lane, y, lane, y-bend, toY+bend, lane, toY, toX, toY)
	}
	y, toY := from.y+nodeHeight/2, to.y-nodeHeight/2-arrow
	low, high := y+layerGap/3, toY-layerGap/3
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %dV%dC%d %d %d %d %d %d",
		out, y, out, low+laneGap, lane, low+laneGap, lane, y-nodeHeight/2, toY+nodeHeight/2, lane, high-laneGap, in, high-laneGap, in, toY)
}

// loop leads from a node's side to itself.
func loop(p *place) string {
	x := p.x + p.width/2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x, p.y+9, x+nodeGap-8, p.y+16, x+nodeGap-8, p.y-16, x+arrow, p.y-9)
}

// shown is a name as its node holds it: one that is too long is cut.
func shown(name string) string {
	width := 0
	for i, r := range name {
		width += columnsOf(r)
		if width > maxLetters {
			return name[:i] + "…"
		}
	}
	return name
}

// columns is how many letters' width a text takes at most: what is not ASCII may
// be twice as wide.
func columns(text string) (n int) {
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	if r < 128 {
		return 1
	}
	return 2
}

func px(n int) string { return strconv.Itoa(n) }

func (b box) radius() string {
	if b.virtual {
		return px(nodeHeight / 2)
	}
	return "6"
}
