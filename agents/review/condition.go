package review

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/heddle/heddle/agents"
)

// all reports whether every condition holds for args, and says them in words.
// No condition at all never holds.
func all(conditions []agents.Condition, args json.RawMessage) (holds bool, why string, err error) {
	if len(conditions) == 0 {
		return false, "", nil
	}
	root, err := decode(args)
	if err != nil {
		return false, "", fmt.Errorf("reading the arguments: %w", err)
	}
	words := make([]string, len(conditions))
	for i, c := range conditions {
		ok, err := hold(c, root)
		if err != nil {
			return false, "", fmt.Errorf("judging %s %s: %w", c.Path, c.Op, err)
		}
		if !ok {
			return false, "", nil
		}
		words[i] = c.String()
	}
	return true, strings.Join(words, " and "), nil
}

func decode(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// hold judges one condition. An argument that is not there fits only what
// denies something.
func hold(c agents.Condition, root any) (bool, error) {
	got, present := at(root, c.Path)
	if c.Op == agents.OpExists {
		return present, nil
	}
	if !present {
		return c.Op == agents.OpNotEquals || c.Op == agents.OpNotIn, nil
	}
	want, err := decode(c.Value)
	if err != nil {
		return false, fmt.Errorf("reading the condition's value: %w", err)
	}
	switch c.Op {
	case agents.OpEquals:
		return same(got, want), nil
	case agents.OpNotEquals:
		return !same(got, want), nil
	case agents.OpIn, agents.OpNotIn:
		list, ok := want.([]any)
		if !ok {
			return false, fmt.Errorf("the value must be a list")
		}
		in := slices.ContainsFunc(list, func(v any) bool { return same(got, v) })
		return in == (c.Op == agents.OpIn), nil
	case agents.OpContains:
		return contains(got, want)
	case agents.OpMatches:
		pattern, isText := want.(string)
		text, ok := got.(string)
		if !isText || !ok {
			return false, fmt.Errorf("both sides must be text")
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return false, err
		}
		return re.MatchString(text), nil
	case agents.OpGreater, agents.OpLess:
		a, okA := number(got)
		b, okB := number(want)
		if !okA || !okB {
			return false, fmt.Errorf("both sides must be numbers")
		}
		return c.Op == agents.OpGreater && a > b || c.Op == agents.OpLess && a < b, nil
	default:
		return false, fmt.Errorf("the comparison is unknown")
	}
}

// at follows a dotted path through objects and lists.
func at(root any, path string) (any, bool) {
	v := root
	for step := range strings.SplitSeq(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[step]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(node) {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func same(a, b any) bool {
	x, okX := number(a)
	y, okY := number(b)
	if okX && okY {
		return x == y
	}
	return reflect.DeepEqual(a, b)
}

func number(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

func contains(got, want any) (bool, error) {
	switch v := got.(type) {
	case string:
		text, ok := want.(string)
		if !ok {
			return false, fmt.Errorf("the value must be text")
		}
		return strings.Contains(strings.ToLower(v), strings.ToLower(text)), nil
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return same(e, want) }), nil
	default:
		return false, fmt.Errorf("the argument must be text or a list")
	}
}
