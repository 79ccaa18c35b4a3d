// Loop shows a graph that goes round: a node decides which tool to call, a second
// one calls it, and a conditional edge ends the loop. The tools halve a number or
// triple it and add one; the deciding node, where a real agent would ask a model,
// calls them until the number is 1.
//
// It also shows what the recursion limit does: a run that uses it up fails, and
// keeps all it did; another run goes on from there. And that the past is kept: a run
// may begin at any step of it, with other input.
//
//	go run ./examples/loop
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

// calls counts the tool calls. The messages are part of every graph's state.
var calls = graph.Sum("calls")

// build declares the graph: decide → tools → decide → … → end.
func build() (*graph.Graph, error) {
	return graph.New("loop").
		Channels(calls).
		Node("decide", decide).
		Node("tools", callTools).
		Entry("decide").
		Branch("decide", route, "tools", graph.End).
		Edge("tools", "decide").
		Compile()
}

// decide reads the number in the newest message and asks for the tool that fits.
func decide(_ context.Context, t *graph.Task) (graph.Command, error) {
	last, _ := t.State.Last()
	n, err := strconv.Atoi(last.Text)
	if err != nil {
		return graph.Command{}, graph.Fail("Please send a number.")
	}
	answer := agents.Message{ID: agents.MessageID(t.NewID()), Role: agents.RoleAssistant}
	switch {
	case n <= 1:
		answer.Text = "That is all."
	case n%2 == 0:
		answer.ToolCalls = []agents.ToolCall{{ID: t.NewID(), Name: "halve", Args: json.RawMessage(last.Text)}}
	default:
		answer.ToolCalls = []agents.ToolCall{{ID: t.NewID(), Name: "triple", Args: json.RawMessage(last.Text)}}
	}
	return graph.Command{Update: []graph.Write{graph.AddMessage(answer)}}, nil
}

// route goes on to the tools as long as the newest message asks for some. It looks
// at the state alone, so that every attempt of the run goes the same way.
func route(s graph.State) ([]string, error) {
	if last, _ := s.Last(); len(last.ToolCalls) > 0 {
		return []string{"tools"}, nil
	}
	return []string{graph.End}, nil
}

// callTools answers each call of the newest message with a message of its own.
func callTools(_ context.Context, t *graph.Task) (graph.Command, error) {
	last, _ := t.State.Last()
	var out graph.Command
	for _, call := range last.ToolCalls {
		n, err := useTool(call)
		if err != nil {
			return graph.Command{}, err
		}
		result := agents.Message{
			ID: agents.MessageID(t.NewID()), Role: agents.RoleTool, Name: call.Name, ToolCallID: call.ID, Text: strconv.Itoa(n),
		}
		out.Update = append(out.Update, graph.AddMessage(result), calls.Put(1))
	}
	return out, nil
}

func useTool(call agents.ToolCall) (int, error) {
	var n int
	if err := json.Unmarshal(call.Args, &n); err != nil {
		return 0, fmt.Errorf("reading the arguments of %s: %w", call.Name, err)
	}
	switch call.Name {
	case "halve":
		return n / 2, nil
	case "triple":
		return 3*n + 1, nil
	default:
		return 0, fmt.Errorf("there is no tool %q", call.Name)
	}
}

func run(ctx context.Context, out io.Writer) error {
	g, err := build()
	if err != nil {
		return err
	}
	runner := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: memory.New(memory.Options{})})

	state, err := runner.Invoke(ctx, "six", graph.Begin(number("6")))
	if err != nil {
		return err
	}
	if err := show(out, state); err != nil {
		return err
	}

	// 27 takes 111 calls: far more than the 25 steps that a run may take by default.
	_, err = runner.Invoke(ctx, "twenty-seven", graph.Begin(number("27")))
	var limit *graph.RecursionError
	if !errors.As(err, &limit) {
		return err
	}
	fmt.Fprintf(out, "27: stopped after %d steps.\n", limit.Limit)

	// What was done is kept. Continue goes on with what is due.
	state, err = runner.Invoke(ctx, "twenty-seven", graph.Continue(), graph.RecursionLimit(300))
	if err != nil {
		return err
	}
	if err := show(out, state); err != nil {
		return err
	}

	// Each step is a checkpoint. Begin anew at the oldest, and replace its message.
	history, err := runner.History(ctx, "six", agents.HistoryQuery{Limit: 100})
	if err != nil {
		return err
	}
	oldest := history[len(history)-1]
	five := agents.Message{ID: oldest.Messages[0].ID, Role: agents.RoleUser, Text: "5"}
	state, err = runner.Invoke(ctx, "six", graph.Begin(graph.AddMessage(five)), graph.From(oldest.Head.ID))
	if err != nil {
		return err
	}
	return show(out, state)
}

// number is a person's message.
func number(text string) graph.Write {
	return graph.AddMessage(agents.Message{ID: agents.MessageID("ask-" + text), Role: agents.RoleUser, Text: text})
}

func show(out io.Writer, state agents.State) error {
	n, _, err := calls.Get(graph.StateOf(state))
	if err != nil {
		return err
	}
	first, last := state.Messages[0], state.Messages[len(state.Messages)-1]
	fmt.Fprintf(out, "%s: %v calls. %s\n", first.Text, n, last.Text)
	return nil
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}
