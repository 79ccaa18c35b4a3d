package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/tool"
	"github.com/heddle/heddle/auth"
)

// Source is a thread as storage has it.
type Source struct {
	Name   string
	Events []event.Envelope
	// Runs are those of the log that began, in any order.
	Runs []agents.Run
	// Roles are those of the people who asked for runs; whoever is absent counts
	// as a member.
	Roles     map[auth.UserID]auth.Role
	Assistant agents.Assistant
	// Tools are those of the server.
	Tools []tool.Spec
	State agents.State
}

// Record makes a recording. Ids of people are replaced; what was said stays as
// it is. The error is an [*UnrepeatableError] where executing the runs again could
// not give the same.
func Record(s Source) (Recording, error) {
	r := Recording{Format: Format, Name: s.Name, Graph: Graph{Name: s.Assistant.Graph}, Config: s.Assistant.Config, Events: s.Events, State: stateOf(s.State)}
	for _, spec := range s.Tools {
		if slices.Contains(s.Assistant.Config.Tools, spec.Name) {
			r.Tools = append(r.Tools, recordedTool(spec))
		}
	}
	for _, run := range started(s.Events) {
		at := slices.IndexFunc(s.Runs, func(have agents.Run) bool { return have.ID == run })
		if at < 0 {
			return r, fmt.Errorf("recording thread %s: run %s is missing", s.Name, run)
		}
		have := s.Runs[at]
		if have.Assistant != s.Assistant.ID || have.AssistantVersion != s.Assistant.Version {
			return r, unrepeatable(run, "it ran with another version of the assistant than the other runs")
		}
		if have.Manifest != nil {
			r.Graph.Hash = have.Manifest.GraphHash
		}
		r.Runs = append(r.Runs, recordedRun(s, have))
	}
	if len(r.Runs) == 0 {
		return r, &UnrepeatableError{Why: "no run of the thread has begun"}
	}
	if err := r.repeatable(); err != nil {
		return r, err
	}
	return r.nameless(s)
}

func recordedRun(s Source, run agents.Run) Run {
	role := s.Roles[run.User]
	if !role.Valid() {
		role = auth.RoleMember
	}
	out := Run{ID: run.ID, Role: role, Messages: run.Input.Messages, Values: run.Input.Values, Filled: filled(s, run.ID)}
	if resume := run.Input.Resume; resume != nil {
		out.Resume = &Resume{Goto: resume.Goto, Sends: resume.Sends}
		for _, i := range resume.Interrupts {
			out.Resume.Answers = append(out.Resume.Answers, recordedAnswer(i.Answer))
		}
	}
	return out
}

// started lists the runs of a log in the order in which they began.
func started(events []event.Envelope) []agents.RunID {
	var out []agents.RunID
	for _, e := range events {
		if e.Type == event.RunStarted {
			out = append(out, agents.RunID(e.RunID))
		}
	}
	return out
}

// filled finds the results that the server, not a node, put in at a run's
// beginning.
func filled(s Source, run agents.RunID) []agents.Message {
	var out []agents.Message
	for _, e := range s.Events {
		if agents.RunID(e.RunID) != run {
			continue
		}
		if name, _ := e.CustomName(); name == event.CheckpointMade {
			break
		}
		var d event.ToolResultData
		if e.Type != event.ToolCallResult || e.Node != "" || e.Decode(&d) != nil {
			continue
		}
		m := agents.Message{ID: agents.MessageID(d.MessageID), Role: agents.RoleTool, Name: d.Name, ToolCallID: d.ToolCallID, Text: d.Content,
			Summary: d.Summary, Data: d.Data, Run: run, CreatedAt: e.Time}
		if d.Failed {
			m.Status = agents.MessageFailed
		}
		out = append(out, m)
	}
	return out
}

// nameless replaces the ids of people, wherever they stand.
func (r Recording) nameless(s Source) (Recording, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return r, fmt.Errorf("writing a recording: %w", err)
	}
	people := map[string]bool{}
	note := func(id string) {
		if id == "" || people[id] {
			return
		}
		people[id] = true
		raw = bytes.ReplaceAll(raw, []byte(id), fmt.Appendf(nil, "00000000-0000-4000-8000-%012d", len(people)))
	}
	for _, run := range s.Runs {
		note(string(run.User))
	}
	for _, m := range s.State.Messages {
		note(m.Author)
	}
	for _, e := range s.Events {
		var d event.DecidedValue
		if name, value := e.CustomName(); name == event.ReviewDecided && json.Unmarshal(value, &d) == nil {
			note(d.By)
		}
	}
	var out Recording
	if err := json.Unmarshal(raw, &out); err != nil {
		return r, fmt.Errorf("reading a recording: %w", err)
	}
	return out, nil
}

// WhyCut is the reason for a thread whose oldest events are gone.
const WhyCut = "its log does not reach back to its beginning"

// UnrepeatableError says why a thread can't be executed again: something came
// into it from outside at a moment that no recording has.
type UnrepeatableError struct {
	Run agents.RunID
	Why string
}

// Error says why.
func (e *UnrepeatableError) Error() string {
	if e.Run == "" {
		return "the thread can't be replayed: " + e.Why
	}
	return fmt.Sprintf("run %s can't be replayed: %s", e.Run, e.Why)
}

func unrepeatable[T ~string](run T, why string) error {
	return &UnrepeatableError{Run: agents.RunID(run), Why: why}
}

// unknownOutcome is the rule of a request about a call that was under way when
// its server died.
const unknownOutcome = "unknown outcome"

// repeatable refuses what execution can't bring about again.
func (r Recording) repeatable() error {
	if len(r.Events) == 0 || r.Events[0].Seq > 1 {
		return unrepeatable("", WhyCut)
	}
	ended := map[string]bool{}
	var err error
	for i, e := range r.Events {
		switch name, value := e.CustomName(); {
		case e.Type == event.MessagesSnapshot:
			err = unrepeatable(e.RunID, "a client changed the thread's state")
		case e.Type == event.RunFinished && !ended[e.RunID]:
			ended[e.RunID] = true
			err = r.finished(e)
		case e.Type == event.RunError:
			ended[e.RunID] = true
			if ends, ok := lastCheckpoint(r.Events[:i], e.RunID); ok && len(ends.Next) == 0 {
				err = unrepeatable(e.RunID, "it failed in mid-answer, and what it had said by then was kept")
			}
		case name == event.CheckpointMade:
			var d event.CheckpointValue
			if json.Unmarshal(value, &d) == nil && (d.Source == string(agents.SourceUpdate) || d.Source == string(agents.SourceFork)) {
				err = unrepeatable(e.RunID, "the thread's history was changed or forked")
			}
		case name == event.ReviewRequested:
			var d event.RequestedValue
			if json.Unmarshal(value, &d) == nil && slices.ContainsFunc(d.Reviews, func(v event.RequestValue) bool { return v.Rule == unknownOutcome }) {
				err = unrepeatable(e.RunID, "a call was under way when its server died")
			}
		}
		if err != nil {
			return err
		}
	}
	for _, run := range r.Runs {
		if len(run.Values) > 0 {
			return unrepeatable(run.ID, "it wrote to channels besides the messages")
		}
		if !ended[string(run.ID)] {
			return unrepeatable(run.ID, "it has not ended")
		}
	}
	return nil
}

func (r Recording) finished(e event.Envelope) error {
	var d event.RunFinishedData
	if err := e.Decode(&d); err != nil {
		return err
	}
	if d.Outcome == event.OutcomeCancelled {
		return unrepeatable(e.RunID, "somebody stopped it")
	}
	return nil
}

// lastCheckpoint finds the newest one of a run on the thread's own line.
func lastCheckpoint(events []event.Envelope, run string) (out event.CheckpointValue, ok bool) {
	for _, e := range slices.Backward(events) {
		name, value := e.CustomName()
		if name == event.CheckpointMade && e.RunID == run && len(e.NS) == 0 {
			return out, json.Unmarshal(value, &out) == nil
		}
	}
	return out, false
}

// ErrUnknownGraph says that a recording's graph is not at hand.
var ErrUnknownGraph = errors.New("the graph is not at hand")
