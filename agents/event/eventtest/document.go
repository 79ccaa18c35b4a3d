package eventtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/agents/event"
)

// Examples are real envelopes by the key of their entry, with ids, times and
// numbers made alike.
type Examples map[string]json.RawMessage

// Document renders docs/envelopes.md.
func Document(examples Examples) (string, error) {
	s, err := Schema()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("| field | type | meaning |\n|---|---|---|\n")
	for _, name := range s.PropertyOrder {
		p := s.Properties[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, typeOf(p, slices.Contains(s.Required, name)), p.Description)
	}
	var entries, reserved []event.Entry
	for _, e := range event.Catalogue() {
		if e.Reserved {
			reserved = append(reserved, e)
		} else {
			entries = append(entries, e)
		}
	}
	b.WriteString("\n## Types\n\n" + types)
	b.WriteString("| type | meaning | data | told by |\n|---|---|---|---|\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", nameOf(e), e.Meaning, fields(s.Defs[e.Key()]), e.By)
	}
	b.WriteString("\n## Reserved\n\nThis version emits none of these. Pass over what you do not know.\n\n| type | meaning |\n|---|---|\n")
	for _, e := range reserved {
		fmt.Fprintf(&b, "| %s | %s |\n", nameOf(e), e.Meaning)
	}
	b.WriteString(agui)
	b.WriteString("\n## Examples\n\nFrom real runs; ids, times, numbers, durations and token counts are made alike.\n")
	for _, e := range entries {
		example, ok := examples[e.Key()]
		if !ok {
			return "", fmt.Errorf("documenting %s: it has no example", e.Key())
		}
		fmt.Fprintf(&b, "\n%s\n\n```json\n%s\n```\n", nameOf(e), example)
	}
	return b.String(), nil
}

func nameOf(e event.Entry) string {
	if e.Type == event.Custom {
		return "CUSTOM `" + string(e.Name) + "`"
	}
	return string(e.Type)
}

// fields lists the properties of data in one cell of a table.
func fields(s *jsonschema.Schema) string {
	if len(s.Properties) == 0 {
		return "any JSON"
	}
	out := make([]string, len(s.PropertyOrder))
	for i, name := range s.PropertyOrder {
		p := s.Properties[name]
		out[i] = "`" + name + "` " + typeOf(p, slices.Contains(s.Required, name))
		if p.Description != "" {
			out[i] += ": " + p.Description
		}
	}
	return strings.Join(out, "<br>")
}

// typeOf puts a form into words.
func typeOf(s *jsonschema.Schema, required bool) string {
	kind := s.Type
	switch {
	case len(s.Enum) > 0 && len(s.Enum) <= 4:
		kind = strings.Trim(strings.ReplaceAll(fmt.Sprintf("%q", s.Enum), `" "`, `" or "`), "[]")
	case s.Const != nil:
		kind = fmt.Sprint(*s.Const)
	case kind == "array":
		kind = "list of " + typeOf(s.Items, true) + "s"
	case kind == "":
		kind = "any JSON"
	}
	if !required {
		kind += ", optional"
	}
	return kind
}
