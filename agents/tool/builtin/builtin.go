// Package builtin holds the tools that ship with Heddle: each is x.go with its
// arguments and rules and x.md with the text the model reads.
//
// Invariants: the network is reached only through the [Mailer] and the [Doer]
// that they are given, by tools whose review no policy can switch off; whose documents and memory
// they see comes from the invocation's scope alone; text that somebody else
// wrote is handed to the model inside JSON that names its origin, so it cannot
// pose as anything else.
//
// The composition root imports it and gives it what the tools work on.
package builtin

import (
	"context"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/agents/tool"
)

// Deps are what the tools work on. A tool whose part is missing is left out.
type Deps struct {
	Searcher Searcher
	Memory   Memory
	Mailer   Mailer
	HTTP     Doer
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
	if deps.Mailer != nil {
		makers = append(makers, func() (tool.Tool, error) { return newSendEmail(deps.Mailer) })
	}
	if deps.HTTP != nil {
		makers = append(makers, func() (tool.Tool, error) { return newHTTPRequest(deps.HTTP) })
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

// label names the argument in a form.
func label(name, title string) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.Properties[name].Title = title }
}

// format says what kind of text the argument is, such as "email" or "uri".
// Validators pass over it; the arguments' Check is the rule.
func format(name, kind string) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.Properties[name].Format = kind }
}

// multiline marks a text of several lines, for which a form needs a large
// field, by the keyword contentMediaType "text/plain" (JSON Schema 2020-12,
// validation 8.4). Texts without it are one line.
func multiline(name string) func(*jsonschema.Schema) {
	return func(s *jsonschema.Schema) { s.Properties[name].ContentMediaType = "text/plain" }
}

// early gives a call a little less time than it has, so that it can say itself
// what became of what it began.
func early(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)*9/10)
}
