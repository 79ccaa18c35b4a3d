package argform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/heddle/heddle/views/diff"
)

// Get gives a posted value; ok is false for one that was not posted.
type Get func(name string) (value string, ok bool)

// Read takes what was posted. The form it gives shows what was typed, with an
// error beside each field that can't be read; then ok is false. args are the
// posted arguments: those the form was made from, byte for byte, if nothing was
// changed.
func (f Form) Read(get Get) (shown Form, args json.RawMessage, ok bool) {
	f.Fields = slices.Clone(f.Fields)
	changed, good := readAll(f.Fields, get)
	if use, posted := get(NameUse); posted {
		f.UseRaw = use == "raw"
	}
	rawChanged := false
	if text, posted := get(NameRaw); posted {
		f.Raw = lines(text)
		rawChanged = f.Raw != f.RawOriginal
	}
	switch {
	case rawChanged && (!changed || f.UseRaw):
		f.UseRaw = true
		args, err := rawJSON(f.Raw)
		if err != nil {
			f.RawError = sentence(err.Error())
			return f, nil, false
		}
		if same(args, f.args) {
			args = f.args
		}
		return f, args, true
	case !changed:
		f.UseRaw = false
		return f, f.args, true
	case !good:
		return f, nil, false
	default:
		given, _ := members(f.args)
		return f, object(merge(given, f.Fields)), true
	}
}

// lines undoes what browsers do to the ends of lines.
func lines(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}

// readAll reads fields in place; changed says that one differs from what was
// shown, good that all of those can be read.
func readAll(fields []Field, get Get) (changed, good bool) {
	good = true
	for i := range fields {
		f := &fields[i]
		if f.Kind == Group {
			f.Fields = slices.Clone(f.Fields)
			c, g := readAll(f.Fields, get)
			changed, good = changed || c, good && g
			continue
		}
		text, posted := get(f.Name)
		if !posted {
			continue
		}
		f.Value = lines(text)
		f.Options = slices.Clone(f.Options)
		f.choose()
		if f.Value == f.Original {
			continue
		}
		changed = true
		if _, err := f.read(); err != nil {
			f.Error, good = sentence(err.Error()), false
		}
	}
	return changed, good
}

// merge puts the fields into the members that were there, each in its place;
// new ones come last.
func merge(given []member, fields []Field) []member {
	var out []member
	for _, m := range given {
		at := slices.IndexFunc(fields, func(f Field) bool { return f.key == m.key })
		if at < 0 {
			out = append(out, m)
			continue
		}
		if value := fields[at].json(); value != nil {
			out = append(out, member{m.key, value})
		}
	}
	for _, f := range fields {
		if _, there := find(given, f.key); there {
			continue
		}
		if value := f.json(); value != nil {
			out = append(out, member{f.key, value})
		}
	}
	return out
}

// json is a field's value, nil if it is left out.
func (f Field) json() json.RawMessage {
	if f.Kind == Group {
		if !changedIn(f.Fields) {
			return f.raw
		}
		given, _ := members(f.raw)
		return object(merge(given, f.Fields))
	}
	if f.Value == f.Original {
		return f.raw
	}
	value, err := f.read()
	if err != nil {
		return f.raw // it was refused before
	}
	return value
}

func changedIn(fields []Field) bool {
	return slices.ContainsFunc(fields, func(f Field) bool {
		if f.Kind == Group {
			return changedIn(f.Fields)
		}
		return f.Value != f.Original
	})
}

var (
	errRequired = errors.New("is required")
	errWhole    = errors.New("must be a whole number")
	errNumber   = errors.New("must be a number")
	errChoice   = errors.New("must be one of the choices")
)

// read gives the JSON of a changed field; nil leaves it out.
func (f Field) read() (json.RawMessage, error) {
	switch f.Kind {
	case Line, Area:
		return quote(f.Value), nil
	case List:
		return f.readList()
	case Raw:
		if strings.TrimSpace(f.Value) == "" {
			return f.blank()
		}
		return rawJSON(f.Value)
	case Choice:
		if f.Value == "" {
			return f.blank()
		}
		if i, err := strconv.Atoi(f.Value); err == nil && i >= 0 && i < len(f.choices) {
			return f.choices[i], nil
		}
		return nil, errChoice
	default:
		if strings.TrimSpace(f.Value) == "" {
			return f.blank()
		}
		kind := map[Kind]string{Integer: "integer", Number: "number", Switch: "boolean"}[f.Kind]
		return readScalar(strings.TrimSpace(f.Value), kind)
	}
}

func (f Field) blank() (json.RawMessage, error) {
	if f.Required {
		return nil, errRequired
	}
	return nil, nil
}

func (f Field) readList() (json.RawMessage, error) {
	items := []json.RawMessage{}
	for i, line := range strings.Split(f.Value, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if f.item != "string" {
			line = strings.TrimSpace(line)
		}
		item, err := readScalar(line, f.item)
		if err != nil {
			return nil, fmt.Errorf("line %d %w", i+1, err)
		}
		items = append(items, item)
	}
	var b bytes.Buffer
	b.WriteByte('[')
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(it)
	}
	b.WriteByte(']')
	return b.Bytes(), nil
}

func readScalar(text, kind string) (json.RawMessage, error) {
	switch kind {
	case "string":
		return quote(text), nil
	case "boolean":
		if text != "true" && text != "false" {
			return nil, errors.New("must be true or false")
		}
		return json.RawMessage(text), nil
	case "integer":
		if !json.Valid([]byte(text)) || strings.ContainsAny(text, ".eE") || !number(text) {
			return nil, errWhole
		}
		return json.RawMessage(text), nil
	default:
		if !json.Valid([]byte(text)) || !number(text) {
			return nil, errNumber
		}
		return json.RawMessage(text), nil
	}
}

// number tells a JSON number from other JSON.
func number(text string) bool { return text[0] == '-' || text[0] >= '0' && text[0] <= '9' }

// rawJSON reads JSON that a person wrote; the error says where it breaks.
func rawJSON(text string) (json.RawMessage, error) {
	var whole json.RawMessage
	err := json.Unmarshal([]byte(text), &whole)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := text[:min(int(syntax.Offset), len(text))]
		return nil, fmt.Errorf("must be valid JSON: line %d, %s", strings.Count(before, "\n")+1, syntax.Error())
	}
	var b bytes.Buffer
	if err != nil || json.Compact(&b, whole) != nil {
		return nil, errors.New("must be valid JSON")
	}
	return b.Bytes(), nil
}

// WithErrors puts the rules that a check of the arguments gave beside their
// fields. Rules of no field, and all of raw JSON, stand above.
func (f Form) WithErrors(rules map[string]string) Form {
	var rest []string
	f.Fields = slices.Clone(f.Fields)
	for _, path := range slices.Sorted(maps.Keys(rules)) {
		if !f.UseRaw && place(f.Fields, path, rules[path]) {
			continue
		}
		if path == "" || path == "arguments" {
			rest = append(rest, rules[path])
		} else {
			rest = append(rest, path+" "+rules[path])
		}
	}
	text := sentence(strings.Join(rest, "; "))
	if f.UseRaw {
		f.RawError = text
	} else {
		f.Error = text
	}
	return f
}

// place finds the innermost field that a path leads to.
func place(fields []Field, path, rule string) bool {
	for i := range fields {
		f := &fields[i]
		rest, below := strings.CutPrefix(path, f.Path)
		if !below || rest != "" && rest[0] != '.' && rest[0] != '[' {
			continue
		}
		if f.Kind == Group {
			f.Fields = slices.Clone(f.Fields)
			if place(f.Fields, path, rule) {
				return true
			}
		}
		if rest != "" {
			rule = strings.TrimPrefix(rest, ".") + " " + rule
		}
		f.Error = sentence(rule)
		return true
	}
	return false
}

func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// Compare adds to every field how it differs from what it was at first.
func (f Form) Compare() Form {
	f.Fields = compared(f.Fields)
	if f.Raw != f.RawOriginal {
		f.RawDiff = diff.Words(f.RawOriginal, f.Raw)
	}
	return f
}

func compared(fields []Field) []Field {
	fields = slices.Clone(fields)
	for i := range fields {
		f := &fields[i]
		f.Fields = compared(f.Fields)
		if f.Value != f.Original {
			f.Diff = diff.Words(f.words(f.Original), f.words(f.Value))
		}
	}
	return fields
}

// Between shows the arguments that were decided on, each field with how it
// differs from what was proposed.
func Between(schema, proposed, final json.RawMessage) Form {
	before, after := New(schema, proposed), New(schema, final)
	after.RawOriginal = before.Raw
	after.Fields = against(before.Fields, after.Fields)
	return after.Compare()
}

// against gives fields the originals of others of the same names; one that is
// gone is shown empty.
func against(before, after []Field) []Field {
	after = slices.Clone(after)
	for i := range after {
		f := &after[i]
		at := slices.IndexFunc(before, func(b Field) bool { return b.Name == f.Name })
		switch {
		case at < 0:
			f.Original = ""
			f.Fields = against(nil, f.Fields)
		case f.Kind == Group || before[at].Kind == Group:
			f.Fields = against(before[at].Fields, f.Fields)
		default:
			f.Original = before[at].words(before[at].Value)
			f.Value = f.words(f.Value)
		}
	}
	for _, b := range before {
		if !slices.ContainsFunc(after, func(f Field) bool { return f.Name == b.Name }) {
			b.Value = ""
			after = append(after, b)
		}
	}
	return after
}
