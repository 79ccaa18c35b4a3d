package api

import (
	"encoding/json"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
)

// happened makes the frames of the mode events: what began and ended inside the
// run, in the words of LangChain's callbacks.
func (p *projector) happened(e event.Envelope, name event.Name, value json.RawMessage) error {
	tell := func(kind, what string, data fiber.Map) error {
		return p.add(modeEvents, "events", e.NS, fiber.Map{"event": kind, "name": what, "run_id": e.RunID, "tags": []string{},
			"parent_ids": []string{}, "metadata": p.metadata(e), "data": data})
	}
	switch e.Type {
	case event.RunStarted:
		return tell("on_chain_start", p.graph, fiber.Map{})
	case event.RunFinished:
		return tell("on_chain_end", p.graph, fiber.Map{})
	case event.StepStarted:
		return tell("on_chain_start", e.Node, fiber.Map{})
	case event.StepFinished:
		return tell("on_chain_end", e.Node, fiber.Map{})
	case event.TextMessageStart:
		return tell("on_chat_model_start", e.Node, fiber.Map{})
	case event.TextMessageContent:
		var d event.TextContentData
		if err := e.Decode(&d); err != nil {
			return err
		}
		return tell("on_chat_model_stream", e.Node, fiber.Map{"chunk": fiber.Map{"id": d.MessageID, "type": "AIMessageChunk", "content": d.Delta}})
	case event.TextMessageEnd:
		return tell("on_chat_model_end", e.Node, fiber.Map{})
	case event.ToolCallEnd:
		var d event.ToolEndData
		if err := e.Decode(&d); err != nil || d.Broken {
			return err
		}
		return tell("on_tool_start", e.Node, fiber.Map{"tool_call_id": d.ToolCallID})
	case event.ToolCallResult:
		var d event.ToolResultData
		if err := e.Decode(&d); err != nil {
			return err
		}
		return tell("on_tool_end", d.Name, fiber.Map{"tool_call_id": d.ToolCallID, "output": presentMessage(resultOf(d))})
	case event.Custom:
		if name == event.GraphCustom {
			return tell("on_custom_event", e.Node, fiber.Map{"value": value})
		}
	default:
	}
	return nil
}

// resultOf is the message that a tool's result becomes.
func resultOf(d event.ToolResultData) agents.Message {
	m := agents.Message{ID: agents.MessageID(d.MessageID), Role: agents.RoleTool, Name: d.Name, ToolCallID: d.ToolCallID, Text: d.Content}
	if d.Failed {
		m.Status = agents.MessageFailed
	}
	return m
}

// toolCall is what the mode tools knows of a call.
type toolCall struct{ name, input string }

// tools makes the frames of the mode tools.
func (p *projector) tools(e event.Envelope) error {
	switch e.Type {
	case event.ToolCallStart:
		var d event.ToolStartData
		if err := e.Decode(&d); err != nil {
			return err
		}
		p.calls[d.ToolCallID] = toolCall{name: d.ToolCallName}
		return nil
	case event.ToolCallArgs:
		var d event.ToolArgsData
		if err := e.Decode(&d); err != nil {
			return err
		}
		call := p.calls[d.ToolCallID]
		call.input += d.Delta
		p.calls[d.ToolCallID] = call
		return nil
	case event.ToolCallEnd:
		var d event.ToolEndData
		if err := e.Decode(&d); err != nil || d.Broken {
			return err
		}
		call := p.calls[d.ToolCallID]
		input := json.RawMessage(call.input)
		if !json.Valid(input) {
			input = json.RawMessage("null")
		}
		return p.tool(e, fiber.Map{"event": "on_tool_start", "toolCallId": d.ToolCallID, "name": call.name, "input": input})
	case event.ToolCallResult:
		var d event.ToolResultData
		if err := e.Decode(&d); err != nil {
			return err
		}
		delete(p.calls, d.ToolCallID)
		if d.Failed {
			return p.tool(e, fiber.Map{"event": "on_tool_error", "toolCallId": d.ToolCallID, "name": d.Name, "error": d.Content})
		}
		return p.tool(e, fiber.Map{"event": "on_tool_end", "toolCallId": d.ToolCallID, "name": d.Name, "output": presentMessage(resultOf(d))})
	default:
		return nil
	}
}

func (p *projector) tool(e event.Envelope, data fiber.Map) error {
	return p.add(modeTools, "tools", e.NS, data)
}

// life makes the frames of the mode lifecycle.
func (p *projector) life(e event.Envelope) error {
	tell := func(what string) error {
		return p.add(modeLifecycle, "lifecycle", e.NS, fiber.Map{"event": what, "namespace": append([]string{}, e.NS...), "run_id": e.RunID, "graph_name": p.graph})
	}
	switch e.Type {
	case event.RunStarted:
		return tell("started")
	case event.RunError:
		return tell("failed")
	case event.RunFinished:
		var d event.RunFinishedData
		if err := e.Decode(&d); err != nil {
			return err
		}
		if d.Outcome == event.OutcomeInterrupt {
			return tell("interrupted")
		}
		return tell("completed")
	default:
		return nil
	}
}
