package handlers_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testweb"
)

// detail reads a refusal of the API, which is JSON with a sentence, whatever
// the caller says that they would like.
func detail(t *testing.T, a testweb.Answer) (sentence string, fields map[string]string) {
	t.Helper()
	require.Equal(t, "application/json", a.Header.Get("Content-Type"), a.Body)
	var d struct {
		Detail string
		Fields map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(a.Body), &d), a.Body)
	require.NotEmpty(t, d.Detail)
	return d.Detail, d.Fields
}

func TestEveryRefusalOfTheAPIIsJSON(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("acme", "mia@acme.test")
	thread, _, _ := visited(t, s, key, "hello")
	runs := "/api/threads/" + thread + "/runs"
	with := []string{"X-Api-Key", key, "Accept", "text/html", "Content-Type", "application/json"}
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string
	}{
		{"no key", "GET", "/api/threads/" + thread, "", []string{"Accept", "text/html"}, 401, "Sign in"},
		{"a wrong key", "GET", "/api/threads/" + thread, "", []string{"X-Api-Key", "hdl_x"}, 401, "key"},
		{"absent", "GET", "/api/threads/" + id.New(), "", with, 404, "Thread not found"},
		{"no UUID", "GET", "/api/threads/x", "", with, 404, "Thread not found"},
		{"no such address", "GET", "/api/nowhere", "", with, 404, "Address not found"},
		{"no such address in capitals", "GET", "/API/nowhere", "", with, 404, "Address not found"},
		{"the API itself", "GET", "/api", "", with, 404, "Address not found"},
		{"no such method", "PUT", "/api/threads", "{}", with, 405, "POST only"},
		{"OPTIONS", "OPTIONS", "/api/threads/" + thread, "", with, 405, "GET"},
		{"broken JSON", "POST", "/api/threads", `{"metadata":`, with, 422, "body: must be JSON"},
		{"text", "POST", runs + "/wait", `hello`, with, 422, "body: must be JSON"},
		{"a form", "POST", "/api/threads", "a=b", []string{"X-Api-Key", key, "Content-Type", "application/x-www-form-urlencoded"}, 422, "body: must be JSON"},
		{"a list", "POST", "/api/threads", "[]", with, 422, "body: must be a JSON object"},
		{"a field of another type", "POST", runs, `{"assistant_id":7}`, with, 422, "assistant_id: must be a string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.Do(nil, c.method, c.path, []byte(c.body), c.header...)
			require.Equal(t, c.status, a.Status, a.Body)
			said, _ := detail(t, a)
			require.Contains(t, said, c.want)
		})
	}
	said, _ := detail(t, tooLarge(t, s, ""))
	require.Contains(t, said, "larger than this server takes")
	require.Equal(t, "GET, HEAD, PATCH, POST", s.Do(nil, "PUT", "/api/threads/"+thread+"/state", nil, with...).Header.Get("Allow"))
}

// tooLarge announces a body that is too large and sends none: the server hangs up
// on who goes on sending, and its answer may be lost.
func tooLarge(t *testing.T, s *testweb.Server, origin string) testweb.Answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = fmt.Fprintf(conn, "POST /api/threads HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n", origin)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	return testweb.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// TestAPanicOfTheAPIIsJSON has a handler break behind the product's own error
// handler.
func TestAPanicOfTheAPIIsJSON(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	frame := handlers.NewFrame(nil, nil, nil, nil, log)
	web := fiber.New(fiber.Config{ErrorHandler: frame.Fail})
	web.Use(middleware.RequestID, middleware.Recover(log))
	web.Get("/api/x", func(*fiber.Ctx) error { panic("canary-panic") })
	web.Get("/api/y", func(*fiber.Ctx) error { return errors.New("canary-error") })
	web.Get("/api/large", func(*fiber.Ctx) error { return fiber.ErrRequestHeaderFieldsTooLarge })
	large, err := web.Test(httptest.NewRequest(http.MethodGet, "/api/large", nil))
	require.NoError(t, err)
	require.NoError(t, large.Body.Close())
	require.Equal(t, http.StatusRequestEntityTooLarge, large.StatusCode, "a client's mistake, and no failure of ours")
	for _, path := range []string{"/api/x", "/api/y", "/API/y"} {
		resp, err := web.Test(httptest.NewRequest(http.MethodGet, path, nil))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 500, resp.StatusCode)
		require.JSONEq(t, `{"detail":"Something went wrong on our side. Nothing you sent was lost."}`, string(body))
	}
}

func TestABodyIsJSONWhateverItClaimsToBe(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("acme", "mia@acme.test")
	for _, kind := range []string{"text/plain;charset=UTF-8", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "", "application/octet-stream"} {
		a := s.Do(nil, "POST", "/api/threads", []byte(`{"metadata":{"from":"a page"}}`), "X-Api-Key", key, "Content-Type", kind)
		require.Equal(t, http.StatusOK, a.Status, kind)
		require.Contains(t, a.Body, `"from":"a page"`, kind)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(append([]byte(`{"metadata":{"a":"`), bytes.Repeat([]byte("x"), 1<<26)...))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.Less(t, packed.Len(), 1<<20, "small on the wire")
	a := s.Do(nil, "POST", "/api/threads", packed.Bytes(), "X-Api-Key", key, "Content-Type", "application/json", "Content-Encoding", "gzip")
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	_, fields := detail(t, a)
	require.Contains(t, fields, "Content-Encoding", "what is packed is never unpacked")
}

// list is a JSON list of n times entry.
func list(n int, entry string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(entry+",", n), ",") + "]"
}

// TestWhatIsTooMuchIsRefusedByName goes through the bounds of the API. A row
// whose route is not there yet waits for it.
func TestWhatIsTooMuchIsRefusedByName(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("acme", "mia@acme.test")
	thread, _, _ := visited(t, s, key, "hello")
	message := `{"role":"user","content":"x"}`
	routes, ran := apiRoutes(s), 0
	for _, c := range []struct{ method, route, query, body, field, rule string }{
		{"POST", "/api/threads", "", `{"metadata":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "}", "body", "must not be nested deeper than 256 levels"},
		{"POST", "/api/threads", "", `{"metadata":` + strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300) + "}", "body", "must not be nested deeper than 256 levels"},
		{"POST", "/api/threads", "", `{"metadata":{"tags":` + list(10_001, "1") + `}}`, "metadata.tags", "must hold at most 10000 entries"},
		{"POST", "/api/threads/:thread/runs", "", `{"assistant_id":"echo","input":{"messages":` + list(1_001, message) + `}}`, "input.messages", "must hold at most 1000 entries"},
		{"POST", "/api/threads/:thread/runs/wait", "", `{"assistant_id":"echo","input":{"messages":` + list(1_001, message) + `}}`, "input.messages", "must hold at most 1000 entries"},
		{"POST", "/api/threads/:thread/state", "", `{"values":{"messages":` + list(1_001, message) + `}}`, "values.messages", "must hold at most 1000 entries"},
		{"POST", "/api/threads/:thread/runs", "", `{"assistant_id":"echo","interrupt_before":` + list(101, `"a"`) + `}`, "interrupt_before", "must hold at most 100 entries"},
		{"POST", "/api/threads/:thread/runs/stream", "", `{"assistant_id":"echo","stream_mode":` + list(101, `"values"`) + `}`, "stream_mode", "must hold at most 100 entries"},
		{"POST", "/api/threads/search", "", `{"ids":` + list(1_001, `"x"`) + `}`, "ids", "must hold at most 1000 entries"},
		{"POST", "/api/threads/prune", "", `{"thread_ids":` + list(1_001, `"x"`) + `}`, "thread_ids", "must hold at most 1000 entries"},
		{"POST", "/api/runs/cancel", "", `{"run_ids":` + list(1_001, `"x"`) + `}`, "run_ids", "must hold at most 1000 entries"},
		{"POST", "/api/runs/batch", "", list(101, `{"assistant_id":"echo"}`), "body", "must hold at most 100 entries"},

		{"POST", "/api/threads/search", "", `{"limit":1001}`, "limit", "1000"},
		{"POST", "/api/threads/search", "", `{"limit":0}`, "limit", "1"},
		{"POST", "/api/threads/search", "", `{"offset":-1}`, "offset", "must"},
		{"POST", "/api/threads/:thread/history", "", `{"limit":1001}`, "limit", "1000"},
		{"POST", "/api/assistants/search", "", `{"limit":1001}`, "limit", "1000"},
		{"POST", "/api/store/items/search", "", `{"limit":1001}`, "limit", "1000"},
		{"GET", "/api/threads/:thread/runs", "?limit=1001", "", "limit", "1000"},
		{"GET", "/api/threads/:thread/runs", "?limit=x", "", "limit", "must"},
	} {
		if !slices.Contains(routes, app.Route{Method: c.method, Path: c.route}) {
			continue
		}
		ran++
		t.Run(c.method+" "+c.route+" "+c.field, func(t *testing.T) {
			path := strings.ReplaceAll(c.route, ":thread", thread) + c.query
			a := s.Do(nil, c.method, path, []byte(c.body), "X-Api-Key", key, "Content-Type", "application/json")
			require.Equal(t, http.StatusUnprocessableEntity, a.Status, a.Body)
			_, fields := detail(t, a)
			require.Contains(t, fields, c.field)
			require.Contains(t, fields[c.field], c.rule)
		})
	}
	require.GreaterOrEqual(t, ran, 7)
	most := s.API(key, "POST", "/api/threads/"+thread+"/state", []byte(`{"as_node":"echo","values":{"messages":`+list(1_000, message)+`}}`))
	require.Equal(t, http.StatusOK, most.Status, "as many as may be: %s", most.Body)
}

func TestAKeyIsToldHowManyRequestsItHas(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_RATE_LIMITS=on", "HEDDLE_CORS_ORIGINS=https://app.example.org"}})
	key, other := s.Key("acme", "mia@acme.test"), s.Key("acme", "mia@acme.test")
	get := func(key string) testweb.Answer {
		return s.Do(nil, "GET", "/api/threads/"+id.New(), nil, "X-Api-Key", key, "Origin", "https://app.example.org")
	}
	first := get(key)
	require.Equal(t, http.StatusNotFound, first.Status, "a refusal tells it as well")
	limit, err := strconv.Atoi(first.Header.Get("RateLimit-Limit"))
	require.NoError(t, err)
	require.Greater(t, limit, 100, "room for a client that shows lists")
	require.Equal(t, strconv.Itoa(limit-1), first.Header.Get("RateLimit-Remaining"))
	require.Equal(t, "1", first.Header.Get("RateLimit-Reset"))
	require.Equal(t, strconv.Itoa(limit-1), get(other).Header.Get("RateLimit-Remaining"), "each key has its own")

	for range 10 * limit {
		a := get(key)
		if a.Status == http.StatusNotFound {
			continue
		}
		require.Equal(t, http.StatusTooManyRequests, a.Status)
		said, _ := detail(t, a)
		require.Contains(t, said, "too often")
		require.Equal(t, "0", a.Header.Get("RateLimit-Remaining"))
		require.Equal(t, "1", a.Header.Get("Retry-After"))
		require.Equal(t, "https://app.example.org", a.Header.Get("Access-Control-Allow-Origin"), "a page can read why")
		require.Contains(t, a.Header.Get("Access-Control-Expose-Headers"), "Retry-After")
		require.Equal(t, http.StatusNotFound, get(other).Status)
		require.Equal(t, http.StatusOK, s.Get(nil, "/api/info").Status)
		return
	}
	t.Fatal("a key could ask without end")
}

func TestWithoutLimitsNothingIsCounted(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	a := s.API(s.Key("acme", "mia@acme.test"), "GET", "/api/threads/"+id.New(), nil)
	require.Empty(t, a.Header.Get("RateLimit-Limit"))
}

func TestPagesOfConfiguredOriginsMayCallTheAPI(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{Env: []string{"HEDDLE_CORS_ORIGINS=https://app.example.org,http://localhost:3000"}})
	key := s.Key("acme", "mia@acme.test")
	preflight := func(origin, path, method, headers string) testweb.Answer {
		return s.Do(nil, "OPTIONS", path, nil, "Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", headers)
	}
	for _, origin := range []string{"https://app.example.org", "http://localhost:3000"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			asked := "content-type, x-api-key, x-auth-scheme, authorization, last-event-id, prefer, idempotency-key, X-Anything-At-All"
			a := preflight(origin, "/api/threads", method, asked)
			require.Equal(t, http.StatusNoContent, a.Status, "without a key")
			require.Empty(t, a.Body)
			require.Equal(t, origin, a.Header.Get("Access-Control-Allow-Origin"))
			require.Equal(t, strings.ToLower(asked), a.Header.Get("Access-Control-Allow-Headers"))
			require.Contains(t, a.Header.Get("Access-Control-Allow-Methods"), method)
			require.Contains(t, a.Header.Get("Vary"), "Origin")
			require.Empty(t, a.Header.Get("Access-Control-Allow-Credentials"))
		}
		require.Equal(t, origin, preflight(origin, "/api/info", "GET", "content-type").Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "x-ok", preflight(origin, "/api/info", "GET", "cookie, x-ok, proxy-authorization").Header.Get("Access-Control-Allow-Headers"))
	}
	for _, c := range []struct {
		method, path, key, body string
		status                  int
	}{
		{"GET", "/api/info", "", "", 200}, {"GET", "/api/threads/" + id.New(), "", "", 401}, {"GET", "/api/threads/" + id.New(), key, "", 404},
		{"GET", "/api/nowhere", key, "", 404}, {"PUT", "/api/threads", key, "", 405}, {"POST", "/api/threads", key, "{", 422},
		{"POST", "/api/threads", key, "{}", 200},
		{"POST", "/api/runs/crons", key, "{}", 501},
	} {
		what := fmt.Sprintf("%s %s %d", c.method, c.path, c.status)
		for origin, allowed := range map[string]bool{"https://app.example.org": true, "https://evil.test": false, "null": false,
			"https://app.example.org.evil.test": false, "http://app.example.org": false, "https://APP.example.org": false, "": false} {
			header := []string{"X-Api-Key", c.key, "Content-Type", "application/json"}
			if origin != "" {
				header = append(header, "Origin", origin)
			}
			a := s.Do(nil, c.method, c.path, []byte(c.body), header...)
			require.Equal(t, c.status, a.Status, what)
			require.Equal(t, []string{"Origin"}, a.Header.Values("Vary"), what)
			require.Empty(t, a.Header.Get("Access-Control-Allow-Credentials"))
			if !allowed {
				require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"), "%s from %s", what, origin)
				continue
			}
			require.Equal(t, origin, a.Header.Get("Access-Control-Allow-Origin"), what)
			for _, name := range []string{"Content-Location", "Location", "X-Pagination-Total", "X-Pagination-Next", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
				require.Contains(t, a.Header.Get("Access-Control-Expose-Headers"), name, what)
			}
		}
	}
	require.Equal(t, "https://app.example.org", tooLarge(t, s, "https://app.example.org").Header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, tooLarge(t, s, "https://evil.test").Header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, preflight("https://evil.test", "/api/threads", "POST", "x-api-key").Header.Get("Access-Control-Allow-Headers"))
	require.Empty(t, s.Do(nil, "GET", "/auth/login", nil, "Origin", "https://app.example.org").Header.Get("Access-Control-Allow-Origin"), "pages are nobody else's")

	// A session is worth nothing across origins, whatever its browser sends.
	mia := s.SignIn("mia@acme.test")
	a := s.Do(mia, "POST", "/api/threads", []byte("{}"), "Origin", "https://app.example.org", "X-CSRF-Token", s.CSRF(mia))
	require.Equal(t, http.StatusForbidden, a.Status)
}

func TestWithoutConfiguredOriginsNoPageMay(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	a := s.Do(nil, "OPTIONS", "/api/threads", nil, "Origin", "https://app.example.org", "Access-Control-Request-Method", "POST")
	require.Equal(t, http.StatusMethodNotAllowed, a.Status)
	require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
}

func TestCronsSayThatThereAreNone(t *testing.T) {
	t.Parallel()
	s := testweb.Start(t, testweb.Options{})
	key := s.Key("acme", "mia@acme.test")
	for _, c := range [][2]string{{"POST", "/api/runs/crons"}, {"POST", "/api/threads/" + id.New() + "/runs/crons"}, {"PATCH", "/api/runs/crons/" + id.New()},
		{"DELETE", "/api/runs/crons/" + id.New()}, {"POST", "/api/runs/crons/search"}, {"POST", "/api/runs/crons/count"}} {
		a := s.API(key, c[0], c[1], map[string]any{"schedule": "* * * * *", "assistant_id": "echo"})
		require.Equal(t, http.StatusNotImplemented, a.Status, c)
		said, _ := detail(t, a)
		require.Contains(t, said, "no crons yet")
		require.Equal(t, http.StatusUnauthorized, s.API("hdl_x", c[0], c[1], nil).Status, c)
	}
	var info struct {
		Version string
		Flags   map[string]bool
		Host    map[string]any
	}
	s.Get(nil, "/api/info").JSON(t, &info)
	require.Equal(t, map[string]bool{"assistants": true, "crons": false, "langsmith": false}, info.Flags)
	require.Equal(t, "self-hosted", info.Host["kind"])
	require.NotEmpty(t, info.Version)
}
