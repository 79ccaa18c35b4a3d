package present_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/handlers/present"
	"github.com/heddle/heddle/views/memory"
)

func TestAnItemSaysInWordsWhereItIsFrom(t *testing.T) {
	t.Parallel()
	p := present.Memory{Viewer: "mia", Now: noon, Href: func(agents.ItemRef) string { return "/x" }}
	tea := &memory.Link{Label: "Tea", Href: "/threads/t"}
	for _, c := range []struct {
		source   agents.Source
		writer   string
		readable bool
		verb     string
		thread   *memory.Link
	}{
		{agents.Source{By: "mia", Run: "r", Thread: "t", Tool: "remember"}, "Mia", true, "Remembered by a run", tea},
		{agents.Source{By: "mia", Run: "r", Thread: "t", Tool: "remember"}, "Mia", false, "Remembered by a run", nil},
		{agents.Source{By: "mia"}, "Mia", false, "Written by you", nil},
		{agents.Source{By: "ada"}, "Ada", false, "Written by Ada", nil},
		{agents.Source{By: "ada"}, "", false, "Written by a former member", nil},
		{agents.Source{}, "", false, "Written", nil},
	} {
		got := p.Origin(agents.FoundItem{Item: agents.Item{UpdatedAt: noon, Source: c.source}, WriterName: c.writer, ThreadReadable: c.readable, ThreadTitle: "Tea"})
		require.Equal(t, c.verb, got.Verb)
		require.Equal(t, "2 Mar 2026", got.When.Text)
		require.Equal(t, c.thread, got.Thread)
	}
}

func TestAValueIsShownInShort(t *testing.T) {
	t.Parallel()
	p := present.Memory{Now: noon, Href: func(agents.ItemRef) string { return "/x" }}
	for value, want := range map[string]string{
		`{"fact":"I like  tea"}`: "I like tea", `"plain"`: "plain", `{"a":1}`: `{"a":1}`, `{"a":"x","b":"y"}`: `{"a":"x","b":"y"}`, `[1, 2]`: "[1, 2]", `7`: "7", `""`: `""`, `{"a":" "}`: `" "`,
		`"` + strings.Repeat("ä", 241) + `"`: strings.Repeat("ä", 240) + "…",
	} {
		require.Equal(t, want, p.Item(agents.FoundItem{Item: agents.Item{Value: json.RawMessage(value)}}, "").Text, value)
	}
	items := []agents.FoundItem{{Item: agents.Item{Namespace: []string{"a"}, Key: "1"}}, {Item: agents.Item{Namespace: []string{"a"}, Key: "2"}}, {Item: agents.Item{Namespace: []string{"a", "b"}, Key: "3"}}}
	groups := p.Groups(items)
	require.Len(t, groups, 2)
	require.Equal(t, "a", groups[0].Label)
	require.Len(t, groups[0].Items, 2)
	require.Equal(t, "a › b", groups[1].Label)
}
