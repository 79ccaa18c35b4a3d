package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/store"
)

// keep writes an item of an API client of mia's.
func (b *bundle) keep(t testing.TB, key, value string, more ...func(*agents.Item)) {
	t.Helper()
	item := agents.Item{Namespace: []string{"n"}, Key: key, Value: json.RawMessage(value)}
	for _, change := range more {
		change(&item)
	}
	_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaAPI, item)
	require.NoError(t, err)
}

func lives(d time.Duration) func(*agents.Item) { return func(i *agents.Item) { i.Lifetime = d } }
func paths(p ...string) func(*agents.Item) {
	return func(i *agents.Item) { i.Paths = append([]string{}, p...) }
}
func below(ns ...string) func(*agents.Item) { return func(i *agents.Item) { i.Namespace = ns } }

// found gives the keys that fit, in order.
func (b *bundle) found(t testing.TB, q store.ItemSearch) []string {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	items, err := b.db.FindItems(t.Context(), b.mia, agents.AreaAPI, q)
	require.NoError(t, err)
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
		require.Equal(t, q.Words != "", item.Score != nil)
		if item.Score != nil {
			require.True(t, *item.Score > 0 && *item.Score < 1, "%v", *item.Score)
		}
	}
	return keys
}

// expiry is when an item of mia's is gone.
func (b *bundle) expiry(t testing.TB, key string) time.Time {
	t.Helper()
	return scan[time.Time](t, b.inOrg(t, b.mia), "select expires_at from store_items where key = $1", key)
}

// pass lets time pass for all items of mia's that have a lifetime.
func (b *bundle) pass(t testing.TB, d time.Duration) {
	t.Helper()
	_, err := b.inOrg(t, b.mia).Exec(t.Context(), "update store_items set expires_at = expires_at - $1::interval", d)
	require.NoError(t, err)
}

func TestAnItemLivesForItsLifetimeFromItsLastReading(t *testing.T) {
	b := setup(t)
	b.keep(t, "short", `{"a":"tea"}`, lives(10*time.Minute))
	b.keep(t, "ever", `{"a":"tea"}`)
	read := func(refresh bool, key string) error {
		if refresh {
			_, err := b.db.RefreshItem(t.Context(), b.mia, agents.AreaAPI, []string{"n"}, key)
			return err
		}
		_, err := b.db.Item(t.Context(), b.mia, agents.AreaAPI, []string{"n"}, key)
		return err
	}
	in := func(d time.Duration) {
		t.Helper()
		require.WithinDuration(t, time.Now().Add(d), b.expiry(t, "short"), time.Minute)
	}
	in(10 * time.Minute)
	b.pass(t, 6*time.Minute)
	require.NoError(t, read(false, "short"))
	in(4 * time.Minute)
	require.NoError(t, read(true, "short"))
	in(10 * time.Minute)
	require.NoError(t, read(true, "ever"))
	b.pass(t, 6*time.Minute)
	for _, q := range []store.ItemSearch{{}, {Words: "tea"}} {
		require.Len(t, b.found(t, q), 2)
		in(4 * time.Minute)
	}
	for _, q := range []store.ItemSearch{{Refresh: true}, {Words: "tea", Refresh: true}} {
		require.Len(t, b.found(t, q), 2)
		in(10 * time.Minute)
		b.pass(t, 3*time.Minute)
	}
	require.Equal(t, []string{"ever"}, b.found(t, store.ItemSearch{Limit: 1, Offset: 0, Tests: tests("a", "$eq", `"tea"`), Refresh: true, Prefix: []string{"n"}})[:1])
	in(7 * time.Minute) // only what was given is kept alive

	// It is gone at once, and what takes its name is another item.
	b.pass(t, 8*time.Minute)
	for _, refresh := range []bool{false, true} {
		requireKind(t, fault.KindNotFound, read(refresh, "short"))
		require.Equal(t, []string{"ever"}, b.found(t, store.ItemSearch{Refresh: refresh}))
	}
	requireKind(t, fault.KindNotFound, b.db.DeleteItem(t.Context(), b.mia, agents.AreaAPI, []string{"n"}, "short"))
	b.keep(t, "short", `{"a":"coffee"}`)
	require.Zero(t, scan[int](t, b.inOrg(t, b.mia), "select count(*) from store_items where expires_at is not null or lifetime is not null"),
		"a writing without a lifetime takes it away")
}

func TestSweepsSeeExpiredItemsAlone(t *testing.T) {
	b := setup(t)
	b.keep(t, "dead", `{}`, lives(time.Minute))
	b.pass(t, time.Hour)
	b.keep(t, "short", `{}`, lives(time.Minute))
	b.keep(t, "ever", `{}`)
	b.put(t, "facts", `"of the product"`, "facts")
	_, err := b.db.PutItem(t.Context(), b.gia, agents.AreaUser, agents.Item{Namespace: []string{"n"}, Key: "k", Value: json.RawMessage(`1`), ExpiresAt: time.Now().Add(-time.Second)})
	require.NoError(t, err)
	system := connect(t, b.url, "heddle_system")
	require.Equal(t, 2, scan[int](t, system, "select count(*) from store_items"))
	for _, column := range []string{"value", "*"} {
		_, err = system.Exec(t.Context(), "select "+column+" from store_items")
		require.ErrorContains(t, err, "permission denied")
	}
	done, err := system.Exec(t.Context(), "delete from store_items where key = 'ever'")
	require.NoError(t, err)
	require.Zero(t, done.RowsAffected())

	want := map[auth.OrgID]agents.Swept{b.mia.Org: {Items: 1}, b.gia.Org: {Items: 1}}
	for _, dry := range []bool{true, true, false} {
		went, err := b.db.SweepExpired(t.Context(), dry)
		require.NoError(t, err)
		require.Equal(t, want, went)
	}
	went, err := b.db.SweepExpired(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, went)
	require.Equal(t, []string{"ever", "short"}, b.found(t, store.ItemSearch{}))
	require.Equal(t, 3, scan[int](t, b.inOrg(t, b.mia), "select count(*) from store_items"))
}

func TestWordsAreFoundAndWhatFitsBetterComesFirst(t *testing.T) {
	b := setup(t)
	b.keep(t, "tea", `{"text":"She likes green tea","name":"Ada"}`)
	b.keep(t, "both", `{"text":"He drinks tea and drinks coffee; tea in the morning","deep":[{"x":["liked"]}]}`)
	b.keep(t, "none", `{"tea":"only the name of the field","n":42}`)
	require.Equal(t, []string{"tea"}, b.found(t, store.ItemSearch{Words: "green"}))
	require.Equal(t, []string{"tea"}, b.found(t, store.ItemSearch{Words: "ADA?"}))
	require.Equal(t, []string{"both"}, b.found(t, store.ItemSearch{Words: "drinking coffees"}), "other forms of a word")
	require.Equal(t, []string{"both", "tea"}, b.found(t, store.ItemSearch{Words: "What tea does he drink?"}), "any word, the better first")
	require.Len(t, b.found(t, store.ItemSearch{Words: "likes"}), 2, "deep inside")
	for _, nothing := range []string{"the", "42", "sugar", "' | !", `"`, `\`, "&!():*"} {
		require.Empty(t, b.found(t, store.ItemSearch{Words: nothing}), nothing)
	}
	require.Equal(t, []string{"tea"}, b.found(t, store.ItemSearch{Words: "tea drink", Limit: 1, Offset: 1}))
	b.keep(t, "tea", `{"text":"nothing of it"}`)
	require.Equal(t, []string{"both"}, b.found(t, store.ItemSearch{Words: "tea"}), "a new value, new words")
	ref := agents.ItemRef{Memory: agents.Memory{Area: agents.AreaAPI, Holder: agents.HolderID(b.mia.User)}, Namespace: []string{"n"}, Key: "tea"}
	seen, err := b.db.MemoryItem(t.Context(), b.mia, ref)
	require.NoError(t, err)
	require.NoError(t, b.db.EditItem(t.Context(), b.mia, ref, json.RawMessage(`{"text":"mate"}`), seen.UpdatedAt))
	require.Equal(t, []string{"tea"}, b.found(t, store.ItemSearch{Words: "mate"}), "also when a person edits it")
}

func TestOnlyThePathsThatWereGivenAreSearched(t *testing.T) {
	b := setup(t)
	value := `{"title":"alpha","author":{"name":"beta","mail":"gamma"},"parts":[{"text":"delta"},{"text":"epsilon"}],"two words":"zeta"}`
	all := []string{"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}
	for name, c := range map[string]struct {
		change func(*agents.Item)
		want   []string
	}{
		"all":     {func(*agents.Item) {}, all},
		"dollar":  {paths("$"), all},
		"nothing": {paths(), []string{}},
		"title":   {paths(`$."title"`), []string{"alpha"}},
		"nested":  {paths(`$."author"."name"`, `$."parts"[*]."text"`), []string{"beta", "delta", "epsilon"}},
		"object":  {paths(`$."author"`), []string{"beta", "gamma"}},
		"last":    {paths(`$."parts"[last - 0]."text"`), []string{"epsilon"}},
		"spaced":  {paths(`$."two words"`), []string{"zeta"}},
		"absent":  {paths(`$."absent"[3]."x"`), []string{}},
	} {
		b.keep(t, "k", value, c.change)
		got := []string{}
		for _, word := range all {
			if len(b.found(t, store.ItemSearch{Words: word})) > 0 {
				got = append(got, word)
			}
		}
		require.Equal(t, c.want, got, name)
		require.Len(t, b.found(t, store.ItemSearch{}), 1, name)
	}
	_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaAPI, agents.Item{Namespace: []string{"n"}, Key: "k", Value: json.RawMessage(`{"a":"alpha"}`), Paths: nil})
	require.NoError(t, err)
	require.Len(t, b.found(t, store.ItemSearch{Words: "alpha"}), 1, "a writing without paths takes them away")
}

// tests makes conditions of triples: field, comparison, value.
func tests(triples ...string) []agents.ItemTest {
	var out []agents.ItemTest
	for i := 0; i+2 < len(triples); i += 3 {
		out = append(out, agents.ItemTest{Field: triples[i], Is: agents.ItemComparison(triples[i+1]), Value: json.RawMessage(triples[i+2])})
	}
	return out
}

func TestConditionsCompareFieldsByTheirType(t *testing.T) {
	b := setup(t)
	b.keep(t, "1", `{"n":1,"s":"a","o":{"x":[1,2]},"b":true,"z":null,"a.b":"dotted"}`)
	b.keep(t, "2", `{"n":2.0,"s":"b","b":false}`)
	b.keep(t, "10", `{"n":10,"s":"10"}`)
	b.keep(t, "text", `{"n":"5","s":5}`)
	for _, c := range []struct {
		tests []agents.ItemTest
		want  []string
	}{
		{nil, []string{"text", "10", "2", "1"}},
		{tests("n", "$eq", "2"), []string{"2"}},
		{tests("n", "$eq", "2.00"), []string{"2"}},
		{tests("n", "$eq", `"5"`), []string{"text"}},
		{tests("n", "$ne", "2"), []string{"text", "10", "1"}},
		{tests("b", "$ne", "true"), []string{"text", "10", "2"}},
		{tests("n", "$gt", "2"), []string{"10"}},
		{tests("n", "$gte", "2"), []string{"10", "2"}},
		{tests("n", "$lt", "2"), []string{"1"}},
		{tests("n", "$lte", "2", "n", "$gt", "1"), []string{"2"}},
		{tests("n", "$gt", `"4"`), []string{"text"}},
		{tests("s", "$gte", `"a"`), []string{"2", "1"}},
		{tests("o", "$eq", `{"x":[1,2]}`), []string{"1"}},
		{tests("o", "$eq", `{"x":[2,1]}`), []string{}},
		{tests("z", "$eq", "null", "n", "$lt", "3"), []string{"2", "1"}},
		{tests("z", "$ne", "null"), []string{}},
		{tests("absent", "$lt", "3"), []string{}},
		{tests("a.b", "$eq", `"dotted"`), []string{"1"}},
		{tests("n", "$eq", "1", "s", "$eq", `"b"`), []string{}},
		{tests("' or true --", "$eq", "1"), []string{}},
	} {
		require.Equal(t, c.want, b.found(t, store.ItemSearch{Tests: c.tests}), "%s", c.tests)
	}
	for field, q := range map[string]store.ItemSearch{
		"filter.n":         {Tests: tests("n", "$in", "[1]")},
		"filter":           {Tests: make([]agents.ItemTest, store.MaxItemTests+1)},
		"query":            {Words: string(make([]rune, store.MaxItemQueryRunes+1))},
		"namespace_prefix": {Prefix: []string{"a.b"}},
	} {
		_, err := b.db.FindItems(t.Context(), b.mia, agents.AreaAPI, q)
		requireKind(t, fault.KindInvalid, err)
		require.Contains(t, fault.FieldsOf(err), field)
	}
}

func TestNamespacesAreListedByHowTheyBeginAndEnd(t *testing.T) {
	b := setup(t)
	for _, ns := range [][]string{{"docs"}, {"docs", "mia"}, {"docs", "mia", "v1"}, {"docs", "max", "v1"}, {"docs", "max", "v2"}, {"prefs", "mia"}} {
		b.keep(t, "k", `{}`, below(ns...))
		b.keep(t, "l", `{}`, below(ns...))
	}
	b.keep(t, "k", `{}`, below("gone"), lives(time.Minute))
	b.pass(t, time.Hour)
	for _, c := range []struct {
		q    store.NamespaceQuery
		want string
	}{
		{store.NamespaceQuery{}, "[[docs] [docs max v1] [docs max v2] [docs mia] [docs mia v1] [prefs mia]]"},
		{store.NamespaceQuery{Prefix: []string{"docs"}}, "[[docs] [docs max v1] [docs max v2] [docs mia] [docs mia v1]]"},
		{store.NamespaceQuery{Prefix: []string{"docs", "max"}}, "[[docs max v1] [docs max v2]]"},
		{store.NamespaceQuery{Prefix: []string{"doc"}}, "[]"},
		{store.NamespaceQuery{Suffix: []string{"v1"}}, "[[docs max v1] [docs mia v1]]"},
		{store.NamespaceQuery{Suffix: []string{"mia"}}, "[[docs mia] [prefs mia]]"},
		{store.NamespaceQuery{Prefix: []string{"docs", "*", "v1"}}, "[[docs max v1] [docs mia v1]]"},
		{store.NamespaceQuery{Prefix: []string{"*"}, Suffix: []string{"mia", "*"}}, "[[docs mia v1]]"},
		{store.NamespaceQuery{MaxDepth: 2}, "[[docs] [docs max] [docs mia] [prefs mia]]"},
		{store.NamespaceQuery{MaxDepth: 1}, "[[docs] [prefs]]"},
		{store.NamespaceQuery{MaxDepth: 1, Suffix: []string{"v2"}}, "[[docs]]"},
		{store.NamespaceQuery{Limit: 2, Offset: 3}, "[[docs mia] [docs mia v1]]"},
	} {
		if c.q.Limit == 0 {
			c.q.Limit = 100
		}
		found, err := b.db.Namespaces(t.Context(), b.mia, agents.AreaAPI, c.q)
		require.NoError(t, err)
		require.Equal(t, c.want, fmt.Sprint(found), "%+v", c.q)
	}
	for field, q := range map[string]store.NamespaceQuery{"prefix": {Prefix: []string{""}}, "suffix": {Suffix: []string{"a.b"}}} {
		_, err := b.db.Namespaces(t.Context(), b.mia, agents.AreaAPI, q)
		requireKind(t, fault.KindInvalid, err)
		require.Contains(t, fault.FieldsOf(err), field)
	}
}

// TestReadersWhoKeepTheSameItemsAliveDoNotWaitForEachOther would deadlock if they
// locked in the order in which they find.
func TestReadersWhoKeepTheSameItemsAliveDoNotWaitForEachOther(t *testing.T) {
	b := setup(t)
	for i := range 30 {
		b.keep(t, fmt.Sprint(i), fmt.Sprintf(`{"n":%d,"text":"%s"}`, i, map[bool]string{true: "tea tea", false: "tea coffee"}[i%2 == 0]), lives(time.Hour))
	}
	var readers sync.WaitGroup
	for _, words := range []string{"", "tea", "coffee tea", "tea"} {
		readers.Go(func() {
			for range 25 {
				_, err := b.db.FindItems(t.Context(), b.mia, agents.AreaAPI, store.ItemSearch{Words: words, Limit: 100, Refresh: true})
				assertNoError(t, err, "finding %q", words)
			}
		})
	}
	readers.Wait()
}

// TestTheLargestValuesCanBeSearched writes as many different words as fit.
func TestTheLargestValuesCanBeSearched(t *testing.T) {
	b := setup(t)
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	for name, join := range map[string]string{"words": " ", "compounds": "-", "paths": "/", "hosts": "."} {
		var text strings.Builder
		for i := 0; text.Len() < store.MaxItemBytes-64; i++ {
			if text.Len() > 0 {
				text.WriteString(map[bool]string{true: " ", false: join}[i%2 == 0])
			}
			text.WriteByte(letters[i/36/36%36])
			text.WriteByte(letters[i/36%36])
			text.WriteByte(letters[i%36])
		}
		b.keep(t, name, `{"text":"`+text.String()+`"}`)
	}
	require.NotEmpty(t, b.found(t, store.ItemSearch{Words: "abc"}))
}
