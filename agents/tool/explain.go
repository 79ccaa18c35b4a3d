package tool

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
)

// explain adds to broken, by path, the rules of s that value breaks. It knows
// the keywords our schemas use; the library stays the judge.
func explain(broken map[string]string, path string, s *jsonschema.Schema, value any) {
	if s == nil {
		return
	}
	say := func(format string, args ...any) {
		at := path
		if at == "" {
			at = "arguments"
		}
		broken[at] = fmt.Sprintf(format, args...)
	}
	if want := types(s); len(want) > 0 && !slices.ContainsFunc(want, func(t string) bool { return isType(t, value) }) {
		say("must be %s, not %s", strings.Join(articles(want), " or "), article(typeOf(value)))
		return
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return same(e, value) }) {
		choices := make([]string, len(s.Enum))
		for i, e := range s.Enum {
			choices[i] = fmt.Sprint(e)
		}
		say("must be one of %s", strings.Join(choices, ", "))
		return
	}
	switch v := value.(type) {
	case string:
		explainString(say, s, v)
	case float64:
		explainNumber(say, s, v)
	case []any:
		if s.MinItems != nil && len(v) < *s.MinItems {
			say("must hold at least %d", *s.MinItems)
		}
		if s.MaxItems != nil && len(v) > *s.MaxItems {
			say("must hold at most %d", *s.MaxItems)
		}
		for i, item := range v {
			explain(broken, fmt.Sprintf("%s[%d]", path, i), s.Items, item)
		}
	case map[string]any:
		explainObject(broken, path, s, v)
	}
}

func explainString(say func(string, ...any), s *jsonschema.Schema, v string) {
	n := utf8.RuneCountInString(v)
	switch {
	case s.MinLength != nil && n < *s.MinLength && *s.MinLength == 1:
		say("must not be empty")
	case s.MinLength != nil && n < *s.MinLength:
		say("must have at least %d characters, not %d", *s.MinLength, n)
	case s.MaxLength != nil && n > *s.MaxLength:
		say("must have at most %d characters, not %d", *s.MaxLength, n)
	case s.Pattern != "":
		if p, err := regexp.Compile(s.Pattern); err == nil && !p.MatchString(v) {
			say("must match %s", s.Pattern)
		}
	}
}

func explainNumber(say func(string, ...any), s *jsonschema.Schema, v float64) {
	num := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case s.Minimum != nil && v < *s.Minimum:
		say("must be at least %s, not %s", num(*s.Minimum), num(v))
	case s.Maximum != nil && v > *s.Maximum:
		say("must be at most %s, not %s", num(*s.Maximum), num(v))
	case s.ExclusiveMinimum != nil && v <= *s.ExclusiveMinimum:
		say("must be more than %s, not %s", num(*s.ExclusiveMinimum), num(v))
	case s.ExclusiveMaximum != nil && v >= *s.ExclusiveMaximum:
		say("must be less than %s, not %s", num(*s.ExclusiveMaximum), num(v))
	}
}

func explainObject(broken map[string]string, path string, s *jsonschema.Schema, v map[string]any) {
	at := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	for _, name := range s.Required {
		if _, there := v[name]; !there {
			broken[at(name)] = "is required"
		}
	}
	for name, item := range v {
		if property, known := s.Properties[name]; known {
			explain(broken, at(name), property, item)
		} else if closed(s) {
			known := strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", ")
			if known == "" {
				known = "none"
			}
			broken[at(name)] = "is not an argument of this tool; known are: " + known
		}
	}
}

// closed reports whether s refuses properties it does not name: the library
// writes "false" as {"not": {}}.
func closed(s *jsonschema.Schema) bool {
	return s.AdditionalProperties != nil && s.AdditionalProperties.Not != nil
}

func types(s *jsonschema.Schema) []string {
	if s.Type != "" {
		return []string{s.Type}
	}
	return s.Types
}

func typeOf(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}

func isType(want string, value any) bool {
	got := typeOf(value)
	return got == want || want == "number" && got == "integer"
}

func same(e, value any) bool {
	a, errA := json.Marshal(e)
	b, errB := json.Marshal(value)
	return errA == nil && errB == nil && string(a) == string(b)
}

func article(t string) string {
	switch t {
	case "null":
		return "null"
	case "integer", "array", "object":
		return "an " + t
	default:
		return "a " + t
	}
}

func articles(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = article(n)
	}
	return out
}
