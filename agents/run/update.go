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
	writes := graph.AddMessages(c.Messages...)
	if c.AsNode == graph.End {
		writes = append(graph.AddMessages(unanswered(loaded.Messages, "", s.clock.Now())...), writes...)
	}
	state, changes, err := graph.Apply(graph.NewState(loaded.Messages, loaded.Values), writes)
	if err != nil {
		return agents.Updated{}, fault.Invalid("values", "can't be merged into the state").WithCause(err)
	}
	next, pauses, err := s.due(ctx, scope, t, loaded, state, c.AsNode)
	if err != nil {
		return agents.Updated{}, err
	}
	open, err := s.queue.OpenReviews(ctx, scope, thread)
	if err != nil {
		return agents.Updated{}, err
	}
	update := agents.StateUpdate{
		Line: loaded.Line, At: loaded.Step, Leaves: loaded.Head != nil && len(loaded.Head.Interrupts) > 0 && len(pauses) == 0,
		Touched: slices.ContainsFunc(open, func(r agents.Review) bool { return !stands(r, state.Messages()) }),
		Told:    s.decided,
		Ended:   s.leftBehind,
		Step: agents.Step{
			Line: loaded.Line, Step: loaded.Step + 1, Source: agents.SourceUpdate, Messages: changes.Messages, Ops: changes.Ops,
			Deltas: changes.Deltas, Next: next, Interrupts: pauses, Metadata: event.Data(map[string]string{"as_node": c.AsNode}),
			Events: []event.Envelope{{Type: event.MessagesSnapshot, Time: s.clock.Now(), ThreadID: string(thread), Step: loaded.Step + 1,
				Data: event.Data(event.SnapshotData{Messages: []json.RawMessage{}})}},
		},
	}
	if n := loaded.Step + 1; n > 0 && n%agents.SnapshotEvery == 0 {
		whole := agents.State{Messages: state.Messages()}
		update.Step.Snapshot = &agents.Snapshot{Messages: whole.Refs(), Values: state.Values()}
	}
	done, err := s.queue.UpdateState(ctx, scope, thread, update)
	if err != nil {
		return agents.Updated{}, err
	}
	s.tellAll(ctx, scope, thread, done.Appended, done.Events)
	if done.Resumed != "" {
		s.signals.Wake(ctx)
	}
	return done, nil
}

// due says which nodes follow a change, and which pauses stay open.
func (s *Service) due(ctx context.Context, scope auth.Scope, t agents.Thread, loaded agents.State, state graph.State, asNode string) ([]string, []agents.Interrupt, error) {
	switch {
	case asNode == graph.End:
		return nil, nil, nil
	case asNode == "" && loaded.Head == nil:
		return nil, nil, nil
	case asNode == "":
		return loaded.Head.Next, loaded.Head.Interrupts, nil
	case t.Assistant == "":
		return nil, nil, fault.Invalid("as_node", "needs a thread that has run before")
	}
	a, err := s.queue.AssistantVersion(ctx, scope, t.Assistant, t.AssistantVersion)
	if err != nil {
		return nil, nil, err
	}
	g, ok := s.graphs.Graph(a.Graph)
	if !ok {
		return nil, nil, fault.Invalid("as_node", "needs the graph "+a.Graph+", which is not on this server")
	}
	next, err := g.After(asNode, state)
	if err != nil {
		return nil, nil, fault.Invalid("as_node", "is no node of the graph "+a.Graph).WithCause(err)
	}
	return next, nil, nil
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
