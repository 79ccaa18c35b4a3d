// Package argform turns the arguments of a tool call into a form and back. The
// form is made from the tool's JSON Schema and the exact arguments; what is read
// back keeps every type, and every byte of what nobody touched: a form that is
// posted as it was shown gives the very bytes it was made from.
//
// Texts, whole and other numbers, yes and no, choices, lists of such and objects
// get fields of their own. Whatever a field can't hold without loss is edited as
// JSON, and so is what the schema does not name. Beside the fields the whole
// stands as raw JSON: of the two that counts which was changed.
//
// The logic is pure; the component is in form.templ. Views and handlers may
// import it.
package argform

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/heddle/heddle/views/diff"
	"github.com/heddle/heddle/views/ui"
)

// Kind says how a field is edited.
type Kind string

// The kinds of fields.
const (
	Line    Kind = "line"    // text of one line
	Area    Kind = "area"    // text of several lines
	Integer Kind = "integer" // a whole number of any size
	Number  Kind = "number"
	Switch  Kind = "switch" // yes or no
	Choice  Kind = "choice" // one of the schema's values
	List    Kind = "list"   // single values, one a line
	Group   Kind = "group"  // an object, with fields of its own
	Raw     Kind = "raw"    // JSON
)

// Field is one argument, or one property of an argument that is an object.
type Field struct {
	Kind Kind
	// Path names the field as the tool's check does, such as "to.city".
	Path string
	// Name is that of the posted value and, with "-" for other signs, of the
	// element.
	Name  string
	Label string
	Hint  string
	// Value is what stands in the field; Original what stood there at first.
	Value, Original string
	Options         []ui.Option
	Required        bool
	// Unknown says that the schema does not name it.
	Unknown bool
	Error   string
	// Diff tells Value from Original, where they differ.
	Diff   []diff.Part
	Fields []Field // of a group

	key     string
	raw     json.RawMessage // as it is in the arguments; nil if it is absent
	item    string          // the type of a list's items
	choices []json.RawMessage
}

// Form is all fields of one call.
type Form struct {
	Fields []Field
	// Raw is the whole as JSON set out for reading, RawOriginal as it was.
	Raw, RawOriginal string
	RawError         string
	RawDiff          []diff.Part
	// UseRaw is the choice of whoever changed both.
	UseRaw bool
	// Error concerns no single field.
	Error string

	args json.RawMessage
}

// maxDepth is how deep objects have fields of their own.
const maxDepth = 4

// NameRaw and NameUse are the posted names of the raw JSON and of the choice
// between it ("raw") and the fields ("form").
const (
	NameRaw = "raw"
	NameUse = "use"
)

// New makes the form of args. Arguments that are no object, and a schema that
// can't be read, leave the raw JSON alone.
func New(schema, args json.RawMessage) Form {
	f := Form{Raw: setOut(args), args: args}
	f.RawOriginal = f.Raw
	given, ok := members(args)
	if !ok {
		return f
	}
	f.Fields = fieldsOf(readSchema(schema), given, "", "arg", 0)
	return f
}

// fieldsOf lists the properties of an object in the schema's order, then what
// the schema does not name.
func fieldsOf(s schema, given []member, path, name string, depth int) []Field {
	var out []Field
	for _, p := range s.properties {
		raw, _ := find(given, p.key)
		out = append(out, field(p.schema, p.key, raw, slices.Contains(s.required, p.key), path, name, depth))
	}
	for _, m := range given {
		if !slices.ContainsFunc(s.properties, func(p property) bool { return p.key == m.key }) {
			f := named(m.key, path, name)
			f.Kind, f.raw, f.Unknown = Raw, m.value, true
			f.Hint = "The tool's schema does not name it."
			out = append(out, f.show(setOut(m.value)))
		}
	}
	return out
}

func named(key, path, name string) Field {
	full := key
	if path != "" {
		full = path + "." + key
	}
	return Field{key: key, Path: full, Name: name + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key), Label: key}
}

func (f Field) show(value string) Field {
	f.Value, f.Original = value, value
	return f
}

// field finds the kind that holds a value without loss.
func field(s schema, key string, raw json.RawMessage, required bool, path, name string, depth int) Field {
	f := named(key, path, name)
	f.raw, f.Required, f.Hint = raw, required, s.description
	if s.title != "" {
		f.Label = s.title
	}
	switch {
	case len(s.enum) > 0:
		return f.choice(s)
	case s.kind == "object" && len(s.properties) > 0 && depth < maxDepth:
		given, ok := members(raw)
		if ok || raw == nil {
			f.Kind, f.Fields = Group, fieldsOf(s, given, f.Path, f.Name, depth+1)
			return f
		}
	case s.kind == "array" && scalar(s.items):
		if text, ok := listText(raw, s.items); ok {
			f.Kind, f.item = List, s.items
			f.Hint = strings.TrimSpace(s.description + " One a line.")
			return f.show(text)
		}
	case scalar(s.kind):
		if text, ok := scalarText(raw, s.kind); ok {
			return f.scalar(s, text)
		}
	}
	f.Kind = Raw
	return f.show(setOut(raw))
}

func (f Field) scalar(s schema, text string) Field {
	switch s.kind {
	case "integer":
		f.Kind = Integer
	case "number":
		f.Kind = Number
	case "boolean":
		f.Kind = Switch
		if f.raw == nil {
			f.Options = append(f.Options, ui.Option{Label: "Not given"})
		}
		f.Options = append(f.Options, ui.Option{Value: "true", Label: "Yes"}, ui.Option{Value: "false", Label: "No"})
	default:
		f.Kind = Line
		if s.multiline || strings.Contains(text, "\n") || utf8.RuneCountInString(text) > 120 {
			f.Kind = Area
		}
	}
	f = f.show(text)
	f.choose()
	return f
}

// choice offers the schema's values, and the present one if it is none of them.
func (f Field) choice(s schema) Field {
	f.Kind = Choice
	f.choices = s.enum
	if f.raw == nil {
		f.Options = append(f.Options, ui.Option{Label: "Not given"})
	} else if !slices.ContainsFunc(s.enum, func(c json.RawMessage) bool { return same(c, f.raw) }) {
		f.choices = append([]json.RawMessage{f.raw}, s.enum...)
	}
	value := ""
	for i, c := range f.choices {
		label := string(c)
		var text string
		if json.Unmarshal(c, &text) == nil {
			label = text
		}
		o := ui.Option{Value: strconv.Itoa(i), Label: label}
		if f.raw != nil && value == "" && same(c, f.raw) {
			value = o.Value
		}
		f.Options = append(f.Options, o)
	}
	f = f.show(value)
	f.choose()
	return f
}

// choose marks the option that is the value.
func (f *Field) choose() {
	for i := range f.Options {
		f.Options[i].Selected = f.Options[i].Value == f.Value
	}
}

// words are what people read of a field's content.
func (f Field) words(value string) string {
	for _, o := range f.Options {
		if o.Value == value {
			return o.Label
		}
	}
	return value
}

func scalar(kind string) bool {
	return kind == "string" || kind == "integer" || kind == "number" || kind == "boolean"
}

// scalarText gives the text of a value of a kind; ok is false if it is of
// another kind or a text that a form would change.
func scalarText(raw json.RawMessage, kind string) (text string, ok bool) {
	if raw == nil {
		return "", true
	}
	if kind != "string" {
		text = string(raw)
		switch kind {
		case "boolean":
			return text, text == "true" || text == "false"
		default:
			return text, text[0] == '-' || text[0] >= '0' && text[0] <= '9'
		}
	}
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, plain(text)
}

// plain reports whether a text survives an HTML form.
func plain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0
	})
}

// listText sets out single values one a line; ok is false if a line can't hold one.
func listText(raw json.RawMessage, item string) (text string, ok bool) {
	if raw == nil {
		return "", true
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || items == nil {
		return "", false
	}
	lines := make([]string, len(items))
	for i, it := range items {
		line, ok := scalarText(it, item)
		if !ok || strings.TrimSpace(line) == "" || strings.Contains(line, "\n") {
			return "", false
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n"), true
}

// setOut indents JSON for reading; what is no JSON stays.
func setOut(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

// same compares two values whatever their spelling.
func same(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	if json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes()) {
		return true
	}
	var s, t string
	return json.Unmarshal(a, &s) == nil && json.Unmarshal(b, &t) == nil && a[0] == '"' && b[0] == '"' && s == t
}
