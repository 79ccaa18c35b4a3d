package run

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/clock"
)

// beginning is where an attempt starts to execute its graph.
type beginning struct {
	state   graph.State
	next    []agents.Due
	pending []agents.Pending
	resume  []agents.Interrupt
}

// manifest says what the run is executed with.
func (a *attempt) manifest(g *graph.Graph) agents.Manifest {
	return agents.Manifest{
		App: a.w.o.Version, Graph: g.Name(), GraphHash: g.Hash(), ConfigHash: agents.ConfigHash(a.assistant.Config), Channels: g.Labels(),
		Model: a.assistant.Config.Defaults().Model, Memory: a.assistant.Config.MemoryKinds(), Strategy: a.claim.Run.Strategy,
		Checkpointer: "postgres", Clock: clock.Name(a.w.o.Clock), Parallel: runtime.GOMAXPROCS(0),
	}
}

// branch begins a line of the run's own at the older checkpoint that it names. An
// attempt that was lost after that has left the thread there: the next one finds it
// so.
func (a *attempt) branch(ctx context.Context, loaded agents.State) (agents.State, error) {
	r := a.claim.Run
	stands := loaded.Head != nil && loaded.Head.ID == r.Input.Checkpoint || loaded.Head == nil && r.BaseLine != ""
	if r.Input.Checkpoint == "" || stands {
		return loaded, nil
	}
	_, err := a.w.o.Store.Fork(ctx, a.scope, a.lease, r.Input.Checkpoint)
	if errors.Is(err, agents.ErrCheckpointNotFound) {
		return loaded, graph.Fail("The checkpoint that this run was to go on from is not kept any more.")
	}
	if err := a.stored(ctx, err); err != nil {
		return loaded, err
	}
	if loaded, err = a.w.o.Store.State(ctx, a.scope, r.Thread); err != nil {
		return loaded, unread(ctx, err)
	}
	a.line, a.step = loaded.Line, loaded.Step
	return loaded, nil
}

// branched reports whether a thread stands at the beginning of a line, so that what
// was said elsewhere is no part of it any more.
func branched(loaded agents.State) bool { return loaded.Head == nil || loaded.Head.Line != loaded.Line }

// begin makes a step of its own of what the run brings: its messages, or that it goes
// on from a pause. It is committed with the next one, or alone a moment later; a run
// that finds nothing to do ends with it.
func (a *attempt) begin(ctx context.Context, g *graph.Graph, loaded agents.State, from beginning) (beginning, error) {
	r := a.claim.Run
	var events []event.Envelope
	values, err := g.Decode(r.Input.Values)
	if err != nil {
		return from, err
	}
	writes := append(graph.AddMessages(r.Input.Messages...), values...)
	if again := r.Input.Resume; again != nil && !again.Jumps() {
		writes = append(leftovers(loaded.Head), writes...)
	}
	known, err := outcomesOf(ctx, a.w.o.Store, a.scope, r.Thread, loaded.Line, r.Token, unanswered(loaded.Messages))
	if err != nil {
		return from, unread(ctx, err)
	}
	b, err := g.Begin(loaded, graph.Input{
		Writes: writes, Resume: r.Input.Resume,
		Fill: func(s graph.State) (writes []graph.Write) {
			for _, c := range unanswered(s.Messages()) {
				m := closed(c.ID, c.Name, known, r.ID, a.w.o.Clock.Now())
				writes = append(writes, graph.AddMessage(m))
				events = append(events, a.envelope(event.ToolCallResult, event.Data(resultOf(m))))
			}
			return writes
		},
	})
	if err != nil {
		return from, err
	}
	a.kept.Store(len(loaded.Pending) > 0)
	m := a.manifest(g)
	a.begins = &m
	c := b.Commit
	begun := []event.Envelope{a.started(m)}
	if r.Input.Checkpoint != "" && branched(loaded) {
		begun = append([]event.Envelope{a.envelope(event.MessagesSnapshot, event.Data(event.SnapshotData{Messages: []json.RawMessage{}}))}, begun...)
	}
	from = beginning{state: c.State, next: c.Next, pending: c.Pending, resume: b.Resume}
	told := append(begun, events...)
	if finish := a.finishOf(c); finish != nil || a.kept.Load() || len(c.Pending) > 0 {
		return from, a.commit(ctx, agents.SourceInput, c, told, finish)
	}
	step, err := a.stepOf(agents.SourceInput, c, told, nil)
	if err != nil {
		return from, err
	}
	a.out.hold(step)
	a.moved(step)
	return from, nil
}

// started is the envelope that tells of the run's beginning.
func (a *attempt) started(m agents.Manifest) event.Envelope {
	r := a.claim.Run
	data := event.RunStartedData{
		ThreadID: string(r.Thread), RunID: string(r.ID), MessageIDs: make([]string, len(r.Input.Messages)), Assistant: string(r.Assistant),
		Version: r.AssistantVersion, Graph: a.assistant.Graph, Line: string(a.line), Model: m.Model, Memory: m.Memory, GraphHash: m.GraphHash[:12],
		ConfigHash: m.ConfigHash[:12],
	}
	for i, m := range r.Input.Messages {
		data.MessageIDs[i] = string(m.ID)
	}
	if r.Input.Resume != nil {
		data.Resumes = string(r.Input.Resume.Of)
	}
	return a.envelope(event.RunStarted, event.Data(data))
}

// requested is the envelope that tells of a pause.
func (a *attempt) requested(i agents.Interrupt, requests []agents.Review) event.Envelope {
	value := event.RequestedValue{InterruptID: i.ID, Kind: string(i.Kind), Node: i.Node, Value: i.Value}
	for _, r := range requests {
		if r.Interrupt == i.ID {
			value.Reviews = append(value.Reviews, event.RequestValue{ReviewID: string(r.ID), ToolCallID: r.CallID, Tool: r.Tool,
				Reason: r.Reason, Rule: r.Rule, DueAt: r.DueAt.UTC().Format(time.RFC3339)})
		}
	}
	e := a.envelope(event.Custom, event.NewCustom(event.ReviewRequested, value))
	e.Node = i.Node
	return e
}
