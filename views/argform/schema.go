package argform

import (
	"bytes"
	"encoding/json"
	"slices"
)

// member is one entry of a JSON object, in its place and spelling.
type member struct {
	key   string
	value json.RawMessage
}

// members reads an object in its order; ok is false for anything else and for
// an object that has a key twice, which no form could keep apart.
func members(raw json.RawMessage) (out []member, ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, false
		}
		name, isText := key.(string)
		m := member{key: name}
		if !isText || d.Decode(&m.value) != nil {
			return nil, false
		}
		if _, twice := find(out, name); twice {
			return nil, false
		}
		out = append(out, m)
	}
	_, err := d.Token()
	return out, err == nil
}

func find(all []member, key string) (json.RawMessage, bool) {
	for _, m := range all {
		if m.key == key {
			return m.value, true
		}
	}
	return nil, false
}

// object writes members down.
func object(all []member) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(m.key))
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

func quote(text string) json.RawMessage {
	raw, err := json.Marshal(text)
	if err != nil {
		return json.RawMessage(`""`) // a string always marshals
	}
	return raw
}

// schema is what a form needs to know of a JSON Schema.
type schema struct {
	kind               string
	title, description string
	multiline          bool
	enum               []json.RawMessage
	properties         []property
	required           []string
	items              string // the type of an array's items
}

type property struct {
	key    string
	schema schema
}

// readSchema reads as far as fields go; a schema with choices between schemas
// or references has no kind, so its value is edited as JSON.
func readSchema(raw json.RawMessage) schema {
	var in struct {
		Type        json.RawMessage   `json:"type"`
		Title       string            `json:"title"`
		Description string            `json:"description"`
		Format      string            `json:"format"`
		MediaType   string            `json:"contentMediaType"`
		MaxLength   int               `json:"maxLength"`
		Enum        []json.RawMessage `json:"enum"`
		Const       json.RawMessage   `json:"const"`
		Properties  json.RawMessage   `json:"properties"`
		Required    []string          `json:"required"`
		Items       json.RawMessage   `json:"items"`
		Ref         string            `json:"$ref"`
		AnyOf       json.RawMessage   `json:"anyOf"`
		OneOf       json.RawMessage   `json:"oneOf"`
		AllOf       json.RawMessage   `json:"allOf"`
	}
	if json.Unmarshal(raw, &in) != nil {
		return schema{}
	}
	s := schema{title: in.Title, description: in.Description, enum: in.Enum, required: in.Required,
		multiline: in.MediaType == "text/plain" || in.MaxLength > 500}
	if in.Ref != "" || in.AnyOf != nil || in.OneOf != nil || in.AllOf != nil || in.Const != nil {
		s.enum = nil
		return s
	}
	s.kind = kindOf(in.Type)
	if given, ok := members(in.Properties); ok {
		for _, m := range given {
			s.properties = append(s.properties, property{m.key, readSchema(m.value)})
		}
	}
	if in.Items != nil {
		if item := readSchema(in.Items); len(item.enum) == 0 {
			s.items = item.kind
		}
	}
	return s
}

// kindOf reads a type; of a type that may also be null it is the other one.
func kindOf(raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	var several []string
	if json.Unmarshal(raw, &several) != nil {
		return ""
	}
	several = slices.DeleteFunc(several, func(k string) bool { return k == "null" })
	if len(several) != 1 {
		return ""
	}
	return several[0]
}
