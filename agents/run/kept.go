package run

import (
	"context"
	"maps"
	"slices"

	"github.com/heddle/heddle/agents"
)

// keptMessages lists the messages of tasks that had finished before their step was
// complete, and of the steps of subgraphs under way: they are stored, so nothing
// says them again, and what they said must not be taken back.
func (a *attempt) keptMessages(ctx context.Context, of agents.State, ns []string) (map[agents.MessageID]bool, error) {
	out := map[agents.MessageID]bool{}
	if of.Head == nil {
		return out, nil
	}
	for _, p := range of.Pending {
		switch {
		case p.Result != nil:
			for _, w := range p.Result.Writes {
				if w.Message != nil {
					out[w.Message.ID] = true
				}
			}
		case p.Line != "" && p.Task < len(of.Head.Next):
			inner := append(slices.Clone(ns), of.Head.Next[p.Task].Node+":"+string(p.Line))
			sub, err := a.Sub(ctx, agents.SubLine{Line: p.Line, NS: inner, Parent: of.Line, ParentStep: of.Step})
			if err != nil {
				return nil, err
			}
			for _, c := range sub.Own {
				if c.Message != nil {
					out[c.Message.ID] = true
				}
			}
			below, err := a.keptMessages(ctx, sub, inner)
			if err != nil {
				return nil, err
			}
			maps.Copy(out, below)
		}
	}
	return out, nil
}
