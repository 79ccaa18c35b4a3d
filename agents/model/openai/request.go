package openai

import (
	"encoding/json"
	"fmt"
	"net/url"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/shared"

	"github.com/heddle/heddle/agents/model"
)

// dialect is what differs between OpenAI and servers that came after it.
type dialect struct {
	// tokens names the parameter that bounds an answer.
	tokens string
}

// The two names of one parameter. OpenAI's reasoning models refuse the old one,
// which many compatible servers are alone in knowing.
const (
	paramMaxCompletion = "max_completion_tokens"
	paramMaxTokens     = "max_tokens"
)

// dialectOf goes by the host: only OpenAI itself is sure to know the new name.
// Where the guess is wrong the server's refusal mends it, see [lessons].
func dialectOf(base *url.URL) dialect {
	if base.Hostname() == "api.openai.com" {
		return dialect{tokens: paramMaxCompletion}
	}
	return dialect{tokens: paramMaxTokens}
}

// params puts a request into the SDK's terms, without the parameters that the
// model is known to refuse.
func (m *Model) params(req model.Request, without refusals) (sdk.ChatCompletionNewParams, error) {
	p := sdk.ChatCompletionNewParams{Model: req.Model}
	if req.System != "" {
		p.Messages = append(p.Messages, sdk.SystemMessage(req.System))
	}
	for _, msg := range req.Messages {
		p.Messages = append(p.Messages, message(msg))
	}
	for _, t := range req.Tools {
		tool, err := function(t)
		if err != nil {
			return p, err
		}
		p.Tools = append(p.Tools, tool)
	}
	if choice := req.Params.ToolChoice; choice != "" && len(req.Tools) > 0 {
		p.ToolChoice.OfAuto = param.NewOpt(string(choice))
	}
	if t := req.Params.Temperature; t != nil && !without.has("temperature") {
		p.Temperature = param.NewOpt(*t)
	}
	if limit := int64(req.Params.MaxTokens); limit > 0 {
		switch m.tokensParam(without) {
		case paramMaxCompletion:
			p.MaxCompletionTokens = param.NewOpt(limit)
		case paramMaxTokens:
			p.MaxTokens = param.NewOpt(limit)
		}
	}
	if len(req.Params.Stop) > 0 && !without.has("stop") {
		p.Stop.OfStringArray = req.Params.Stop
	}
	if req.Params.Effort != "" && !without.has("reasoning_effort") {
		p.ReasoningEffort = shared.ReasoningEffort(req.Params.Effort)
	}
	if !without.has("stream_options") {
		p.StreamOptions.IncludeUsage = param.NewOpt(true)
	}
	return p, nil
}

// tokensParam is the name by which the model takes the bound; "" if by none.
func (m *Model) tokensParam(without refusals) string {
	other := paramMaxTokens
	if m.dialect.tokens == paramMaxTokens {
		other = paramMaxCompletion
	}
	for _, name := range []string{m.dialect.tokens, other} {
		if !without.has(name) {
			return name
		}
	}
	return ""
}

// message puts one turn into the SDK's terms. Reasoning is not sent back: this
// protocol has no place for it.
func message(msg model.Message) sdk.ChatCompletionMessageParamUnion {
	switch msg.Role {
	case model.RoleAssistant:
		var a sdk.ChatCompletionAssistantMessageParam
		if text := msg.Text(); text != "" || len(msg.ToolCalls) == 0 {
			a.Content.OfString = param.NewOpt(text)
		}
		for _, c := range msg.ToolCalls {
			a.ToolCalls = append(a.ToolCalls, sdk.ChatCompletionMessageToolCallUnionParam{
				OfFunction: &sdk.ChatCompletionMessageFunctionToolCallParam{
					ID:       c.ID,
					Function: sdk.ChatCompletionMessageFunctionToolCallFunctionParam{Name: c.Name, Arguments: arguments(c.Args)},
				}})
		}
		return sdk.ChatCompletionMessageParamUnion{OfAssistant: &a}
	case model.RoleTool:
		return sdk.ToolMessage(msg.Text(), msg.ToolCallID)
	default:
		return user(msg)
	}
}

// arguments are sent back as they were written; a call without any had an
// empty object.
func arguments(args json.RawMessage) string {
	if len(args) == 0 {
		return "{}"
	}
	return string(args)
}

// user sends plain text as a string, which every server reads, and pictures as
// parts: blocks of type image_url go as they are, those of others not at all.
func user(msg model.Message) sdk.ChatCompletionMessageParamUnion {
	var parts []sdk.ChatCompletionContentPartUnionParam
	pictures := false
	for _, b := range msg.Content {
		switch {
		case b.Type == model.BlockText:
			parts = append(parts, sdk.TextContentPart(b.Text))
		case b.Type == "image_url" && b.Raw != nil:
			parts = append(parts, param.Override[sdk.ChatCompletionContentPartUnionParam](b.Raw))
			pictures = true
		}
	}
	if !pictures {
		return sdk.UserMessage(msg.Text())
	}
	return sdk.UserMessage(parts)
}

func function(t model.ToolSpec) (sdk.ChatCompletionToolUnionParam, error) {
	f := shared.FunctionDefinitionParam{Name: t.Name}
	if t.Description != "" {
		f.Description = param.NewOpt(t.Description)
	}
	if err := json.Unmarshal(t.Schema, &f.Parameters); err != nil {
		return sdk.ChatCompletionToolUnionParam{}, fmt.Errorf("reading the schema of tool %s: %w", t.Name, err)
	}
	return sdk.ChatCompletionFunctionTool(f), nil
}
