// Package testweb gives tests the whole product: a server composed as in
// production, listening on a random loopback port, on a database of its own and
// a Redis, with the demo's people in it. Tests reach it as people and programs
// do: [Site] signs in, posts forms, opens sockets and calls the API.
//
// The assets must be built (make test does it; by hand: go run ./static/build),
// and PostgreSQL installed: a test that cannot have its server fails, it never
// skips. A package that uses it ends what tests share in TestMain:
//
//	func TestMain(m *testing.M) { testweb.Main(m) }
//
// Only tests import it.
package testweb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/app"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/config"
	"github.com/heddle/heddle/handlers"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/internal/testredis"
	"github.com/heddle/heddle/migrations"
	"github.com/heddle/heddle/outbound/webhook"
	"github.com/heddle/heddle/realtime/embedded"
	"github.com/heddle/heddle/static"
	"github.com/heddle/heddle/store"
)

// limit bounds each wait of this package, in slow and crowded runs too.
const limit = 60 * time.Second

// quiet is installed while a package's tests run: the log package of go-redis
// writes to standard error whenever a test takes its server away.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// Main runs the tests of a package, stops what they shared, fails if a
// goroutine is left, and exits.
func Main(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(testpg.Wrap(testredis.Wrap(m)),
		// fasthttp's clock and its cleaners of idle workers end by themselves,
		// after their next round, and so does the clock of the highlighter's
		// expressions.
		goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// Options say what differs from the usual server. The zero value is: a fresh
// migrated database with the demo data, an embedded Redis of its own, the
// development environment, a mock model without delay, short leases.
type Options struct {
	// DatabaseURL and RedisURL name servers to use, such as those of another
	// [Server] for a second node. An own database is empty and as it was made:
	// Migrate says whether to bring it up to date.
	DatabaseURL, RedisURL string
	// TokensPerSecond is the mock model's pace.
	TokensPerSecond float64
	// Graphs are registered beside the shipped ones.
	Graphs []*graph.Graph
	// Break pauses every run.
	Break agents.Breakpoints
	// Env are more settings, as NAME=VALUE.
	Env []string
	// Mailer mails invitations; nil sends none.
	Mailer handlers.Mailer
	// WebhookPace is how often webhooks are attempted; zero is the usual.
	WebhookPace webhook.Pace
	// Logger is told what the server logs; nil discards it.
	Logger *slog.Logger
	// Unready starts the server without waiting until it is ready and without
	// demo data, for tests of what is not.
	Unready bool
}

// Server is a running server and a [Site] to reach it.
type Server struct {
	*Site
	// DatabaseURL and RedisURL are what it runs on.
	DatabaseURL, RedisURL string
	// App is the composed product.
	App *app.App

	stop func()
}

// secretKey is the same for all servers of a process, as it is for the nodes of
// an installation.
var secretKey = sha256.Sum256([]byte("the secret key of tests"))

// Template is the migrated database that tests get copies of.
func Template() testpg.Template {
	return testpg.Template{Name: "heddle", Prepare: func(ctx context.Context, url string) error {
		_, _, err := store.Migrate(ctx, url, migrations.FS, nil)
		return err
	}}
}

// Start boots a server and stops it when the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s := &Server{DatabaseURL: o.DatabaseURL, RedisURL: o.RedisURL}
	if s.DatabaseURL == "" {
		s.DatabaseURL = testpg.Database(tb, Template())
	}
	if s.RedisURL == "" {
		own, err := embedded.Start()
		if err != nil {
			tb.Fatalf("testweb: %v", err)
		}
		tb.Cleanup(own.Close)
		s.RedisURL = own.URL()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("testweb: %v", err)
	}
	s.Site = At(tb, "http://"+listener.Addr().String())
	if err := s.boot(tb, o, listener); err != nil {
		_ = listener.Close()
		if errors.Is(err, static.ErrNotBuilt) {
			tb.Fatalf("testweb: the assets are not built: run make assets (or go run ./static/build) first")
		}
		tb.Fatalf("testweb: %v", err)
	}
	tb.Cleanup(s.Stop)
	if !o.Unready {
		s.WaitReady()
	}
	return s
}

// boot composes the product and serves it on listener.
func (s *Server) boot(tb testing.TB, o Options, listener net.Listener) error {
	environ := append([]string{
		"HEDDLE_ENV=development", "HEDDLE_ADDR=" + listener.Addr().String(), "HEDDLE_BASE_URL=" + s.URL(),
		"HEDDLE_DATA_DIR=" + tb.TempDir(), "HEDDLE_LEASE=2s", "HEDDLE_LEASE_RENEW=300ms", "HEDDLE_SWEEP=100ms",
		"HEDDLE_DRAIN=10s", "HEDDLE_DB_MIN_CONNS=1", "HEDDLE_DB_MAX_CONNS=10",
	}, o.Env...)
	cfg, err := config.Load(config.Options{Environ: environ, DotEnv: filepath.Join(tb.TempDir(), "none")})
	if err != nil {
		return err
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.App, err = app.New(ctx, app.Options{
		Config: cfg, DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL, SecretKey: secretKey[:], Version: "test",
		Logger: log, Graphs: o.Graphs, Break: o.Break, TokensPerSecond: o.TokensPerSecond, Mailer: o.Mailer,
		WebhookPace: o.WebhookPace,
	})
	if err != nil {
		return err
	}
	if !o.Unready && cfg.Server.Env.Development() {
		if err := s.App.Seed(ctx); err != nil {
			s.App.Close()
			return err
		}
	}
	serving, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.App.ServeOn(serving, listener, nil) }()
	s.stop = sync.OnceFunc(func() {
		end()
		if err := <-ended; err != nil {
			tb.Errorf("testweb: serving: %v", err)
		}
		s.App.Close()
	})
	return nil
}

// Stop drains the server and waits until nothing of it is left. The test's end
// does it too.
func (s *Server) Stop() { s.stop() }

// WaitReady waits until the server says that it is ready.
func (s *Site) WaitReady() {
	s.tb.Helper()
	s.Eventually("the server is ready", func() bool {
		resp, err := s.client.Get(s.URL() + "/readyz")
		if err != nil {
			return false
		}
		body := read(s.tb, resp)
		return resp.StatusCode == http.StatusOK && strings.Contains(body, `"status":"ready"`)
	})
}

// WaitUp waits until the server answers at all.
func (s *Site) WaitUp() {
	s.tb.Helper()
	s.Eventually("the server answers", func() bool {
		resp, err := s.client.Get(s.URL() + "/healthz")
		if err != nil {
			return false
		}
		read(s.tb, resp)
		return resp.StatusCode == http.StatusOK
	})
}

// Eventually waits until ok says yes; what names the condition.
func (s *Site) Eventually(what string, ok func() bool) {
	s.tb.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			s.tb.Fatalf("testweb: %s: not within %v", what, limit)
		}
		<-tick.C
	}
}

// Key makes an API key that acts as a member, as heddle apikey create does. No
// scopes means chat.
func (s *Server) Key(org, email string, scopes ...auth.KeyScope) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.tb.Context(), limit)
	defer cancel()
	scope, err := s.App.Database().MemberScope(ctx, org, email)
	if err != nil {
		s.tb.Fatalf("testweb: finding %s in %s: %v", email, org, err)
	}
	key, secret, err := auth.MintAPIKey(scope, auth.KeyID(id.New()), "test", scopes, 0, time.Now().UTC())
	if err == nil {
		err = s.App.Database().CreateAPIKey(ctx, scope, key)
	}
	if err != nil {
		s.tb.Fatalf("testweb: making a key for %s: %v", email, err)
	}
	return secret.Reveal()
}

// Scope gives what a member may do, for tests that ask the database.
func (s *Server) Scope(org, email string) auth.Scope {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.tb.Context(), limit)
	defer cancel()
	scope, err := s.App.Database().MemberScope(ctx, org, email)
	if err != nil {
		s.tb.Fatalf("testweb: %v", fmt.Errorf("finding %s in %s: %w", email, org, err))
	}
	return scope
}
