package run

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// fits checks what a run brings against the graph it will run on. Input for
// channels that the graph does not have is left out; a command may name none of them.
func (s *Service) fits(a agents.Assistant, in *agents.RunInput) error {
	if l := in.RecursionLimit; l < 0 || l > graph.MaxRecursionLimit {
		return fault.Invalid("config.recursion_limit", "must be between 1 and "+strconv.Itoa(graph.MaxRecursionLimit))
	}
	g, ok := s.graphs.Graph(a.Graph)
	if !ok {
		return nil // whoever executes it says so
	}
	if in.Resume == nil {
		if err := g.CheckContext(a.ContextOf(in.Context)); err != nil {
			return err
		}
		in.Values = declared(g, in.Values)
		if len(in.Messages) == 0 && len(in.Values) == 0 {
			return fault.Invalid("input.messages", "must hold at least one message, unless the input gives a value to another channel of the graph")
		}
		if err := writable(g, "input", in.Values); err != nil {
			return err
		}
	} else if err := commandFits(g, *in.Resume, in.Values); err != nil {
		return err
	}
	b := in.Break
	if b == nil {
		return nil
	}
	if err := g.Breakable("interrupt_before", b.Before); err != nil {
		return err
	}
	return g.Breakable("interrupt_after", b.After)
}

// fitsCommand checks what a command brings against the graph that goes on.
func (s *Service) fitsCommand(ctx context.Context, scope auth.Scope, thread agents.ThreadID, c Command) error {
	if len(c.Goto)+len(c.Sends)+len(c.Input.Values) == 0 {
		return nil
	}
	t, err := s.queue.Thread(ctx, scope, thread)
	if err != nil {
		return err
	}
	g, err := s.graphOf(ctx, scope, t)
	if err != nil || g == nil {
		return err
	}
	return commandFits(g, agents.Resume{Goto: c.Goto, Sends: c.Sends}, c.Input.Values)
}

func commandFits(g *graph.Graph, r agents.Resume, values map[string]json.RawMessage) error {
	if err := g.Jumpable(r.Goto, r.Sends); err != nil {
		return renamed(err, "goto", "command.goto")
	}
	return writable(g, "command.update", values)
}

// declared leaves of a run's input what goes to public channels of the graph.
func declared(g *graph.Graph, values map[string]json.RawMessage) map[string]json.RawMessage {
	var out map[string]json.RawMessage
	for _, c := range g.Channels() {
		raw, given := values[c.Name]
		if !given || c.Private {
			continue
		}
		if out == nil {
			out = map[string]json.RawMessage{}
		}
		out[c.Name] = raw
	}
	return out
}

// writable checks values for channels; field is what they are called where they
// came from.
func writable(g *graph.Graph, field string, values map[string]json.RawMessage) error {
	_, err := g.Decode(values)
	return renamed(err, "values", field)
}

// renamed gives a refusal of the engine the names that the client used.
func renamed(err error, from, to string) error {
	fields := fault.FieldsOf(err)
	if fields == nil {
		return err
	}
	out := make(map[string]string, len(fields))
	for field, rule := range fields {
		if rest, ok := strings.CutPrefix(field, from); ok {
			field = to + rest
		}
		out[field] = rule
	}
	return fault.InvalidFields(out).WithCause(err)
}
