package present

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/views/studio"
)

// What the inspector shows of a thread at most; the store holds all of it.
const (
	inspectedMessages = 100
	inspectedText     = 600   // runes of a message
	inspectedJSON     = 8_000 // runes of a value, set out over lines
	inspectedDelta    = 200   // runes of a change
	inspectedRerun    = 120   // runes of the message that is sent again
)

// Graph presents a graph to draw.
func Graph(g *graph.Graph) studio.Graph {
	out := studio.Graph{Name: g.Name(), Start: graph.Start, End: graph.End, Nodes: g.Nodes()}
	for _, e := range g.Edges() {
		out.Edges = append(out.Edges, studio.Edge{From: e.From, To: e.To, Conditional: e.Conditional()})
	}
	return out
}

// Inspected presents a thread's state as it is stored, with its newest
// checkpoints.
func Inspected(v agents.View, checkpoints []agents.Checkpoint, now time.Time) studio.Thread {
	out := studio.Thread{ID: string(v.Thread.ID), Title: Title(v.Thread.Title), Status: string(v.Thread.Status), Line: string(v.State.Line),
		Step: v.State.Step, CanContinue: Continuable(v)}
	for _, r := range v.Open {
		out.Runs = append(out.Runs, studio.Run{ID: string(r.ID), Status: string(r.Status)})
	}
	if head := v.State.Head; head != nil {
		out.Next = agents.Nodes(head.Next)
		for _, i := range head.Interrupts {
			title := string(i.Kind) + " of " + i.Node
			if i.Break != "" {
				title = "breakpoint " + i.Break + " " + i.Node
			}
			out.Interrupts = append(out.Interrupts, studio.Interrupt{ID: i.ID, Title: title, Payload: clipped(JSON(i.Value), inspectedJSON)})
		}
	}
	for _, channel := range slices.Sorted(maps.Keys(v.State.Values)) {
		if strings.HasPrefix(channel, "__") {
			continue // the engine's own; private ones are what a developer looks for here
		}
		out.Values = append(out.Values, studio.Value{Channel: channel, Value: clipped(JSON(v.State.Values[channel]), inspectedJSON)})
	}
	out.Earlier = max(0, len(v.State.Messages)-inspectedMessages)
	for _, m := range v.State.Messages[out.Earlier:] {
		out.Messages = append(out.Messages, inspectedMessage(m))
	}
	if last, ok := LastAsked(v.State); ok {
		out.Last = clipped(last.Text, inspectedRerun)
	}
	for _, c := range checkpoints {
		out.Checkpoints = append(out.Checkpoints, inspectedCheckpoint(c, now))
	}
	return out
}

// LastAsked is the last message of a person.
func LastAsked(s agents.State) (agents.Message, bool) {
	for _, m := range slices.Backward(s.Messages) {
		if m.Role == agents.RoleUser {
			return m, true
		}
	}
	return agents.Message{}, false
}

// Continuable reports whether nodes of a thread are due that no run is going to
// execute: nothing waits for an answer, and no run is open. A breakpoint waits
// for nothing but this.
func Continuable(v agents.View) bool {
	return v.State.Head != nil && len(v.State.Head.Next) > 0 &&
		!slices.ContainsFunc(v.Open, func(r agents.Run) bool { return r.Status != agents.RunWaiting }) &&
		!slices.ContainsFunc(v.State.Head.Interrupts, func(i agents.Interrupt) bool { return i.Break == "" })
}

func inspectedMessage(m agents.Message) studio.Message {
	out := studio.Message{ID: string(m.ID), Role: string(m.Role), Text: clipped(m.Text, inspectedText),
		Status: string(m.Status), Tool: m.Name, CallID: m.ToolCallID}
	for _, c := range m.ToolCalls {
		out.Calls = append(out.Calls, studio.Call{ID: c.ID, Name: c.Name, Args: clipped(JSON(c.Args), inspectedJSON)})
	}
	return out
}

func inspectedCheckpoint(c agents.Checkpoint, now time.Time) studio.Checkpoint {
	out := studio.Checkpoint{Step: c.Step, Source: string(c.Source), Run: string(c.Run), Next: agents.Nodes(c.Next), Ops: len(c.Ops), Pauses: len(c.Interrupts),
		Whole: c.Snapshot != nil, At: Time(c.CreatedAt, now)}
	for _, channel := range slices.Sorted(maps.Keys(c.Deltas)) {
		for _, d := range c.Deltas[channel] {
			out.Deltas = append(out.Deltas, studio.Delta{Channel: channel, Op: string(d.Op), Value: clipped(compact(d.Value), inspectedDelta)})
		}
	}
	return out
}

func compact(value json.RawMessage) string {
	out, err := json.Marshal(value)
	if err != nil {
		return string(value) // the database holds only JSON
	}
	return string(out)
}

// clipped cuts a text to at most n runes.
func clipped(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n]) + "…"
}
