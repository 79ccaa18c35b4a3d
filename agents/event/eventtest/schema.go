// Package eventtest turns the catalogue of envelopes into what is published
// about them: docs/envelopes.schema.json, docs/envelopes.md, and a validator
// that tests hold real envelopes against.
//
// The schema describes one version exactly and knows no further field, so that
// an envelope which is not documented fails a test. Only tests import it.
package eventtest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
)

// Patterns of the envelope's own fields: ids are lower-case UUIDs, times are
// UTC with milliseconds.
const (
	patternID   = `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`
	patternTime = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$`
)

// Schema builds the JSON Schema, draft 2020-12, of every envelope that the
// catalogue does not merely reserve. The data of each entry stands in $defs
// under its key.
func Schema() (*jsonschema.Schema, error) {
	s := &jsonschema.Schema{
		Schema: "https://json-schema.org/draft/2020-12/schema", Title: "Heddle envelope, version 1",
		Description: "What a thread's log holds and its watchers receive. Generated from agents/event.",
		Defs:        map[string]*jsonschema.Schema{},
	}
	envelope(s)
	var types, names []any
	var values []*jsonschema.Schema
	for _, e := range event.Catalogue() {
		if e.Reserved {
			continue
		}
		data, err := form(e)
		if err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", e.Key(), err)
		}
		data.Description = e.Meaning
		s.Defs[e.Key()] = data
		ref := &jsonschema.Schema{Ref: "#/$defs/" + e.Key()}
		if e.Type == event.Custom {
			names = append(names, string(e.Name))
			values = append(values, when("name", string(e.Name), "value", ref))
			continue
		}
		types = append(types, string(e.Type))
		rule := when("type", string(e.Type), "data", ref)
		if e.Type != event.MessagesSnapshot { // the others are told by an attempt
			rule.Then.Required = []string{"run_id", "attempt"}
		}
		s.AllOf = append(s.AllOf, rule)
	}
	s.AllOf = append(s.AllOf, when("type", string(event.Custom), "data", &jsonschema.Schema{
		Type: "object", Required: []string{"name", "value"}, AdditionalProperties: never(), AllOf: values,
		Properties: map[string]*jsonschema.Schema{"name": {Enum: names}, "value": {}}, PropertyOrder: []string{"name", "value"},
	}))
	s.Properties["type"].Enum = append(types, string(event.Custom))
	return s, nil
}

// envelope describes what surrounds the data.
func envelope(s *jsonschema.Schema) {
	field := func(name, kind, description string) *jsonschema.Schema {
		f := &jsonschema.Schema{Type: kind, Description: description}
		s.Properties[name] = f
		s.PropertyOrder = append(s.PropertyOrder, name)
		return f
	}
	s.Type, s.AdditionalProperties, s.Properties = "object", never(), map[string]*jsonschema.Schema{}
	s.Required = []string{"v", "seq", "epoch", "type", "ts", "thread_id", "data"}
	field("v", "integer", "the version of this form").Const = jsonschema.Ptr[any](event.Version)
	field("seq", "integer", "the number in the thread's log: dense, final, from 1").Minimum = jsonschema.Ptr(1.0)
	field("epoch", "string", "changes when the log was cut: numbers of two epochs are not compared").Pattern = patternID
	field("type", "string", "the type, as in AG-UI; CUSTOM is one of ours and has its name in the data")
	field("ts", "string", "when it happened, UTC").Pattern = patternTime
	field("thread_id", "string", "the thread").Pattern = patternID
	field("run_id", "string", "the run it is about; none when it is about the thread alone").Pattern = patternID
	field("attempt", "integer", "which attempt of the run, from 1: a new one begins when a worker was lost").Minimum = jsonschema.Ptr(1.0)
	field("step", "integer", "the step it belongs to, counted over the thread; none before the first").Minimum = jsonschema.Ptr(1.0)
	field("node", "string", "the node of the graph that tells it").MinLength = jsonschema.Ptr(1)
	field("ns", "array", "the path of nested graphs to the node").Items = &jsonschema.Schema{Type: "string"}
	field("data", "object", "what happened, as the type says")
}

// form is the schema of an entry's data or, for CUSTOM, of its value.
func form(e event.Entry) (*jsonschema.Schema, error) {
	if e.Data == nil {
		return &jsonschema.Schema{}, nil
	}
	s, err := schemaOf(reflect.TypeOf(e.Data))
	if err != nil {
		return nil, err
	}
	if delta := s.Properties["delta"]; delta != nil {
		delta.MinLength = jsonschema.Ptr(1)
	}
	if e.Name == event.MessageQueued {
		// agents/event lies below the messages and carries them as JSON.
		messages, err := schemaOf(reflect.TypeFor[[]agents.Message]())
		if err != nil {
			return nil, err
		}
		messages.Description = "the messages it brings, as the thread will store them"
		s.Properties["messages"] = messages
	}
	return s, nil
}

func schemaOf(t reflect.Type) (*jsonschema.Schema, error) {
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[json.RawMessage](): {},
		reflect.TypeFor[event.Outcome](): {Type: "string", Enum: []any{
			string(event.OutcomeSuccess), string(event.OutcomeInterrupt), string(event.OutcomeCancelled)}},
		reflect.TypeFor[agents.MessageRole](): {Type: "string", Enum: []any{
			string(agents.RoleUser), string(agents.RoleAssistant), string(agents.RoleTool), string(agents.RoleSystem)}},
	}})
	if err == nil {
		withoutNull(s)
	}
	return s, err
}

// withoutNull forbids null for lists and pointers: what is absent is left out,
// and a list that is there is a list.
func withoutNull(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if rest := slices.DeleteFunc(slices.Clone(s.Types), func(kind string) bool { return kind == "null" }); len(rest) == 1 {
		s.Type, s.Types = rest[0], nil
	}
	withoutNull(s.Items)
	for _, p := range s.Properties {
		withoutNull(p)
	}
}

// when says: if one property has a value, another has a form.
func when(property, value, other string, form *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{
		If: &jsonschema.Schema{Required: []string{property},
			Properties: map[string]*jsonschema.Schema{property: {Const: jsonschema.Ptr[any](value)}}},
		Then: &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{other: form}},
	}
}

func never() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }
