package handlers_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/testweb"
)

type storedItem struct {
	Namespace []string       `json:"namespace"`
	Key       string         `json:"key"`
	Value     map[string]any `json:"value"`
	CreatedAt string         `json:"created_at"`
	UpdatedAt string         `json:"updated_at"`
	Score     *float64       `json:"score"`
}

func TestProgramsOfAPersonShareAStore(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia, max, gia := s.Key("acme", "mia@acme.test"), s.Key("acme", "max@acme.test"), s.Key("globex", "gia@globex.test")
	put := func(key string, ns []string, name string, value any, more ...any) testweb.Answer {
		t.Helper()
		body := map[string]any{"namespace": ns, "key": name, "value": value, "index": nil, "unknown": 1}
		for i := 0; i+1 < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		return s.API(key, "PUT", "/api/store/items", body)
	}
	read := func(key, query string) (item *storedItem) {
		t.Helper()
		a := s.API(key, "GET", "/api/store/items?"+query, nil)
		require.Equal(t, http.StatusOK, a.Status, a.Body)
		a.JSON(t, &item)
		return item
	}
	search := func(key string, body map[string]any) []storedItem {
		t.Helper()
		a := s.API(key, "POST", "/api/store/items/search", body)
		require.Equal(t, http.StatusOK, a.Status, a.Body)
		var out struct{ Items []storedItem }
		a.JSON(t, &out)
		require.NotNil(t, out.Items)
		return out.Items
	}

	require.Equal(t, http.StatusNoContent, put(mia, []string{"docs", "mia"}, "k", map[string]any{"text": "green tea", "n": 3}).Status)
	require.Equal(t, http.StatusNoContent, put(mia, []string{"docs"}, "plain", map[string]any{"text": "coffee"}, "ttl", 60, "index", false).Status)
	item := read(mia, "namespace=docs.mia&key=k")
	require.Equal(t, []string{"docs", "mia"}, item.Namespace)
	require.Equal(t, map[string]any{"text": "green tea", "n": 3.0}, item.Value)
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, item.CreatedAt)
	require.Equal(t, item, read(mia, "namespace=docs&namespace=mia&key=k&refresh_ttl=false"))

	// What is not there is null, also what is somebody else's: the client makes
	// null of that, and an exception of a 404.
	for _, key := range []string{max, gia} {
		require.Nil(t, read(key, "namespace=docs.mia&key=k"))
		require.Empty(t, search(key, map[string]any{}))
		require.Equal(t, http.StatusNoContent, s.API(key, "DELETE", "/api/store/items", map[string]any{"namespace": []string{"docs", "mia"}, "key": "k"}).Status)
	}
	require.Nil(t, read(mia, "namespace=docs.mia&key=other"))
	require.NotNil(t, read(mia, "namespace=docs.mia&key=k"))

	found := search(mia, map[string]any{"namespace_prefix": []string{"docs"}, "query": "which tea?"})
	require.Len(t, found, 1)
	require.NotNil(t, found[0].Score)
	require.Empty(t, search(mia, map[string]any{"query": "coffee"}), "it was not to be found")
	all := search(mia, map[string]any{"namespace_prefix": []string{}, "filter": nil, "query": nil, "refresh_ttl": nil, "limit": 10, "offset": 0})
	require.Len(t, all, 2)
	require.Nil(t, all[0].Score)
	require.Len(t, search(mia, map[string]any{"filter": map[string]any{"n": map[string]any{"$gte": 3, "$lt": 4}, "text": "green tea"}}), 1)
	require.Empty(t, search(mia, map[string]any{"filter": map[string]any{"n": 4}}))
	require.Len(t, search(mia, map[string]any{"limit": 1, "offset": 1}), 1)

	a := s.API(mia, "POST", "/api/store/namespaces", map[string]any{"prefix": []string{"docs"}, "suffix": nil, "max_depth": nil, "limit": 100, "offset": 0})
	require.Equal(t, http.StatusOK, a.Status)
	require.JSONEq(t, `{"namespaces":[["docs"],["docs","mia"]]}`, a.Body)
	require.JSONEq(t, `{"namespaces":[["docs"]]}`, s.API(mia, "POST", "/api/store/namespaces", map[string]any{"max_depth": 1}).Body)

	require.Equal(t, http.StatusNoContent, s.API(mia, "DELETE", "/api/store/items", map[string]any{"namespace": []string{"docs", "mia"}, "key": "k"}).Status)
	require.Equal(t, http.StatusNoContent, s.API(mia, "DELETE", "/api/store/items?namespace=docs&key=plain", nil).Status)
	require.Equal(t, http.StatusNoContent, s.API(mia, "DELETE", "/api/store/items?namespace=docs&key=plain", nil).Status, "also what is gone")
	require.Empty(t, search(mia, map[string]any{}))

	// The page of memories shows what programs stored, and nothing of it as what the
	// product remembers.
	require.Equal(t, http.StatusNoContent, put(mia, []string{"docs"}, "shown", map[string]any{"text": "by a program"}, "ttl", 1440).Status)
	browser := s.SignIn("mia@acme.test")
	require.NotContains(t, s.Get(browser, "/account/memory").Body, "by a program")
	require.Contains(t, s.Get(browser, "/account/memory?area=api").Body, "by a program")
	s.Post(browser, "/account/memory/forget", map[string][]string{"area": {"api"}})
	require.Empty(t, search(mia, map[string]any{}))
}

func TestTheStoreNamesFieldAndRuleOfWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	mia := s.Key("acme", "mia@acme.test")
	base := func(field string, value any) map[string]any {
		body := map[string]any{"namespace": []string{"n"}, "key": "k", "value": map[string]any{}}
		if body[field] = value; value == nil {
			delete(body, field)
		}
		return body
	}
	long := make([]string, 17)
	for i := range long {
		long[i] = "p"
	}
	for _, c := range []struct {
		method, path, field string
		body                any
	}{
		{"PUT", "items", "namespace", base("namespace", nil)},
		{"PUT", "items", "namespace", base("namespace", []string{})},
		{"PUT", "items", "namespace", base("namespace", "n")},
		{"PUT", "items", "namespace", base("namespace", []string{"a.b"})},
		{"PUT", "items", "namespace", base("namespace", []string{"a", ""})},
		{"PUT", "items", "namespace", base("namespace", []string{strings.Repeat("x", 129)})},
		{"PUT", "items", "namespace", base("namespace", long)},
		{"PUT", "items", "key", base("key", nil)},
		{"PUT", "items", "key", base("key", 7)},
		{"PUT", "items", "key", base("key", strings.Repeat("x", 513))},
		{"PUT", "items", "value", base("value", nil)},
		{"PUT", "items", "value", base("value", "text")},
		{"PUT", "items", "value", base("value", []int{1})},
		{"PUT", "items", "value", base("value", map[string]any{"x": strings.Repeat("x", 256<<10)})},
		{"PUT", "items", "body", []byte(`{"namespace":["n"],"key":"k","value":{"x":"\u0000"}}`)},
		{"PUT", "items", "body", []byte(`[`)},
		{"PUT", "items", "ttl", base("ttl", 0)},
		{"PUT", "items", "ttl", base("ttl", -5)},
		{"PUT", "items", "ttl", base("ttl", 1e9)},
		{"PUT", "items", "ttl", base("ttl", "5")},
		{"PUT", "items", "index", base("index", "title")},
		{"PUT", "items", "index", base("index", 1)},
		{"PUT", "items", "index[1]", base("index", []string{"title", "a..b"})},
		{"PUT", "items", "index[0]", base("index", []string{`a".b ? (1 == 1)`})},
		{"PUT", "items", "index[0]", base("index", []string{"a[x]"})},
		{"GET", "items", "namespace", nil},
		{"GET", "items?namespace=n", "key", nil},
		{"GET", "items?namespace=a..b&key=k", "namespace", nil},
		{"GET", "items?namespace=a&key=k&refresh_ttl=perhaps", "refresh_ttl", nil},
		{"DELETE", "items", "namespace", map[string]any{}},
		{"DELETE", "items", "key", map[string]any{"namespace": []string{"n"}}},
		{"POST", "items/search", "namespace_prefix", map[string]any{"namespace_prefix": []string{"a.b"}}},
		{"POST", "items/search", "limit", map[string]any{"limit": 0}},
		{"POST", "items/search", "limit", map[string]any{"limit": 1001}},
		{"POST", "items/search", "offset", map[string]any{"offset": -1}},
		{"POST", "items/search", "query", map[string]any{"query": strings.Repeat("x", 401)}},
		{"POST", "items/search", "query", map[string]any{"query": 5}},
		{"POST", "items/search", "filter", map[string]any{"filter": []int{1}}},
		{"POST", "items/search", "filter.n", map[string]any{"filter": map[string]any{"n": map[string]any{"$in": []int{1}}}}},
		{"POST", "items/search", "filter.n", map[string]any{"filter": map[string]any{"n": map[string]any{"$gt": 1, "x": 1}}}},
		{"POST", "items/search", "filter.n.$gt", map[string]any{"filter": map[string]any{"n": map[string]any{"$gt": true}}}},
		{"POST", "namespaces", "prefix", map[string]any{"prefix": []string{""}}},
		{"POST", "namespaces", "max_depth", map[string]any{"max_depth": 0}},
		{"POST", "namespaces", "limit", map[string]any{"limit": -1}},
	} {
		a := s.API(mia, c.method, "/api/store/"+c.path, c.body)
		require.Equal(t, http.StatusUnprocessableEntity, a.Status, "%s %s %v: %s", c.method, c.path, c.body, a.Body)
		var said struct {
			Detail string
			Fields map[string]string
		}
		a.JSON(t, &said)
		require.NotEmpty(t, said.Detail)
		require.Contains(t, said.Fields, c.field, "%s %s: %s", c.method, c.path, a.Body)
	}
	for _, good := range []map[string]any{base("index", []string{"title", "author.name", "parts[*].text", "parts[-1]", "*.x", "$", "$.a"}), base("ttl", 0.5), base("index", []string{})} {
		require.Equal(t, http.StatusNoContent, s.API(mia, "PUT", "/api/store/items", good).Status)
	}
	admin := s.Key("acme", "ada@acme.test", auth.ScopeAdmin) // may read, as every scope
	for _, c := range [][2]string{{"PUT", "items"}, {"DELETE", "items"}} {
		require.Equal(t, http.StatusForbidden, s.API(admin, c[0], "/api/store/"+c[1], base("", nil)).Status, c)
	}
	for _, c := range [][2]string{{"PUT", "items"}, {"GET", "items?namespace=n&key=k"}, {"DELETE", "items"}, {"POST", "items/search"}, {"POST", "namespaces"}} {
		require.Equal(t, http.StatusUnauthorized, s.API("", c[0], "/api/store/"+c[1], base("", nil)).Status, c)
	}
}

// A key that may not change anything doesn't by reading either.
func TestAKeyThatReadsProlongsNoItem(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	writes := s.Key("acme", "mia@acme.test")
	require.Equal(t, http.StatusNoContent, s.API(writes, "PUT", "/api/store/items", map[string]any{
		"namespace": []string{"docs"}, "key": "k", "value": map[string]any{"text": "tea"}, "ttl": 60}).Status)
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	_, err = conn.Exec(t.Context(), "select set_config('role', 'heddle_app', false), set_config('heddle.org', $1, false)", string(s.Scope("acme", "mia@acme.test").Org))
	require.NoError(t, err)
	expires := func() (at time.Time) {
		t.Helper()
		require.NoError(t, conn.QueryRow(t.Context(), "select expires_at from store_items where area = 'api'").Scan(&at))
		return at
	}
	at := expires()
	readBy := func(key string) {
		t.Helper()
		for _, query := range []string{"", "&refresh_ttl=true"} {
			a := s.API(key, "GET", "/api/store/items?namespace=docs&key=k"+query, nil)
			require.Equal(t, http.StatusOK, a.Status, a.Body)
			require.Contains(t, a.Body, "tea")
		}
		for _, body := range []map[string]any{{}, {"refresh_ttl": true}} {
			a := s.API(key, "POST", "/api/store/items/search", body)
			require.Equal(t, http.StatusOK, a.Status, a.Body)
			require.Contains(t, a.Body, "tea")
		}
	}
	for _, scopes := range [][]auth.KeyScope{{auth.ScopeRead}, {auth.ScopeReview}} {
		readBy(s.Key("acme", "mia@acme.test", scopes...))
		require.Equal(t, at, expires(), "%v", scopes)
	}
	readBy(s.Key("acme", "mia@acme.test", auth.ScopeRead, auth.ScopeRun))
	require.True(t, expires().After(at))
}
