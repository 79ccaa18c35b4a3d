package model

import "encoding/json"

// ChunkKind says which fields of a [Chunk] mean something.
type ChunkKind string

// The kinds, with the fields they use.
const (
	ChunkText      ChunkKind = "text"       // Text
	ChunkReasoning ChunkKind = "reasoning"  // Text
	ChunkBlock     ChunkKind = "block"      // Block
	ChunkToolStart ChunkKind = "tool_start" // Index, ID, Name
	ChunkToolArgs  ChunkKind = "tool_args"  // Index, Text: the next piece of the argument JSON
	ChunkToolEnd   ChunkKind = "tool_end"   // Index
	ChunkUsage     ChunkKind = "usage"      // Usage: totals of this call so far, the last one counts
	ChunkFinish    ChunkKind = "finish"     // Finish
)

// Chunk is one event of a stream.
//
// Order: text, reasoning and blocks come as the model writes them. A tool call
// is one start, any number of args, one end; calls are numbered from 0 without
// holes in the order of their starts, and pieces of different calls may
// interleave. Usage comes any number of times. Finish comes once, last.
type Chunk struct {
	Kind ChunkKind
	// Text is never empty where a kind uses it.
	Text string
	// Index numbers the tool calls of one answer from 0.
	Index int
	// ID and Name of a tool call; both are known at its start.
	ID   string
	Name string
	// Block is a provider's own block, verbatim. One of type reasoning closes
	// the reasoning streamed just before it and gives it its signed original.
	Block  Block
	Usage  Usage
	Finish Finish
}

// Finish says why an answer ended.
type Finish string

// The reasons.
const (
	FinishStop   Finish = "stop"           // the model was done
	FinishTools  Finish = "tool_calls"     // it waits for the results of its calls
	FinishLength Finish = "length"         // MaxTokens or the context was used up
	FinishFilter Finish = "content_filter" // the provider withheld the rest
)

// Usage counts tokens as the provider bills them.
type Usage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
	// CachedInput is the part of Input that was read from a prompt cache.
	CachedInput int `json:"cached_input_tokens,omitempty"`
	// Reasoning is the part of Output that was thinking.
	Reasoning int `json:"reasoning_tokens,omitempty"`
}

// Total is what went in plus what came out.
func (u Usage) Total() int { return u.Input + u.Output }

// Add sums two calls.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		Input: u.Input + v.Input, Output: u.Output + v.Output,
		CachedInput: u.CachedInput + v.CachedInput, Reasoning: u.Reasoning + v.Reasoning,
	}
}

// TextChunk makes a piece of text.
func TextChunk(text string) Chunk { return Chunk{Kind: ChunkText, Text: text} }

// ReasoningChunk makes a piece of reasoning.
func ReasoningChunk(text string) Chunk { return Chunk{Kind: ChunkReasoning, Text: text} }

// RawChunk makes a verbatim block of a provider.
func RawChunk(kind BlockType, raw json.RawMessage) Chunk {
	return Chunk{Kind: ChunkBlock, Block: Block{Type: kind, Raw: raw}}
}

// ToolStart opens tool call number index.
func ToolStart(index int, id, name string) Chunk {
	return Chunk{Kind: ChunkToolStart, Index: index, ID: id, Name: name}
}

// ToolArgs carries the next piece of the arguments of call number index.
func ToolArgs(index int, piece string) Chunk {
	return Chunk{Kind: ChunkToolArgs, Index: index, Text: piece}
}

// ToolEnd closes tool call number index.
func ToolEnd(index int) Chunk { return Chunk{Kind: ChunkToolEnd, Index: index} }

// UsageChunk reports the totals so far.
func UsageChunk(u Usage) Chunk { return Chunk{Kind: ChunkUsage, Usage: u} }

// FinishChunk ends a stream.
func FinishChunk(why Finish) Chunk { return Chunk{Kind: ChunkFinish, Finish: why} }
