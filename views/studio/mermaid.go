package studio

import (
	"fmt"
	"slices"
	"strings"
)

// mermaid writes a graph in the words of Mermaid, whose drawings many editors
// and wikis show. Nodes get short ids: names may hold anything.
func mermaid(g Graph) string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	ids := map[string]string{}
	for i, name := range slices.Concat([]string{g.Start}, g.Nodes, []string{g.End}) {
		ids[name] = fmt.Sprintf("n%d", i)
		if name == g.Start || name == g.End {
			fmt.Fprintf(&b, "  n%d([\"%s\"])\n", i, quoted(name))
		} else {
			fmt.Fprintf(&b, "  n%d[\"%s\"]\n", i, quoted(name))
		}
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Conditional {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "  %s %s %s\n", ids[e.From], arrow, ids[e.To])
	}
	return b.String()
}

// quoted writes what has a meaning in Mermaid as its number.
func quoted(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r < ' ':
			b.WriteByte(' ')
		case strings.ContainsRune("\"#&<>`%;\\", r):
			fmt.Fprintf(&b, "#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
