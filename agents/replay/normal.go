package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
)

// mode is how alike two sides have to be.
type mode int

const (
	// again: the same runs, executed a second time. Pauses, runs and checkpoints
	// have to be the same.
	again mode = iota
	// effects: the same work, however often it was interrupted. What counts is
	// what nodes did, in which steps, and the state in the end.
	effects
)

// line is one thing that happened, in its normal form.
type line struct {
	run, step  int
	path, node string
	text       string
}

// where says where it happened, for people.
func (l line) where() string {
	var out []string
	if l.run > 0 {
		out = append(out, fmt.Sprintf("run %d", l.run))
	}
	if l.step >= 0 {
		out = append(out, fmt.Sprintf("step %d", l.step))
	}
	if l.path != "" {
		out = append(out, "subgraph "+l.path)
	}
	if l.node != "" {
		out = append(out, "node "+l.node)
	}
	return strings.Join(out, ", ")
}

// group are the events of one step of one line.
type group struct {
	run, step  int
	ns         []string
	events     []event.Envelope
	checkpoint event.CheckpointValue
}

// fold brings a log into its normal form.
type fold struct {
	mode  mode
	names *names
	// void are the messages that were taken back; stands those of the final state,
	// which a lost attempt may have finished before it was lost.
	void, stands map[string]bool
	pauses       map[int]bool // checkpoints that keep a pause, by their place
	resumes      map[string]bool
	runs         map[string]int
	ended        map[string]bool
	// open are events of lines since their last checkpoint; inner the steps of
	// subgraphs since that of the thread's own line.
	open  map[string][]event.Envelope
	inner map[string][]group
	steps map[string]int
	out   []line
}

// normal gives the normal form of what happened in a recording.
func normal(r Recording, m mode) []line {
	f := &fold{
		mode: m, names: newNames(), void: map[string]bool{}, stands: map[string]bool{}, pauses: pausesOf(r.Events), resumes: map[string]bool{},
		runs: map[string]int{}, ended: map[string]bool{}, open: map[string][]event.Envelope{}, inner: map[string][]group{}, steps: map[string]int{},
	}
	for _, message := range r.State.Messages {
		f.stands[string(message.ID)] = true
	}
	for _, run := range r.Runs {
		f.resumes[string(run.ID)] = run.Resume != nil && len(run.Resume.Goto)+len(run.Resume.Sends) == 0
	}
	for i, e := range r.Events {
		f.take(i, e)
	}
	return f.out
}

// pausesOf finds the checkpoints that keep a pause. One of a subgraph says no
// more than that something is due there when its parent pauses.
func pausesOf(events []event.Envelope) map[int]bool {
	out := map[int]bool{}
	asked := false
	due := map[string]int{}
	for i, e := range events {
		name, value := e.CustomName()
		switch {
		case name == event.ReviewRequested:
			asked = true
		case name == event.CheckpointMade && len(e.NS) > 0:
			var d event.CheckpointValue
			delete(due, lineKey(e.NS))
			if json.Unmarshal(value, &d) == nil && len(d.Next) > 0 {
				due[lineKey(e.NS)] = i
			}
		case name == event.CheckpointMade:
			if asked {
				out[i] = true
				for _, at := range due {
					out[at] = true
				}
			}
			asked = false
			clear(due)
		}
	}
	return out
}

func (f *fold) take(i int, e event.Envelope) {
	key := lineKey(e.NS)
	switch name, value := e.CustomName(); {
	case e.Type == event.RunStarted:
		f.runs[e.RunID] = len(f.runs) + 1
	case e.Type == event.RunFinished, e.Type == event.RunError:
		f.end(e)
	case name == event.CheckpointMade:
		f.commit(i, e, value)
	case name == event.RunContinued:
		var d event.ContinuedValue
		if json.Unmarshal(value, &d) == nil {
			f.discard(d.Discarded, true)
		}
	case name == event.MessagesDiscarded:
		var d event.DiscardedValue
		if json.Unmarshal(value, &d) == nil {
			f.discard(d.Discarded, false)
		}
		f.open[key] = append(f.open[key], e)
	case e.Node != "":
		f.open[key] = append(f.open[key], e)
	}
}

// discard notes messages that are void. Those of a lost attempt stand if their
// task had finished, and so was not executed again.
func (f *fold) discard(ids []string, lost bool) {
	for _, id := range ids {
		if !lost || !f.stands[id] {
			f.void[id] = true
		}
	}
}

// end tells how a run ended; one that waited may be ended again later, by what
// came in its place. What a failed run had not committed does not count.
func (f *fold) end(e event.Envelope) {
	if f.ended[e.RunID] {
		return
	}
	f.ended[e.RunID] = true
	at := line{run: f.runs[e.RunID], step: -1}
	var finished event.RunFinishedData
	var failed event.RunErrorData
	switch {
	case e.Type == event.RunError && e.Decode(&failed) == nil:
		at.text = "the run fails " + f.names.render(map[string]string{"code": failed.Code, "node": failed.Node})
		f.open, f.inner = map[string][]event.Envelope{}, map[string][]group{}
	case f.mode == again && e.Decode(&finished) == nil:
		at.text = "the run ends with " + string(finished.Outcome)
	default:
		return
	}
	f.out = append(f.out, at)
}

// commit closes a step of a line.
func (f *fold) commit(i int, e event.Envelope, value json.RawMessage) {
	var d event.CheckpointValue
	if json.Unmarshal(value, &d) != nil {
		return
	}
	key := lineKey(e.NS)
	if f.mode == effects && (f.pauses[i] || d.Source == string(agents.SourceInput) && f.resumes[e.RunID]) {
		return // the step goes on in the run that goes on
	}
	g := group{run: f.runs[e.RunID], step: e.Step, ns: e.NS, events: f.open[key], checkpoint: d}
	delete(f.open, key)
	if f.mode == effects {
		f.steps[key]++
		g.run, g.step = 0, f.steps[key]-1
	}
	if key != "" {
		f.inner[key] = append(f.inner[key], g)
		return
	}
	for _, below := range f.nested() {
		f.write(below)
	}
	f.write(g)
}

// nested gives the steps of subgraphs, line by line. Lines of one node that ran
// side by side are in the order of what they did.
func (f *fold) nested() []group {
	keys := slices.SortedFunc(maps.Keys(f.inner), func(a, b string) int {
		x, y := f.inner[a], f.inner[b]
		return cmp.Or(cmp.Compare(pathOf(x[0].ns), pathOf(y[0].ns)), cmp.Compare(f.blank(x), f.blank(y)), cmp.Compare(a, b))
	})
	var out []group
	for _, key := range keys {
		out = append(out, f.inner[key]...)
	}
	f.inner = map[string][]group{}
	return out
}

func (f *fold) blank(groups []group) string {
	var out strings.Builder
	for _, g := range groups {
		for _, l := range f.lines(g, &names{blank: true}) {
			out.WriteString(l.node + " " + l.text + "\n")
		}
	}
	return out.String()
}

func (f *fold) write(g group) { f.out = append(f.out, f.lines(g, f.names)...) }

// lines renders a step: node by node in the order of their names, since those
// that run side by side tell in any order.
func (f *fold) lines(g group, n *names) []line {
	var out []line
	say := func(node, text string) {
		out = append(out, line{run: g.run, step: g.step, path: pathOf(g.ns), node: node, text: text})
	}
	for _, node := range nodesOf(g.events) {
		events := ofNode(g.events, node)
		for _, text := range taskLines(events, f.void, n) {
			say(node, text)
		}
		if f.mode == effects {
			continue
		}
		for _, e := range events {
			var d event.RequestedValue
			if name, value := e.CustomName(); name == event.ReviewRequested && json.Unmarshal(value, &d) == nil {
				say(node, string(name)+" "+n.render(map[string]any{"interrupt_id": d.InterruptID, "kind": d.Kind, "value": untimed(d.Value)}))
			}
		}
	}
	if f.mode == again {
		say("", "checkpoint "+n.render(map[string]any{"source": g.checkpoint.Source, "next": g.checkpoint.Next}))
	} else if len(out) > 0 {
		say("", "the step is complete")
	}
	return out
}

// stateLines gives the normal form of a state: a line for each message and each
// channel.
func stateLines(s State) []line {
	n := newNames()
	var out []line
	for i, m := range s.Messages {
		calls := make([]map[string]any, len(m.ToolCalls))
		for j, c := range m.ToolCalls {
			calls[j] = map[string]any{"toolCallId": c.ID, "name": c.Name, "args": c.Args}
		}
		fields := map[string]any{"messageId": string(m.ID), "role": m.Role, "text": m.Text, "status": m.Status, "name": m.Name, "toolCalls": calls,
			"toolCallId": m.ToolCallID, "summary": m.Summary, "data": m.Data, "blocks": m.Blocks, "model": m.Model, "usage": m.Usage, "author": m.Author}
		maps.DeleteFunc(fields, func(_ string, v any) bool { return empty(v) })
		out = append(out, line{step: -1, node: "", path: "", text: fmt.Sprintf("message %d ", i+1) + n.render(fields)})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		out = append(out, line{step: -1, text: "channel " + name + " " + n.render(untimed(s.Values[name]))})
	}
	return out
}

func empty(v any) bool {
	raw, err := json.Marshal(v)
	return err == nil && slices.Contains([]string{`""`, "null", "[]"}, string(raw))
}
