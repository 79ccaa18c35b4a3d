// Fanout shows map and reduce: a fan starts one task per text, each task sends its
// words on to be counted, a reducer of the graph's own adds the counts up, and a
// join begins the report once all of that and a second, shorter way have finished. The
// run is watched as it goes.
//
//	go run ./examples/fanout
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

var (
	texts = graph.Replace[[]string]("texts")
	// The label stands for what add does: another one if that ever changes.
	counts = graph.Reduce("counts", "add-per-word/1", add)
	common = graph.Append[string]("common")
	report = graph.Replace[[]string]("report")
)

// add is a reducer: it makes a new value and changes neither argument.
func add(old, in map[string]int) map[string]int {
	sum := maps.Clone(old)
	if sum == nil {
		sum = map[string]int{}
	}
	for word, n := range in {
		sum[word] += n
	}
	return sum
}

// build declares the graph:
//
//	start ─┬─ split (one per text) → count (one per text) ─┬─ report → end
//	       └─ common ──────────────────────────────────────┘
func build() (*graph.Graph, error) {
	return graph.New("fanout").
		Channels(texts, counts, common, report).
		Node("split", split, graph.Ends("count")).
		Node("count", count).
		Node("common", findCommon).
		Node("report", makeReport).
		Fan(graph.Start, perText, "split").
		Edge(graph.Start, "common").
		Join("report", "count", "common").
		Finish("report").
		Compile()
}

// perText starts a task for each text, with the text as its input.
func perText(s graph.State) ([]graph.Send, error) {
	list, _, err := texts.Get(s)
	if err != nil {
		return nil, err
	}
	sends := make([]graph.Send, len(list))
	for i, text := range list {
		sends[i] = graph.Send{Node: "split", Input: text}
	}
	return sends, nil
}

// split sends the words of its text on. It writes nothing: what only the next task
// needs doesn't have to be part of the state.
func split(_ context.Context, t *graph.Task) (graph.Command, error) {
	text, err := graph.InputOf[string](t)
	if err != nil {
		return graph.Command{}, err
	}
	words := strings.Fields(strings.ToLower(text))
	return graph.Command{Send: []graph.Send{{Node: "count", Input: words}}}, nil
}

// count counts the words it was sent. All tasks of a step write to the channel; the
// reducer merges what they write in the order of the tasks, whoever is done first.
func count(_ context.Context, t *graph.Task) (graph.Command, error) {
	words, err := graph.InputOf[[]string](t)
	if err != nil {
		return graph.Command{}, err
	}
	mine := map[string]int{}
	for _, word := range words {
		mine[word]++
	}
	return graph.Command{Update: []graph.Write{counts.Put(mine)}}, nil
}

// findCommon says which words to leave out.
func findCommon(context.Context, *graph.Task) (graph.Command, error) {
	return graph.Command{Update: []graph.Write{common.Put([]string{"the", "and", "a"})}}, nil
}

// makeReport runs once, a step after the last count.
func makeReport(_ context.Context, t *graph.Task) (graph.Command, error) {
	all, _, err := counts.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	without, _, err := common.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	words := slices.DeleteFunc(slices.Collect(maps.Keys(all)), func(w string) bool { return slices.Contains(without, w) })
	slices.SortFunc(words, func(a, b string) int { return cmp.Or(cmp.Compare(all[b], all[a]), cmp.Compare(a, b)) })
	var lines []string
	for _, word := range words[:min(3, len(words))] {
		lines = append(lines, fmt.Sprintf("%d × %s", all[word], word))
	}
	return graph.Command{Update: []graph.Write{report.Put(lines)}}, nil
}

func run(ctx context.Context, out io.Writer) error {
	g, err := build()
	if err != nil {
		return err
	}
	runner := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: memory.New(memory.Options{})})
	input := graph.Begin(texts.Put([]string{
		"the shuttle carries the weft and the weft crosses the warp",
		"a heddle lifts the warp",
		"the warp and the weft make the cloth",
	}))
	// Stream tells of each step as it is stored; Invoke would only wait for the end.
	for f, err := range runner.Stream(ctx, "weaving", input, []graph.Mode{graph.ModeUpdates}) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "step %d: %s\n", f.Envelope.Step, f.Update.Node)
	}
	state, err := runner.State(ctx, "weaving")
	if err != nil {
		return err
	}
	lines, _, err := report.Get(graph.StateOf(state))
	if err != nil {
		return err
	}
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
	return nil
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}
