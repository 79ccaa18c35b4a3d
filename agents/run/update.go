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
	"github.com/heddle/heddle/internal/id"
)

// Change is what a client changes in a thread's state.
type Change struct {
	// Messages are appended, or replace those with their ids.
	Messages []agents.Message
	// Remove takes messages out, RemoveAll those that the state has, both before any
	// is appended.
	Remove    []agents.MessageID
	RemoveAll bool
	// Values are written to the graph's channels, each through its reducer.
	Values map[string]json.RawMessage
	// AsNode is the node in whose name the change is made: what follows it is
	// due next. "__end__" ends the turn. Empty keeps what is due.
	AsNode string
	// Checkpoint is where the change is made: at an older one it begins a line of its
	// own, and the line that was stays as it is. Empty is the newest.
	Checkpoint string
	// With are changes of the same step, made in the names of other nodes.
	With []Change
}

// empty reports whether nothing would be changed.
func (c Change) empty() bool {
	return len(c.Messages) == 0 && len(c.Remove) == 0 && !c.RemoveAll && len(c.Values) == 0 && c.AsNode == "" && len(c.With) == 0
}

// UpdateState changes a thread's state as a step of its own, through the same
// reducers as a node. A call under review that the change touches is asked about
// again, in the name of whoever changed it. A change at an older checkpoint leaves
// what is open where it is: its requests are withdrawn. The thread must not be busy.
func (s *Service) UpdateState(ctx context.Context, scope auth.Scope, thread agents.ThreadID, c Change) (agents.Updated, error) {
	t, err := s.queue.Thread(ctx, scope, thread)
	if err != nil {
		return agents.Updated{}, err
	}
	loaded, err := s.queue.State(ctx, scope, thread)
	if err != nil {
		return agents.Updated{}, err
	}
	update := agents.StateUpdate{Line: loaded.Line, At: loaded.Step, Told: s.decided, Ended: s.leftBehind}
	paused := loaded.Head != nil && len(loaded.Head.Interrupts) > 0
	if c.Checkpoint != "" && (loaded.Head == nil || loaded.Head.ID != c.Checkpoint) {
		if loaded, err = s.queue.StateAt(ctx, scope, thread, c.Checkpoint); err != nil {
			return agents.Updated{}, err
		}
		update.Line, update.At, update.Forks = loaded.Line, loaded.Step, true
		loaded = forked(loaded)
	}
	if !update.Forks && c.empty() {
		return agents.Updated{}, fault.Invalid("values", "must hold messages or channels, or as_node must name a node")
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
	update.Step, update.Leaves = step, paused && len(step.Interrupts) == 0
	update.Touched = !update.Forks && slices.ContainsFunc(open, func(r agents.Review) bool { return !stands(r, state.Messages) })
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

// forked is a state as a new line begins with it: what was open and what was kept of
// unfinished tasks stays with the old one, so that later nodes run and ask again. Before
// a first step there is nothing.
func forked(s agents.State) agents.State {
	s.Line, s.Pending = agents.LineID(id.New()), nil
	switch {
	case s.Step == agents.BeforeFirst:
		s.Head = nil
	case s.Head != nil:
		own := *s.Head
		own.Interrupts = nil
		s.Head = &own
	}
	return s
}

// Seedable reports whether changes can be made one after the other on a thread that
// is new and has this metadata.
func (s *Service) Seedable(ctx context.Context, scope auth.Scope, metadata json.RawMessage, steps []Change) error {
	g, err := s.graphOf(ctx, scope, agents.Thread{Metadata: metadata})
	if err != nil {
		return err
	}
	state := agents.State{Line: agents.LineID(id.New()), Step: -1}
	for _, c := range steps {
		if _, state, err = s.changed(g, state, c, nil); err != nil {
			return err
		}
	}
	return nil
}

// graphOf finds the graph that a thread runs on: of one that never ran the one that
// its metadata names. It is nil where the graph of one that ran is not on this
// server any more.
func (s *Service) graphOf(ctx context.Context, scope auth.Scope, t agents.Thread) (*graph.Graph, error) {
	if t.Assistant == "" {
		var named struct {
			Graph string `json:"graph_id"`
		}
		if len(t.Metadata) > 0 && json.Unmarshal(t.Metadata, &named) != nil {
			named.Graph = ""
		}
		g, ok := s.graphs.Graph(named.Graph)
		if !ok {
			return nil, fault.Invalid("metadata.graph_id", "must name a graph of this server: the thread never ran")
		}
		return g, nil
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
	change, err := s.change(g, loaded, c)
	if err != nil {
		return agents.Step{}, loaded, err
	}
	for _, more := range c.With {
		also, err := s.change(g, loaded, more)
		if err != nil {
			return agents.Step{}, loaded, err
		}
		change.With = append(change.With, also)
	}
	if c.AsNode == graph.End {
		settled := graph.NewState(loaded.Messages, loaded.Values)
		if loaded.Head != nil {
			if settled, _, err = g.Settle(settled, loaded.Line, loaded.Step+1, loaded.Head.Next, loaded.Pending); err != nil {
				return agents.Step{}, loaded, err
			}
		}
		for i, call := range unanswered(settled.Messages()) {
			change.Writes = slices.Insert(change.Writes, i, graph.AddMessage(closed(call.ID, call.Name, known, "", s.clock.Now())))
		}
	}
	return g.Changed(loaded, change)
}

// change reads one part of a change by the graph's channels.
func (s *Service) change(g *graph.Graph, loaded agents.State, c Change) (graph.Change, error) {
	if g == nil && (c.AsNode != "" && c.AsNode != graph.End || len(c.Values) > 0) {
		return graph.Change{}, fault.Invalid("as_node", "needs a thread that has run before, on a graph of this server")
	}
	out := graph.Change{AsNode: c.AsNode}
	if c.RemoveAll {
		for _, m := range loaded.Messages {
			out.Writes = append(out.Writes, graph.RemoveMessage(m.ID))
		}
	}
	for _, id := range c.Remove {
		out.Writes = append(out.Writes, graph.RemoveMessage(id))
	}
	out.Writes = append(out.Writes, graph.AddMessages(c.Messages...)...)
	if len(c.Values) == 0 {
		return out, nil
	}
	values, err := g.Decode(c.Values)
	out.Writes = append(out.Writes, values...)
	return out, err
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
