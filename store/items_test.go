package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

func toItem(i agents.Item) builtin.Item {
	return builtin.Item{Key: i.Key, Value: i.Value, UpdatedAt: i.UpdatedAt}
}

func (b *bundle) put(t *testing.T, key, value string, namespace ...string) agents.Item {
	t.Helper()
	item, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: namespace, Key: key, Value: json.RawMessage(value)})
	require.NoError(t, err)
	return item
}

func (b *bundle) find(t *testing.T, q store.ItemQuery) []string {
	t.Helper()
	items, err := b.db.SearchItems(t.Context(), b.mia, agents.AreaUser, q)
	require.NoError(t, err)
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
	}
	return keys
}

func TestItemIsReplacedReadAndDeleted(t *testing.T) {
	b := setup(t)
	first := b.put(t, "k", `{"fact":"tea"}`, "facts")
	second := b.put(t, "k", `{"fact":"coffee"}`, "facts")
	require.Equal(t, first.CreatedAt, second.CreatedAt)
	require.True(t, second.UpdatedAt.After(first.UpdatedAt))
	got, err := b.db.Item(t.Context(), b.mia, agents.AreaUser, []string{"facts"}, "k")
	require.NoError(t, err)
	require.Equal(t, second, got)
	require.JSONEq(t, `{"fact":"coffee"}`, string(got.Value))
	require.NoError(t, b.db.DeleteItem(t.Context(), b.mia, agents.AreaUser, []string{"facts"}, "k"))
	requireKind(t, fault.KindNotFound, b.db.DeleteItem(t.Context(), b.mia, agents.AreaUser, []string{"facts"}, "k"))
	_, err = b.db.Item(t.Context(), b.mia, agents.AreaUser, []string{"facts"}, "k")
	requireKind(t, fault.KindNotFound, err)
}

func TestExpiredItemIsGoneAndItsSuccessorIsNew(t *testing.T) {
	b := setup(t)
	old, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"n"}, Key: "k", Value: json.RawMessage(`"old"`), ExpiresAt: time.Now().Add(-time.Second)})
	require.NoError(t, err)
	_, err = b.db.Item(t.Context(), b.mia, agents.AreaUser, []string{"n"}, "k")
	requireKind(t, fault.KindNotFound, err)
	requireKind(t, fault.KindNotFound, b.db.DeleteItem(t.Context(), b.mia, agents.AreaUser, []string{"n"}, "k"))
	require.Empty(t, b.find(t, store.ItemQuery{}))
	fresh := b.put(t, "k", `"new"`, "n")
	require.True(t, fresh.CreatedAt.After(old.CreatedAt))
	require.Zero(t, fresh.ExpiresAt)
	require.Equal(t, []string{"k"}, b.find(t, store.ItemQuery{}))
}

func TestSearchLooksAtTextsNotAtJSON(t *testing.T) {
	b := setup(t)
	b.put(t, "tea", `{"fact":"I like \"green\" tea"}`, "facts")
	b.put(t, "rate", `{"fact":"100% of snake_case is read","deep":[{"x":["Käse and wine"]}],"n":42}`, "facts")
	b.put(t, "path", `{"fact":"C:\\temp"}`, "facts")
	b.put(t, "bare", `"only a string"`, "facts")
	b.put(t, "number", `7`, "other")
	for text, want := range map[string][]string{
		"TEA":          {"tea"},
		"tea green":    {"tea"}, // every word, in any order
		"tea wine":     {},
		`"green"`:      {"tea"},
		"fact":         {}, // the name of a field
		"100%":         {"rate"},
		"%":            {"rate"},
		"_":            {"rate"},
		"snake_case":   {"rate"},
		"snakexcase":   {},
		`\`:            {"path"},
		`C:\temp`:      {"path"},
		"käse":         {"rate"},
		"42":           {}, // a number is no text
		"string":       {"bare"},
		"' or 1=1; --": {},
		"":             {"number", "bare", "path", "rate", "tea"},
	} {
		require.Equal(t, want, b.find(t, store.ItemQuery{Text: text}), text)
	}
}

func TestSearchKeepsToThePrefixAndPages(t *testing.T) {
	b := setup(t)
	for i := range 5 {
		b.put(t, fmt.Sprint("ab", i), `1`, "a", "b")
	}
	b.put(t, "abc", `1`, "a", "b", "c")
	b.put(t, "abx", `1`, "a", "bx")
	b.put(t, "a", `1`, "a")
	require.Len(t, b.find(t, store.ItemQuery{Prefix: []string{"a"}}), 8)
	require.Equal(t, []string{"abc", "ab4", "ab3", "ab2", "ab1", "ab0"}, b.find(t, store.ItemQuery{Prefix: []string{"a", "b"}}))
	require.Equal(t, []string{"ab3", "ab2"}, b.find(t, store.ItemQuery{Prefix: []string{"a", "b"}, Limit: 2, Offset: 2}))
	require.Empty(t, b.find(t, store.ItemQuery{Prefix: []string{"b"}}))
	require.Len(t, b.find(t, store.ItemQuery{Limit: 1000}), 8, "a limit out of range is the default")
}

func TestNamesAndValuesOfItemsKeepTheirBounds(t *testing.T) {
	b := setup(t)
	many := strings.Split(strings.Repeat("p,", store.MaxNamespaceParts)+"p", ",")
	for _, namespace := range [][]string{nil, {}, {""}, {"a", ""}, {"a.b"}, {"*"}, {"a?"}, {"a\x00"}, {"a\nb"}, {"a\u0085"}, {"\xff"},
		{strings.Repeat("ä", store.MaxNamespaceRunes+1)}, many} {
		_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: namespace, Key: "k", Value: json.RawMessage(`1`)})
		requireKind(t, fault.KindInvalid, err)
		require.Contains(t, fault.FieldsOf(err), "namespace", "%q", namespace)
		_, err = b.db.Item(t.Context(), b.mia, agents.AreaUser, namespace, "k")
		requireKind(t, fault.KindInvalid, err)
		if len(namespace) > 0 {
			_, err = b.db.SearchItems(t.Context(), b.mia, agents.AreaUser, store.ItemQuery{Prefix: namespace})
			requireKind(t, fault.KindInvalid, err)
		}
	}
	for _, key := range []string{"", "a\x00", "\xff", strings.Repeat("k", store.MaxItemKeyRunes+1)} {
		_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"n"}, Key: key, Value: json.RawMessage(`1`)})
		requireKind(t, fault.KindInvalid, err)
		require.Contains(t, fault.FieldsOf(err), "key")
	}
	for value, kind := range map[string]fault.Kind{"": fault.KindInvalid, "null": fault.KindInvalid, "{": fault.KindInvalid, `"\u0000"`: fault.KindInvalid,
		"\"\xff\"": fault.KindInvalid, `"` + strings.Repeat("x", store.MaxItemBytes) + `"`: fault.KindTooLarge} {
		_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"n"}, Key: "k", Value: json.RawMessage(value)})
		requireKind(t, kind, err)
	}
	_, err := b.db.PutItem(t.Context(), b.mia, "organisation", agents.Item{Namespace: []string{"n"}, Key: "k", Value: json.RawMessage(`1`)})
	requireKind(t, fault.KindInvalid, err)
	b.put(t, strings.Repeat("ä", store.MaxItemKeyRunes), `{"x":"`+strings.Repeat("y", store.MaxItemBytes-8)+`"}`,
		many[:store.MaxNamespaceParts]...)
}

// TestMemoryIsReachedOnlyByItsPerson tries what a namespace could say to reach
// somebody else's items (BW-09, C-05).
func TestMemoryIsReachedOnlyByItsPerson(t *testing.T) {
	b := setup(t)
	b.put(t, "k", `"mia's"`, "facts")
	for name, other := range map[string]scopeOf{"fellow": {b.max}, "admin": {b.ada}, "foreigner": {b.gia}} {
		_, err := b.db.Item(t.Context(), other.Scope, agents.AreaUser, []string{"facts"}, "k")
		requireKind(t, fault.KindNotFound, err)
		requireKind(t, fault.KindNotFound, b.db.DeleteItem(t.Context(), other.Scope, agents.AreaUser, []string{"facts"}, "k"))
		found, err := b.db.SearchItems(t.Context(), other.Scope, agents.AreaUser, store.ItemQuery{})
		require.NoError(t, err)
		require.Empty(t, found, name)
		for _, namespace := range [][]string{{"user", string(b.mia.User), "facts"}, {string(b.mia.User), "facts"}, {"users", string(b.mia.User), "facts"}} {
			_, err := b.db.Item(t.Context(), other.Scope, agents.AreaUser, namespace, "k")
			requireKind(t, fault.KindNotFound, err)
		}
		// The same name in one's own memory is another item.
		_, err = b.db.PutItem(t.Context(), other.Scope, agents.AreaUser, agents.Item{Namespace: []string{"facts"}, Key: "k", Value: json.RawMessage(`"other"`)})
		require.NoError(t, err)
	}
	_, err := b.db.Item(t.Context(), b.mia, agents.AreaAPI, []string{"facts"}, "k")
	requireKind(t, fault.KindNotFound, err)
	got, err := b.db.Item(t.Context(), b.mia, agents.AreaUser, []string{"facts"}, "k")
	require.NoError(t, err)
	require.JSONEq(t, `"mia's"`, string(got.Value))
}

func TestToolsMemoryBelongsToTheScopeWhateverTheNamespaceSays(t *testing.T) {
	b := setup(t)
	var memory builtin.Memory = store.NewMemory(b.db, toItem)
	from := agents.Source{By: b.max.User, Run: agents.RunID(id.New()), Thread: agents.ThreadID(id.New()), Tool: "remember"}
	require.NoError(t, memory.Put(t.Context(), b.mia, builtin.FactsNamespace(b.mia), "k", json.RawMessage(`{"fact":"I like tea"}`), from))
	found, err := memory.Search(t.Context(), b.mia, builtin.FactsNamespace(b.mia), "tea", 5)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "k", found[0].Key)
	require.WithinDuration(t, time.Now(), found[0].UpdatedAt, time.Minute)
	kept, err := b.db.Item(t.Context(), b.mia, agents.AreaUser, []string{"facts"}, "k")
	require.NoError(t, err)
	from.By = b.mia.User // whoever writes is the writer, whatever is said
	require.Equal(t, from, kept.Source)
	for _, namespace := range [][]string{builtin.FactsNamespace(b.mia), {"facts"}, {"users", string(b.max.User)}, nil} {
		requireKind(t, fault.KindNotFound, memory.Put(t.Context(), b.max, namespace, "k", json.RawMessage(`1`), agents.Source{}))
		_, err := memory.Search(t.Context(), b.max, namespace, "", 5)
		requireKind(t, fault.KindNotFound, err)
	}
	found, err = memory.Search(t.Context(), b.max, builtin.FactsNamespace(b.max), "", 5)
	require.NoError(t, err)
	require.Empty(t, found)
}
