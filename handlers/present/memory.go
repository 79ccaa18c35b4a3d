package present

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/views/memory"
)

// Memory presents items of memories.
type Memory struct {
	// Viewer is who reads: what they wrote themselves is said to be theirs.
	Viewer auth.UserID
	Now    time.Time
	// Href is the address of an item.
	Href func(agents.ItemRef) string
}

// Item presents an item in a list; whose names its holder where several are
// listed together.
func (p Memory) Item(i agents.FoundItem, whose string) memory.Item {
	out := memory.Item{Href: p.Href(i.Ref()), Text: brief(i.Value), Key: i.Key, Whose: whose, Origin: p.Origin(i)}
	if !i.ExpiresAt.IsZero() {
		out.Expires = Date(i.ExpiresAt)
	}
	return out
}

// Groups presents items that are sorted by namespace.
func (p Memory) Groups(items []agents.FoundItem) []memory.Group {
	var out []memory.Group
	for _, i := range items {
		label := NamespaceLabel(i.Namespace)
		if len(out) == 0 || out[len(out)-1].Label != label {
			out = append(out, memory.Group{Label: label})
		}
		g := &out[len(out)-1]
		g.Items = append(g.Items, p.Item(i, ""))
	}
	return out
}

// Origin says how the value of an item came to be.
func (p Memory) Origin(i agents.FoundItem) memory.Origin {
	o := memory.Origin{Verb: "Written", When: Date(i.UpdatedAt)}
	switch {
	case i.Source.Tool != "":
		o.Verb = "Remembered by a run"
	case i.Source.By != "" && i.Source.By == p.Viewer:
		o.Verb = "Written by you"
	case i.WriterName != "":
		o.Verb = "Written by " + i.WriterName
	case i.Source.By != "":
		o.Verb = "Written by a former member"
	}
	if i.ThreadReadable {
		o.Thread = &memory.Link{Label: Title(i.ThreadTitle), Href: "/threads/" + string(i.Source.Thread)}
	}
	return o
}

// HolderName is what the holder of a memory is called.
func HolderName(name string) string {
	if name == "" {
		return "Former member"
	}
	return name
}

// NamespaceLabel reads a namespace for people.
func NamespaceLabel(namespace []string) string { return strings.Join(namespace, " › ") }

// briefRunes bounds a value in a list, in characters.
const briefRunes = 240

// brief gives a value in short: its only text if there is one, else its JSON.
func brief(value json.RawMessage) string {
	text := string(value)
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) == nil && len(object) == 1 {
		for _, only := range object {
			value = only
		}
	}
	var said string
	if json.Unmarshal(value, &said) == nil {
		text = said
	}
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > briefRunes {
		return string(runes[:briefRunes]) + "…"
	}
	if len(runes) == 0 {
		return string(value)
	}
	return string(runes)
}

// JSON sets a value out over several lines.
func JSON(value json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, value, "", "  ") != nil {
		return string(value) // the database holds only JSON
	}
	return b.String()
}
