// Subgraph shows a graph inside another, and what becomes of failures. The outer
// graph takes an order; an isolated subgraph asks the market for the price and adds
// the tax in a state of its own. The market is sometimes busy: the node that asks it
// tries again. When that doesn't help either, a handler takes the list price.
//
//	go run ./examples/subgraph
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/checkpoint/memory"
	"github.com/heddle/heddle/agents/graph"
)

// The state of the outer graph.
var (
	item   = graph.Replace[string]("item")
	price  = graph.Replace[float64]("price")
	source = graph.Replace[string]("source")
)

// The state of the inner graph.
var (
	wanted = graph.Replace[string]("wanted")
	net    = graph.Replace[float64]("net")
	gross  = graph.Replace[float64]("gross")
)

var errBusy = errors.New("the market is busy")

// market gives the price of a good.
type market func(ctx context.Context, good string) (float64, error)

// build declares the outer graph: quote → end, or quote → listPrice → end.
func build(ask market) (*graph.Graph, error) {
	quote, err := buildQuote(ask)
	if err != nil {
		return nil, err
	}
	return graph.New("order").
		Channels(item, price, source).
		Isolated("quote", quote, beginQuote, endQuote, graph.OnError("listPrice")).
		Node("listPrice", listPrice).
		Entry("quote").
		Finish("quote").
		Finish("listPrice").
		Compile()
}

// buildQuote declares the inner graph: ask → tax → end. It knows nothing of orders,
// so that other graphs may use it too.
func buildQuote(ask market) (*graph.Graph, error) {
	retry := graph.RetryPolicy{
		MaxAttempts:  3,
		InitialDelay: 10 * time.Millisecond, // then 20 ms, and so on
		On:           func(err error) bool { return errors.Is(err, errBusy) },
	}
	return graph.New("quote").
		Channels(wanted, net, gross).
		Node("ask", askMarket(ask), graph.Retry(retry), graph.Timeout(time.Second)).
		Node("tax", addTax).
		Entry("ask").
		Edge("ask", "tax").
		Finish("tax").
		Compile()
}

// beginQuote makes the inner graph's first state of the outer one's.
func beginQuote(outer graph.State, _ *graph.Task) ([]graph.Write, error) {
	name, _, err := item.Get(outer)
	if err != nil {
		return nil, err
	}
	return []graph.Write{wanted.Put(name)}, nil
}

// endQuote takes over what the outer graph wants to know.
func endQuote(inner graph.State) ([]graph.Write, error) {
	total, _, err := gross.Get(inner)
	if err != nil {
		return nil, err
	}
	return []graph.Write{price.Put(total), source.Put("market")}, nil
}

// askMarket makes the node that asks a market. What a node depends on beside the
// state is given to the function that makes it.
func askMarket(ask market) graph.Node {
	return func(ctx context.Context, t *graph.Task) (graph.Command, error) {
		name, _, err := wanted.Get(t.State)
		if err != nil {
			return graph.Command{}, err
		}
		value, err := ask(ctx, name)
		if err != nil {
			return graph.Command{}, fmt.Errorf("asking for the price of %s: %w", name, err)
		}
		return graph.Command{Update: []graph.Write{net.Put(value)}}, nil
	}
}

func addTax(_ context.Context, t *graph.Task) (graph.Command, error) {
	value, _, err := net.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	return graph.Command{Update: []graph.Write{gross.Put(value * 1.25)}}, nil
}

// listPrice handles the failure of quote: the run goes on.
func listPrice(_ context.Context, t *graph.Task) (graph.Command, error) {
	failure, ok := graph.Failed(t)
	if !ok {
		return graph.Command{}, errors.New("listPrice is for failures only")
	}
	why := fmt.Sprintf("list price, because %s failed: %s", failure.Node, failure.Message)
	return graph.Command{Update: []graph.Write{price.Put(9.50), source.Put(why)}}, nil
}

// busyMarket stands for a service elsewhere: it knows tea at once, coffee at the
// third try, and nothing else.
func busyMarket() market {
	tries := 0
	return func(_ context.Context, good string) (float64, error) {
		switch good {
		case "tea":
			return 4, nil
		case "coffee":
			if tries++; tries < 3 {
				return 0, errBusy
			}
			return 6, nil
		default:
			return 0, graph.Fail("Nobody sells " + good + " today.") // a text for people
		}
	}
}

func run(ctx context.Context, out io.Writer) error {
	g, err := build(busyMarket())
	if err != nil {
		return err
	}
	runner := graph.NewRunner(g, graph.RunnerOptions{Checkpointer: memory.New(memory.Options{})})
	for _, name := range []string{"tea", "coffee", "cocoa"} {
		state, err := runner.Invoke(ctx, agents.ThreadID(name), graph.Begin(item.Put(name)))
		if err != nil {
			return err
		}
		cost, _, err := price.Get(graph.StateOf(state))
		if err != nil {
			return err
		}
		from, _, err := source.Get(graph.StateOf(state))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %.2f (%s)\n", name, cost, from)
	}
	return nil
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}
