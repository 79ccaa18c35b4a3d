package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
)

// names gives ids names by the order in which they are met, so that two runs
// whose ids differ read alike.
type names struct {
	known  map[string]string
	counts map[string]int
	// order is when each id was met.
	order map[string]int
	// blank gives every id the same name, for putting in order what has no order.
	blank bool
}

func newNames() *names {
	return &names{known: map[string]string{}, counts: map[string]int{}, order: map[string]int{}}
}

// idFields are the fields of events, and of state as it is compared, that hold
// ids, and what is counted by each.
var idFields = map[string]string{
	"messageId": "message", "parentMessageId": "message", "message_id": "message",
	"toolCallId": "call", "tool_call_id": "call", "interrupt_id": "pause", "review_id": "review",
}

var anyUUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

func (n *names) of(kind, id string) string {
	if n.blank {
		return "‹id›"
	}
	name, ok := n.known[id]
	if !ok {
		n.counts[kind]++
		name = fmt.Sprintf("‹%s %d›", kind, n.counts[kind])
		n.known[id] = name
		n.order[id] = len(n.known)
	}
	return name
}

// text names the ids in a text.
func (n *names) text(s string) string {
	if name, ok := n.known[s]; ok && !n.blank {
		return name
	}
	return anyUUID.ReplaceAllStringFunc(s, func(id string) string { return n.of("id", id) })
}

// value names the ids in a JSON value, in the order of its fields' names.
func (n *names) value(field string, v any) any {
	switch v := v.(type) {
	case string:
		if kind, ok := idFields[field]; ok && v != "" {
			return n.of(kind, v)
		}
		return n.text(v)
	case []any:
		for i := range v {
			v[i] = n.value("", v[i])
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = n.value(key, v[key])
		}
	}
	return v
}

// render writes a value with its ids named; the fields of objects are in the
// order of their names.
func (n *names) render(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error() // of values of our own: can't happen
	}
	return n.renderJSON(raw)
}

func (n *names) renderJSON(raw json.RawMessage) string {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return string(raw)
	}
	out, err := plain(n.value("", v))
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// untimed replaces the texts of a JSON value that are nothing but a time: a node
// that tells when it was has another time when it is executed again.
func untimed(raw json.RawMessage) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return string(raw)
	}
	return withoutTimes(v)
}

func withoutTimes(v any) any {
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return "‹time›"
		}
	case []any:
		for i := range v {
			v[i] = withoutTimes(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = withoutTimes(v[key])
		}
	}
	return v
}
