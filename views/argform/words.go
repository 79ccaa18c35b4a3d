package argform

import (
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/heddle/heddle/views/diff"
)

// id names a field's element: letters, digits and "-" only.
func (f Field) id() string {
	var b strings.Builder
	for _, r := range f.Name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case r == '/':
			b.WriteByte('-')
		default:
			b.WriteString("_" + strconv.FormatInt(int64(r), 36))
		}
	}
	return b.String()
}

// attributes are those that every kind of control has.
func (f Field) attributes() templ.Attributes {
	a := templ.Attributes{"data-original": f.Original}
	var by []string
	if f.Hint != "" {
		by = append(by, f.id()+"-hint")
	}
	if f.Error != "" {
		a["aria-invalid"] = "true"
		by = append(by, f.id()+"-error")
	}
	if len(by) > 0 {
		a["aria-describedby"] = strings.Join(by, " ")
	}
	if f.Kind == Area || f.Kind == List || f.Kind == Raw {
		a["rows"] = rows(f.Value)
	}
	return a
}

// rows is how many lines of a text are shown at first.
func rows(text string) string {
	n := strings.Count(text, "\n") + 1
	for line := range strings.SplitSeq(text, "\n") {
		n += len(line) / 80
	}
	return strconv.Itoa(min(max(n, 3), 16))
}

// area guards a text that begins with a line's end: a textarea swallows one.
func area(text string) string {
	if strings.HasPrefix(text, "\n") {
		return "\n" + text
	}
	return text
}

// given are the fields that belong to the call, or did before it was edited.
func given(fields []Field) []Field {
	return slices.DeleteFunc(leaves(fields), func(f Field) bool { return f.raw == nil && !diff.Changed(f.Diff) })
}

// leaves are the fields that hold a value, named with the groups they are in.
func leaves(fields []Field) []Field {
	var out []Field
	for _, f := range fields {
		if f.Kind != Group {
			out = append(out, f)
			continue
		}
		for _, inner := range leaves(f.Fields) {
			inner.Label = f.Label + " · " + inner.Label
			out = append(out, inner)
		}
	}
	return out
}
