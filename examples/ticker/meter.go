package main

import (
	"context"

	"github.com/heddle/heddle/agents/graph"
)

// reading is what each tick brings.
var reading = graph.Replace[float64]("reading")

// tally is what the first version of the program kept.
type tally struct {
	Sum   float64 `json:"sum"`
	Count int     `json:"count"`
}

// summary is what the second version keeps.
type summary struct {
	Mean  float64 `json:"mean"`
	Count int     `json:"count"`
}

// Both are the slot meter:stats, in two versions. Each is stored under its own name,
// so neither version of the program ever misreads what the other wrote. The second
// one reads the first as long as it wasn't written itself.
var (
	statsV1 = graph.NewKey[tally]("meter", "stats", 1)
	statsV2 = graph.Migrating(graph.NewKey[summary]("meter", "stats", 2), statsV1, fromV1)
)

func fromV1(old tally) (summary, error) {
	if old.Count == 0 {
		return summary{}, nil
	}
	return summary{Mean: old.Sum / float64(old.Count), Count: old.Count}, nil
}

// buildV1 declares the graph as the first version of the program had it.
func buildV1() (*graph.Graph, error) {
	return graph.New("meter").
		Channels(reading, statsV1).
		Node("measure", measureV1).
		Entry("measure").
		Finish("measure").
		Compile()
}

func measureV1(_ context.Context, t *graph.Task) (graph.Command, error) {
	value, _, err := reading.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	s, _, err := statsV1.Get(t.State) // before the first tick it is zero, which is right
	if err != nil {
		return graph.Command{}, err
	}
	next := tally{Sum: s.Sum + value, Count: s.Count + 1}
	return graph.Command{Update: []graph.Write{statsV1.Set(next)}}, nil
}

// buildV2 declares both versions of the slot: the old one to be read.
func buildV2() (*graph.Graph, error) {
	return graph.New("meter").
		Channels(reading, statsV1, statsV2).
		Node("measure", measureV2).
		Entry("measure").
		Finish("measure").
		Compile()
}

func measureV2(_ context.Context, t *graph.Task) (graph.Command, error) {
	value, _, err := reading.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	s, _, err := statsV2.Get(t.State)
	if err != nil {
		return graph.Command{}, err
	}
	s.Count++
	s.Mean += (value - s.Mean) / float64(s.Count)
	return graph.Command{Update: []graph.Write{statsV2.Set(s)}}, nil
}
