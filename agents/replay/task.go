package replay

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/heddle/heddle/agents/event"
)

// lineKey tells the lines of a thread's subgraphs apart; its own is empty.
func lineKey(ns []string) string { return strings.Join(ns, "/") }

// pathOf names the subgraphs of a namespace without their lines.
func pathOf(ns []string) string {
	out := make([]string, len(ns))
	for i, part := range ns {
		out[i], _, _ = strings.Cut(part, ":")
	}
	return strings.Join(out, "/")
}

// nodesOf lists the nodes of a step's events by name.
func nodesOf(events []event.Envelope) []string {
	var out []string
	for _, e := range events {
		if e.Node != "" && !slices.Contains(out, e.Node) {
			out = append(out, e.Node)
		}
	}
	slices.Sort(out)
	return out
}

func ofNode(events []event.Envelope, node string) []event.Envelope {
	return slices.DeleteFunc(slices.Clone(events), func(e event.Envelope) bool { return e.Node != node })
}

// newest gives what the last execution of a node's only task told: what a lost
// attempt, a failed try or a pause left before it is void.
func newest(events []event.Envelope) []event.Envelope {
	for i, e := range slices.Backward(events) {
		if e.Type == event.StepStarted {
			return events[i:]
		}
	}
	return events
}

// tasksOf lists the tasks of a node that began in a step, in order.
func tasksOf(events []event.Envelope, of event.Type) []int {
	var out []int
	for _, e := range events {
		var d event.StepData
		if e.Type == of && e.Decode(&d) == nil && !slices.Contains(out, d.Task) {
			out = append(out, d.Task)
		}
	}
	slices.Sort(out)
	return out
}

// spoken says which message an event is part of; empty for none.
func spoken(e event.Envelope, parents map[string]string) string {
	var d struct {
		MessageID string `json:"messageId"`
		Parent    string `json:"parentMessageId"`
		Call      string `json:"toolCallId"`
	}
	switch e.Type {
	case event.TextMessageStart, event.TextMessageContent, event.TextMessageEnd:
		if e.Decode(&d) == nil {
			return d.MessageID
		}
	case event.ToolCallStart:
		if e.Decode(&d) == nil {
			parents[d.Call] = d.Parent
			return d.Parent
		}
	case event.ToolCallArgs, event.ToolCallEnd:
		if e.Decode(&d) == nil {
			return parents[d.Call]
		}
	default:
		if name, value := e.CustomName(); name == event.Usage {
			var u event.UsageValue
			if json.Unmarshal(value, &u) == nil {
				return u.MessageID
			}
		}
	}
	return ""
}

// unit is what belongs together of what a node told: a message, a result, or one
// event alone.
type unit struct {
	message string
	result  bool
	events  []event.Envelope
}

// unitsOf parts a node's events; void are messages that were taken back.
func unitsOf(events []event.Envelope, void map[string]bool) []*unit {
	var out []*unit
	parents := map[string]string{}
	for _, e := range events {
		name, _ := e.CustomName()
		if e.Type == event.StepStarted || e.Type == event.StepFinished || name == event.MessagesDiscarded || name == event.ReviewRequested {
			continue
		}
		message := spoken(e, parents)
		if message != "" && void[message] {
			continue
		}
		at := slices.IndexFunc(out, func(u *unit) bool { return message != "" && u.message == message })
		if at < 0 {
			at = len(out)
			out = append(out, &unit{message: message, result: e.Type == event.ToolCallResult})
		}
		out[at].events = append(out[at].events, e)
	}
	return out
}

// lines renders a unit: pieces of text and of arguments are put together.
func (u *unit) lines(n *names) []string {
	var out []string
	var text strings.Builder
	args := map[string]string{}
	say := func(what string, v any) { out = append(out, what+" "+n.render(v)) }
	flush := func() {
		if text.Len() > 0 {
			say(string(event.TextMessageContent), map[string]any{"messageId": u.message, "delta": text.String()})
			text.Reset()
		}
	}
	for _, e := range u.events {
		switch name, value := e.CustomName(); {
		case e.Type == event.TextMessageContent:
			var d event.TextContentData
			if e.Decode(&d) == nil {
				text.WriteString(d.Delta)
			}
		case e.Type == event.ToolCallArgs:
			var d event.ToolArgsData
			if e.Decode(&d) == nil {
				args[d.ToolCallID] += d.Delta
			}
		case e.Type == event.ToolCallEnd:
			var d event.ToolEndData
			if e.Decode(&d) == nil {
				say(string(event.ToolCallArgs), map[string]any{"toolCallId": d.ToolCallID, "args": args[d.ToolCallID]})
				say(string(e.Type), d)
			}
		case name == event.Usage:
			flush()
			var d event.UsageValue
			if json.Unmarshal(value, &d) == nil {
				say(string(name), map[string]any{"message_id": d.MessageID, "model": d.Model, "input_tokens": d.Input, "output_tokens": d.Output})
			}
		case name != "":
			flush()
			say(string(name), untimed(value))
		default:
			flush()
			say(string(e.Type), timeless(e.Data))
		}
	}
	flush()
	return out
}

// timeless leaves out how long something took.
func timeless(data json.RawMessage) any {
	var fields map[string]any
	if json.Unmarshal(data, &fields) != nil {
		return data
	}
	delete(fields, "durationMs")
	return fields
}

// taskLines gives the lines of one node in one step.
func taskLines(events []event.Envelope, void map[string]bool, n *names) []string {
	tasks := tasksOf(events, event.StepStarted)
	if len(tasks) <= 1 {
		events = newest(events)
	}
	units := unitsOf(events, void)
	if len(tasks) > 1 {
		// Tasks of one node that ran side by side: nothing says whose is what.
		units = toldOnce(units)
		slices.SortStableFunc(units, func(a, b *unit) int { return cmp.Compare(a.blank(), b.blank()) })
	} else {
		inCallOrder(units, n)
	}
	var out []string
	for _, task := range tasks {
		out = append(out, string(event.StepStarted)+" "+n.render(map[string]any{"task": task}))
	}
	for _, u := range units {
		out = append(out, u.lines(n)...)
	}
	for _, task := range tasksOf(events, event.StepFinished) {
		out = append(out, string(event.StepFinished)+" "+n.render(map[string]any{"task": task}))
	}
	return out
}

// toldOnce leaves out what a lost attempt told and the next one told again: tasks
// that had not finished are executed anew. Messages are known by their ids.
func toldOnce(units []*unit) []*unit {
	newest := 0
	for _, u := range units {
		newest = max(newest, u.events[0].Attempt)
	}
	again := map[string]int{}
	for _, u := range units {
		if u.message == "" && u.events[0].Attempt == newest {
			again[u.blank()]++
		}
	}
	return slices.DeleteFunc(units, func(u *unit) bool {
		if u.message != "" || u.events[0].Attempt == newest || again[u.blank()] == 0 {
			return false
		}
		again[u.blank()]--
		return true
	})
}

// blank renders a unit without ids.
func (u *unit) blank() string { return strings.Join(u.lines(&names{blank: true}), "\n") }

// inCallOrder puts results that stand together into one order: calls made
// together are answered in any.
func inCallOrder(units []*unit, n *names) {
	for from := 0; from < len(units); from++ {
		to := from
		for to < len(units) && units[to].result {
			to++
		}
		slices.SortStableFunc(units[from:to], func(a, b *unit) int {
			return cmp.Or(cmp.Compare(n.rank(a), n.rank(b)), cmp.Compare(a.blank(), b.blank()))
		})
		from = max(from, to-1)
	}
}

// rank says when a result's call was first met.
func (n *names) rank(u *unit) int {
	var d event.ToolResultData
	if u.events[0].Decode(&d) != nil {
		return 0
	}
	return n.order[d.ToolCallID]
}
