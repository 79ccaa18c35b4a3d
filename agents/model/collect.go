package model

import (
	"encoding/json"
	"fmt"
	"iter"
)

// Answer is what one stream amounts to.
type Answer struct {
	Message Message
	Usage   Usage
	Finish  Finish
}

// Assembler builds the authoritative message while its chunks pass by to those
// who watch. The zero value is ready; it is not safe for concurrent use.
type Assembler struct {
	content  []Block
	calls    []openCall
	usage    Usage
	finish   Finish
	finished bool
}

type openCall struct {
	id, name string
	args     []byte
	ended    bool
}

// Add takes the next chunk. An error means that the provider broke the order
// that [Chunk] promises; it is an [*Error] of kind [Malformed].
func (a *Assembler) Add(c Chunk) error {
	if a.finished {
		return malformed("a %s chunk came after finish", c.Kind)
	}
	switch c.Kind {
	case ChunkText:
		a.extend(BlockText, c.Text)
	case ChunkReasoning:
		a.extend(BlockReasoning, c.Text)
	case ChunkBlock:
		a.addBlock(c.Block)
	case ChunkToolStart:
		if c.Index != len(a.calls) {
			return malformed("tool call %d started when %d were known", c.Index, len(a.calls))
		}
		if c.ID == "" || c.Name == "" {
			return malformed("tool call %d has no id or no name", c.Index)
		}
		a.calls = append(a.calls, openCall{id: c.ID, name: c.Name})
	case ChunkToolArgs, ChunkToolEnd:
		if c.Index < 0 || c.Index >= len(a.calls) || a.calls[c.Index].ended {
			return malformed("a %s chunk names tool call %d, which is not open", c.Kind, c.Index)
		}
		call := &a.calls[c.Index]
		call.args = append(call.args, c.Text...)
		call.ended = c.Kind == ChunkToolEnd
	case ChunkUsage:
		a.usage = c.Usage
	case ChunkFinish:
		return a.end(c.Finish)
	default:
		return malformed("chunk kind %q is unknown", c.Kind)
	}
	return nil
}

func (a *Assembler) end(why Finish) error {
	for i, c := range a.calls {
		if !c.ended {
			return malformed("tool call %d was never ended", i)
		}
	}
	a.finish, a.finished = why, true
	return nil
}

func (a *Assembler) extend(kind BlockType, text string) {
	if n := len(a.content); n > 0 && a.content[n-1].Type == kind && a.content[n-1].Raw == nil {
		a.content[n-1].Text += text
		return
	}
	a.content = append(a.content, Block{Type: kind, Text: text})
}

func (a *Assembler) addBlock(b Block) {
	if n := len(a.content); b.Type == BlockReasoning && n > 0 {
		if last := &a.content[n-1]; last.Type == BlockReasoning && last.Raw == nil {
			last.Raw = b.Raw
			return
		}
	}
	a.content = append(a.content, b)
}

// Finished reports whether the stream came to its proper end.
func (a *Assembler) Finished() bool { return a.finished }

// Answer gives what has been assembled so far. Before [Assembler.Finished] it
// is the text a person has seen of a broken answer, for showing and keeping:
// tool calls that never ended are left out, they must not run.
func (a *Assembler) Answer() Answer {
	m := Message{Role: RoleAssistant, Content: append([]Block(nil), a.content...)}
	for _, c := range a.calls {
		if !c.ended {
			continue
		}
		args := json.RawMessage(c.args)
		if len(args) == 0 {
			args = json.RawMessage("{}")
		}
		m.ToolCalls = append(m.ToolCalls, ToolCall{ID: c.id, Name: c.name, Args: args})
	}
	return Answer{Message: m, Usage: a.usage, Finish: a.finish}
}

// Collect ranges over seq once and returns the authoritative answer. Watchers
// see each chunk, in order, before the next one is asked for; an error of a
// watcher ends the call. On any error the answer holds what had arrived.
func Collect(seq iter.Seq2[Chunk, error], watchers ...func(Chunk) error) (Answer, error) {
	var a Assembler
	for chunk, err := range seq {
		if err != nil {
			return a.Answer(), fmt.Errorf("reading the model's stream: %w", err)
		}
		if err := a.Add(chunk); err != nil {
			return a.Answer(), err
		}
		for _, watch := range watchers {
			if err := watch(chunk); err != nil {
				return a.Answer(), fmt.Errorf("passing on a chunk: %w", err)
			}
		}
	}
	if !a.Finished() {
		return a.Answer(), &Error{Kind: CutStream, Message: "the stream ended without a finish"}
	}
	return a.Answer(), nil
}
