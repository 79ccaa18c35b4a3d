package api

import (
	"encoding/json"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/tool"
)

// settingSchemas describe the settings that an assistant's config.configurable
// knows: agents.AssistantConfig in JSON Schema, but for what stands elsewhere in
// config. Their names are also the list of what is known.
func settingSchemas(models []model.Entry, tools []tool.Spec) map[string]fiber.Map {
	text := func(limit int, about string) fiber.Map {
		return fiber.Map{"type": "string", "maxLength": limit, "description": about}
	}
	whole := func(low, high int, about string) fiber.Map {
		return fiber.Map{"type": "integer", "minimum": low, "maximum": high, "description": about}
	}
	either := func(about string) fiber.Map { return fiber.Map{"type": "boolean", "description": about} }
	choice := func(about string, words ...string) fiber.Map {
		return fiber.Map{"type": "string", "enum": words, "description": about}
	}
	out := map[string]fiber.Map{
		"model":              {"type": "string", "description": "The model's id"},
		"prompt":             text(agents.MaxPrompt, "The system prompt"),
		"assistant_role":     text(agents.MaxPersonality, "Added to the prompt, unless it is helpful"),
		"personality":        text(agents.MaxPersonality, "Added to the prompt"),
		"response_style":     text(agents.MaxPersonality, "Added to the prompt"),
		"temperature":        {"type": "number", "minimum": 0, "maximum": 2, "description": "How freely the model chooses its words"},
		"max_tokens":         whole(100, 10_000, "The longest answer"),
		"max_model_calls":    whole(1, 500, "How often a run asks the model"),
		"max_tool_calls":     whole(1, 1000, "How many calls of tools a run makes; without bound unless set"),
		"on_limit":           choice("What happens at max_model_calls", agents.OnLimitEnd, agents.OnLimitError),
		"multitask_strategy": choice("What new input does to a busy thread where the request does not say", "enqueue", "reject", "interrupt", "rollback"),
		"enable_tools":       either("Whether the tools may be used"),
		"enable_memory":      either("Whether the tools that remember may be used"),
		"tools": {"type": "array", "uniqueItems": true, "items": fiber.Map{"type": "string", "enum": toolNames(tools)},
			"description": "The tools the assistant may use"},
		"policies": {"type": "array", "maxItems": agents.MaxPolicies, "items": policySchema(tools), "description": "When a person looks at a tool's calls"},
		"starters": {"type": "array", "maxItems": 6, "items": fiber.Map{"type": "string", "maxLength": agents.MaxStarter},
			"description": "Prompts offered on an empty thread"},
		"tool_timeout": whole(1, 600, "The longest call of a tool, in seconds"),
		// Nothing acts on these yet.
		"web_search":            either("Kept, without effect yet"),
		"memory_retention_days": whole(1, 3650, "Kept, without effect yet"),
		"max_memory_items":      whole(1, 100_000, "Kept, without effect yet"),
		"content_filter":        either("Kept, without effect yet"),
		"pii_detection":         either("Kept, without effect yet"),
	}
	ids := []string{}
	for _, m := range models {
		ids = append(ids, m.ID)
	}
	out["model"]["examples"] = ids
	var defaults map[string]json.RawMessage
	if raw, err := json.Marshal((agents.AssistantConfig{}).Defaults()); err == nil && json.Unmarshal(raw, &defaults) == nil {
		for name, value := range defaults {
			if schema, ok := out[name]; ok {
				schema["default"] = value
			}
		}
	}
	return out
}

func toolNames(tools []tool.Spec) []string {
	out := []string{}
	for _, t := range tools {
		out = append(out, t.Name)
	}
	return out
}

// policySchema describes agents.ToolPolicy.
func policySchema(tools []tool.Spec) fiber.Map {
	words := fiber.Map{"type": "array", "items": fiber.Map{"type": "string"}}
	return fiber.Map{"type": "object", "required": []string{"tool", "review"}, "properties": fiber.Map{
		"tool":   fiber.Map{"type": "string", "enum": toolNames(tools)},
		"review": fiber.Map{"type": "string", "enum": []string{agents.ReviewNever, agents.ReviewAlways, agents.ReviewWhen}},
		"when": fiber.Map{"type": "array", "maxItems": agents.MaxConditions, "items": fiber.Map{"type": "object", "required": []string{"path", "op"},
			"properties": fiber.Map{"path": fiber.Map{"type": "string"}, "op": fiber.Map{"type": "string"}, "value": fiber.Map{}}}},
		"roles": words, "exempt_roles": words, "decisions": words,
		"due_minutes": fiber.Map{"type": "integer", "minimum": 1, "maximum": agents.MaxDueMinutes},
	}}
}
