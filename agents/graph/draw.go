package graph

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Mermaid draws the graph in the words of Mermaid, whose flowcharts many editors
// and wikis show: subgraphs as boxes with their own nodes inside. Nodes get short
// ids, since names may hold anything.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	g.mermaid(&b, "  ", "n")
	return b.String()
}

// arrows are how Mermaid draws each kind of edge.
var arrows = map[EdgeKind]string{
	EdgePlain: "-->", EdgeBranch: "-.->", EdgeSend: "-.->|send|", EdgeJoin: "==>|join|", EdgeGoto: "-.->|goto|", EdgeFailure: "-.->|failure|",
}

func (g *Graph) mermaid(b *strings.Builder, indent, prefix string) {
	ids := map[string]string{}
	for i, name := range slices.Concat([]string{Start}, g.Nodes(), []string{End}) {
		id := fmt.Sprint(prefix, i)
		ids[name] = id
		sub := g.Subgraph(name)
		switch {
		case name == Start || name == End:
			fmt.Fprintf(b, "%s%s([\"%s\"])\n", indent, id, mermaidText(name))
		case sub == nil:
			fmt.Fprintf(b, "%s%s[\"%s\"]\n", indent, id, mermaidText(name))
		default:
			fmt.Fprintf(b, "%ssubgraph %s[\"%s\"]\n", indent, id, mermaidText(name))
			sub.mermaid(b, indent+"  ", id+"_")
			fmt.Fprintf(b, "%send\n", indent)
		}
	}
	for _, e := range g.Edges() {
		fmt.Fprintf(b, "%s%s %s %s\n", indent, ids[e.From], arrows[e.Kind], ids[e.To])
	}
}

// mermaidText writes what has a meaning in Mermaid as its number.
func mermaidText(name string) string {
	var b strings.Builder
	for _, r := range oneLine(name) {
		if strings.ContainsRune("\"#&<>`%;\\", r) {
			fmt.Fprintf(&b, "#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// oneLine keeps what can't be seen, such as line breaks, out of a drawing.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// Tree describes the graph in lines for a terminal: its hash, its channels with
// their reducers, each node with what may follow, subgraphs nested.
func (g *Graph) Tree() string {
	var b strings.Builder
	b.WriteString(oneLine(g.name) + "\n")
	g.tree().print(&b, "")
	return b.String()
}

// twig is a line of a tree and what hangs on it.
type twig struct {
	text  string
	twigs []*twig
}

func (t *twig) add(text string) *twig {
	child := &twig{text: oneLine(text)}
	t.twigs = append(t.twigs, child)
	return child
}

func (t *twig) print(b *strings.Builder, indent string) {
	for i, child := range t.twigs {
		fork, below := "├── ", "│   "
		if i == len(t.twigs)-1 {
			fork, below = "└── ", "    "
		}
		b.WriteString(indent + fork + child.text + "\n")
		child.print(b, indent+below)
	}
}

func (g *Graph) tree() *twig {
	root := &twig{}
	root.add("hash " + g.hash)
	channels := root.add("channels")
	for _, c := range g.Channels() {
		text := c.Name + ": " + c.Reducer
		if c.Private {
			text += ", private"
		}
		channels.add(text)
	}
	if len(channels.twigs) == 0 {
		channels.add("messages only")
	}
	nodes, edges := root.add("nodes"), g.Edges()
	for _, name := range slices.Concat([]string{Start}, g.Nodes()) {
		node := nodes.add(name)
		for _, e := range edges {
			if e.From == name {
				node.add(strings.TrimSpace(string(e.Kind) + " → " + e.To))
			}
		}
		if sub := g.nodes[name].sub; sub != nil {
			text := "graph " + sub.graph.name
			if sub.isolated() {
				text += ", isolated"
			}
			node.add(text).twigs = sub.graph.tree().twigs
		}
	}
	return root
}
