package api

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
)

// readConfig reads an assistant's config: {tags, recursion_limit, configurable}.
// Of configurable, what is a setting of ours is one and is checked; the rest are
// settings of the graph. What else stands in config is carried. broken gets what
// has the wrong type.
func readConfig(raw json.RawMessage, broken map[string]string) agents.AssistantConfig {
	var out agents.AssistantConfig
	all, ok := objectOf("config", strip(raw, 3), broken)
	if !ok {
		return out
	}
	configurable, _ := objectOf("config.configurable", all["configurable"], broken)
	delete(all, "configurable")
	// These two are taken in both places; config itself has the word.
	for _, name := range []string{limitKey, "multitask_strategy"} {
		value := all[name]
		if notGiven(value) {
			value = configurable[name]
		}
		if !notGiven(value) {
			setting(&out, name, wireField(name), value, broken)
		}
		delete(configurable, name)
		delete(all, name)
	}
	if tags := all["tags"]; !notGiven(tags) {
		setting(&out, "tags", "config.tags", tags, broken)
	}
	delete(all, "tags")
	for name := range settingSchemas(nil, nil) {
		if value := configurable[name]; !notGiven(value) {
			setting(&out, name, wireField(name), value, broken)
		}
		delete(configurable, name)
	}
	if len(configurable) > 0 {
		out.Params = configurable
	}
	if len(all) > 0 {
		out.Carried = all
	}
	return out
}

// limitKey stands in config itself, as the contract has it.
const limitKey = "recursion_limit"

func objectOf(field string, raw json.RawMessage, broken map[string]string) (map[string]json.RawMessage, bool) {
	out := map[string]json.RawMessage{}
	if notGiven(raw) {
		return out, true
	}
	if json.Unmarshal(raw, &out) != nil {
		broken[field] = "must be an object"
		return map[string]json.RawMessage{}, false
	}
	return out, true
}

// setting reads one setting. A number that is 0 would mean the default inside,
// which whoever writes it does not mean: it is judged as what is out of range.
func setting(into *agents.AssistantConfig, name, field string, value json.RawMessage, broken map[string]string) {
	if string(value) == "0" && name != "temperature" {
		value = json.RawMessage("-1")
	}
	one, err := json.Marshal(map[string]json.RawMessage{name: value})
	if err == nil {
		err = json.Unmarshal(one, into)
	}
	if wrong, ok := err.(*json.UnmarshalTypeError); ok {
		kind := jsonName(wrong.Type.Kind().String())
		if wrong.Type.Kind() == reflect.Int {
			kind = "a whole number"
		}
		broken[field+strings.TrimPrefix(wrong.Field, name)] = "must be " + kind + ", not " + wrong.Value
	} else if err != nil {
		broken[field] = "can't be read"
	}
}

// wireField is what a field of an assistant is called in a body.
func wireField(field string) string {
	switch field {
	case "name", "description", "metadata", "context":
		return field
	case "graph":
		return "graph_id"
	case limitKey, "tags":
		return "config." + field
	case "params":
		return "config.configurable"
	case "carried":
		return "config"
	default:
		return "config.configurable." + field
	}
}

// presentConfig gives back what readConfig read. A setting of the graph with the
// name of one of ours, which only a form can make, is not shown.
func presentConfig(c agents.AssistantConfig) fiber.Map {
	out, configurable := fiber.Map{}, fiber.Map{}
	for name, value := range c.Carried {
		out[name] = value
	}
	for name, value := range c.Params {
		configurable[name] = value
	}
	settings := c
	settings.Params, settings.Carried, settings.Tags, settings.RecursionLimit = nil, nil, nil, 0
	raw, err := json.Marshal(settings)
	if err == nil {
		own := fiber.Map{}
		err = json.Unmarshal(raw, &own)
		maps.Copy(configurable, own)
	}
	if err != nil {
		return out // settings are plain data, which always render
	}
	if len(c.Tags) > 0 {
		out["tags"] = c.Tags
	}
	if c.RecursionLimit != 0 {
		out[limitKey] = c.RecursionLimit
	}
	if len(configurable) > 0 {
		out["configurable"] = configurable
	}
	return out
}
