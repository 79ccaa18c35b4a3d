package openai

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	sdk "github.com/openai/openai-go/v3"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/internal/id"
)

// reader turns the chunks of one answer into ours.
type reader struct {
	newID id.Source
	// used are the ids of calls that this thread knows already.
	used   map[string]bool
	calls  []*toolCall
	opened int
	finish string
	// any tells whether a chunk of this answer has come at all.
	any bool
}

// toolCall is one call while its pieces arrive. It is told of once its name is
// known; pieces of arguments that come before that are held back.
type toolCall struct {
	number int64  // the server's
	wireID string // the server's, if it gave one
	index  int    // ours: the order of the starts
	name   string
	held   string
	whole  []byte // the arguments so far, to see where a call without number ends
	opened bool
}

// read gives what a chunk means, in order.
func (r *reader) read(chunk sdk.ChatCompletionChunk) []model.Chunk {
	var out []model.Chunk
	if chunk.JSON.Choices.Valid() || chunk.JSON.Usage.Valid() {
		r.any = true
	}
	for _, choice := range chunk.Choices {
		if choice.Index != 0 {
			continue // we ask for one answer
		}
		if text := reasoning(choice.Delta); text != "" {
			out = append(out, model.ReasoningChunk(text))
		}
		if text := choice.Delta.Content; text != "" {
			out = append(out, model.TextChunk(text))
		}
		if text := choice.Delta.Refusal; text != "" {
			out = append(out, model.TextChunk(text)) // the model's own words to the person
		}
		for _, piece := range choice.Delta.ToolCalls {
			out = append(out, r.take(piece)...)
		}
		if choice.FinishReason != "" {
			r.finish = choice.FinishReason
		}
	}
	if chunk.JSON.Usage.Valid() {
		u := chunk.Usage
		out = append(out, model.UsageChunk(model.Usage{
			Input: int(u.PromptTokens), Output: int(u.CompletionTokens),
			CachedInput: int(u.PromptTokensDetails.CachedTokens), Reasoning: int(u.CompletionTokensDetails.ReasoningTokens),
		}))
	}
	return out
}

// reasoning is the thinking that some compatible servers show; OpenAI does not.
func reasoning(d sdk.ChatCompletionChunkChoiceDelta) string {
	for _, name := range []string{"reasoning_content", "reasoning"} {
		var text string
		if json.Unmarshal([]byte(d.JSON.ExtraFields[name].Raw()), &text) == nil && text != "" {
			return text
		}
	}
	return ""
}

// take adds a piece to its call, which it may open.
func (r *reader) take(piece sdk.ChatCompletionChunkChoiceDeltaToolCall) []model.Chunk {
	call := r.find(piece)
	if call == nil {
		call = &toolCall{number: piece.Index}
		r.calls = append(r.calls, call)
	}
	if call.wireID == "" {
		call.wireID = piece.ID
	}
	call.held += piece.Function.Arguments
	call.whole = append(call.whole, piece.Function.Arguments...)
	var out []model.Chunk
	if !call.opened {
		if call.name = piece.Function.Name; call.name == "" {
			return nil
		}
		call.opened, call.index = true, r.opened
		r.opened++
		out = append(out, model.ToolStart(call.index, r.name(call.wireID), call.name))
	}
	if call.held != "" {
		out = append(out, model.ToolArgs(call.index, call.held))
		call.held = ""
	}
	return out
}

// name gives a call its id: the server's, or one of ours where it gave none or
// one that it has used before, such as call_0 in every answer. Effects are
// keyed by it. OpenAI takes up to 40 characters back.
func (r *reader) name(wireID string) string {
	if wireID == "" || r.used[wireID] {
		wireID = "call_" + strings.ReplaceAll(r.newID(), "-", "")
	}
	r.used[wireID] = true
	return wireID
}

// find gives the call that a piece belongs to, nil for a new one. The number
// decides, except where servers give every call the same or none: there another
// id, or a name after whole arguments, begins another call.
func (r *reader) find(piece sdk.ChatCompletionChunkChoiceDeltaToolCall) *toolCall {
	numbered, named := piece.JSON.Index.Valid(), piece.Function.Name != ""
	for _, call := range slices.Backward(r.calls) {
		if numbered && call.number != piece.Index {
			continue
		}
		if piece.ID != "" && call.wireID != "" {
			// An id that changes from piece to piece of one number means nothing.
			if call.wireID == piece.ID || numbered && !named {
				return call
			}
			continue
		}
		if named && call.opened && piece.Function.Arguments != "" && json.Valid(call.whole) {
			return nil
		}
		return call
	}
	return nil
}

// end gives what closes the answer: the ends of the calls and why it ended.
func (r *reader) end() ([]model.Chunk, error) {
	var out []model.Chunk
	for _, call := range r.calls {
		if !call.opened {
			return nil, errors.New("a tool call has no name")
		}
		out = append(out, model.ToolEnd(call.index))
	}
	return append(out, model.FinishChunk(r.reason())), nil
}

// reason maps the wire's word. Some servers say stop after asking for tools, or
// have words of their own: what the answer holds decides then.
func (r *reader) reason() model.Finish {
	switch {
	case r.finish == "length":
		return model.FinishLength
	case r.finish == "content_filter":
		return model.FinishFilter
	case len(r.calls) > 0:
		return model.FinishTools
	default:
		return model.FinishStop
	}
}
