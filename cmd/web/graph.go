package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/config"
)

// graphSource gives the graphs that compile, and what is wrong with the others.
type graphSource func() ([]*graph.Graph, error)

// registered are the graphs that a server with these settings has. No server and
// no database is needed.
func registered() ([]*graph.Graph, error) {
	cfg, err := config.Load(config.Options{})
	if err != nil {
		return nil, err
	}
	return app.Graphs(app.Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
}

func graphCommand(graphs graphSource) *cobra.Command {
	cmd := &cobra.Command{
		Use: "graph", Short: "Check and draw the graphs that this server registers",
		Long: "The graphs that assistants run on, as the settings register them. No database is needed.",
	}
	var format string
	show := &cobra.Command{
		Use: "show NAME", Short: "Draw a graph: nodes, edges, subgraphs, channels", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return showGraph(cmd.OutOrStdout(), graphs, args[0], format)
		},
	}
	show.Flags().StringVar(&format, "format", "mermaid", "mermaid or tree")
	cmd.AddCommand(&cobra.Command{
		Use: "check [NAME]", Short: "Compile one graph or all, and say what breaks which rule", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return checkGraphs(cmd.OutOrStdout(), graphs, strings.Join(args, ""))
		},
	}, show)
	return cmd
}

// checkGraphs prints a line for each graph that compiles and the broken rules of
// each other one; a name narrows it to one graph.
func checkGraphs(w io.Writer, graphs graphSource, name string) error {
	all, err := graphs()
	broken, others := brokenRules(err)
	names := slices.Sorted(maps.Keys(broken))
	for _, g := range all {
		names = append(names, g.Name())
	}
	slices.Sort(names)
	if name != "" && !slices.Contains(names, name) {
		return cmp.Or(others, noGraph(name, names))
	}
	width, wrong := 0, 0
	for _, n := range names {
		width = max(width, len(n))
	}
	for _, n := range slices.Compact(names) {
		if name != "" && n != name {
			continue
		}
		if len(broken[n]) > 0 {
			wrong++
			fmt.Fprintf(w, "broken  %s\n", n)
			for _, e := range broken[n] {
				fmt.Fprintf(w, "        %s at %q: %v\n        %s\n", e.Code(), e.Node, e.Rule, e.Help())
			}
			continue
		}
		at := slices.IndexFunc(all, func(g *graph.Graph) bool { return g.Name() == n })
		fmt.Fprintf(w, "ok      %-*s  %s\n", width, n, all[at].Hash())
	}
	if others != nil {
		return others
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return errors.New("1 graph breaks rules")
	default:
		return fmt.Errorf("%d graphs break rules", wrong)
	}
}

// brokenRules parts an error into the rules that graphs break, by graph in the
// order in which they were found, and whatever else went wrong.
func brokenRules(err error) (map[string][]*graph.CompileError, error) {
	broken := map[string][]*graph.CompileError{}
	var others []error
	var part func(error)
	part = func(err error) {
		var rule *graph.CompileError
		switch e := err.(type) { //nolint:errorlint // it walks the chain itself
		case nil:
		case *graph.CompileError:
			broken[e.Graph] = append(broken[e.Graph], e)
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				part(one)
			}
		default:
			if inner := errors.Unwrap(err); inner != nil && errors.As(err, &rule) {
				part(inner)
				return
			}
			others = append(others, err)
		}
	}
	part(err)
	return broken, errors.Join(others...)
}

func showGraph(w io.Writer, graphs graphSource, name, format string) error {
	if format != "mermaid" && format != "tree" {
		return fmt.Errorf("--format must be mermaid or tree, not %q", format)
	}
	all, err := graphs()
	at := slices.IndexFunc(all, func(g *graph.Graph) bool { return g.Name() == name })
	if at < 0 {
		names := make([]string, len(all))
		for i, g := range all {
			names[i] = g.Name()
		}
		return cmp.Or(err, noGraph(name, names))
	}
	text := all[at].Mermaid()
	if format == "tree" {
		text = all[at].Tree()
	}
	_, err = io.WriteString(w, text)
	return err
}

func noGraph(name string, names []string) error {
	return fmt.Errorf("there is no graph %q; there are %s", name, strings.Join(slices.Sorted(slices.Values(names)), ", "))
}
