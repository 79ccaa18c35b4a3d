package run

import (
	"context"
	"errors"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Resumable checks that this program can go on with what is open on a thread:
// the graph is there, has the nodes that are due, and merges as it did. The fault
// is a conflict that says what is missing and what a person can do.
func Resumable(graphs Graphs, name string, s agents.State) error {
	g, ok := graphs.Graph(name)
	if !ok {
		return cantGoOn("the graph " + name + " is not on this server")
	}
	return notResumable(g.Resumable(s))
}

// mayGoOn is Resumable for whoever answers on a thread, so that no answer is
// taken that nothing can be done with.
func (s *Service) mayGoOn(ctx context.Context, scope auth.Scope, thread agents.ThreadID, state agents.State) error {
	open, err := s.queue.OpenRuns(ctx, scope, thread)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(open, func(r agents.Run) bool { return r.Status == agents.RunWaiting })
	if at < 0 {
		return nil // the answer itself is refused
	}
	a, err := s.queue.AssistantVersion(ctx, scope, open[at].Assistant, open[at].AssistantVersion)
	if err != nil {
		return err
	}
	return Resumable(s.graphs, a.Graph, state)
}

// notResumable turns the engine's refusal into what people read.
func notResumable(err error) error {
	var refused *graph.InputError
	if errors.Is(err, graph.ErrNotResumable) && errors.As(err, &refused) {
		return cantGoOn("in this version of the graph " + refused.Graph + " " + refused.Detail).WithCause(err)
	}
	return err
}

func cantGoOn(why string) *fault.Error {
	return fault.Conflict("What is open here can't go on: " + why + ". Withdraw it and send the message again, or run the version it was started with.").
		WithCode("not_resumable")
}
