package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/store"
)

func TestMain(m *testing.M) { testpg.Main(m) }

// people are who API keys stand for.
type people map[string]auth.Scope

func (people) Cookie(context.Context, string) (auth.SignedIn, error) {
	return auth.SignedIn{}, fault.Unauthenticated("Sign in first.")
}

func (p people) Key(_ context.Context, key string) (auth.Scope, error) {
	scope, ok := p[key]
	if !ok {
		return auth.Scope{}, fault.Unauthenticated("Sign in first.")
	}
	return scope, nil
}

// repeating is a server whose handlers count how often they run.
type repeating struct {
	app  *fiber.App
	ran  atomic.Int64
	next func(c *fiber.Ctx) error
}

func repeat(t *testing.T) *repeating {
	t.Helper()
	url := testpg.Database(t, testpg.Template{Name: "middleware", Prepare: func(ctx context.Context, url string) error {
		_, _, err := store.Migrate(ctx, url, migrations.FS, nil)
		return err
	}})
	db, err := store.Open(t.Context(), store.Options{URL: url})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	who := people{}
	for _, name := range []string{"mia", "max"} {
		who[name], err = db.EnsurePerson(t.Context(), auth.Person{Identity: auth.Identity{Issuer: "https://idp.test", Subject: name},
			Provider: "test", Email: name + "@acme.test", OrgSlug: "acme", OrgName: "Acme", Role: auth.RoleMember})
		require.NoError(t, err)
	}
	s := &repeating{app: fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
		return c.Status(middleware.Status(fault.KindOf(err))).JSON(fiber.Map{"code": fault.Code(err), "detail": fault.Public(err)})
	}})}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s.app.Use(middleware.RequestID, middleware.Recover(log), middleware.NewIdentity(who, nil, "http://localhost").API(),
		middleware.Idempotency(db.Idempotency(), log))
	s.app.All("/*", func(c *fiber.Ctx) error {
		s.ran.Add(1)
		return s.next(c)
	})
	return s
}

type answer struct {
	status  int
	body    string
	headers http.Header
}

func (s *repeating) send(t *testing.T, who, method, path, key, body string) answer {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("X-Api-Key", who)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := s.app.Test(req, -1)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return answer{resp.StatusCode, string(text), resp.Header}
}

func created(c *fiber.Ctx) error {
	c.Set("Location", "/threads/1")
	c.Set("Content-Location", "/threads/1/runs/2")
	c.Set("X-Moment", "now")
	c.Type("json")
	return c.Status(201).Send(append([]byte("made of "), c.Body()...))
}

func TestRepeatedRequestGetsTheFirstAnswerAndRunsOnce(t *testing.T) {
	s := repeat(t)
	s.next = created
	first := s.send(t, "mia", "POST", "/runs?x=1", "k 1~", `{"a":1}`)
	again := s.send(t, "mia", "POST", "/runs?x=1", "k 1~", `{"a":1}`)
	require.EqualValues(t, 1, s.ran.Load())
	require.Equal(t, 201, again.status)
	require.Equal(t, first.body, again.body)
	for _, name := range []string{"Content-Type", "Content-Location", "Location"} {
		require.NotEmpty(t, first.headers.Get(name))
		require.Equal(t, first.headers.Get(name), again.headers.Get(name))
	}
	require.Empty(t, again.headers.Get("X-Moment"))
	require.Empty(t, first.headers.Get("Idempotent-Replayed"))
	require.Equal(t, "true", again.headers.Get("Idempotent-Replayed"))

	s.send(t, "max", "POST", "/runs?x=1", "k 1~", `{"a":1}`)
	s.send(t, "mia", "POST", "/runs?x=1", "another", `{"a":1}`)
	s.send(t, "mia", "POST", "/runs?x=1", "", `{"a":1}`)
	s.send(t, "mia", "GET", "/runs?x=1", "k 1~", "")
	require.EqualValues(t, 5, s.ran.Load())
	require.Equal(t, 401, s.send(t, "nobody", "POST", "/runs?x=1", "k 1~", `{"a":1}`).status)
}

func TestKeyOfAnotherRequestIsNamed(t *testing.T) {
	s := repeat(t)
	s.next = created
	s.send(t, "mia", "POST", "/a", "k", `{}`)
	for _, other := range []answer{
		s.send(t, "mia", "POST", "/a", "k", `{"b":1}`), s.send(t, "mia", "POST", "/a?q", "k", `{}`),
		s.send(t, "mia", "PUT", "/a", "k", `{}`), s.send(t, "mia", "POST", "/b", "k", `{}`),
	} {
		require.Equal(t, 422, other.status)
		require.Contains(t, other.body, "Idempotency-Key")
	}
	require.EqualValues(t, 1, s.ran.Load())
}

func TestMalformedKeysAreInvalid(t *testing.T) {
	s := repeat(t)
	s.next = created
	for _, key := range []string{strings.Repeat("k", 201), "käse", "a\tb"} {
		got := s.send(t, "mia", "POST", "/a", key, `{}`)
		require.Equal(t, 422, got.status, "%q", key)
		require.Contains(t, got.body, "1 to 200 printable ASCII")
	}
	req := httptest.NewRequest("POST", "/a", nil)
	req.Header.Set("X-Api-Key", "mia")
	req.Header["Idempotency-Key"] = []string{""}
	resp, err := s.app.Test(req, -1)
	require.NoError(t, err)
	require.Equal(t, 422, resp.StatusCode)
	require.Zero(t, s.ran.Load())
	require.Equal(t, 201, s.send(t, "mia", "POST", "/a", strings.Repeat("k", 200), `{}`).status)
}

func TestRequestAtWorkIsAConflictForItsTwins(t *testing.T) {
	s := repeat(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.next = func(c *fiber.Ctx) error {
		close(entered)
		<-leave
		return created(c)
	}
	var group sync.WaitGroup
	var first answer
	group.Go(func() { first = s.send(t, "mia", "POST", "/a", "k", `{}`) })
	<-entered
	for range 3 {
		twin := s.send(t, "mia", "POST", "/a", "k", `{}`)
		require.Equal(t, 409, twin.status)
		require.Contains(t, twin.body, "idempotency_in_flight")
	}
	close(leave)
	group.Wait()
	require.Equal(t, 201, first.status)
	require.Equal(t, first.body, s.send(t, "mia", "POST", "/a", "k", `{}`).body)
	require.EqualValues(t, 1, s.ran.Load())
}

func TestFailuresOfOursAreNotKeptAndThoseOfTheRequestAre(t *testing.T) {
	s := repeat(t)
	for key, c := range map[string]struct {
		err  error
		kept bool
	}{
		"internal":    {errors.New("canary"), false},
		"unavailable": {fault.Unavailable("Away.", nil), false},
		"limited":     {fault.Limited("Too many."), false},
		"invalid":     {fault.Invalid("title", "must be short"), true},
		"conflict":    {fault.Conflict("Busy."), true},
	} {
		s.next = func(*fiber.Ctx) error { return c.err }
		first := s.send(t, "mia", "POST", "/a", key, `{}`)
		require.Equal(t, middleware.Status(fault.KindOf(c.err)), first.status)
		s.next = created
		again := s.send(t, "mia", "POST", "/a", key, `{}`)
		if c.kept {
			require.Equal(t, first.status, again.status, key)
			require.Equal(t, first.body, again.body, key)
		} else {
			require.Equal(t, 201, again.status, key)
		}
	}
	s.next = func(*fiber.Ctx) error { panic("canary") }
	require.Equal(t, 500, s.send(t, "mia", "POST", "/a", "panic", `{}`).status)
	s.next = created
	require.Equal(t, 201, s.send(t, "mia", "POST", "/a", "panic", `{}`).status, "a panic frees the key")
}

func TestAnswerThatCannotBeKeptIsNotMadeTwice(t *testing.T) {
	s := repeat(t)
	for name, next := range map[string]func(*fiber.Ctx) error{
		"long": func(c *fiber.Ctx) error {
			c.Set("Location", "/threads/1")
			return c.SendString(strings.Repeat("x", 1<<20+1))
		},
		"stream": func(c *fiber.Ctx) error {
			c.Set("Location", "/threads/1")
			return c.SendStream(strings.NewReader("streamed"))
		},
	} {
		s.ran.Store(0)
		s.next = next
		require.Equal(t, 200, s.send(t, "mia", "POST", "/a", name, `{}`).status)
		again := s.send(t, "mia", "POST", "/a", name, `{}`)
		require.Equal(t, 409, again.status, name)
		require.Equal(t, "/threads/1", again.headers.Get("Location"), "where to find what was made")
		require.Contains(t, again.headers.Get("Content-Type"), "application/json")
		var body map[string]string
		require.NoError(t, json.Unmarshal([]byte(again.body), &body))
		require.Equal(t, "idempotency_answer_not_kept", body["code"])
		require.EqualValues(t, 1, s.ran.Load(), name)
	}
	s.next = func(c *fiber.Ctx) error { return c.SendString(strings.Repeat("x", 1<<20)) }
	s.send(t, "mia", "POST", "/a", "fits", `{}`)
	require.Len(t, s.send(t, "mia", "POST", "/a", "fits", `{}`).body, 1<<20)
	s.next = func(c *fiber.Ctx) error { return c.SendStatus(204) }
	s.send(t, "mia", "DELETE", "/a", "empty", "")
	require.Equal(t, 204, s.send(t, "mia", "DELETE", "/a", "empty", "").status)
}
