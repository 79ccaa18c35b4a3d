package modeltest

import (
	"encoding/json"

	"github.com/heddle/heddle/agents/model"
)

// Request is the fixed request of a scenario. Recordings are made with it.
func Request(id string, s Scenario) model.Request {
	req := model.Request{
		Model:  id,
		System: "You are Heddle guide, a helpful assistant.",
		Tools: []model.ToolSpec{
			{
				Name: "calculator", Description: "Works out one arithmetic expression.",
				Schema: object("expression"),
			},
			{
				Name: "weather", Description: "The weather in one city. Call it once per city.",
				Schema: object("place"),
			},
		},
	}
	say := func(text string) { req.Messages = append(req.Messages, model.UserText(text)) }
	switch s {
	case PlainText:
		req.Tools = nil
		say("hello")
	case OneCall:
		say("what is 17*23")
	case SeveralCall:
		say("weather in Berlin and Oslo")
	case CallsForth:
		say("what is 17*23")
		call := model.ToolCall{ID: "call_1", Name: "calculator", Args: json.RawMessage(`{"expression":"17*23"}`)}
		req.Messages = append(req.Messages,
			model.Message{Role: model.RoleAssistant, ToolCalls: []model.ToolCall{call}},
			model.ToolResult(call, "17*23 = 391", false))
	case LongAnswer:
		req.Tools = nil
		say("count to 200")
	case EmptyAnswer:
		req.Tools = nil
		say("say nothing")
	}
	return req
}

func object(field string) json.RawMessage {
	return json.RawMessage(`{"type":"object","properties":{"` + field +
		`":{"type":"string"}},"required":["` + field + `"],"additionalProperties":false}`)
}
