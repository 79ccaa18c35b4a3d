// Package builtin holds the tools that ship with Heddle: each is x.go with its
// arguments and rules and x.md with the text the model reads.
//
// Invariants: none of them reaches the network; whose documents and memory
// they see comes from the invocation's scope alone; text that somebody else
// wrote is handed to the model inside JSON that names its origin, so it cannot
// pose as anything else.
//
// The composition root imports it and gives it what the tools work on.
package builtin

import (
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/agents/tool"
)

// Deps are what the tools work on. A tool whose part is missing is left out.
type Deps struct {
	Searcher Searcher
	Memory   Memory
}

// All makes every tool that deps allow, in the order people see them.
func All(deps Deps) ([]tool.Tool, error) {
	makers := []func() (tool.Tool, error){newCalculator, newCurrentTime, newWeather}
	if deps.Searcher != nil {
		makers = append(makers, func() (tool.Tool, error) { return newSearch(deps.Searcher) })
	}
	if deps.Memory != nil {
		makers = append(makers,
			func() (tool.Tool, error) { return newRemember(deps.Memory) },
			func() (tool.Tool, error) { return newRecall(deps.Memory) })
	}
	var out []tool.Tool
	for _, make := range makers {
		t, err := make()
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// lengths bounds the text argument name, in characters.
func lengths(name string, low, high int) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) {
		s.Properties[name].MinLength, s.Properties[name].MaxLength = &low, &high
	}
}

// between bounds the number argument name.
func between(name string, low, high float64) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) {
		s.Properties[name].Minimum, s.Properties[name].Maximum = &low, &high
	}
}
