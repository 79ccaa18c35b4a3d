// Package studio shows a development server from the inside: the graphs as they
// are compiled, a thread's state as it is stored. Handlers may import it.
package studio

import (
	"fmt"
	"slices"
)

// Edge is a way from one node to another.
type Edge struct {
	From, To    string
	Conditional bool
}

// The sizes of a drawing, in its own units.
const (
	nodeWidth  = 168
	nodeHeight = 40
	gapX       = 40
	gapY       = 56
	margin     = 24
	// aside is how far a way that passes nodes is drawn aside: a curve comes
	// three quarters as far as its controls.
	aside = (nodeWidth/2 + 12) * 4 / 3
	// loopRoom is what a way back takes at the side.
	loopRoom = 64
	// nameRunes is how much of a name fits into a node.
	nameRunes = 20
)

// Box is a node's place.
type Box struct {
	Name, Label string
	X, Y        int
	// Virtual are the start and the end.
	Virtual bool
}

// Line is an edge's way, as the data of an SVG path.
type Line struct {
	Path              string
	Conditional, Back bool
}

// Drawing is a graph laid out from top to bottom: every node stands below all
// that lead to it, but for ways back.
type Drawing struct {
	Width, Height int
	Boxes         []Box
	Lines         []Line
}

// Draw lays out a graph whose first node is start; nodes that nothing leads to
// stand at the top.
func Draw(start, end string, edges []Edge) Drawing {
	back := waysBack(start, edges)
	layers := layersOf(start, end, edges, back)
	widest := 0
	for _, l := range layers {
		widest = max(widest, len(l))
	}
	d := Drawing{Width: 2*margin + widest*nodeWidth + (widest-1)*gapX + 2*loopRoom, Height: 2*margin + len(layers)*nodeHeight + (len(layers)-1)*gapY}
	at := map[string]Box{}
	for y, layer := range layers {
		row := len(layer)*nodeWidth + (len(layer)-1)*gapX
		for x, name := range layer {
			b := Box{Name: name, Label: label(name), X: (d.Width-row)/2 + x*(nodeWidth+gapX), Y: margin + y*(nodeHeight+gapY), Virtual: name == start || name == end}
			at[name] = b
			d.Boxes = append(d.Boxes, b)
		}
	}
	for i, e := range edges {
		from, to := at[e.From], at[e.To]
		line := Line{Conditional: e.Conditional, Back: back[i]}
		if back[i] {
			x1, y1, x2, y2 := from.X+nodeWidth, from.Y+nodeHeight/2, to.X+nodeWidth, to.Y+nodeHeight/2
			out := max(x1, x2) + loopRoom
			if e.From == e.To {
				y1, y2 = y1+8, y2-8
			}
			line.Path = fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, out, y1, out, y2, x2, y2)
		} else {
			x1, y1, x2, y2 := from.X+nodeWidth/2, from.Y+nodeHeight, to.X+nodeWidth/2, to.Y
			bend, left1, left2 := max((y2-y1)/2, gapY/2), x1, x2
			if y2-y1 > gapY { // it passes layers, whose nodes stand in its way
				left1, left2 = x1-aside, x2-aside
			}
			line.Path = fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, left1, y1+bend, left2, y2-bend, x2, y2)
		}
		d.Lines = append(d.Lines, line)
	}
	return d
}

// waysBack finds the edges that lead to a node from which their own start was
// reached.
func waysBack(start string, edges []Edge) map[int]bool {
	back, state := map[int]bool{}, map[string]int{}
	var visit func(string)
	visit = func(node string) {
		state[node] = 1
		for i, e := range edges {
			if e.From != node {
				continue
			}
			switch state[e.To] {
			case 0:
				visit(e.To)
			case 1:
				back[i] = true
			}
		}
		state[node] = 2
	}
	visit(start)
	for _, e := range edges {
		if state[e.From] == 0 {
			visit(e.From)
		}
	}
	return back
}

// layersOf puts each node one below the lowest that leads to it; the end stands
// below all others.
func layersOf(start, end string, edges []Edge, back map[int]bool) [][]string {
	depth := map[string]int{start: 0}
	for _, e := range edges {
		depth[e.From], depth[e.To] = 0, 0
	}
	for range depth { // a longest way has fewer edges than there are nodes
		for i, e := range edges {
			if !back[i] {
				depth[e.To] = max(depth[e.To], depth[e.From]+1)
			}
		}
	}
	lowest := 0
	for name, n := range depth {
		if name != end {
			lowest = max(lowest, n)
		}
	}
	if _, there := depth[end]; there {
		depth[end] = lowest + 1
		lowest++
	}
	layers := make([][]string, lowest+1)
	for name, n := range depth {
		layers[n] = append(layers[n], name)
	}
	for _, l := range layers {
		slices.Sort(l)
	}
	return layers
}

func label(name string) string {
	if r := []rune(name); len(r) > nameRunes {
		return string(r[:nameRunes-1]) + "…"
	}
	return name
}

// Mermaid gives the graph in the words of that language.
func Mermaid(edges []Edge) string {
	out := "flowchart TD\n"
	for _, e := range edges {
		arrow := "-->"
		if e.Conditional {
			arrow = "-.->"
		}
		out += fmt.Sprintf("  %s[%q] %s %s[%q]\n", e.From, e.From, arrow, e.To, e.To)
	}
	return out
}
