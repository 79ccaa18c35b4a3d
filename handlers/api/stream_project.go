package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
)

// frame is one server-sent event.
type frame struct {
	// mode and nth make the id, with the number of the envelope; a frame of mode 0
	// comes before all others.
	mode  streamMode
	nth   int
	event string
	data  []byte
}

// spot is where a frame stands: after the one with the number before, among
// those of its envelope by mode and order. It doesn't depend on which modes a
// client asked for, so a client may go on with others.
type spot struct {
	seq  int64
	mode streamMode
	nth  int
}

// String is the spot as a frame's id.
func (p spot) String() string {
	return strconv.FormatInt(p.seq, 10) + "-" + strconv.Itoa(int(p.mode)*1000+p.nth)
}

// parseSpot reads an id back. A bare number means all of that envelope; ok is
// false for what was never an id of ours.
func parseSpot(id string) (p spot, ok bool) {
	seq, rest, more := strings.Cut(id, "-")
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || n < 0 {
		return spot{}, false
	}
	p = spot{seq: n, mode: modeLifecycle + 1}
	if !more {
		return p, true
	}
	at, err := strconv.Atoi(rest)
	if err != nil || at < 0 {
		return spot{}, false
	}
	p.mode, p.nth = streamMode(at/1000), at%1000
	return p, true
}

// after reports whether p comes after q.
func (p spot) after(q spot) bool {
	return cmp.Or(cmp.Compare(p.seq, q.seq), cmp.Compare(p.mode, q.mode), cmp.Compare(p.nth, q.nth)) > 0
}

// stepOf names a step of a line: the thread's own, or that of a subgraph of a run's
// graph.
type stepOf struct {
	graph string
	ns    []string
	line  agents.LineID
	step  int
}

// stepReader reads the state at a step.
type stepReader func(stepOf) (agents.State, error)

// projector turns the envelopes of one run into the frames of the modes that a
// client wants. It belongs to one stream.
type projector struct {
	modes     streamModes
	subgraphs bool
	// stateless says that nobody can go back to the run's checkpoints: its thread goes.
	stateless bool
	thread    agents.ThreadID
	run       agents.RunID
	assistant agents.AssistantID
	graph     string
	line      agents.LineID
	attempt   int

	// quiet says that nobody reads the frames: what an envelope says is only noted.
	quiet bool

	at    stepReader
	words *spoken
	tasks *doing
	calls map[string]toolCall
	again again
	out   []frame
}

func newProjector(modes streamModes, subgraphs bool, r agents.Run, at stepReader) *projector {
	p := &projector{modes: modes, subgraphs: subgraphs, thread: r.Thread, run: r.ID, assistant: r.Assistant, attempt: max(1, r.Attempt), at: at,
		calls: map[string]toolCall{}}
	p.words, p.tasks = newSpoken(p), newDoing(p)
	return p
}

// steppedOf says what the newest step of a state changed.
func steppedOf(s agents.State) graph.Stepped {
	out := graph.Stepped{State: s}
	if s.Parent != nil {
		out.Was = s.Parent.Next
	}
	for _, op := range s.Head.Ops {
		if op.Kind == agents.OpRemove {
			continue
		}
		at := slices.IndexFunc(s.Messages, func(m agents.Message) bool { return m.ID == op.ID })
		if at < 0 {
			out.Messages = append(out.Messages, agents.Message{ID: op.ID}) // removed again within the step
			continue
		}
		out.Messages = append(out.Messages, s.Messages[at])
	}
	return out
}

// add keeps a frame of a mode that is wanted; ns is where it comes from.
func (p *projector) add(mode streamMode, name string, ns []string, data any) error {
	if !p.modes[mode] || p.quiet {
		return nil
	}
	raw, ok := data.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(data); err != nil {
			return fmt.Errorf("writing a %s frame as JSON: %w", name, err)
		}
	}
	p.push(mode, name, ns, raw)
	return nil
}

func (p *projector) push(mode streamMode, name string, ns []string, raw []byte) {
	if p.quiet {
		return
	}
	if len(ns) > 0 {
		name += "|" + strings.Join(ns, "|")
	}
	nth := 0
	for i := range p.out {
		if p.out[i].mode == mode {
			nth++
		}
	}
	p.out = append(p.out, frame{mode: mode, nth: nth, event: name, data: raw})
}

// frames projects one envelope. The frames belong to the projector until the
// next call.
func (p *projector) frames(e event.Envelope) ([]frame, error) {
	p.out = p.out[:0]
	if e.Attempt > 0 {
		p.attempt = e.Attempt
	}
	if err := p.project(e); err != nil {
		return nil, err
	}
	slices.SortStableFunc(p.out, func(a, b frame) int { return cmp.Or(cmp.Compare(a.mode, b.mode), cmp.Compare(a.nth, b.nth)) })
	return p.out, nil
}

func (p *projector) project(e event.Envelope) error {
	if e.Type == event.RunStarted {
		var d event.RunStartedData
		if err := e.Decode(&d); err != nil {
			return err
		}
		p.line, p.graph, p.assistant = agents.LineID(d.Line), d.Graph, agents.AssistantID(d.Assistant)
	}
	if len(e.NS) > 0 && !p.subgraphs {
		return nil
	}
	name, value := event.Name(""), json.RawMessage(nil)
	if e.Type == event.Custom {
		name, value = e.CustomName()
	}
	if name == event.GraphCustom {
		if err := p.add(modeCustom, "custom", e.NS, []byte(value)); err != nil {
			return err
		}
	}
	if p.modes.any(modeTuple, modeMessages) {
		if err := p.words.hear(e); err != nil {
			return err
		}
	}
	if p.modes[modeEvents] {
		if err := p.happened(e, name, value); err != nil {
			return err
		}
	}
	if p.modes.any(modeTasks, modeDebug) {
		if err := p.tasks.hear(e); err != nil {
			return err
		}
	}
	if p.modes[modeTools] {
		if err := p.tools(e); err != nil {
			return err
		}
	}
	if p.modes[modeLifecycle] {
		if err := p.life(e); err != nil {
			return err
		}
	}
	switch {
	case name != event.CheckpointMade:
		return nil
	case p.quiet:
		p.words.heard(value)
		return nil
	case p.looks(value):
		return p.checkpoint(e, value)
	default:
		return nil
	}
}

// looks reports whether the state behind a checkpoint has to be read.
func (p *projector) looks(value json.RawMessage) bool {
	if p.modes.any(modeUpdates, modeValues, modeCheckpoints, modeDebug, modeTasks) {
		return true
	}
	return p.modes.any(modeTuple, modeMessages) && p.words.missing(value)
}

// last is the last of a run: the frame that ends its stream, and how the run ended.
func (p *projector) last(e event.Envelope) (f frame, over bool) {
	switch e.Type {
	case event.RunFinished:
		return endFrame(), true
	case event.RunError:
		var d event.RunErrorData
		if e.Decode(&d) != nil {
			d = event.RunErrorData{Code: "error", Message: "The run failed."}
		}
		return errorFrame(d.Code, d.Message), true
	case event.Custom:
		if name, _ := e.CustomName(); name == event.MessageUnqueued {
			return endFrame(), true
		}
	default:
	}
	return frame{}, false
}

func endFrame() frame { return frame{mode: modeLifecycle + 1, event: "end", data: []byte("null")} }

func errorFrame(code, message string) frame {
	return frame{mode: modeLifecycle + 1, event: "error", data: errorData(code, message)}
}

// errorData is {"error", "message"}; two strings can always be written.
func errorData(code, message string) []byte {
	out := append([]byte(`{"error":`), quoted(code)...)
	out = append(append(out, `,"message":`...), quoted(message)...)
	return append(out, '}')
}

// quoted is a text as JSON.
func quoted(text string) []byte {
	raw, err := json.Marshal(text)
	if err != nil {
		return []byte(`""`) // a string can always be written
	}
	return raw
}

// metadataFrame opens a stream.
func metadataFrame(r agents.Run) frame {
	return frame{event: "metadata", data: fmt.Appendf(nil, `{"run_id":%q,"thread_id":%q,"attempt":%d}`, r.ID, r.Thread, max(1, r.Attempt))}
}

// isOf reports, without reading an envelope, whether it may be of a run: the run
// stands in its head, which we wrote.
func isOf(payload []byte, run agents.RunID) bool {
	return bytes.Contains(payload[:min(len(payload), 400)], []byte(`"run_id":"`+string(run)+`"`))
}
