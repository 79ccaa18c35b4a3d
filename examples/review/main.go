// Review shows a graph that waits for a person: a letter is written, the run pauses
// with a question, and the answer decides whether it is sent, sent with another
// text, or thrown away. Between question and answer the program forgets everything
// but what the checkpointer keeps, as it would if it were started again.
//
//	go run ./examples/review              both in one process, kept in memory
//	go run ./examples/review letter.db    writes and ends; again, days later: asks
//
// It asks on the terminal; without one nothing is sent.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/checkpoint/sqlite"
	"github.com/heddle/heddle/agents/graph"
)

const thread = "letter"

// letter is what is to be sent.
type letter struct {
	To   string `json:"to"`
	Text string `json:"text"`
}

// decision is a person's answer. Text, if there is one, replaces the letter's.
type decision struct {
	Send bool   `json:"send"`
	Text string `json:"text,omitempty"`
}

var (
	to     = graph.Replace[string]("to")
	draft  = graph.NewKey[letter]("review", "draft", 1)
	outbox = graph.Append[letter]("outbox")
)

// build declares the graph: write → approve → send → end, or from approve to end.
func build() (*graph.Graph, error) {
	return graph.New("review").
		Channels(to, draft, outbox).
		Node("write", write).
		Node("approve", approve, graph.Ends("send", graph.End)).
		Node("send", send).
		Entry("write").
		Edge("write", "approve").
		Finish("send").
		Compile()
}

func write(_ context.Context, t *graph.Task) (graph.Command, error) {
	name, _, err := to.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	l := letter{To: name, Text: "Dear " + name + ", we ship on Friday."}
	return graph.Command{Update: []graph.Write{draft.Set(l)}}, nil
}

// approve asks, and goes where the answer leads. The first time Ask returns
// [graph.ErrPaused], which must be returned; once there is an answer the node starts
// again from its top, so what comes before a question must be harmless to repeat.
func approve(_ context.Context, t *graph.Task) (graph.Command, error) {
	l, err := draft.Require(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	d, err := graph.Ask[decision](t, l)
	if err != nil {
		return graph.Command{}, err
	}
	if !d.Send {
		return graph.Command{Goto: []string{graph.End}}, nil
	}
	if d.Text != "" {
		l.Text = d.Text
	}
	return graph.Command{Update: []graph.Write{draft.Set(l)}, Goto: []string{"send"}}, nil
}

// send stands for what must not happen without a person's word.
func send(_ context.Context, t *graph.Task) (graph.Command, error) {
	l, err := draft.Require(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	return graph.Command{Update: []graph.Write{outbox.Put([]letter{l})}}, nil
}

// start is what the first process does: it runs until the graph asks.
func start(ctx context.Context, kept graph.Checkpointer) error {
	runner, err := newRunner(kept)
	if err != nil {
		return err
	}
	_, err = runner.Invoke(ctx, thread, graph.Begin(to.Put("bob@example.com")))
	if errors.As(err, new(*graph.Interrupted)) {
		return nil // it waits, as it should
	}
	return err
}

// finish is what a later process does: it finds the open question, asks a person
// and goes on from there.
func finish(ctx context.Context, kept graph.Checkpointer, in io.Reader, out io.Writer) error {
	runner, err := newRunner(kept)
	if err != nil {
		return err
	}
	state, err := runner.State(ctx, thread)
	if err != nil {
		return err
	}
	for _, question := range state.Head.Interrupts {
		var l letter
		if err := json.Unmarshal(question.Value, &l); err != nil {
			return fmt.Errorf("reading the question: %w", err)
		}
		fmt.Fprintf(out, "To %s: %s\nSend it? (y, n, or another text) ", l.To, l.Text)
		if state, err = runner.Invoke(ctx, thread, graph.Answer(decide(in))); err != nil {
			return err
		}
	}
	sent, _, err := outbox.Get(graph.StateOf(state))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nSent: %d\n", len(sent))
	for _, l := range sent {
		fmt.Fprintf(out, "To %s: %s\n", l.To, l.Text)
	}
	return nil
}

// decide reads a person's answer; whoever says nothing doesn't agree.
func decide(in io.Reader) decision {
	line, _ := bufio.NewReader(in).ReadString('\n') // at the end of input it is empty
	switch answer := strings.TrimSpace(line); answer {
	case "y":
		return decision{Send: true}
	case "n", "":
		return decision{}
	default:
		return decision{Send: true, Text: answer}
	}
}

// newRunner compiles the graph anew: nothing of an earlier runner is needed.
func newRunner(kept graph.Checkpointer) (*graph.Runner, error) {
	g, err := build()
	if err != nil {
		return nil, err
	}
	return graph.NewRunner(g, graph.RunnerOptions{Checkpointer: kept}), nil
}

func run(ctx context.Context, file string, in io.Reader, out io.Writer) (err error) {
	if file == "" {
		kept := memory.New(memory.Options{})
		if err := start(ctx, kept); err != nil {
			return err
		}
		return finish(ctx, kept, in, out)
	}
	kept, err := sqlite.Open(ctx, sqlite.Options{Path: file})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	state, err := kept.State(ctx, thread, "")
	if err != nil && !errors.Is(err, agents.ErrThreadNotFound) {
		return err
	}
	if state.Head != nil && len(state.Head.Interrupts) > 0 {
		return finish(ctx, kept, in, out)
	}
	if err := start(ctx, kept); err != nil {
		return err
	}
	fmt.Fprintln(out, "The letter is written and waits. Run this again to decide.")
	return nil
}

func main() {
	var file string
	if len(os.Args) > 1 {
		file = os.Args[1]
	}
	if err := run(context.Background(), file, os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}
