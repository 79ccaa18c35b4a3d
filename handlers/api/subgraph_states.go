package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// maxWithin bounds how many states of subgraphs one answer holds; of others it gives
// the checkpoint by which they can be asked for.
const maxWithin = 50

// namespace is how clients name a subgraph that is under way: the nodes around, each
// with its line, from the outside.
func namespace(ns []string) string { return strings.Join(ns, "|") }

// parseNamespace reads it back; false if it is none.
func parseNamespace(text string) (ns []string, ok bool) {
	for _, part := range strings.Split(strings.Clone(text), "|") {
		if node, line := partOf(part); node == "" || !id.Valid(string(line)) {
			return nil, false
		}
		ns = append(ns, part)
	}
	return ns, true
}

// partOf takes one element of a namespace apart.
func partOf(part string) (node string, line agents.LineID) {
	at := strings.LastIndexByte(part, ':')
	if at < 0 {
		return "", ""
	}
	return part[:at], agents.LineID(part[at+1:])
}

// under names the subgraph that is under way for a task of a state; nil if there is
// none.
func under(s agents.State, task int) []string {
	p, ok := agents.PendingOf(s.Pending, task)
	if !ok || p.Line == "" || p.Result != nil || task >= len(s.Head.Next) {
		return nil
	}
	return append(slices.Clone(s.NS), s.Head.Next[task].Node+":"+string(p.Line))
}

// looking reads states of a thread for one answer. What a subgraph shows, its graph
// says: one that isn't on this server any more shows all that its line has.
type looking struct {
	a      *API
	scope  auth.Scope
	thread agents.ThreadID
	sel    selection
	// graph is the thread's, once it was looked for.
	graph  *graph.Graph
	sought bool
	left   int
}

func (a *API) looking(scope auth.Scope, thread agents.ThreadID, sel selection) *looking {
	return &looking{a: a, scope: scope, thread: thread, sel: sel, left: maxWithin}
}

// stateOf reads the state at a step that a stream tells of.
func (a *API) stateOf(ctx context.Context, scope auth.Scope, thread agents.ThreadID, s stepOf) (agents.State, error) {
	if len(s.ns) == 0 {
		return a.streams.StateOfStep(ctx, scope, thread, s.line, s.step, "")
	}
	look := &looking{a: a}
	look.graph, _ = a.workshop.Graph(s.graph)
	_, alone := look.graphAt(s.ns)
	state, err := a.streams.StateOfStep(ctx, scope, thread, s.line, s.step, alone)
	if err != nil {
		return state, err
	}
	of := []agents.State{state}
	of[0].NS = s.ns
	look.shown(of)
	return of[0], nil
}

// only reads the one state that a query finds.
func (l *looking) only(ctx context.Context, q agents.HistoryQuery) (agents.State, error) {
	q.Limit, q.Bare, q.Followed = 1, !l.sel.messages(), l.sel.wants("tasks")
	found, err := l.a.threads.History(ctx, l.scope, l.thread, q)
	if err != nil {
		return agents.State{}, err
	}
	if len(found) == 0 {
		return agents.State{}, agents.ErrCheckpointNotFound
	}
	l.shown(found)
	return found[0], nil
}

// inside reads the state of a subgraph at a checkpoint, or its newest. One that has not
// stored a step yet has none.
func (l *looking) inside(ctx context.Context, at checkpointName) (agents.State, error) {
	q := agents.HistoryQuery{Limit: 1, Only: at.ID}
	if err := l.into(ctx, at.NS, &q); err != nil {
		return agents.State{}, err
	}
	if at.ID != "" {
		return l.only(ctx, q)
	}
	q.Bare, q.Followed = !l.sel.messages(), l.sel.wants("tasks")
	found, err := l.a.threads.History(ctx, l.scope, l.thread, q)
	if err != nil || len(found) == 0 {
		return agents.State{NS: q.NS}, err
	}
	l.shown(found)
	return found[0], nil
}

// into makes a query one of a subgraph's line; an empty name leaves it as it is.
func (l *looking) into(ctx context.Context, name string, q *agents.HistoryQuery) error {
	if name == "" {
		return nil
	}
	ns, ok := parseNamespace(name)
	if !ok {
		return agents.ErrCheckpointNotFound
	}
	if err := l.seek(ctx); err != nil {
		return err
	}
	q.NS = ns
	_, q.Alone = l.graphAt(ns)
	return nil
}

// seek finds the thread's graph.
func (l *looking) seek(ctx context.Context) error {
	if l.sought {
		return nil
	}
	l.sought = true
	t, err := l.a.threads.Thread(ctx, l.scope, l.thread)
	if err != nil || t.Assistant == "" {
		return err
	}
	made, err := l.a.assistants.AssistantVersion(ctx, l.scope, t.Assistant, t.AssistantVersion)
	if err != nil {
		return err
	}
	l.graph, _ = l.a.workshop.Graph(made.Graph)
	return nil
}

// graphAt gives the graph of a subgraph, nil if it is not known, and the innermost line
// around it, its own included, that has a state to itself.
func (l *looking) graphAt(ns []string) (g *graph.Graph, alone agents.LineID) {
	g = l.graph
	for _, part := range ns {
		if g == nil {
			return nil, alone
		}
		node, line := partOf(part)
		if g.Isolated(node) {
			alone = line
		}
		g = g.Subgraph(node)
	}
	return g, alone
}

// shown leaves of states of subgraphs the channels that their graph has.
func (l *looking) shown(states []agents.State) {
	for i, s := range states {
		if s.NS == nil {
			return
		}
		g, _ := l.graphAt(s.NS)
		if g == nil {
			return
		}
		declared := g.Channels()
		values := maps.Clone(s.Values)
		maps.DeleteFunc(values, func(name string, _ json.RawMessage) bool {
			return !slices.ContainsFunc(declared, func(c graph.ChannelInfo) bool { return c.Name == name })
		})
		states[i].Values = values
	}
}

// within reads the states of the subgraphs that are under way at a state, and of those
// inside. What is open in them and why they failed, the outermost state says: their own
// line stands where it last stored a step.
func (l *looking) within(ctx context.Context, s *agents.State) error {
	if s.Head == nil {
		return nil
	}
	for task := range s.Head.Next {
		ns := under(*s, task)
		if ns == nil || l.left == 0 {
			continue
		}
		l.left--
		sub, err := l.inside(ctx, checkpointName{NS: namespace(ns)})
		if errors.Is(err, agents.ErrCheckpointNotFound) {
			continue // it begins at this moment, or is over
		}
		if err != nil {
			return err
		}
		sub.Failure = s.Failure
		if sub.Head != nil && len(interruptsOf(s.Head, len(s.NS), task)) == 0 {
			own := *sub.Head
			own.Interrupts, sub.Head = nil, &own
		}
		if err := l.within(ctx, &sub); err != nil {
			return err
		}
		if s.Within == nil {
			s.Within = map[int]agents.State{}
		}
		s.Within[task] = sub
	}
	return nil
}
