package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/internal/fault"
)

// answers are what the model of one run said in steps that were committed, in
// order.
type answers struct {
	calls [][]model.Chunk
	// fails is how the call after the last of them failed, if the run did there.
	fails error
}

// answersOf reads a run's answers from its log. A step that was not committed is
// executed again by whoever goes on, and so asks again: only the newest try of
// each node before a checkpoint counts.
func answersOf(events []event.Envelope, run agents.RunID) (answers, error) {
	var out answers
	open := map[string][]event.Envelope{}
	for _, e := range events {
		if agents.RunID(e.RunID) != run {
			continue
		}
		line := lineKey(e.NS)
		switch name, _ := e.CustomName(); {
		case e.Type == event.RunError:
			var d event.RunErrorData
			if err := e.Decode(&d); err != nil {
				return out, err
			}
			out.fails = fault.New(fault.KindUnavailable, d.Message).WithCode(d.Code)
		case name == event.CheckpointMade:
			for _, node := range nodesOf(open[line]) {
				chunks, err := chunksOf(newest(ofNode(open[line], node)))
				if err != nil {
					return out, err
				}
				if len(chunks) > 0 {
					out.calls = append(out.calls, chunks)
				}
			}
			open[line] = nil
		case e.Node != "":
			open[line] = append(open[line], e)
		}
	}
	return out, nil
}

// chunksOf turns what a node told of one answer back into the model's chunks;
// none if it asked no model.
func chunksOf(events []event.Envelope) ([]model.Chunk, error) {
	var out []model.Chunk
	asked := false
	calls := map[string]int{}
	for _, e := range events {
		switch name, value := e.CustomName(); {
		case e.Type == event.TextMessageContent:
			var d event.TextContentData
			if err := e.Decode(&d); err != nil {
				return nil, err
			}
			out = append(out, model.TextChunk(d.Delta))
		case e.Type == event.ToolCallStart:
			var d event.ToolStartData
			if err := e.Decode(&d); err != nil {
				return nil, err
			}
			calls[d.ToolCallID] = len(calls)
			out = append(out, model.ToolStart(calls[d.ToolCallID], d.ToolCallID, d.ToolCallName))
		case e.Type == event.ToolCallArgs:
			var d event.ToolArgsData
			if err := e.Decode(&d); err != nil {
				return nil, err
			}
			out = append(out, model.ToolArgs(calls[d.ToolCallID], d.Delta))
		case e.Type == event.ToolCallEnd:
			var d event.ToolEndData
			if err := e.Decode(&d); err != nil {
				return nil, err
			}
			out = append(out, model.ToolEnd(calls[d.ToolCallID]))
		case name == event.Usage:
			var d event.UsageValue
			if err := json.Unmarshal(value, &d); err != nil {
				return nil, fmt.Errorf("reading what a model call took: %w", err)
			}
			asked = true
			out = append(out, model.UsageChunk(model.Usage{Input: d.Input, Output: d.Output}))
		}
	}
	if !asked {
		return nil, nil
	}
	why := model.FinishStop
	if len(calls) > 0 {
		why = model.FinishTools
	}
	return append(out, model.FinishChunk(why)), nil
}

// recordedModel says again what was said, call by call.
type recordedModel struct {
	answers answers
	strange *strange

	mu   sync.Mutex
	next int
}

// Stream implements [model.Model].
func (m *recordedModel) Stream(context.Context, model.Request) iter.Seq2[model.Chunk, error] {
	return func(yield func(model.Chunk, error) bool) {
		m.mu.Lock()
		at := m.next
		m.next++
		m.mu.Unlock()
		if at >= len(m.answers.calls) {
			err := m.answers.fails
			if err == nil {
				err = m.strange.note("the model is asked %d times in a run, and the recording has %d answers", at+1, len(m.answers.calls))
			}
			yield(model.Chunk{}, err)
			return
		}
		for _, c := range m.answers.calls[at] {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// strange gathers what was asked for and is not in the recording.
type strange struct {
	mu   sync.Mutex
	what []string
}

func (s *strange) note(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.what = append(s.what, text)
	return fault.New(fault.KindUnavailable, "This is not in the recording: "+text)
}

func (s *strange) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.what)
}
