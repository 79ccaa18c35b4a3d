package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

func memoryOf(s auth.Scope) agents.Memory {
	return agents.Memory{Area: agents.AreaUser, Holder: agents.HolderID(s.User)}
}

func refOf(s auth.Scope, key string, namespace ...string) agents.ItemRef {
	return agents.ItemRef{Memory: memoryOf(s), Namespace: namespace, Key: key}
}

// entry is a line of the audit log as these tests look at it.
type entry struct{ Action, Actor, Holder, Name, Said string }

func (b *bundle) audited(t *testing.T, s auth.Scope) []entry {
	t.Helper()
	lines := collect[string](t, b.inOrg(t, s), `select json_build_array(action, actor_id, object_id, object_name,
		coalesce(before::text, '') || coalesce(after::text, ''))::text from audit_log where org_id = $1 order by seq`, string(s.Org))
	out := make([]entry, len(lines))
	for i, line := range lines {
		require.NoError(t, json.Unmarshal([]byte(line), &[]any{&out[i].Action, &out[i].Actor, &out[i].Holder, &out[i].Name, &out[i].Said}))
	}
	return out
}

func keysOf(items []agents.FoundItem) []string {
	out := []string{}
	for _, i := range items {
		out = append(out, i.Key)
	}
	return out
}

// TestNobodyButAdminsReachesAnotherPersonsMemory tries every way there is.
func TestNobodyButAdminsReachesAnotherPersonsMemory(t *testing.T) {
	b := setup(t)
	item := b.put(t, "k", `{"fact":"secret tea"}`, "facts")
	before := collect[string](t, b.inOrg(t, b.mia), `select i::text from store_items i`)
	runKey := b.ada
	runKey.Key, runKey.KeyScopes = auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeRun}
	for name, s := range map[string]auth.Scope{"fellow": b.max, "foreigner": b.gia, "foreign admin": b.gus, "an admin's key for runs": runKey} {
		for _, m := range []agents.Memory{memoryOf(b.mia), {Area: agents.AreaUser, Holder: agents.HolderID(id.New())}, {Area: "organisation", Holder: memoryOf(b.mia).Holder}, {Area: agents.AreaUser, Holder: "x"}} {
			ref := agents.ItemRef{Memory: m, Namespace: []string{"facts"}, Key: "k"}
			_, read := b.db.Memory(t.Context(), s, m, agents.MemoryQuery{})
			_, one := b.db.MemoryItem(t.Context(), s, ref)
			_, forget := b.db.Forget(t.Context(), s, m)
			_, export := b.db.ExportMemory(t.Context(), s, m)
			for _, err := range []error{read, export, one, forget, b.db.EditItem(t.Context(), s, ref, json.RawMessage(`1`), item.UpdatedAt), b.db.RemoveItem(t.Context(), s, ref)} {
				requireKind(t, fault.KindNotFound, err)
				require.Equal(t, "Memory not found", fault.Public(err), "%s: foreign and absent look the same", name)
			}
		}
		found, err := b.db.SearchMemories(t.Context(), s, agents.AreaUser, agents.MemoryQuery{Text: "secret"})
		held, listed := b.db.Holdings(t.Context(), s, agents.AreaUser, agents.HoldingCursor{}, 0)
		if s.Can(auth.PermManageAssistant) {
			require.NoError(t, err)
			require.NoError(t, listed)
			require.Empty(t, found)
			require.False(t, slices.ContainsFunc(held, func(h agents.Holding) bool { return h.Items > 0 }))
			continue
		}
		requireKind(t, fault.KindForbidden, err)
		requireKind(t, fault.KindForbidden, listed)
	}
	require.Equal(t, before, collect[string](t, b.inOrg(t, b.mia), `select i::text from store_items i`))
	require.Empty(t, b.audited(t, b.mia))
}

func TestReadingAnotherPersonsMemoryIsWrittenDown(t *testing.T) {
	b := setup(t)
	b.put(t, "k", `{"fact":"secret tea"}`, "facts")
	for _, s := range []auth.Scope{b.mia, b.ada} {
		page, err := b.db.Memory(t.Context(), s, memoryOf(b.mia), agents.MemoryQuery{})
		require.NoError(t, err)
		require.Equal(t, []string{"k"}, keysOf(page.Items))
		require.Equal(t, agents.Holding{Memory: memoryOf(b.mia), Name: "mia", Email: "mia@acme.test", Member: true, Items: 1, UpdatedAt: page.Items[0].UpdatedAt}, page.Holding)
		_, err = b.db.MemoryItem(t.Context(), s, refOf(b.mia, "k", "facts"))
		require.NoError(t, err)
	}
	found, err := b.db.SearchMemories(t.Context(), b.ada, agents.AreaUser, agents.MemoryQuery{Text: "SECRET"})
	require.NoError(t, err)
	require.Equal(t, "mia", found[0].HolderName)
	_, err = b.db.SearchMemories(t.Context(), b.ada, agents.AreaUser, agents.MemoryQuery{Text: "nothing"})
	require.NoError(t, err)
	got := b.audited(t, b.mia)
	require.Len(t, got, 3, "her own reading and a search that shows nothing leave no line")
	mia := string(b.mia.User)
	for i, want := range []entry{{"memory.read", string(b.ada.User), mia, "mia", `{"area":"user"}`},
		{"memory.read", string(b.ada.User), mia, "mia", `{"area":"user","key":"k","namespace":["facts"]}`},
		{"memory.read", string(b.ada.User), "", "a search of all", fmt.Sprintf(`{"area":"user","holders":[%q]}`, mia)}} {
		require.Equal(t, want, got[i])
	}
}

func TestMemoryIsPagedByNamespaceTheLatestFirst(t *testing.T) {
	b := setup(t)
	for _, k := range []string{"b1", "b2", "b3"} {
		b.put(t, k, `"`+k+`"`, "b")
	}
	b.put(t, "a1", `{"n":42,"text":"Ham & eggs"}`, "a", "deep")
	b.put(t, "a2", `"eggs"`, "a")
	_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"a"}, Key: "old", Value: json.RawMessage(`"eggs"`), ExpiresAt: time.Now().Add(-time.Second)})
	require.NoError(t, err)
	_, err = b.db.PutItem(t.Context(), b.mia, agents.AreaAPI, agents.Item{Namespace: []string{"a"}, Key: "theirs", Value: json.RawMessage(`1`)})
	require.NoError(t, err)

	read := func(q agents.MemoryQuery) agents.MemoryPage {
		page, err := b.db.Memory(t.Context(), b.mia, memoryOf(b.mia), q)
		require.NoError(t, err)
		return page
	}
	whole := read(agents.MemoryQuery{})
	require.Equal(t, []string{"a2", "a1", "b3", "b2", "b1"}, keysOf(whole.Items))
	require.Equal(t, []agents.NamespaceCount{{Namespace: []string{"a"}, Items: 1}, {Namespace: []string{"a", "deep"}, Items: 1}, {Namespace: []string{"b"}, Items: 3}}, whole.Namespaces)
	require.Equal(t, map[agents.Area]int{agents.AreaUser: 5, agents.AreaAPI: 1}, whole.Counts)
	require.Equal(t, []string{"a2", "a1"}, keysOf(read(agents.MemoryQuery{Prefix: []string{"a"}}).Items))
	for text, want := range map[string][]string{"eggs": {"a2", "a1"}, "EGGS ham": {"a1"}, "42": {"a1"}, "B2": {"b2"}, "a1": {"a1"}, "n": {}, "%": {}, "": {"a2", "a1", "b3", "b2", "b1"}} {
		require.Equal(t, want, keysOf(read(agents.MemoryQuery{Text: text}).Items), text)
	}
	var paged []string
	for q := (agents.MemoryQuery{Limit: 2}); ; {
		page := read(q)
		paged = append(paged, keysOf(page.Items)...)
		if len(page.Items) < q.Limit {
			break
		}
		last := page.Items[len(page.Items)-1]
		q.After = agents.ItemCursor{UpdatedAt: last.UpdatedAt, Namespace: last.Namespace, Key: last.Key}
	}
	require.Equal(t, keysOf(whole.Items), paged)
	_, err = b.db.Memory(t.Context(), b.mia, memoryOf(b.mia), agents.MemoryQuery{Text: strings.Repeat("x", store.MaxItemQueryRunes+1)})
	requireKind(t, fault.KindInvalid, err)
	_, err = b.db.MemoryItem(t.Context(), b.mia, refOf(b.mia, "old", "a"))
	requireKind(t, fault.KindNotFound, err)
}

func TestAnExportIsWholeOrRefused(t *testing.T) {
	b := setup(t)
	b.put(t, "k2", `"two"`, "a")
	b.put(t, "k1", `"one"`, "a")
	_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"a"}, Key: "old", Value: json.RawMessage(`1`), ExpiresAt: time.Now().Add(-time.Second)})
	require.NoError(t, err)
	for _, s := range []auth.Scope{b.mia, b.ada} {
		items, err := b.db.ExportMemory(t.Context(), s, memoryOf(b.mia))
		require.NoError(t, err)
		require.Len(t, items, 2)
		require.Equal(t, "k1", items[0].Key)
	}
	require.Equal(t, []entry{{"memory.read", string(b.ada.User), string(b.mia.User), "mia", `{"area":"user"}`}}, b.audited(t, b.mia))
	items, err := b.db.ExportMemory(t.Context(), b.ada, memoryOf(b.max))
	require.NoError(t, err)
	require.Empty(t, items)
	_, err = b.inOrg(t, b.mia).Exec(t.Context(), `insert into store_items (org_id, area, holder_id, namespace, key, value)
		select org_id, area, holder_id, namespace, n::text, value from store_items, generate_series(1, 10000) n where key = 'k1'`)
	require.NoError(t, err)
	_, err = b.db.ExportMemory(t.Context(), b.mia, memoryOf(b.mia))
	requireKind(t, fault.KindTooLarge, err)
	_, err = b.inOrg(t, b.mia).Exec(t.Context(), `delete from store_items where key <> 'k1'`)
	require.NoError(t, err)
	for i := range 65 {
		b.put(t, fmt.Sprint("big", i), `"`+strings.Repeat("x", store.MaxItemBytes-2)+`"`, "a")
	}
	_, err = b.db.ExportMemory(t.Context(), b.mia, memoryOf(b.mia))
	requireKind(t, fault.KindTooLarge, err)
}

func TestSearchOfAllMemoriesPagesThroughEveryone(t *testing.T) {
	b := setup(t)
	for i, s := range []auth.Scope{b.mia, b.max, b.mia, b.ada, b.gia} {
		_, err := b.db.PutItem(t.Context(), s, agents.AreaUser, agents.Item{Namespace: []string{"n"}, Key: fmt.Sprint("k", i), Value: json.RawMessage(`"x"`)})
		require.NoError(t, err)
	}
	conn := b.inOrg(t, b.mia)
	_, err := conn.Exec(t.Context(), `update store_items set updated_at = now() where org_id = $1`, string(b.mia.Org))
	require.NoError(t, err)
	var got []string
	for q := (agents.MemoryQuery{Text: "x", Limit: 1}); ; {
		found, err := b.db.SearchMemories(t.Context(), b.ada, agents.AreaUser, q)
		require.NoError(t, err)
		if len(found) == 0 {
			break
		}
		got = append(got, found[0].Key)
		q.After = agents.ItemCursor{UpdatedAt: found[0].UpdatedAt, Holder: found[0].Memory.Holder, Namespace: found[0].Namespace, Key: found[0].Key}
	}
	require.ElementsMatch(t, []string{"k0", "k1", "k2", "k3"}, got, "each once, also those of one moment, and none of globex")
}

func TestHoldingsListMembersAndWhoLeftSomething(t *testing.T) {
	b := setup(t)
	b.put(t, "k", `1`, "n")
	_, err := b.db.PutItem(t.Context(), b.max, agents.AreaAPI, agents.Item{Namespace: []string{"n"}, Key: "k", Value: json.RawMessage(`1`)})
	require.NoError(t, err)
	list := func(area agents.Area, limit int) (names []string) {
		var after agents.HoldingCursor
		for {
			held, err := b.db.Holdings(t.Context(), b.ada, area, after, limit)
			require.NoError(t, err)
			for _, h := range held {
				names = append(names, fmt.Sprint(h.Name, h.Items))
			}
			if len(held) < limit {
				return names
			}
			after = agents.HoldingCursor{Name: held[limit-1].Name, Holder: held[limit-1].Holder}
		}
	}
	require.Equal(t, []string{"ada0", "max0", "mia1"}, list(agents.AreaUser, 50))
	require.Equal(t, []string{"ada0", "max0", "mia1"}, list(agents.AreaUser, 1))
	require.Equal(t, []string{"max1"}, list(agents.AreaAPI, 50))
	_, err = b.inOrg(t, b.mia).Exec(t.Context(), `delete from memberships where user_id = $1`, string(b.mia.User))
	require.NoError(t, err)
	require.Equal(t, []string{"1", "ada0", "max0"}, list(agents.AreaUser, 1), "what a former member left is still seen")
	page, err := b.db.Memory(t.Context(), b.ada, memoryOf(b.mia), agents.MemoryQuery{})
	require.NoError(t, err)
	require.False(t, page.Holding.Member)
	n, err := b.db.Forget(t.Context(), b.ada, memoryOf(b.mia))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = b.db.Memory(t.Context(), b.ada, memoryOf(b.mia), agents.MemoryQuery{})
	requireKind(t, fault.KindNotFound, err)
	_, err = b.db.Forget(t.Context(), b.ada, memoryOf(b.mia))
	requireKind(t, fault.KindNotFound, err)
}

func TestProvenanceShowsAThreadOnlyToItsReaders(t *testing.T) {
	b := setup(t)
	private, shared := b.thread(t, b.mia, agents.VisibilityPrivate), b.thread(t, b.mia, agents.VisibilityOrganisation)
	run := agents.RunID(id.New())
	said := func(s auth.Scope, key string, thread agents.ThreadID) {
		_, err := b.db.PutItem(t.Context(), s, agents.AreaUser, agents.Item{Namespace: []string{"facts"}, Key: key, Value: json.RawMessage(`1`),
			Source: agents.Source{Run: run, Thread: thread, Tool: "remember"}})
		require.NoError(t, err)
	}
	said(b.mia, "private", private.ID)
	said(b.max, "shared", shared.ID)
	said(b.max, "of mia", private.ID)
	said(b.max, "gone", agents.ThreadID(id.New()))
	for _, c := range []struct {
		reader, holder auth.Scope
		key            string
		readable       bool
	}{{b.mia, b.mia, "private", true}, {b.ada, b.mia, "private", true}, {b.max, b.max, "shared", true}, {b.max, b.max, "of mia", false}, {b.ada, b.max, "gone", false}} {
		item, err := b.db.MemoryItem(t.Context(), c.reader, refOf(c.holder, c.key, "facts"))
		require.NoError(t, err)
		require.Equal(t, c.readable, item.ThreadReadable, c.key)
		require.Equal(t, c.readable, item.ThreadTitle != "", c.key)
		require.Equal(t, run, item.Source.Run)
		require.Equal(t, c.holder.User, item.Source.By)
	}
}

func TestAnEditKeepsItsRulesAndBecomesTheSource(t *testing.T) {
	b := setup(t)
	_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"facts"}, Key: "k", Value: json.RawMessage(`{"fact":"tea"}`),
		ExpiresAt: time.Now().Add(time.Hour), Source: agents.Source{Run: agents.RunID(id.New()), Thread: agents.ThreadID(id.New()), Tool: "remember"}})
	require.NoError(t, err)
	ref := refOf(b.mia, "k", "facts")
	first, err := b.db.MemoryItem(t.Context(), b.mia, ref)
	require.NoError(t, err)

	require.NoError(t, b.db.EditItem(t.Context(), b.mia, ref, json.RawMessage(` { "fact" : "tea" } `), first.UpdatedAt))
	same, err := b.db.MemoryItem(t.Context(), b.mia, ref)
	require.NoError(t, err)
	require.Equal(t, first, same, "the same value changes nothing")

	for _, bad := range []string{"", "{", "null", `"\u0000"`, `"` + strings.Repeat("x", store.MaxEditBytes) + `"`, "\"\xff\"", "1 2"} {
		err := b.db.EditItem(t.Context(), b.mia, ref, json.RawMessage(bad), first.UpdatedAt)
		requireKind(t, fault.KindInvalid, err)
	}
	require.NoError(t, b.db.EditItem(t.Context(), b.ada, ref, json.RawMessage(`{"fact":"coffee"}`), first.UpdatedAt))
	err = b.db.EditItem(t.Context(), b.mia, ref, json.RawMessage(`{"fact":"milk"}`), first.UpdatedAt)
	requireKind(t, fault.KindConflict, err)
	require.Equal(t, store.CodeItemChanged, fault.Code(err))
	after, err := b.db.MemoryItem(t.Context(), b.mia, ref)
	require.NoError(t, err)
	require.JSONEq(t, `{"fact":"coffee"}`, string(after.Value))
	require.Equal(t, agents.Source{By: b.ada.User}, after.Source)
	require.Equal(t, "ada", after.WriterName)
	require.Equal(t, first.ExpiresAt, after.ExpiresAt)
	require.Equal(t, first.CreatedAt, after.CreatedAt)
	require.NoError(t, b.db.RemoveItem(t.Context(), b.mia, ref))
	requireKind(t, fault.KindNotFound, b.db.RemoveItem(t.Context(), b.mia, ref))
	requireKind(t, fault.KindNotFound, b.db.EditItem(t.Context(), b.mia, ref, json.RawMessage(`1`), after.UpdatedAt))

	got := b.audited(t, b.mia)
	require.Len(t, got, 2)
	require.Equal(t, entry{"memory.edited", string(b.ada.User), string(b.mia.User), "mia", `{"area":"user","key":"k","namespace":["facts"]}`}, got[0])
	require.Equal(t, entry{"memory.deleted", string(b.mia.User), string(b.mia.User), "mia", `{"area":"user","key":"k","namespace":["facts"]}`}, got[1])
}

func TestForgettingTakesAllOfOneMemoryAndNothingElse(t *testing.T) {
	b := setup(t)
	b.put(t, "k", `1`, "facts")
	_, err := b.db.PutItem(t.Context(), b.mia, agents.AreaUser, agents.Item{Namespace: []string{"n"}, Key: "old", Value: json.RawMessage(`1`), ExpiresAt: time.Now().Add(-time.Second)})
	require.NoError(t, err)
	for s, area := range map[*auth.Scope]agents.Area{&b.mia: agents.AreaAPI, &b.max: agents.AreaUser, &b.gia: agents.AreaUser} {
		_, err := b.db.PutItem(t.Context(), *s, area, agents.Item{Namespace: []string{"facts"}, Key: "k", Value: json.RawMessage(`1`)})
		require.NoError(t, err)
	}
	n, err := b.db.Forget(t.Context(), b.mia, memoryOf(b.mia))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = b.db.Forget(t.Context(), b.mia, memoryOf(b.mia))
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, 2, scan[int](t, b.inOrg(t, b.mia), `select count(*) from store_items`))
	require.Equal(t, 1, scan[int](t, b.inOrg(t, b.gia), `select count(*) from store_items`))
	require.Equal(t, []entry{{"memory.forgotten", string(b.mia.User), string(b.mia.User), "mia", `{"items":2}{"area":"user"}`}}, b.audited(t, b.mia))
}
