package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/clock"
	"github.com/heddle/heddle/internal/fault"
)

var start = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

func TestALimiterAllowsTheBurstThenTheRatePerCaller(t *testing.T) {
	t.Parallel()
	clk := clock.NewFake(start)
	l := middleware.NewLimiter(middleware.Rate{PerMinute: 60, Burst: 3}, clk)
	for range 3 {
		require.Zero(t, l.Take("a"))
	}
	require.Equal(t, time.Second, l.Take("a"))
	require.Zero(t, l.Take("b"), "another caller has tokens of its own")
	clk.Advance(400 * time.Millisecond)
	require.Equal(t, 600*time.Millisecond, l.Take("a").Round(time.Millisecond), "a refusal costs nothing")
	clk.Advance(600 * time.Millisecond)
	require.Zero(t, l.Take("a"))
	require.NotZero(t, l.Take("a"))
	clk.Advance(time.Hour)
	for range 3 {
		require.Zero(t, l.Take("a"))
	}
	require.NotZero(t, l.Take("a"), "an hour away saves up no more than the burst")
}

func TestTheZeroRateLimitsNothing(t *testing.T) {
	t.Parallel()
	l := middleware.NewLimiter(middleware.Rate{}, clock.NewFake(start))
	for range 1000 {
		require.NoError(t, l.Allow("a"))
	}
	require.Zero(t, l.Len())
}

func TestALimiterRemembersABoundedNumberOfCallers(t *testing.T) {
	t.Parallel()
	clk := clock.NewFake(start)
	l := middleware.NewLimiter(middleware.Rate{PerMinute: 60, Burst: 3}, clk)
	for i := range 100_000 {
		l.Take(strconv.Itoa(i))
	}
	require.Equal(t, 10_000, l.Len())
	clk.Advance(3 * time.Second)
	l.Take("a")
	require.Equal(t, 1, l.Len(), "buckets that are full again are gone")
}

func TestManyAtOnceGetNoMoreThanTheBurst(t *testing.T) {
	t.Parallel()
	l := middleware.NewLimiter(middleware.Rate{PerMinute: 1, Burst: 20}, clock.NewFake(start))
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if l.Allow("a") == nil {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	require.Equal(t, int64(20), passed.Load())
}

func TestALimitedRequestSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	l := middleware.NewLimiter(middleware.Rate{PerMinute: 6, Burst: 1}, clock.NewFake(start))
	app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
		middleware.RetryAfter(c, err)
		return c.Status(middleware.Status(fault.KindOf(err))).SendString(fault.Public(err))
	}})
	app.Get("/", l.ByAddress, func(c *fiber.Ctx) error { return c.SendString("in") })
	app.Get("/away", func(*fiber.Ctx) error { return fault.Unavailable("Away.", nil) })
	get := func(path string) *http.Response {
		resp, err := app.Test(httptest.NewRequest(http.MethodGet, path, nil))
		require.NoError(t, err)
		return resp
	}
	require.Equal(t, 200, get("/").StatusCode)
	resp := get("/")
	require.Equal(t, 429, resp.StatusCode)
	require.Equal(t, "10", resp.Header.Get("Retry-After"))
	require.Equal(t, "2", get("/away").Header.Get("Retry-After"))
}

func TestOnlyTrustedProxiesSayWhoTheClientIs(t *testing.T) {
	t.Parallel()
	// The peer of a request in these tests is 0.0.0.0.
	for _, c := range []struct {
		name, trusted string
		forwarded     []string
		want          string
	}{
		{"no proxy is trusted", "10.0.0.0/8", []string{"203.0.113.7"}, "0.0.0.0"},
		{"the proxy's word", "0.0.0.0/32", []string{"203.0.113.7"}, "203.0.113.7"},
		{"what the client wrote before it", "0.0.0.0/32", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"in a header of its own", "0.0.0.0/32", []string{"198.51.100.1", "203.0.113.7"}, "203.0.113.7"},
		{"no header", "0.0.0.0/32", nil, "0.0.0.0"},
		{"no address", "0.0.0.0/32", []string{"203.0.113.7, unknown"}, "0.0.0.0"},
		{"IPv4 in IPv6", "0.0.0.0/32", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"IPv6", "0.0.0.0/32", []string{"2001:db8::1"}, "2001:db8::1"},
	} {
		app := fiber.New()
		app.Use(middleware.ClientAddress([]netip.Prefix{netip.MustParsePrefix(c.trusted)}))
		app.Get("/", func(c *fiber.Ctx) error { return c.SendString(middleware.AddressOf(c).String()) })
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header["X-Forwarded-For"] = c.forwarded
		resp, err := app.Test(req)
		require.NoError(t, err)
		var got [64]byte
		n, _ := resp.Body.Read(got[:])
		require.Equal(t, c.want, string(got[:n]), c.name)
	}
}

func TestOneIPv6CustomerIsOneCaller(t *testing.T) {
	t.Parallel()
	l := middleware.NewLimiter(middleware.Rate{PerMinute: 1, Burst: 1}, clock.NewFake(start))
	app := fiber.New(fiber.Config{ErrorHandler: func(c *fiber.Ctx, err error) error {
		return c.SendStatus(middleware.Status(fault.KindOf(err)))
	}})
	app.Use(middleware.ClientAddress([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}))
	app.Get("/", l.ByAddress, func(c *fiber.Ctx) error { return nil })
	for _, c := range []struct {
		from string
		want int
	}{{"2001:db8:1:1::1", 200}, {"2001:db8:1:1:ffff::2", 429}, {"2001:db8:1:2::1", 200}} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("X-Forwarded-For", c.from)
		resp, err := app.Test(req)
		require.NoError(t, err)
		require.Equal(t, c.want, resp.StatusCode, c.from)
	}
}

func TestACallerIsToldWhatIsLeft(t *testing.T) {
	t.Parallel()
	clk := clock.NewFake(start)
	l := middleware.NewLimiter(middleware.Rate{PerMinute: 60, Burst: 3}, clk)
	require.Equal(t, middleware.Spent{Limit: 3, Remaining: 2, Full: time.Second}, l.Spend("a"))
	require.Equal(t, middleware.Spent{Limit: 3, Remaining: 1, Full: 2 * time.Second}, l.Spend("a"))
	require.Equal(t, middleware.Spent{Limit: 3, Remaining: 0, Full: 3 * time.Second}, l.Spend("a"))
	require.Equal(t, middleware.Spent{Limit: 3, Remaining: 0, Wait: time.Second, Full: 3 * time.Second}, l.Spend("a"), "a refusal costs nothing")
	clk.Advance(2 * time.Second)
	require.Equal(t, 1, l.Spend("a").Remaining)
	require.Zero(t, middleware.NewLimiter(middleware.Rate{}, clk).Spend("a"))
}

func BenchmarkLimiter(b *testing.B) {
	l := middleware.NewLimiter(middleware.Rate{PerMinute: 1 << 30, Burst: 1 << 30}, clock.System{})
	for b.Loop() {
		l.Spend("0199c0de-0000-7000-8000-000000000000")
	}
}
