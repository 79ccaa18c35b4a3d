package run

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Change is what a client changes in a thread's state.
type Change struct {
	// Messages are appended, or replace those with their ids.
	Messages []agents.Message
	// Values are written to the graph's channels, each through its reducer.
	Values map[string]json.RawMessage
	// AsNode is the node in whose name the change is made: what follows it is
	// due next. "__end__" ends the turn. Empty keeps what is due.
	AsNode string
	// Checkpoint, if given, must be the newest.
	Checkpoint string
}

// UpdateState changes a thread's state as a step of its own, through the same
// reducers as a node. A call under review that the change touches is asked about
// again, in the name of whoever changed it. The thread must not be busy.
func (s *Service) UpdateState(ctx context.Context, scope auth.Scope, thread agents.ThreadID, c Change) (agents.Updated, error) {
	t, err := s.queue.Thread(ctx, scope, thread)
	if err != nil {
		return agents.Updated{}, err
	}
	loaded, err := s.queue.State(ctx, scope, thread)
	if err != nil {
		return agents.Updated{}, err
	}
	if c.Checkpoint != "" && (loaded.Head == nil || loaded.Head.ID != c.Checkpoint) {
		return agents.Updated{}, fault.Conflict("The checkpoint is not the thread's newest one.").WithCode("checkpoint_old")
	}
	g, err := s.graphOf(ctx, scope, t)
	if err != nil {
		return agents.Updated{}, err
	}
	var known map[string]agents.Journal
	if c.AsNode == graph.End {
		if known, err = outcomesOf(ctx, s.queue, scope, thread, loaded.Line, 0, unanswered(loaded.Messages)); err != nil {
			return agents.Updated{}, err
		}
	}
	step, state, err := s.changed(g, loaded, c, known)
	if err != nil {
		return agents.Updated{}, err
	}
	open, err := s.queue.OpenReviews(ctx, scope, thread)
	if err != nil {
		return agents.Updated{}, err
	}
	step.Events = []event.Envelope{{Type: event.MessagesSnapshot, Time: s.clock.Now(), ThreadID: string(thread), Step: loaded.Step + 1,
		Data: event.Data(event.SnapshotData{Messages: []json.RawMessage{}})}}
	done, err := s.queue.UpdateState(ctx, scope, thread, agents.StateUpdate{
		Line: loaded.Line, At: loaded.Step, Leaves: loaded.Head != nil && len(loaded.Head.Interrupts) > 0 && len(step.Interrupts) == 0,
		Touched: slices.ContainsFunc(open, func(r agents.Review) bool { return !stands(r, state.Messages) }),
		Told:    s.decided, Ended: s.leftBehind, Step: step,
	})
	if err != nil {
		return agents.Updated{}, err
	}
	s.tellAll(ctx, scope, thread, done.Appended, done.Events)
	if done.Resumed != "" {
		s.signals.Wake(ctx)
	}
	return done, nil
}

// graphOf finds the graph that a thread runs on; nil for one that never ran, or
// whose graph is not on this server.
func (s *Service) graphOf(ctx context.Context, scope auth.Scope, t agents.Thread) (*graph.Graph, error) {
	if t.Assistant == "" {
		return nil, nil
	}
	a, err := s.queue.AssistantVersion(ctx, scope, t.Assistant, t.AssistantVersion)
	if err != nil {
		return nil, err
	}
	g, _ := s.graphs.Graph(a.Graph)
	return g, nil
}

// changed makes the step by which a change is kept, and the state after it. known is
// what came of calls that a turn's end leaves unanswered.
func (s *Service) changed(g *graph.Graph, loaded agents.State, c Change, known map[string]agents.Journal) (agents.Step, agents.State, error) {
	state := graph.NewState(loaded.Messages, loaded.Values)
	if g == nil && (c.AsNode != "" && c.AsNode != graph.End || len(c.Values) > 0) {
		return agents.Step{}, loaded, fault.Invalid("as_node", "needs a thread that has run before, on a graph of this server")
	}
	change := graph.Change{Writes: graph.AddMessages(c.Messages...), AsNode: c.AsNode}
	if len(c.Values) > 0 {
		values, err := g.Decode(c.Values)
		if err != nil {
			return agents.Step{}, loaded, err
		}
		change.Writes = append(change.Writes, values...)
	}
	if c.AsNode == graph.End {
		settled := state
		if loaded.Head != nil {
			var err error
			if settled, _, err = g.Settle(state, loaded.Line, loaded.Step+1, loaded.Head.Next, loaded.Pending); err != nil {
				return agents.Step{}, loaded, err
			}
		}
		for i, call := range unanswered(settled.Messages()) {
			change.Writes = slices.Insert(change.Writes, i, graph.AddMessage(closed(call.ID, call.Name, known, "", s.clock.Now())))
		}
	}
	return g.Changed(loaded, change)
}

// stands reports whether the state still holds the call as it was shown.
func stands(r agents.Review, messages []agents.Message) bool {
	for _, m := range messages {
		for _, c := range m.ToolCalls {
			if c.ID != r.CallID {
				continue
			}
			args, err := json.Marshal(c.Args)
			return err == nil && c.Name == r.Tool && string(args) == string(r.Args)
		}
	}
	return false
}
