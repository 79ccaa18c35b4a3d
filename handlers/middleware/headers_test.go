package middleware_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

func TestOverHTTPSCookiesAndHeadersAreStricter(t *testing.T) {
	t.Parallel()
	app := fiber.New()
	cookie := middleware.NewSessionCookie("https://heddle.test")
	app.Use(middleware.Headers("https://heddle.test:443"))
	app.Get("/", func(c *fiber.Ctx) error {
		cookie.Write(c, "v")
		return c.SendString(middleware.Nonce(c))
	})
	resp, err := app.Test(httptest.NewRequest(http.MethodGet, "/", nil))
	require.NoError(t, err)
	require.Equal(t, "max-age=63072000; includeSubDomains", resp.Header.Get("Strict-Transport-Security"))
	require.Contains(t, resp.Header.Get("Content-Security-Policy"), "connect-src 'self' wss://heddle.test;")
	require.Equal(t, "__Host-heddle=v; max-age=604800; path=/; HttpOnly; secure; SameSite=Lax", resp.Header.Get("Set-Cookie"))
}

func TestNoncesAreFreshForEveryAnswer(t *testing.T) {
	t.Parallel()
	app := fiber.New()
	app.Use(middleware.Headers("http://localhost"))
	seen := make(map[string]bool)
	for range 10 {
		resp, err := app.Test(httptest.NewRequest(http.MethodGet, "/", nil))
		require.NoError(t, err)
		seen[resp.Header.Get("Content-Security-Policy")] = true
	}
	require.Len(t, seen, 10)
}

func TestAPanicIsLoggedAndShownAsOneSentence(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var got error
	app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
		got = err
		return c.SendStatus(middleware.Status(fault.KindOf(err)))
	}})
	app.Use(middleware.RequestID, middleware.Recover(slog.New(slog.NewJSONHandler(&log, nil))))
	app.Get("/", func(*fiber.Ctx) error { panic("canary") })
	resp, err := app.Test(httptest.NewRequest(http.MethodGet, "/", nil))
	require.NoError(t, err)
	require.Equal(t, 500, resp.StatusCode)
	require.NotContains(t, fault.Public(got), "canary")
	require.Contains(t, log.String(), "canary")
	require.Contains(t, log.String(), resp.Header.Get("X-Request-Id"))
	require.Contains(t, log.String(), "headers_test.go", "the stack")
}
