package graph

import (
	"encoding/json"
	"maps"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/agents"
)

// Schemas say in JSON Schema what a graph's data are made of. Schemas are as
// lenient as the graph: it passes over keys that a type doesn't have.
type Schemas struct {
	// Channels describes the value of each channel that clients see, beside the
	// messages.
	Channels map[string]json.RawMessage
	// Context describes each field that the graph or one of its subgraphs needs of
	// a run's context. Where several need one, any of their types may stand here.
	Context map[string]json.RawMessage
}

// Schemas describes the graph's data. A type that JSON Schema can't describe is
// described as anything.
func (g *Graph) Schemas() Schemas {
	out := Schemas{Channels: map[string]json.RawMessage{}, Context: map[string]json.RawMessage{}}
	for name, d := range g.channels {
		if !agents.Hidden(name) {
			out.Channels[name] = d.schema()
		}
	}
	for _, name := range g.Nodes() {
		if sub := g.Subgraph(name); sub != nil {
			maps.Copy(out.Context, sub.Schemas().Context)
		}
	}
	for name, n := range g.needs {
		out.Context[name] = n.schema()
	}
	return out
}

// anySchema allows every value.
const anySchema = `{}`

func schemaOf[T any]() json.RawMessage {
	s, err := jsonschema.For[T](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[json.RawMessage](): {},
		reflect.TypeFor[[]byte]():          {Type: "string", ContentEncoding: "base64"},
	}})
	if err != nil {
		return json.RawMessage(anySchema)
	}
	open(s)
	raw, err := json.Marshal(s)
	if err != nil || string(raw) == "true" {
		return json.RawMessage(anySchema) // an object, as clients expect at the top
	}
	return raw
}

// open lets objects have further keys, which reading their Go type passes over.
func open(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if len(s.Properties) > 0 && s.AdditionalProperties != nil && s.AdditionalProperties.Not != nil {
		s.AdditionalProperties = nil
	}
	for _, inner := range s.Properties {
		open(inner)
	}
	open(s.Items)
	open(s.AdditionalProperties)
}
